"""Heat maps: units against checkpoints, sorted by birth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN
from dvis.plots.birth_marks import (
    UNBORN,
    BirthMarks,
    birth_marks,
    births_of,
    refuse_births,
)
from dvis.plots.canvas import (
    UNKNOWN_COLOR,
    apart,
    evenly,
    headline,
    layer_colors,
    saved,
    subplots,
    value_scale,
)
from dvis.plots.curves import Curves, read_unit_curves
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, XAxis, cell_edges, show_axis, time_axis
from dvis.schema import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_NAMED = 40
_MAX_LEGEND = 8
# Height of a line of text, as a share of the tallest picture.
_LINE_SHARE = 0.034
_BIRTH_COLOR = "#E3342F"


@documented
def heatmap(
    dataset: xr.Dataset,
    layer: str | Sequence[str] | slice | None = None,
    channel: int | Sequence[int] | slice | None = None,
    *,
    x: XAxis = "checkpoint",
    variable: str | None = None,
    xscale: Scale = "auto",
    births: xr.Dataset | None = None,
    relative: bool = True,
    by_layer: bool = False,
    max_units: int = 1000,
    path: str | Path | None = None,
) -> "Figure":
    """A scalar of many units over training: a row a unit, sorted by birth, which is marked red.

    Below the born units stand the unstable ones and those that are never born. The strip at the
    left says each unit's layer. Units without a complete checkpoint are left out; where a unit is
    not complete its row is grey.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it, or a result with the same dimensions.
    {units}
    {x}
    {variable}
    {xscale}
    {births}
    relative : bool
        Show each unit's values as a share of its largest, for units' levels differ by magnitudes;
        else the values themselves.
    by_layer : bool
        Sort within each layer, the first layer on top, in place of over all.
    max_units : int
        How many units to show at most, evenly chosen among the sorted.
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
        When it has no such variable, or the births are none.
    """
    refuse_births(dataset)
    curves = read_unit_curves(dataset, variable, layer, channel)
    axis = time_axis(dataset, x, xscale)
    marks = birth_marks(births_of(dataset, births, variable), axis, curves.units)
    values = curves.values[:, axis.places]
    order = _sorted_rows(values, curves, marks, by_layer)
    if not len(order):
        raise ValueError(f"No unit is complete and has {curves.variable}; nothing to draw")
    n_there, order = len(order), order[evenly(len(order), max_units, "max_units")]
    rows = _relative(values[order]) if relative else values[order]
    figure, axes, strip = _panels(len(order))
    show_axis(axes, axis, inches=4.2)
    edges = cell_edges(axes, axis.positions)
    scale = {"cmap": "cividis", "vmin": 0.0, "vmax": 1.0} if relative else value_scale(rows)
    mesh = _draw_cells(axes, edges, rows, scale)
    _draw_births(axes, edges, marks.places[order])
    _draw_layers(strip, [curves.layers[row] for row in order], curves.layer_names)
    layers, states = ([each[row] for row in order] for each in (curves.layers, marks.states))
    _name_rows(
        strip, axes, [curves.names[row] for row in order], layers if by_layer else states, states
    )
    how = _show_layers(axes, curves.layer_names)
    label = f"{curves.label}\n(share of the unit's largest)" if relative else curves.label
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30)
    bar.set_label(plain(label), fontsize=8)
    left_out = f"{len(order)} of {n_there} units" if len(order) < n_there else ""
    title = f"{counted(n_there, 'unit')}, sorted by birth"
    headline(figure, title, origin_of(dataset), axis.note, left_out, marks.criterion, how)
    return saved(figure, path)


def _sorted_rows(
    values: np.ndarray, curves: Curves, marks: BirthMarks, by_layer: bool
) -> np.ndarray:
    """Rows that have values: the born by birth, then the unstable, then those never born."""
    kinds = (BORN, *UNBORN)
    kind = np.array([kinds.index(s) if s in kinds else len(kinds) for s in marks.states])
    layers = np.array([curves.layer_names.index(layer) for layer in curves.layers])
    keys = (np.arange(len(values)), layers, marks.places, kind)  # the last sorts first
    order = np.lexsort((*keys, layers) if by_layer else keys)
    return np.asarray(order[~np.isnan(values).all(1)[order]])


def _relative(values: np.ndarray) -> np.ndarray:
    """Values of each row as a share of its largest; 0 where no value is positive."""
    largest = np.nanmax(values, axis=1, keepdims=True)
    return np.where(largest > 0, values / np.where(largest > 0, largest, 1), values * 0)


def _panels(n_rows: int) -> tuple["Figure", "Axes", "Axes"]:
    """A figure, axes for cells, and axes for a strip of colours at the left of them."""
    height = float(np.clip(1.6 + 0.16 * n_rows, 2.6, 6.5))
    figure, axes = subplots(figsize=(7.2, height), layout="constrained")
    strip = axes.inset_axes((-0.045, 0, 0.032, 1))
    return figure, axes, strip


def _draw_cells(axes: "Axes", edges: np.ndarray, rows: np.ndarray, scale: dict[str, Any]) -> Any:
    axes.set_facecolor(UNKNOWN_COLOR)
    borders = np.arange(len(rows) + 1)
    shown = np.ma.masked_invalid(rows)
    mesh = axes.pcolormesh(edges, borders, shown, rasterized=True, **scale)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(len(rows), 0))
    axes.set_yticks([])
    return mesh


def _draw_births(axes: "Axes", edges: np.ndarray, places: np.ndarray) -> None:
    """A red bar at the birth of each row: its first checkpoint's left border."""
    rows = np.flatnonzero(places >= 0)
    # The first checkpoint's border is the edge of the picture, which hides half of the bar.
    for color, width in (("white", 3.6), (_BIRTH_COLOR, 2.0)):  # red alone is lost on grey
        axes.vlines(
            edges[places[rows]], rows, rows + 1, color=color, lw=width, clip_on=False, zorder=3
        )


