"""The restricted local learning coefficient, of one layer at a time, over training."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.kinds.llc.pictures.curves import (
    LlcCurve,
    doubts,
    draw_curve,
    read_llc,
    say_if_none,
    settings_name,
)
from dvis.kinds.llc.words import ALL_PARAMETERS
from dvis.plots.canvas import evenly, headline, layer_colors, saved, subplots, without_box
from dvis.plots.curves import show_values_axis
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, XAxis, show_axis, time_axis
from dvis.plots.trajectories import show_depth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_LEGEND = 14
_MAX_GAMMAS = 4
_BLACK = (0.0, 0.0, 0.0, 1.0)


@documented
def llc_by_parameters(
    dataset: xr.Dataset,
    *,
    x: XAxis = "step",
    xscale: Scale = "auto",
    yscale: Scale = "auto",
    relative: bool = False,
    path: str | Path | None = None,
) -> "Figure":
    """The LLC of each layer, or other choice of parameters, over training; a panel a gamma.

    Each curve is a restricted LLC: only these weights were sampled, the others stayed as they are.
    They need not add up to that of all weights, which is black. The darker, the earlier in the
    Dataset's order. Shaded: 2 standard errors either way; marks as in `llc_over_training`.

    Parameters
    ----------
    dataset : Dataset, (checkpoint, parameters, [epsilon, gamma])
        What `dvis.llc` gave.
    {x}
    {xscale}
    {yscale}
    relative : bool
        Show each curve as a share of its largest LLC, to compare when layers settle; else the LLCs.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no scale of this name, or there are no known values on the x axis.
    SchemaError
        When the Dataset has no LLC.
    """
    curves = [_relative(curve) for curve in read_llc(dataset)] if relative else read_llc(dataset)
    axis = time_axis(dataset, x, xscale)
    there = dict.fromkeys(settings_name(curve, curves) for curve in curves)
    settings = [list(there)[i] for i in evenly(len(there), _MAX_GAMMAS, "settings")]
    figure, grid = subplots(
        ncols=len(settings),
        figsize=(1.9 + 4.1 * len(settings), 3.9),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    labels = list(dict.fromkeys(c.parameters for c in curves if c.parameters != ALL_PARAMETERS))
    if not labels:
        raise ValueError(
            "These LLCs are of all parameters alone; estimate restricted ones with "
            "`dvis llc estimate --per-layer`, or draw llc_over_training"
        )
    colors = {**layer_colors(labels), ALL_PARAMETERS: _BLACK}
    size = 14 if len(labels) <= _MAX_LEGEND else 5
    values = np.concatenate([curve.llc[axis.places] for curve in curves])
    for axes, setting in zip(grid[0], settings, strict=True):
        here = [curve for curve in curves if settings_name(curve, curves) == setting]
        show_axis(axes, axis, inches=3.2)
        for curve in here:
            name = curve.parameters
            draw_curve(axes, axis, curve, colors[name], label=plain(name), size=size)
        show_values_axis(axes, values, yscale)
        axes.set_title(setting if len(settings) > 1 else "", loc="left", fontsize=9)
        say_if_none(axes, axis, here)
        without_box(axes)
    drawn = [curve for curve in curves if settings_name(curve, curves) in settings]
    notes = doubts(list(grid[0]), axis, drawn)
    grid[0, 0].set_ylabel("share of its largest LLC" if relative else "restricted LLC")
    if len(colors) <= _MAX_LEGEND:
        grid[0, -1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    else:
        show_depth(grid[0, -1], labels)
    of_each = "layer" if _are_layers(labels) else "choice of parameters"
    title = f"LLC of each {of_each} over training"
    band = "shaded: 2 standard errors"
    headline(figure, title, origin_of(dataset), axis.note, band, *notes)
    return saved(figure, path)


def _are_layers(labels: list[str]) -> bool:
    """Whether choices are called as modules are: by no expression, mask or kind of parameter."""
    is_named = all(re.fullmatch(r"\w+(\.\w+)*", label) for label in labels)
    return is_named and not {"mask", "weight", "bias"}.intersection(labels)


def _relative(curve: LlcCurve) -> LlcCurve:
    """The curve as a share of its largest LLC; without values where none is above 0."""
    largest = np.nanmax(curve.llc, initial=0.0)
    share = 1 / largest if largest > 0 else np.nan
    return replace(curve, llc=curve.llc * share, error=curve.error * share)
