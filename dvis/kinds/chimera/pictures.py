"""Curves of chimeras over training: how early halves answer, a panel for each cut."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.analysis.trajectories import of_complete_units
from dvis.kinds.chimera.words import ABOVE, BELOW, BOTH, CUT, PART, PARTS
from dvis.plots.canvas import UNIT_COLORS, headline, saved
from dvis.plots.curves import bands_note, draw_layer
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null, null_note
from dvis.plots.panels import panels
from dvis.plots.selection import at_layer, known_channels, labels_of, listed, origin_of
from dvis.plots.time_axis import Scale, XAxis, time_axis
from dvis.schema import CHANNEL, CHECKPOINT, DEPTH, LAYER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXCHANGED = "pairs of different units of the layer"
CALLED = {
    BELOW: "early below, final above",
    ABOVE: "final below, early above",
    BOTH: "early throughout",
}
_LEGEND_INCHES = 1.6
NULL = (0.05, 0.95)
VARIABLES = ("correlation", "null_correlation")
_ADVICE = "Open one with dvis.chimera"


@documented
def chimera_curves(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | Sequence[int] | slice | None = None,
    *,
    x: XAxis = "checkpoint",
    xscale: Scale = "auto",
    path: str | Path | None = None,
) -> "Figure":
    """How chimeras answer over training: correlation with the final responses, a panel a cut.

    Lines are medians over units of a layer, over their quartiles or the units' curves where there
    are fewer than ten: of networks whose part below the cut is early, whose part above it is, or
    that are early throughout. Grey is where 90 % of correlations of different units of the layer
    lie.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.chimera` gave.
    layer : str, optional
        The layer whose units are looked at; by default the last.
    channel : int, or a sequence or slice of them, optional
        Its units; all by default.
    {x}
    {xscale}
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such layer or channel, or none of the cuts is before the layer; when x has
        no known values.
    SchemaError
        When the Dataset has no chimeras.
    """
    require(dataset, "correlation", "null_correlation", labels=(CHECKPOINT, CUT), advice=_ADVICE)
    dataset = dataset if CUT in dataset.dims else dataset.expand_dims(CUT)
    of_layer = at_layer(dataset, layer or last_layer(dataset))
    if CHANNEL in of_layer.dims:
        asked = listed(of_layer, CHANNEL, channel)
        if asked is not None:
            of_layer = of_layer.sel({CHANNEL: known_channels(of_layer, asked)})
    cuts = cuts_before(of_layer)
    axis = time_axis(of_layer, x, xscale)
    figure, grid = panels([f"cut behind {cut}" for cut in cuts], axis, beside=_LEGEND_INCHES)
    n_units = 1
    for axes, cut in zip(grid, cuts, strict=True):
        values, null = (unit_values(of_layer, cut, name) for name in VARIABLES)
        low, high = null_band(null)
        draw_null(axes, axis.positions, low[axis.places], high[axis.places])
        for place, part in enumerate(PARTS):
            known = values[part][~np.isnan(values[part]).all(1)]
            n_units = max(n_units, len(known))
            if len(known):
                draw_layer(axes, axis, known, _color(place), CALLED[part], bands="inner")
    grid[0].set_ylabel("correlation", fontsize=8)
    grid[0].set_xlabel(axis.label, fontsize=8)
    grid[0].set_ylim(top=1.05)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=7)
    title = f"{of_layer[LAYER].item()}: correlation with its final responses"
    within = "what lies in the grey might be another unit's"
    notes = (axis.note, bands_note(n_units, "inner"), null_note(EXCHANGED), within)
    headline(figure, title, origin_of(dataset), *notes)
    return saved(figure, path)


def last_layer(dataset: xr.Dataset) -> str:
    """The layer that is looked at where none is named: that which runs last."""
    layers, depths = labels_of(dataset, LAYER), np.atleast_1d(dataset[DEPTH].values)
    return layers[int(depths.argmax())]


def cuts_before(of_layer: xr.Dataset) -> list[str]:
    """Cuts that a layer is behind.

    Raises
    ------
    ValueError
        When it is behind none.
    """
    is_before = of_layer["cut_depth"].values < of_layer[DEPTH].item()
    cuts = [str(cut) for cut in of_layer[CUT].values[is_before]]
    if not cuts:
        there = ", ".join(labels_of(of_layer, CUT))
        raise ValueError(
            f"{of_layer[LAYER].item()} is behind none of the cuts: {there}. Take a later layer"
        )
    return cuts


def unit_values(of_layer: xr.Dataset, cut: str, name: str) -> dict[str, np.ndarray]:
    """Values of a layer's units by part, (unit, checkpoint), NaN where there are none."""
    values = of_complete_units(of_layer, of_layer[name]).sel({CUT: cut})
    for dim in (CHECKPOINT, CHANNEL):
        values = values if dim in values.dims else values.expand_dims(dim)
    return {
        part: values.sel({PART: part}).transpose(CHANNEL, CHECKPOINT).values.astype(float)
        for part in PARTS
    }


def null_band(null: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Between which values 90 % of the null of all parts lie, (checkpoint,) each."""
    together = np.concatenate([*null.values()])
    edges = np.full((2, together.shape[1]), np.nan)
    known = ~np.isnan(together).all(0)
    edges[:, known] = np.nanquantile(together[:, known], NULL, axis=0)
    return edges[0], edges[1]


def _color(place: int) -> tuple[float, float, float, float]:
    from matplotlib.colors import to_rgba

    return to_rgba(UNIT_COLORS[place])
