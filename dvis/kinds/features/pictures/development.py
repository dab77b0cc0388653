"""A unit's development: its trajectory, and below it its feature images on the same time axis."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN
from dvis.analysis.requirements import require, require_births
from dvis.kinds.features.pictures.sheets import draw_unit
from dvis.plots.canvas import (
    UNIT_COLORS,
    apart,
    headline,
    require_limit,
    saved,
    subplots,
    without_box,
)
from dvis.plots.curves import Curves, points, read_curves, show_values_axis
from dvis.plots.documentation import documented
from dvis.plots.selection import name_of, one_unit, origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, TimeAxis, XAxis, show_axis, time_axis
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, RGB, Status, X, Y

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _LEFT, _RIGHT = 9.2, 0.75, 0.25
_TOP, _TRAJECTORY, _LEADER, _NAME, _BOTTOM = 0.4, 2.1, 0.85, 0.27, 0.35
_LARGEST_IMAGE, _GAP = 1.1, 0.1
_LEADER_COLOR = "0.75"


@documented
def development(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    x: XAxis = "checkpoint",
    variable: str | None = None,
    xscale: Scale = "auto",
    yscale: Scale = "auto",
    births: xr.Dataset | None = None,
    max_images: int = 8,
    path: str | Path | None = None,
) -> "Figure":
    """A unit's trajectory, and below it its feature images, each led to from its point.

    The checkpoints whose images are shown are chosen evenly along the axis, the first and the last
    among them. Absent checkpoints are not chosen; what is incomplete or failed is marked as in a
    `timeline`.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it.
    {unit}
    {x}
    {variable}
    {xscale}
    {yscale}
    births : Dataset, optional
        As `ds.dvis.births` gives it, to mark where the unit is born and show its image there, and
        the level from which on it counts as born, where the trajectory is what births are read off.
    max_images : int
        How many images to show at most.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the Dataset has no such unit, or has several and none is named; when x has no known
        values.
    SchemaError
        When it is no Dataset of feature images.
    """
    require(dataset, "image", "activation", "status", *([variable] if variable else []))
    require_limit("max_images", max_images)
    unit = one_unit(dataset, layer, channel)
    curves = read_curves(unit, variable)
    axis = time_axis(unit, x, xscale)
    limit = min(max_images, int((_WIDTH - _LEFT - _RIGHT) / (0.5 + _GAP)))
    side = min(_LARGEST_IMAGE, (_WIDTH - _LEFT - _RIGHT) / min(limit, len(axis.places)) - _GAP)
    figure, axes = _trajectory_axes(side)
    show_axis(axes, axis, inches=_WIDTH - _LEFT - _RIGHT)
    status = unit["status"].values[axis.places]
    _draw_trajectory(axes, axis, curves, yscale)
    birth = -1 if births is None else _mark_birth(axes, axis, unit, births, curves)
    across = _across(axes, axis.positions)
    chosen = _evenly_along(across, status, limit)
    if birth >= 0 and len(chosen) > 2:  # in place of its neighbour, unless that is an end
        chosen[1 + np.abs(across[chosen[1:-1]] - across[birth]).argmin()] = birth
        chosen = np.unique(chosen)
    _draw_images(figure, axes, unit, axis, chosen, across, side)
    _lead(axes, axis, curves, chosen)
    shown = f"images of {len(chosen)} of {unit.sizes[CHECKPOINT]} checkpoints"
    headline(figure, name_of(unit), origin_of(dataset), axis.note, shown)
    return saved(figure, path)


def _trajectory_axes(side: float) -> tuple["Figure", "Axes"]:
    """A figure with axes for the trajectory, and room for images of this side below."""
    height = _TOP + _TRAJECTORY + _LEADER + _NAME + side + _BOTTOM
    figure, axes = subplots(figsize=(_WIDTH, height))
    left, width = _LEFT / _WIDTH, 1 - (_LEFT + _RIGHT) / _WIDTH
    axes.set_position((left, 1 - (_TOP + _TRAJECTORY) / height, width, _TRAJECTORY / height))
    return figure, axes


def _draw_trajectory(axes: "Axes", axis: TimeAxis, curves: Curves, yscale: Scale) -> None:
    values = curves.values[0, axis.places]
    axes.plot(axis.positions, values, color=UNIT_COLORS[0], lw=1.6, zorder=3, **points(values))
    show_values_axis(axes, values, yscale)
    axes.set_ylabel(plain(curves.label))
    without_box(axes)
    axes.set_zorder(2)
    axes.set_facecolor("none")
    # Lines lead from points to images, behind what is written between them.
    for text in (*axes.get_xticklabels(), axes.xaxis.label):
        text.set_bbox({"fc": "white", "ec": "none", "pad": 1.5})
    axes.set_xlim(axes.get_xlim())


def _mark_birth(
    axes: "Axes", axis: TimeAxis, unit: xr.Dataset, births: xr.Dataset, curves: Curves
) -> int:
    """Mark a unit's birth and its threshold; return its place on the axis, -1 without a birth."""
    require_births(births, "birth_checkpoint", "state")
    of_unit = births
    for dim in (LAYER, CHANNEL):
        if dim in births.dims:
            of_unit = of_unit.sel({dim: unit[dim].item()})
    if _is_read_off(births, curves):
        _draw_threshold(axes, of_unit)
    label = str(of_unit["birth_checkpoint"].values)
    if str(of_unit["state"].values) != BORN or label not in axis.labels:
        return -1
    place = axis.labels.index(label)
    position = axis.positions[place]
    axes.axvline(position, color=UNIT_COLORS[1], lw=1.2, ls="--", zorder=2)
    axes.annotate(
        "born",
        (position, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=UNIT_COLORS[1],
    )
    return place


def _is_read_off(births: xr.Dataset, curves: Curves) -> bool:
    """Whether a trajectory is what births were read off, so that their levels lie on its axis."""
    has_levels = {"first_level", "final_level"} <= set(births) and "fraction" in births.attrs
    return has_levels and births.attrs.get("variable") == curves.variable


def _draw_threshold(axes: "Axes", of_unit: xr.Dataset) -> None:
    """The level from which on the unit counts as born, with its name; none of what is absent."""
    first, final = float(of_unit["first_level"]), float(of_unit["final_level"])
    fraction = float(of_unit.attrs["fraction"])
    is_from_first = of_unit.attrs.get("baseline") == "first"
    baseline = first if is_from_first else 0.0
    threshold = baseline + fraction * (final - baseline)
    if not np.isfinite(threshold) or (axes.get_yscale() == "log" and threshold <= 0):
        return
    of_what = "the way from the first to the final level" if is_from_first else "the final level"
    axes.axhline(
        threshold,
        color=UNIT_COLORS[1],
        lw=1.0,
        ls=":",
        zorder=2,
        label=f"born from here on: {fraction:.0%} of {of_what}",
    )
    axes.legend(fontsize=8, frameon=False, loc="best")


def _across(axes: "Axes", positions: np.ndarray) -> np.ndarray:
    """Where positions lie across the axes, from 0 to 1."""
    points = np.column_stack([positions, np.full(len(positions), sum(axes.get_ylim()) / 2)])
    to_axes = axes.transData - axes.transAxes
    return np.asarray(to_axes.transform(points))[:, 0]


def _evenly_along(across: np.ndarray, status: np.ndarray, limit: int) -> np.ndarray:
    """Checkpoints evenly along the axis: the nearest to even places, then into the widest gaps."""
    there = np.flatnonzero(status != Status.ABSENT)
    there = there if len(there) else np.arange(len(across))
    n = min(limit, len(there))
    even = np.linspace(across[there[0]], across[there[-1]], n)
    chosen = {int(there[np.abs(across[there] - place).argmin()]) for place in even}
    while len(chosen) < n:
        left = np.array([place for place in there if place not in chosen])
        distances = np.abs(across[left][:, np.newaxis] - across[sorted(chosen)]).min(1)
        chosen.add(int(left[distances.argmax()]))
    return np.array(sorted(chosen))


def _draw_images(
    figure: "Figure",
    axes: "Axes",
    unit: xr.Dataset,
    axis: TimeAxis,
    chosen: np.ndarray,
    across: np.ndarray,
    side: float,
) -> None:
    """Draw images as near below their points as they fit, and lines that lead to them."""
    width, height = figure.get_size_inches()
    inner = width - _LEFT - _RIGHT
    centers = apart(across[chosen] * inner, side + _GAP, side / 2, inner - side / 2)
    strip: Any = figure.add_axes(
        (_LEFT / width, 0, inner / width, 1 - (_TOP + _TRAJECTORY) / height), zorder=1
    )
    strip.set_axis_off()
    strip_height = height - _TOP - _TRAJECTORY
    strip.set(xlim=(0, inner), ylim=(strip_height, 0))
    shown = unit.isel({CHECKPOINT: axis.places[chosen]})
    images = shown["image"].transpose(CHECKPOINT, Y, X, RGB).values
    activations, status = shown["activation"].values, shown["status"].values
    for i, (place, center) in enumerate(zip(chosen, centers, strict=True)):
        top = _LEADER + _NAME
        strip.plot(
            [across[place] * inner, across[place] * inner, center],
            [0, _LEADER - 0.3, _LEADER],
            color=_LEADER_COLOR,
            lw=0.8,
        )
        bottom = (strip_height - top - side) / height
        cell = figure.add_axes(
            ((_LEFT + center - side / 2) / width, bottom, side / width, side / height), zorder=3
        )
        name = plain(axis.names[place])
        draw_unit(cell, images[i], Status(status[i]), float(activations[i]), name)


def _lead(axes: "Axes", axis: TimeAxis, curves: Curves, chosen: np.ndarray) -> None:
    """Mark the points whose images are shown, and draw lines from them to the axis."""
    values = curves.values[0, axis.places][chosen]
    positions = axis.positions[chosen]
    bottom = axes.get_ylim()[0]
    tops = np.where(np.isnan(values), bottom, values)
    axes.vlines(positions, bottom, tops, color=_LEADER_COLOR, lw=0.8, zorder=1)
    axes.set_ylim(bottom=bottom)
    axes.plot(positions, values, "o", color=UNIT_COLORS[0], markersize=6, zorder=4)