def _draw_layers(strip: "Axes", layers: list[str], layer_names: list[str]) -> None:
    colors = layer_colors(layer_names)
    cells = np.array([[colors[layer][:3]] for layer in layers])
    strip.imshow(cells, extent=(0, 1, len(layers), 0), aspect="auto", interpolation="nearest")
    strip.set_xticks([])
    strip.set_yticks([])
    strip.spines[:].set_visible(False)


def _name_rows(
    strip: "Axes", axes: "Axes", names: list[str], kinds: list[str], states: list[str]
) -> None:
    """Names of few units; of many, how many are of each kind, and lines where the kinds meet."""
    strip.tick_params(length=0)
    starts = [0, *(i for i in range(1, len(kinds)) if kinds[i] != kinds[i - 1])]
    sizes = np.diff([*starts, len(kinds)])
    thin = len(starts) > _MAX_LEGEND
    axes.hlines(starts[1:], *axes.get_xlim(), color="white", lw=0.4 if thin else 1.5)
    if len(names) <= _MAX_NAMED:
        pairs = zip(names, states, strict=True)
        named = [name if state == BORN else f"{name} ({state})" for name, state in pairs]
        strip.set_yticks(np.arange(len(names)) + 0.5, [plain(name) for name in named], fontsize=7)
        return
    shown = evenly(len(starts), int(1 / _LINE_SHARE))
    texts = [plain(f"{kinds[starts[i]]}, {sizes[i]}") for i in shown]
    centers = (np.array(starts) + sizes / 2)[shown]
    strip.set_yticks(apart(centers, _LINE_SHARE * len(kinds), 0, len(kinds)), texts, fontsize=8)


def _show_layers(axes: "Axes", layers: list[str]) -> str:
    """A legend of the layers' colours where it is short; else a note that says how to read them."""
    if len(layers) == 1:
        return ""
    if len(layers) > _MAX_LEGEND:
        return "strip at the left: layers, from early (dark) to late (bright)"
    from matplotlib.patches import Patch

    axes.legend(
        handles=[Patch(color=c, label=plain(name)) for name, c in layer_colors(layers).items()],
        loc="lower left",
        bbox_to_anchor=(-0.05, 1.0),
        ncol=min(len(layers), 4),
        frameon=False,
        fontsize=8,
        handlelength=1,
        handleheight=1,
        columnspacing=1.2,
    )
    return ""
