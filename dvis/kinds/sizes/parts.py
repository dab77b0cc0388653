"""Parts of the page of sizes: a curve of a unit, and of each layer's median unit of a run."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.analysis.trajectories import of_complete_units
from dvis.kinds.parts import Asked, Curves, Line
from dvis.kinds.sizes.read import SIZE_READER
from dvis.kinds.sizes.words import LOG_AREA
from dvis.schema import CHANNEL, CHECKPOINT, LAYER


def size_curves(asked: Asked) -> Iterator[Curves]:
    """Sides of squares as large as receptive fields, of all groups that the run has."""
    for entry, dataset in asked.groups(SIZE_READER):
        if asked.unit is not None:
            layer, channel = asked.unit.layer, asked.unit.channel
            if layer not in dataset[LAYER] or channel not in dataset[CHANNEL]:
                continue
            dataset = dataset.sel({LAYER: [layer], CHANNEL: [channel]})
        lines = list(_lines(dataset))
        if lines:
            whose = "unit's" if asked.unit is not None else "layers' median"
            yield Curves(
                title=f"Side of the {whose} receptive field (px) · {entry.name}",
                checkpoints=[str(label) for label in dataset[CHECKPOINT].values],
                lines=lines,
            )


def _lines(dataset: xr.Dataset) -> Iterator[Line]:
    log_areas = of_complete_units(dataset, dataset[LOG_AREA]).transpose(LAYER, CHECKPOINT, CHANNEL)
    sides = np.exp(log_areas.values.astype(float) / 2)
    for layer, of_layer in zip(dataset[LAYER].values.tolist(), sides, strict=True):
        known = ~np.isnan(of_layer).all(1)
        if known.any():
            medians = np.full(len(of_layer), np.nan)
            medians[known] = np.nanmedian(of_layer[known], axis=1)
            yield Line(label=str(layer), values=medians)
