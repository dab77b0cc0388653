"""Images that were optimised, as a labelled Dataset: tensors and lists in, dims and names out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.features.measure.restarts import Tried
from dvis.kinds.features.tasks import FeatureTask
from dvis.kinds.features.words import IMAGE_NUMBER, STEP_IN_RUN
from dvis.schema import CHANNEL, LAYER, NOTES, RGB, X, Y


def labelled(
    task: FeatureTask,
    kept: Sequence[Tried],
    beside: Mapping[str, Sequence[float] | np.ndarray],
    n_images: int,
) -> xr.Dataset:
    """Images of a task's channels as a Dataset.

    Parameters
    ----------
    task : FeatureTask
        Layer, channels and what of them is maximised.
    kept : sequence of Tried, (image,)
        The images, those of an image number after each other.
    beside : mapping of str to sequence of float, (image,)
        Further numbers of them.
    n_images : int
        Images of each unit.

    Returns
    -------
    Dataset
        Dims (image_number, channel, y, x, rgb, step_in_run).
    """
    optimised, stored, reached, seeds = (
        [getattr(each, name) for each in kept]
        for name in ("optimised", "stored", "activation", "seed")
    )
    shape = n_images, len(task.channels)
    n_steps = max(image.stop_step for image in optimised)
    losses = np.full((len(optimised), n_steps), np.nan, np.float32)
    for row, image in zip(losses, optimised, strict=True):
        row[: image.stop_step] = image.losses
    errors = [image.error for image in optimised]
    notes = sorted({image.note for image in optimised} - {""})
    for i, value in enumerate(reached):
        if not errors[i] and not np.isfinite(value):
            errors[i] = f"the activation is {value}: weights that it depends on are not finite"
    pixels = np.stack([image.pixels for image in stored])
    if pixels.shape[-1] == 1:
        pixels = pixels.repeat(3, axis=-1)
    dims = (IMAGE_NUMBER, CHANNEL)

    def per_unit(values: Sequence[Any] | np.ndarray, dtype: Any) -> tuple[Any, np.ndarray]:
        return dims, np.array(values, dtype).reshape(shape)

    return xr.Dataset(
        {
            "image": ((*dims, Y, X, RGB), pixels.reshape(*shape, *pixels.shape[1:])),
            "activation": per_unit(reached, np.float32),
            "value_min": per_unit([image.value_min for image in stored], np.float32),
            "value_max": per_unit([image.value_max for image in stored], np.float32),
            "stop_step": per_unit([image.stop_step for image in optimised], np.int32),
            "seed": per_unit(seeds, np.int32),
            "is_dead": per_unit([each.is_dead for each in kept], bool),
            "error": per_unit(errors, object),
            **{name: per_unit(values, np.float32) for name, values in beside.items()},
            "loss": ((*dims, STEP_IN_RUN), losses.reshape(*shape, n_steps)),
        },
        {IMAGE_NUMBER: np.arange(shape[0]), CHANNEL: np.array(task.channels)},
        {LAYER: task.layer, "objective": task.objective, NOTES: notes},
    )
