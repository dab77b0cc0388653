"""Attributes of drawn pairs at every checkpoint of a run, into a store.

A model's name and its checkpoints in; the group `{run}/attributes/{name}` grows. What is there is
skipped, so that a run that was stopped goes on.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dvis.analysis.resampling import BOUND
from dvis.kinds.attributes.latents import trained_autoencoders
from dvis.kinds.attributes.measure import AttributeMeasurement, AttributeTask
from dvis.kinds.attributes.options import ALL, DRAWN, N_FOLDS, AttributeOptions
from dvis.kinds.attributes.words import (
    ATTRIBUTE,
    BOUNDS,
    N_EXAMPLES,
    OF_LATENTS,
    PAIR,
    PICTURE_SIDE,
    PICTURE_SIDES,
    SHUFFLE,
    SIDE,
    SIDES,
    attribute_words,
)
from dvis.kinds.saes.travelling import WithAutoencoders
from dvis.models.data.drawing import DRAWING_VERSION
from dvis.models.data.fixed_images import FixedImages
from dvis.models.data.pairs import Contrast, paired_images
from dvis.models.devices import find_device
from dvis.models.hooks import LayerOutput, layer_columns
from dvis.schema import CHANNEL, LATENT, LAYER
from dvis.store.group import Group
from dvis.sweep.plan import Plan
from dvis.sweep.probing import Probe, probe_of, told_of
from dvis.sweep.run_facts import RunFacts, run_of
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client


def measure_attributes(
    options: AttributeOptions, *, client: "Client | None" = None, progress: bool = False
) -> Report:
    """Measure the attributes that a store lacks.

    Parameters
    ----------
    options : AttributeOptions
        Model, checkpoints, layers and attributes.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        How many attributes of layers were measured, and what is to be said of some.

    Raises
    ------
    FileNotFoundError, CheckpointError
        When there are no checkpoints or images, or no checkpoint can be loaded.
    KeyError, ValueError
        When the model has no such layer, the store no such autoencoders, or there is no such
        attribute or shape; when a layer runs several times, an option is out of its range, or the
        store has other pairs under the name.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    find_device(options.device)
    contrasts = [Contrast.parse(label) for label in options.attributes]
    run = run_of(options)
    probe = probe_of(options if options.given else replace(options, dataset=DRAWN), run)
    plan = _planned(options, probe, contrasts, run)
    return carry_out(plan, run, options, client=client, progress=progress)


def _planned(
    options: AttributeOptions, probe: Probe, contrasts: list[Contrast], run: RunFacts
) -> Plan:
    outputs = _outputs(options, probe)
    trained = trained_autoencoders(options, run, outputs)
    n_latents = max((dataset.sizes[LATENT] for dataset in trained.values()), default=0)
    # Of the model's own size: what a resized and cropped picture loses, one side may show.
    transform = replace(probe.model_input.transform, resize=None)
    stimuli = FixedImages.of(
        paired_images(contrasts, options.n_pairs, size=transform.size, seed=options.seed), transform
    )
    layers, names = tuple(outputs), tuple(contrast.label for contrast in contrasts)
    measurement = AttributeMeasurement(
        stimuli=stimuli,
        attributes=names,
        outputs=outputs,
        recalibrated=probe.recalibrated,
        batch_size=probe.batch_size,
        n_shuffles=options.n_shuffles,
        n_random=options.n_random,
        n_latents=n_latents,
        seed=options.seed,
    )
    settings = _settings(options, probe, stimuli)
    return Plan(
        model=options.model,
        words=attribute_words(settings),
        name=options.called,
        measurement=measurement,
        tasks=[AttributeTask(layers, names, tuple(range(len(layers) * len(names))))],
        settings=settings,
        labels={
            LAYER: layers,
            CHANNEL: range(max(output.n_channels for output in outputs.values())),
            ATTRIBUTE: names,
            PAIR: range(options.n_pairs),
            SHUFFLE: range(options.n_shuffles),
            BOUND: BOUNDS,
            SIDE: SIDES,
            **({LATENT: range(n_latents)} if trained else {}),
        },
        columns={**layer_columns(outputs), **_columns(options, contrasts, transform.size)},
        travelling=WithAutoencoders(trained) if trained else None,
        before=_Drawn(measurement).see,
        unit="attribute",
        model_input=probe.model_input,
        notes=tuple(probe.notes),
    )


def _outputs(options: AttributeOptions, probe: Probe) -> dict[str, LayerOutput]:
    """The layers that are asked for, in the order of execution.

    Raises
    ------
    KeyError
        When the model has no such layer.
    ValueError
        When one gives no channels, or runs several times.
    """
    if options.layers == (ALL,) and ALL not in probe.outputs:
        return {name: output for name, output in probe.outputs.items() if output.n_calls == 1}
    outputs = probe.chosen(options.layers)
    for layer, output in outputs.items():
        if output.n_calls != 1:
            raise ValueError(
                f"layer {layer!r} runs {output.n_calls} times in a pass, so that it is not told "
                "of which output a direction is taken; name a layer that runs once, such as the "
                "one before it"
            )
    return outputs


def _settings(options: AttributeOptions, probe: Probe, stimuli: FixedImages) -> dict[str, Any]:
    """What all of a group must share."""
    return {
        "images": told_of(probe.images),
        "batch_norm": options.batch_norm,
        "n_statistics": len(probe.recalibrated.images),
        "transform": stimuli.transform.to_dict(),
        "drawing": DRAWING_VERSION,
        "n_pairs": options.n_pairs,
        "n_folds": N_FOLDS,
        "n_shuffles": options.n_shuffles,
        "n_random": options.n_random,
        "seed": options.seed,
        OF_LATENTS: options.latents or "",
        PICTURE_SIDES: min(stimuli.transform.size, PICTURE_SIDE),
    }


def _columns(
    options: AttributeOptions, contrasts: list[Contrast], size: int
) -> dict[str, dict[str, str]]:
    """What a group keeps of each attribute."""
    return {
        "first_value": {each.label: str(each.first) for each in contrasts},
        "second_value": {each.label: str(each.second) for each in contrasts},
        "fingerprint": {
            each.label: paired_images(
                [each], options.n_pairs, size=size, seed=options.seed
            ).fingerprint
            for each in contrasts
        },
    }


class _Drawn:
    """What a group has of pairs that no checkpoint has of its own: pictures, and what pixels tell.

    Parameters
    ----------
    measurement : AttributeMeasurement
        With the pairs.
    """

    def __init__(self, measurement: AttributeMeasurement) -> None:
        self._measurement = measurement

    def see(self, group: Group) -> None:
        """Write what the group lacks; what pixels tell is written last."""
        known = np.asarray(group.array("pixel_tells")[:])
        for attribute in self._measurement.attributes:
            row = group.rows[ATTRIBUTE][attribute]
            if np.isfinite(known[row]):
                continue
            group.array("picture")[row] = self._pictures(attribute, group.array("picture").shape[3])
            told, error = self._measurement.of_pixels(attribute)
            group.array("pixel_tells_se")[row] = error
            group.array("pixel_tells")[row] = told

    def _pictures(self, attribute: str, side: int) -> np.ndarray:
        """The first pairs, (example, side, y, x, rgb), uint8, as they are drawn."""
        rows = self._measurement.rows_of(attribute)[: 2 * N_EXAMPLES]
        drawn = [self._measurement.stimuli.images.picture(row) for row in rows.tolist()]
        small = [
            np.asarray(Image.fromarray(np.asarray(each)).resize((side, side))) for each in drawn
        ]
        return np.stack(small).reshape(N_EXAMPLES, 2, side, side, 3)
