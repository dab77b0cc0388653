"""Linear probes of layers at every checkpoint of a run, into a store.

A model's name, its checkpoints and images in; the group `{run}/probes/{name}` grows. What is there
is skipped, so that a run that was stopped goes on.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from dvis.kinds.probes.fits import Fits
from dvis.kinds.probes.group import (
    columns_of,
    labels_of,
    noted_classes,
    settings_of,
    write_counts,
)
from dvis.kinds.probes.measure import LinearProbes, ProbeTask, Untrained
from dvis.kinds.probes.options import ALL, LinearProbeOptions
from dvis.kinds.probes.pooling import Pooling
from dvis.kinds.probes.stored import probes_of_activations
from dvis.kinds.probes.targets import LabelFile, targets_of
from dvis.kinds.probes.words import TARGET, WEIGHTS_KEPT, probe_words
from dvis.models.building import seeded_model
from dvis.models.checkpoints import CheckpointFile, find_checkpoints, fingerprint
from dvis.models.devices import find_device
from dvis.models.hooks import LayerOutput
from dvis.schema import LAYER
from dvis.store.group import Group
from dvis.sweep.plan import Plan
from dvis.sweep.probing import Probe, probe_of, told_of
from dvis.sweep.run_facts import run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client

_UNTRAINED, _PIXELS = "untrained_score", "pixel_score"


def train_probes(
    options: LinearProbeOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
    """Train the probes that a store lacks.

    Parameters
    ----------
    options : LinearProbeOptions
        Model, checkpoints, layers, images and what is read off them.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many probes were trained, one for each layer and target of a checkpoint, and what is to
        be said of some.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints, images or labels, or no checkpoint can be loaded.
    KeyError, ValueError
        When the model has no such layer, or the images no such target; when there is nothing to
        tell apart; when an option is out of its range, or the store has probes of other images
        under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    if options.from_activations is not None:
        return probes_of_activations(options, progress=progress)
    find_device(options.device)
    run = run_of(options)
    probe = probe_of(options, run)
    labels = _labels_of(options, probe)
    targets = targets_of(
        probe.images.images, options.targets, {} if labels is None else labels.columns
    )
    fits = Fits.of(options, targets, len(probe.images))
    plan = _planned(options, probe, fits, labels)
    return carry_out(plan, run, options, client=client, progress=progress)


def _labels_of(options: LinearProbeOptions, probe: Probe) -> LabelFile | None:
    if options.labels is None:
        return None
    n_most = options.n_images or options.images_unasked
    is_part = options.dataset is not None and len(probe.images) == n_most
    return LabelFile.read(options.labels, probe.images.images, is_part=is_part)


def _planned(
    options: LinearProbeOptions, probe: Probe, fits: Fits, labels: LabelFile | None
) -> Plan:
    pooling = Pooling(how=options.how, n_components=options.n_components, seed=options.seed)
    outputs = _outputs(options, probe, pooling)
    untrained, told, notes = _untrained(options, probe)
    layers, names = tuple(outputs), tuple(fits.targets)
    known = _Known(fits, has_untrained=untrained is not None)
    n_train = len(fits.splits.train)
    n_inputs = {each: pooling.n_inputs(output, n_train) for each, output in outputs.items()}
    depths = {layer: output.depth for layer, output in outputs.items()}
    of_images = {
        "images": told_of(probe.images),
        "batch_norm": options.batch_norm,
        "n_statistics": len(probe.recalibrated.images),
        "untrained": told,
    }
    return Plan(
        model=options.model,
        words=probe_words({WEIGHTS_KEPT: options.keep_weights}),
        name=options.called,
        measurement=LinearProbes(
            images=probe.images,
            fits=fits,
            outputs=outputs,
            pooling=pooling,
            recalibrated=probe.recalibrated,
            untrained=untrained,
            batch_size=probe.batch_size,
        ),
        tasks=[ProbeTask(layers, names, tuple(range(len(layers) * len(names))))],
        settings={**of_images, **settings_of(options, labels)},
        labels=labels_of(fits, n_inputs),
        columns=columns_of(fits, n_inputs, depths),
        start=known.flags,
        noted=lambda group: noted_classes(group, fits),
        before=known.see,
        unit="probe",
        model_input=probe.model_input,
        notes=(*probe.notes, *notes, *(() if labels is None else labels.notes)),
    )


def _outputs(options: LinearProbeOptions, probe: Probe, pooling: Pooling) -> dict[str, LayerOutput]:
    """The layers that are asked for, in the order of execution."""
    is_all = options.layers == (ALL,) and ALL not in probe.outputs
    asked = probe.outputs if is_all else probe.chosen(options.layers)
    return pooling.fitting(probe.module, asked, len(probe.images), is_all=is_all)


def _untrained(
    options: LinearProbeOptions, probe: Probe
) -> tuple[Untrained | None, dict[str, Any], list[str]]:
    """The network untrained, what a group keeps of it, and what is to be said of it."""
    shapes = {name: tensor.shape for name, tensor in probe.module.state_dict().items()}
    checkpoint: CheckpointFile | None = None
    if options.untrained is not None:
        (checkpoint, *_) = find_checkpoints([options.untrained], weights_key=options.weights_key)
        assert checkpoint.path is not None
        content = fingerprint(checkpoint.path, checkpoint.weights_key)
        told = {"checkpoint": checkpoint.label, "fingerprint": f"{content:016x}"}
    elif seeded_model(options.model, shapes, options.seed) is None:
        said = (
            f"no baseline of the network untrained: nothing draws weights of {options.model}; give "
            "--untrained, a checkpoint of it before training"
        )
        return None, {}, [said]
    else:
        told = {"seed": str(options.seed)}
    made = Untrained(model=options.model, checkpoint=checkpoint, shapes=shapes, seed=options.seed)
    if checkpoint is not None:
        made.made(probe.module)  # which says where it does not fit
    return made, told, []


class _Known:
    """What a group has that no checkpoint has of its own."""

    def __init__(self, fits: Fits, *, has_untrained: bool) -> None:
        self._fits, self._has_untrained = fits, has_untrained
        self._group: Group | None = None

    def see(self, group: Group) -> None:
        """Keep the group, and write what is counted into it."""
        self._group = group
        write_counts(group, self._fits)

    def flags(self, _before: str | None, _label: str, task: ProbeTask) -> np.ndarray:
        """Whether scores of the network untrained, and of pixels, are there for a task."""
        assert self._group is not None, "a group is seen before its tasks go out"
        rows = self._group.rows
        layers, targets = zip(*task.wanted, strict=True)
        at = [rows[TARGET][target] for target in targets]
        of_pixels = np.asarray(self._group.array(_PIXELS)[:])[at]
        is_known = [True, bool(np.isfinite(of_pixels).any(1).all())]
        if self._has_untrained:
            places = [rows[LAYER][layer] for layer in layers]
            scores = np.asarray(self._group.array(_UNTRAINED)[:])[places, at]
            is_known[0] = bool(np.isfinite(scores).any(1).all())
        return np.array(is_known)
