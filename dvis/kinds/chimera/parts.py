"""Parts of the page of chimeras: curves of each cut, of the last layer or of one unit."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.chimera.pictures import (
    CALLED,
    EXCHANGED,
    VARIABLES,
    cuts_before,
    last_layer,
    null_band,
    unit_values,
)
from dvis.kinds.chimera.read import CHIMERA_READER
from dvis.kinds.parts import Asked, Curves, Line
from dvis.schema import CHANNEL, CHECKPOINT, DEPTH, LAYER

_QUARTILES = (0.25, 0.75)


def chimera_parts(asked: Asked) -> Iterator[Curves]:
    """Curves of all groups that the run has, where something is behind a cut."""
    for entry, dataset in asked.groups(CHIMERA_READER):
        layer = last_layer(dataset) if asked.unit is None else asked.unit.layer
        if layer not in dataset[LAYER]:
            continue
        of_layer = dataset.sel({LAYER: layer})
        if not (of_layer["cut_depth"] < of_layer[DEPTH]).any():
            continue
        chosen = None if asked.unit is None else asked.unit.channel
        if chosen is None or chosen < int(of_layer["n_channels"]):
            yield from _of_layer(of_layer.load(), layer, chosen, entry.name)


def _of_layer(of_layer: xr.Dataset, layer: str, channel: int | None, name: str) -> Iterator[Curves]:
    for cut in cuts_before(of_layer):
        values, null = (unit_values(of_layer, cut, each) for each in VARIABLES)
        low, high = null_band(null)
        rows = slice(None) if channel is None else _row_of(of_layer, channel)
        lines = [_line(CALLED[part], of_part[rows]) for part, of_part in values.items()]
        yield Curves(
            title=f"{layer} of chimeras cut behind {cut} · {name}",
            checkpoints=[str(label) for label in of_layer[CHECKPOINT].values],
            lines=lines,
            band="quartiles of units" if channel is None else "",
            null_low=low,
            null_high=high,
            null_text=f"90 % of {EXCHANGED}",
        )


def _row_of(of_layer: xr.Dataset, channel: int) -> slice:
    row = of_layer[CHANNEL].values.tolist().index(channel)
    return slice(row, row + 1)


def _line(label: str, values: np.ndarray) -> Line:
    """The median of units (unit, checkpoint), with quartiles where there are several."""
    found = np.full((3, values.shape[1]), np.nan)
    known = ~np.isnan(values).all(0)
    found[:, known] = np.nanquantile(values[:, known], (0.5, *_QUARTILES), axis=0)
    if len(values) == 1:
        return Line(label=label, values=found[0])
    return Line(label=label, values=found[0], low=found[1], high=found[2])
