"""The local learning coefficient over training, with its error, beside the losses."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.kinds.llc.pictures.curves import (
    doubts,
    draw_curve,
    of_parameters,
    read_llc,
    say_if_none,
    settings_name,
)
from dvis.plots.canvas import (
    UNIT_COLORS,
    headline,
    layer_colors,
    saved,
    subplots,
    without_box,
)
from dvis.plots.curves import show_values_axis
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.time_axis import Scale, TimeAxis, XAxis, show_axis, time_axis
from dvis.schema import CHECKPOINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOSSES = {"train_loss": "train", "val_loss": "validation"}


@documented
def llc_over_training(
    dataset: xr.Dataset,
    *,
    parameters: str | None = None,
    x: XAxis = "step",
    xscale: Scale = "auto",
    yscale: Scale = "linear",
    path: str | Path | None = None,
) -> "Figure":
    """The LLC over training for every gamma and epsilon, above the training's losses.

    Shaded: 2 standard errors either way. A point is a hollow diamond where its chains have not
    settled: R-hat above 1.1, so that they do not agree, is among that. A red cross says that
    chains diverged: on the curve where others are left, at the foot of the picture where none is.
    An LLC below 0, on red ground, is that of a checkpoint that is no minimum of the loss that was
    sampled: the chains go on with training instead.

    Parameters
    ----------
    dataset : Dataset, (checkpoint, [parameters, epsilon, gamma])
        What `dvis.llc` gave, or `dvis.open` of a store with LLCs: `llc` and, where there, `llc_se`,
        `rhat`, `is_settled`, `n_diverged`, `train_loss` and `val_loss`.
    parameters : str, optional
        Whose LLC, where there are several: "all" by default, else the first.
    {x}
    {xscale}
    yscale : {"auto", "linear", "log"}
        Of the losses, as for `trajectory`.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there are no such parameters, no scale of this name, or no known values on the x axis.
    SchemaError
        When the Dataset has no LLC.
    """
    curves = of_parameters(read_llc(dataset), parameters)
    axis = time_axis(dataset, x, xscale)
    figure, (above, below) = subplots(
        nrows=2,
        figsize=(7.2, 5.2),
        height_ratios=(1.7, 1),
        sharex=True,
        layout="constrained",
    )
    for axes in (above, below):
        show_axis(axes, axis, inches=5.0)
        without_box(axes)
    above.set_xlabel("")
    names = [settings_name(curve, curves) for curve in curves]
    colors = layer_colors(names)
    for curve, name in zip(curves, names, strict=True):
        draw_curve(above, axis, curve, colors[name], label=name)
    notes = doubts([above], axis, curves)
    say_if_none(above, axis, curves)
    above.set_ylabel("LLC")
    if len(curves) > 1:
        above.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    _draw_losses(below, axis, dataset, yscale)
    title = "Local learning coefficient over training"
    of = curves[0].parameters
    title = title if of in ("", "all") else f"{title}: {of}"
    band = "shaded: 2 standard errors" if any(curve.has_error for curve in curves) else ""
    headline(figure, title, origin_of(dataset), axis.note, band, *notes)
    return saved(figure, path)


def _draw_losses(axes: "Axes", axis: TimeAxis, dataset: xr.Dataset, yscale: Scale) -> None:
    """Draw the losses that the training kept, or say that there are none."""
    there = [name for name in _LOSSES if name in dataset and dataset[name].dims == (CHECKPOINT,)]
    values = {name: dataset[name].values.astype(float)[axis.places] for name in there}
    known = {name: each for name, each in values.items() if np.isfinite(each).any()}
    axes.set_ylabel("loss")
    if not known:
        axes.set_yticks([])
        axes.text(
            0.5,
            0.5,
            "no train_loss or val_loss was kept with these checkpoints",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color="0.5",
            fontsize=8,
        )
        return
    for number, (name, each) in enumerate(known.items()):
        color = ("0.25", UNIT_COLORS[4])[number] if len(known) > 1 else "0.25"
        is_seen = np.isfinite(each)
        axes.plot(axis.positions[is_seen], each[is_seen], color=color, lw=1.6, label=_LOSSES[name])
    show_values_axis(axes, np.concatenate(list(known.values())), yscale)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
