"""Edge heat map: the influence of a unit's inputs over training, sorted by when each comes up."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN
from dvis.analysis.births import births as find_births
from dvis.kinds.influence.circuits import INPUT, top_inputs
from dvis.kinds.influence.pictures.nodes import (
    Births,
    agreement_note,
    measured_note,
    moment_name,
    node_name,
)
from dvis.kinds.influence.pictures.scales import direction_color
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.plots.canvas import UNKNOWN_COLOR, headline, saved, subplots, value_scale, without_box
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import (
    Scale,
    TimeAxis,
    XAxis,
    cell_edges,
    show_axis,
    time_axis,
)
from dvis.schema import CHECKPOINT, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BIRTH_COLOR, _UNIT_COLOR = "#E3342F", "white"
_BARS = "bars: strength {when}, coloured by direction (blue inhibits, red excites), line: halves"


@documented
def edge_heatmap(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    k: int = 40,
    checkpoint: str | int | None = None,
    layer_from: str | None = None,
    births: xr.Dataset | None = None,
    x: XAxis = "checkpoint",
    xscale: Scale = "auto",
    relative: bool = True,
    path: str | Path | None = None,
) -> "Figure":
    """A unit's strongest inputs, a row each, sorted by when their influence is born, marked red.

    An edge is born at the first checkpoint from which its strength stays at or above half of its
    last. Below those that are born stand the others. Beside, each one's strength at the checkpoint
    where they were chosen, with its values over even and over odd images. Edges are of influence
    here, not the shares that `dvis.edges` gives.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.influence` gives it.
    {unit}
    k : int
        How many inputs to show, the strongest.
    checkpoint : str or int, optional
        At which checkpoint they are the strongest: its name or its place; by default the last.
    layer_from : str, optional
        Of which layer they are; by default the nearest before the unit's.
    births : Dataset, optional
        As `ds.dvis.births` gives it of units, for a line where the unit is born.
    {x}
    {xscale}
    relative : bool
        Show each row's strength as a share of its largest, for inputs differ by magnitudes; else
        the strength itself.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such layer, channel or checkpoint, or nothing is measured of the unit; when
        x has no known values.
    SchemaError
        When it is no Dataset of influence.
    """
    found = top_inputs(dataset, layer, channel, k=k, checkpoint=checkpoint, layer_from=layer_from)
    axis = time_axis(found, x, xscale)
    places = _edge_births(found, axis)
    order = np.lexsort((np.arange(len(places)), np.where(places < 0, len(axis.places), places)))
    rows = found["strength"].transpose(INPUT, CHECKPOINT).values[order][:, axis.places]
    figure, (axes, bars) = subplots(
        ncols=2,
        figsize=(8.2, float(np.clip(1.9 + 0.16 * len(order), 2.8, 8.5))),
        width_ratios=(4, 1),
        sharey=True,
        layout="constrained",
    )
    show_axis(axes, axis, inches=4.4)
    mesh = _draw_cells(axes, axis, rows, relative=relative)
    _draw_edge_births(axes, cell_edges(axes, axis.positions), places[order])
    unit = str(found[LAYER_TO].item()), int(found[CHANNEL_TO].item())
    born = Births.of(births)
    is_marked = _draw_unit_birth(axes, axis, born.place(unit, found))
    _name_rows(axes, found.isel({INPUT: order}))
    _draw_bars(bars, found.isel({INPUT: order}).sel({CHECKPOINT: found.attrs["strongest_at"]}))
    bar = figure.colorbar(mesh, ax=[axes, bars], location="right", pad=0.02, aspect=30)
    bar.set_label("strength, share of the row's largest" if relative else "strength", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    title = f"Influence of {counted(len(order), 'input')} on {node_name(*unit)}, sorted by birth"
    headline(figure, title, *_notes(dataset, found, axis, born, is_marked))
    return saved(figure, path)


def _edge_births(found: xr.Dataset, axis: TimeAxis) -> np.ndarray:
    """Where along the axis' checkpoints each input's influence is born, -1 where it is not."""
    table = find_births(found, variable=found["strength"])
    places = {label: place for place, label in enumerate(axis.labels)}
    labels = table["birth_checkpoint"].values.tolist()
    is_born = (table["state"] == BORN).values.tolist()
    pairs = zip(labels, is_born, strict=True)
    return np.array([places.get(label, -1) if born else -1 for label, born in pairs], int)


def _draw_cells(axes: "Axes", axis: TimeAxis, rows: np.ndarray, *, relative: bool) -> Any:
    axes.set_facecolor(UNKNOWN_COLOR)
    edges = cell_edges(axes, axis.positions)
    scale = {"cmap": "cividis", "vmin": 0.0, "vmax": 1.0} if relative else value_scale(rows)
    largest = np.nan_to_num(rows).max(axis=1, keepdims=True)
    values = rows / np.where(largest > 0, largest, 1) if relative else rows
    borders = np.arange(len(rows) + 1)
    mesh = axes.pcolormesh(edges, borders, np.ma.masked_invalid(values), rasterized=True, **scale)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(len(rows), 0))
    return mesh


def _draw_edge_births(axes: "Axes", edges: np.ndarray, places: np.ndarray) -> None:
    """A red bar at each row's birth: its first checkpoint's left border."""
    rows = np.flatnonzero(places >= 0)
    for color, width in (("white", 3.6), (_BIRTH_COLOR, 2.0)):  # red alone is lost on grey
        axes.vlines(
            edges[places[rows]], rows, rows + 1, color=color, lw=width, clip_on=False, zorder=3
        )


def _draw_unit_birth(axes: "Axes", axis: TimeAxis, place: int) -> bool:
    """A line where the unit is born; whether there is one."""
    on_axis = np.flatnonzero(axis.places == place)
    if not len(on_axis):
        return False
    edge = cell_edges(axes, axis.positions)[on_axis[0]]
    for color, width, style in (("black", 2.6, "-"), (_UNIT_COLOR, 1.2, "--")):
        axes.axvline(edge, color=color, lw=width, ls=style, zorder=2.5)
    axes.annotate(
        "unit born",
        (edge, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7,
    )
    return True


def _name_rows(axes: "Axes", rows: xr.Dataset) -> None:
    names = zip(rows[LAYER_FROM].values.tolist(), rows[CHANNEL_FROM].values.tolist(), strict=True)
    texts = [plain(node_name(layer, channel)) for layer, channel in names]
    size = 7 if len(texts) <= 40 else 5
    step = -(-len(texts) // 60)
    axes.set_yticks(np.arange(len(texts))[::step] + 0.5, texts[::step], fontsize=size)
    axes.tick_params(axis="y", length=0)


def _draw_bars(axes: "Axes", at: xr.Dataset) -> None:
    """Strength of each row where they were chosen, from half to half of the images."""
    strength = at["strength"].values
    heights = np.arange(len(strength)) + 0.5
    colors = [direction_color(each) for each in at["direction"].values]
    axes.barh(heights, np.nan_to_num(strength), height=0.8, color=colors)
    halves = np.stack([at["strength_even"].values, at["strength_odd"].values])
    axes.hlines(heights, halves.min(0), halves.max(0), color="black", lw=0.9)
    low, middle, high = at["null_strength"].values.tolist()
    if np.isfinite(middle):
        axes.axvspan(low, high, color="0.78", lw=0, zorder=0, alpha=0.6)
        axes.axvline(middle, color="0.5", lw=0.8, zorder=0.5)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("strength", fontsize=8)
    without_box(axes)


def _notes(
    dataset: xr.Dataset, found: xr.Dataset, axis: TimeAxis, born: Births, is_marked: bool
) -> list[str]:
    """Where it is from, and how to read it."""
    label = found.attrs["strongest_at"]
    when, at = f"at {moment_name(found, label)}", found.sel({CHECKPOINT: label})
    ends = str(found[LAYER_FROM].values[0]), str(found[LAYER_TO].item())
    partly = measured_note(dataset, [ends], label)
    others = "others" if partly else "layer's other units"
    has_null = bool(np.isfinite(found["null_strength"]).any())
    return [
        origin_of(dataset),
        axis.note,
        f"the strongest inputs {when}",
        "red: edge born, strength stays at or above half of its last",
        _BARS.format(when=when),
        partly,
        f"grey: 90 % of the {others}" if has_null else "",
        agreement_note(at["reliability"], is_of_all=not partly),
        born.criterion if is_marked else "",
    ]
