"""Births by layer: when the units of each layer are born."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.births import ABSENT, BORN
from dvis.analysis.deaths import deaths
from dvis.analysis.order import birth_order
from dvis.plots.birth_marks import (
    DEAD,
    UNBORN,
    BirthMarks,
    birth_marks,
    births_of,
    refuse_births,
    with_dead,
)
from dvis.plots.canvas import (
    Color,
    evenly,
    headline,
    layer_colors,
    saved,
    subplots,
    without_box,
)
from dvis.plots.curves import read_unit_curves
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, TimeAxis, XAxis, show_axis, time_axis
from dvis.schema import LAYER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HALF_WIDTH = 0.36
_COLUMN_POINTS = 44
_COUNTED = (BORN, *UNBORN[:2])


@documented
def births_by_layer(
    dataset: xr.Dataset,
    layer: str | Sequence[str] | slice | None = None,
    channel: int | Sequence[int] | slice | None = None,
    *,
    x: XAxis = "checkpoint",
    variable: str | None = None,
    xscale: Scale = "auto",
    births: xr.Dataset | None = None,
    max_layers: int = 40,
    path: str | Path | None = None,
) -> "Figure":
    """When the units of each layer are born: a point a unit, a row a layer, early layers on top.

    The bar is the checkpoint by which half of the born units are born, the box spans 25 to 75 %.
    Units born at the same checkpoint are stacked. At the right stands how many are born, unstable,
    never born and, where the Dataset tells, dead at all checkpoints: no gradient reached their
    images from any start, so that there is nothing to be born. The margin has what `birth_order`
    finds of these layers: their rank correlation with depth, its interval, and what it is where
    layers are permuted.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it; its checkpoints say where births lie, which births do not.
    {units}
    {x}
    {variable}
    {xscale}
    {births}
    {max_layers}
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the Dataset has no such layer or channel, no x axis with known values, or no complete
        unit.
    SchemaError
        When it has no such variable, is births itself, or the births are none.
    """
    refuse_births(dataset)
    curves = read_unit_curves(dataset, variable, layer, channel)
    axis = time_axis(dataset, x, xscale)
    found = births_of(dataset, births, variable)
    marks = birth_marks(found, axis, curves.units)
    states = with_dead(marks.states, dataset, curves.units)
    rows_of: dict[str, list[int]] = {}
    for row, (name, state) in enumerate(zip(curves.layers, states, strict=True)):
        if state != ABSENT:
            rows_of.setdefault(name, []).append(row)
    if not set(states) - {ABSENT, DEAD}:
        raise ValueError(f"No unit is complete and has {curves.variable}; nothing to draw")
    there = list(rows_of)
    layers = [there[i] for i in evenly(len(there), max_layers, "max_layers")]
    row_inches = 0.62 if len(layers) <= 8 else 0.36
    figure, axes = subplots(
        figsize=(7.2, max(2.4, 1.3 + row_inches * len(layers))), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.12)
    show_axis(axes, axis, inches=4.5)
    colors = layer_colors(curves.layer_names)
    for place, name in enumerate(layers):
        births_here = marks.places[rows_of[name]]
        _draw_births(axes, axis, births_here, place, colors[name], row_inches)
    _show_rows(axes, axis, layers)
    of_layers = {name: [states[row] for row in rows_of[name]] for name in layers}
    columns = _COUNTED if deaths(dataset) is None else (*_COUNTED, DEAD)
    _count_states(axes, of_layers, columns)
    notes = (
        _order_in_words(found, there),
        _off_axis(marks, x),
        "points: units; box: 25 to 75 % of the born, bar: their median",
    )
    headline(figure, "Births by layer", origin_of(dataset), axis.note, *notes, marks.criterion)
    return saved(figure, path)


def _draw_births(
    axes: "Axes", axis: TimeAxis, places: np.ndarray, row: int, color: Color, row_inches: float
) -> None:
    born = places[places >= 0]
    if not len(born):
        return
    left, middle, right = np.quantile(axis.positions[born], (0.25, 0.5, 0.75))
    bottom, top = row - _HALF_WIDTH, row + _HALF_WIDTH
    axes.fill_betweenx((bottom, top), left, right, color=color, alpha=0.18, lw=0)
    axes.vlines(middle, bottom, top, color=color, alpha=0.6, lw=4)
    heights, gap = _stacked(born)
    diameter = np.clip(gap * row_inches * 72 * 0.95, 1.5, 5.0)
    axes.scatter(
        axis.positions[born],
        row + heights,
        s=diameter**2,
        color=color,
        edgecolor="white",
        lw=0.3,
        zorder=3,
    )


def _stacked(places: np.ndarray) -> tuple[np.ndarray, float]:
    """Heights about 0 of points, so that those at one place lie above one another; and their gap.

    Examples
    --------
    >>> heights, gap = _stacked(np.array([4, 4, 7]))
    >>> heights.round(3).tolist(), gap
    ([-0.08, 0.08, 0.0], 0.16)
    """
    highest = int(np.unique(places, return_counts=True)[1].max())
    gap = min(0.16, 2 * _HALF_WIDTH / max(highest - 1, 1))
    heights = np.zeros(len(places))
    for place in np.unique(places):
        here = np.flatnonzero(places == place)
        heights[here] = (np.arange(len(here)) - (len(here) - 1) / 2) * gap
    return heights, gap


def _show_rows(axes: "Axes", axis: TimeAxis, layers: list[str]) -> None:
    axes.set_yticks(range(len(layers)), [plain(layer) for layer in layers])
    axes.tick_params(axis="y", length=0, labelsize=9 if len(layers) <= 8 else 7)
    axes.set_ylim(len(layers) - 0.45, -0.55)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="0.92")
    # All of training, not only the part in which something is born.
    axes.plot(axis.positions[[0, -1]], [0, 0], alpha=0)
    without_box(axes)
    axes.spines["left"].set_visible(False)


def _count_states(axes: "Axes", states: dict[str, list[str]], columns: tuple[str, ...]) -> None:
    """Columns of numbers at the right of the rows: born, unstable, never born, dead."""
    size = 8 if len(states) <= 8 else 7
    for column, state in enumerate(columns):
        offset = _COLUMN_POINTS * (column + 0.5)
        _write(axes, state, (1.0, -0.55), offset, fontsize=8, va="bottom", color="0.4")
        for place, of_layer in enumerate(states.values()):
            n = of_layer.count(state)
            color = "black" if n else "0.7"
            _write(axes, str(n or "–"), (1.0, place), offset, fontsize=size, color=color)


def _write(
    axes: "Axes", text: str, place: tuple[float, float], offset: float, **style: Any
) -> None:
    axes.annotate(
        text,
        place,
        xycoords=axes.get_yaxis_transform(),
        xytext=(offset, 0),
        textcoords="offset points",
        annotation_clip=False,
        **{"ha": "center", "va": "center", **style},
    )


def _order_in_words(births: xr.Dataset, layers: list[str]) -> str:
    """Effect, interval and null of the order of births, in words; "" of a single layer."""
    if not {"birth", "birth_step"} <= set(births) or LAYER not in births.dims or len(layers) < 2:
        return ""
    order = birth_order(births.sel({LAYER: np.isin(births[LAYER].values, layers)}))
    correlation, p_value = float(order["correlation"]), float(order["p_value"])
    if np.isnan(correlation):
        return ""
    text = f"rank correlation of birth and depth: {correlation:.2f}"
    low, high = order["correlation_interval"].values
    if np.isfinite(low):
        text += f" ({low:.2f} to {high:.2f})"
    if np.isnan(p_value):
        return f"{text}; {order.attrs['why_no_p']}"
    low, high = order["null_correlation"].values
    return f"{text}; with layers permuted {low:.2f} to {high:.2f}, p = {p_value:.2g}"


def _off_axis(marks: BirthMarks, x: XAxis) -> str:
    n = sum(s == BORN and p < 0 for s, p in zip(marks.states, marks.places, strict=True))
    return f"{n} born at checkpoints with no known {x} are not drawn" if n else ""
