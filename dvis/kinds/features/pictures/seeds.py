"""How alike two seeds of a unit's image are over training, by layer, over the band of its null."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from dvis.analysis.control import CONTROL, VALUE, controlled
from dvis.analysis.ranking import QUANTILE
from dvis.kinds.features.agreement import seed_agreement
from dvis.plots.canvas import (
    Color,
    evenly,
    headline,
    layer_colors,
    saved,
)
from dvis.plots.curves import points
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null, null_note
from dvis.plots.panels import panels
from dvis.plots.selection import at_layer, listed, origin_of
from dvis.plots.time_axis import Scale, TimeAxis, XAxis, time_axis
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@documented
def seeds(
    dataset: xr.Dataset,
    layer: str | Sequence[str] | None = None,
    channel: int | Sequence[int] | None = None,
    *,
    x: XAxis = "checkpoint",
    xscale: Scale = "auto",
    max_layers: int = 12,
    path: str | Path | None = None,
) -> "Figure":
    """How alike two seeds of a unit's image are, one small picture for each layer.

    The line is the median over the layer's units, the colour their middle half; grey is where 90 %
    of pairs of different units of the layer lie.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it, of images of which seeds were compared.
    {units}
    {x}
    {xscale}
    {max_layers}
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the Dataset has no such layer, or no layer has units whose seeds were compared.
    SchemaError
        When the seeds of its images were not compared.
    """
    channels = listed(dataset, CHANNEL, channel)
    chosen = dataset if channels is None else dataset.sel({CHANNEL: channels})
    agreement = seed_agreement(chosen)
    axis = time_axis(dataset, x, xscale)
    all_layers = [str(name) for name in agreement[LAYER].values]
    asked = listed(dataset, LAYER, layer) or all_layers
    n_units = agreement["n_units"].sel({CONTROL: VALUE}).max(CHECKPOINT)
    named = [str(at_layer(dataset, name)[LAYER].item()) for name in asked]
    there = [name for name in named if int(n_units.sel({LAYER: name})) > 0]
    if not there:
        raise ValueError("No layer has units whose seeds were compared; nothing to draw")
    layers = [there[i] for i in evenly(len(there), max_layers, "max_layers")]
    titles = [f"{name}, {counted(int(n_units.sel({LAYER: name})), 'unit')}" for name in layers]
    figure, made = panels(titles, axis)
    colors = layer_colors(all_layers)
    for name, axes in zip(layers, made, strict=True):
        _draw(axes, axis, agreement.sel({LAYER: name}), colors[name])
    figure.supylabel("similarity of two seeds' images", fontsize=9)
    left_out = f"{len(layers)} of {len(there)} layers" if len(layers) < len(there) else ""
    notes = (
        left_out,
        "line: median; colour: middle half of units",
        null_note(controlled(agreement, "similarity").exchanged),
    )
    headline(figure, "Agreement of two seeds", origin_of(dataset), axis.note, *notes)
    return saved(figure, path)


def _draw(axes: "Axes", axis: TimeAxis, of_layer: xr.Dataset, color: Color) -> None:
    """Draw a layer's median and middle half over the band of its null."""
    found = controlled(of_layer, "similarity")
    draw_null(axes, axis.positions, found.low.values[axis.places], found.high.values[axis.places])
    of_seeds = of_layer["similarity"].sel({CONTROL: VALUE})
    low, median, high = (
        of_seeds.sel({QUANTILE: at}).values[axis.places] for at in (0.25, 0.5, 0.75)
    )
    axes.fill_between(axis.positions, low, high, color=color, alpha=0.25, lw=0)
    axes.plot(axis.positions, median, color=color, lw=2.2, **points(median))
