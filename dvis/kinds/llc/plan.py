"""What of the chains of a run is to be sampled: options in, a plan out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from dvis.kinds.llc.measure import LocalLearning, Samples, samples_of
from dvis.kinds.llc.measure.loss_identity import loss_identity
from dvis.kinds.llc.measure.losses import Loss
from dvis.kinds.llc.measure.weights import chosen
from dvis.kinds.llc.named_images import NamedImages, find_images
from dvis.kinds.llc.options import EstimateOptions
from dvis.kinds.llc.words import ALL_PARAMETERS
from dvis.models.devices import find_device
from dvis.models.model_input import ModelInput, find_input
from dvis.sweep.run_facts import RunFacts, run_of


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """What is to be sampled, and where."""

    options: EstimateOptions
    kind: str
    run: RunFacts
    measurement: LocalLearning
    group_settings: Mapping[str, Any]
    model_input: ModelInput | None

    @property
    def labels(self) -> tuple[str, ...]:
        """What the sets of weights are called."""
        return tuple(self.measurement.parameters)

    @property
    def nbeta(self) -> float:
        """Inverse temperature times the number of samples."""
        return float(self.group_settings["nbeta"])


def plan_sampling(
    options: EstimateOptions, kind: str, *, data: Any, loss: str | Loss, allow_random: bool
) -> SamplingPlan:
    """What is to be sampled, after all that can be wrong with it has been looked at.

    Parameters
    ----------
    options : EstimateOptions
        Model, checkpoints, data, and how chains are sampled.
    kind : {"estimate", "calibration"}
        What it is for, as the store says of the group.
    data, loss, allow_random
        As `dvis.kinds.llc.estimation.estimate_llc` takes them.

    Raises
    ------
    FileNotFoundError, CheckpointError, KeyError, ValueError
        As `dvis.kinds.llc.estimation.estimate_llc` raises them.
    """
    find_device(options.device)
    run = run_of(options)
    model, first = run.first_model(options.model)
    facts, taken = run.facts.get(first, {}), None
    if data is None:
        taken = find_input(options, facts, options.model, model, options.image_size)
        samples: Samples = find_images(options, facts, taken.transform)
    else:
        samples = samples_of(data, allow_random=allow_random)
    measurement = LocalLearning(
        samples=samples,
        loss=loss,
        parameters=_parameters(options, model),
        settings=options.settings,
    )
    return SamplingPlan(
        options=options,
        kind=kind,
        run=run,
        measurement=measurement,
        group_settings=_group_settings(options, samples, loss),
        model_input=taken,
    )


def _parameters(options: EstimateOptions, model: nn.Module) -> dict[str, str | None]:
    """Regular expressions of the weights that are sampled together, by what they are called."""
    if options.per_layer:
        tops = dict.fromkeys(name.partition(".")[0] for name, _ in model.named_parameters())
        return {top: rf"^{re.escape(top)}(\.|$)" for top in tops}
    asked = options.parameters or (ALL_PARAMETERS,)
    found = {name: None if name == ALL_PARAMETERS else name for name in asked}
    for expression in found.values():
        chosen(model, expression)  # raises where it means no weight, before work begins
    return found


def _group_settings(options: EstimateOptions, samples: Samples, loss: str | Loss) -> dict[str, Any]:
    """What all chains of a group share."""
    named = samples if isinstance(samples, NamedImages) else None
    return {
        "data": {
            "name": "given" if named is None else named.dataset,
            "split": "" if named is None else named.split,
            "fingerprint": samples.fingerprint,
            "n_samples": len(samples),
            "transform": None if named is None else named.transform.to_dict(),
        },
        **loss_identity(loss),
        **options.settings.attributes(len(samples)),
    }
