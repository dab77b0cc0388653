"""The training of autoencoders: their logs over steps."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvis.kinds.saes.pictures.chosen import Compared, OneOrSeveral, compared
from dvis.kinds.saes.words import LOG_STEP
from dvis.plots.canvas import (
    evenly,
    headline,
    layer_colors,
    saved,
    subplots,
    unit_style,
    without_box,
)
from dvis.plots.curves import points, show_values_axis
from dvis.plots.documentation import documented
from dvis.plots.ticks import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = {
    "fvu": "unexplained variance (FVU)",
    "l0": "active latents a row (L0)",
    "n_dead": "dead latents",
    "grad_norm": "gradient norm",
}
_MOST_NAMED = 12


@documented
def sae_training(
    trained: OneOrSeveral,
    *,
    checkpoint: str | int | None = None,
    path: str | Path | None = None,
) -> "Figure":
    """Unexplained variance, L0, dead latents and the gradient's norm over steps of the training.

    Of one Dataset a line is a checkpoint, early dark and late bright; of several, each is a line at
    one checkpoint. A point is the mean over the steps since the one before.

    Parameters
    ----------
    trained : Dataset or mapping of str to Dataset
        As `dvis.saes` gives it: `fvu`, `l0`, `n_dead`, `grad_norm` (checkpoint, log_step).
    checkpoint : str or int, optional
        Its name or place. By default all of one Dataset; of several the last that most have.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there are no autoencoders, none at the checkpoint, or none that has a log, as those
        that came from elsewhere have none.
    SchemaError
        When one is no Dataset of autoencoders.
    """
    found = compared(trained, checkpoint, *_SHOWN, LOG_STEP)
    logs = {name: row[[*_SHOWN]].load() for name, row in found.rows.items()}
    if not any(log.sizes[LOG_STEP] for log in logs.values()):
        raise ValueError(
            f"No autoencoder of {found.title} has a log of its training: those that `dvis sae "
            "import` took have none"
        )
    figure, grid = subplots(nrows=2, ncols=2, figsize=(8.2, 4.6), sharex=True, layout="constrained")
    styles = _styles(found)
    for axes, (name, label) in zip(grid.flat, _SHOWN.items(), strict=True):
        for each, log in logs.items():
            values = log[name].values
            axes.plot(log[LOG_STEP].values, values, lw=1.3, **styles[each], **points(values, 1))
        _show_axes(axes, label, np.concatenate([log[name].values for log in logs.values()]))
    for axes in grid[-1]:
        axes.set_xlabel("step of the autoencoder's training", fontsize=8)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=7.5, loc="outside right upper")
    headline(figure, f"Training of autoencoders: {found.title}", *found.notes)
    return saved(figure, path)


def _styles(found: Compared) -> dict[str, dict[str, Any]]:
    """Colour, line and name in the legend of each."""
    names = list(found.rows)
    if not found.is_over_training:
        return {name: {**unit_style(i), "label": plain(name)} for i, name in enumerate(names)}
    shades = layer_colors(names)
    named = {names[i] for i in evenly(len(names), _MOST_NAMED)}
    return {
        name: {"color": shades[name], "label": plain(name) if name in named else "_"}
        for name in names
    }


def _show_axes(axes: "Axes", label: str, values: np.ndarray) -> None:
    axes.set_title(label, loc="left", fontsize=8)
    axes.tick_params(labelsize=7)
    show_values_axis(axes, values, "auto")
    if axes.get_yscale() == "linear":
        low, high = axes.get_ylim()
        axes.set_ylim(min(0.0, low), max(high, 1.0) if label == _SHOWN["n_dead"] else high)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    without_box(axes)
