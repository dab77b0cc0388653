"""Which classes drive which units: a row a unit, its AUROC by class, index and null, over training.

What `dvis.selectivity` gave in, a matplotlib figure out.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.analysis.quantities import CLASS, SHUFFLE
from dvis.analysis.requirements import require
from dvis.analysis.selectivity import (
    COMMON,
    LEAST_SHUFFLES,
    NO_INDEX,
    SELECTIVE,
    STATES,
    UNSELECTIVE,
    UNTRAINED,
)
from dvis.plots.canvas import UNKNOWN_COLOR, evenly, headline, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.null_band import NULL_COLOR
from dvis.plots.selection import at_checkpoint, at_layer, labels_of, origin_of
from dvis.plots.ticks import cut, plain
from dvis.plots.time_axis import moment_name, moment_names
from dvis.schema import CHANNEL, CHECKPOINT, LATENT, LAYER, UNMATCHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATE_COLORS = {
    SELECTIVE: "#0072B2",
    UNTRAINED: "#E69F00",
    COMMON: "#CC79A7",
    UNSELECTIVE: "0.55",
    NO_INDEX: "0.85",
}
_MOST_NAMED = 40  # rows, and classes, whose names are written
_CLASS_LETTERS = 19
_FEW = 14  # rows beside which a short label fits
_NULL = "null_selectivity"
_NEEDS = ("selectivity", "selectivity_high", "best_class", "auroc", "state")


@documented
def selectivity_map(
    dataset: xr.Dataset,
    layer: str | None = None,
    *,
    checkpoint: str | int | None = None,
    max_units: int = 200,
    path: str | Path | None = None,
) -> "Figure":
    """Units of a layer sorted by best class: AUROC by class, index and its null, and over training.

    At the left the AUROC of each class, white where the unit tells nothing of it; in the middle the
    index at the checkpoint, in the colour of what the unit is called, over grey up to what one unit
    of 20 reaches by chance; at the right the index over all checkpoints, pale where it is within
    its null. Units without an index are left out. Numbers in the title are of all others.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.selectivity` or `dvis.latent_selectivity` gave.
    layer : str, optional
        The layer; needed where there are several.
    checkpoint : str or int, optional
        By whose best class units are sorted, by its name or place; by default the last.
    max_units : int
        How many units to show at most, evenly chosen among the sorted.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such layer or checkpoint, or no unit of it has an index.
    SchemaError
        When it is not what `dvis.selectivity` gave.
    """
    require(dataset, *_NEEDS, labels=(CHECKPOINT, CLASS), advice="Give what dvis.selectivity gave")
    of_layer = at_layer(dataset, layer) if LAYER in dataset.coords else dataset
    unit = LATENT if LATENT in of_layer.dims else CHANNEL
    of_layer = of_layer[[*_NEEDS]].transpose(CHECKPOINT, unit, ...).load()
    at = at_checkpoint(of_layer, checkpoint)
    rows, n_there = _sorted_rows(at, max_units)
    counts = [f"{int((at['state'] == each).sum())} {each}" for each in STATES[:-1]]
    of_layer, at = of_layer.isel({unit: rows}), at.isel({unit: rows})
    label = str(at[CHECKPOINT].item())
    is_over_training = of_layer.sizes[CHECKPOINT] > 1 and not dataset.attrs.get(UNMATCHED)
    figure, axes = _parts(len(rows), at.sizes[CLASS], is_over_training)
    _draw_classes(axes[0], at, unit)
    _draw_index(axes[1], at)
    if is_over_training:
        _draw_over_training(axes[2], of_layer)
    shown = f"{len(rows)} of {n_there} units shown, evenly chosen" if len(rows) < n_there else ""
    name = (
        labels_of(of_layer, LAYER)[0] if LAYER in of_layer.coords else dataset.attrs.get(LAYER, "")
    )
    untrained = str(dataset.attrs.get("untrained_checkpoint", ""))
    notes = (
        origin_of(dataset),
        shown,
        f"grey: index that one unit of 20 exceeds with labels shuffled{_n_shuffles(dataset)}",
        f"untrained: {moment_name(dataset, untrained)}"
        if untrained
        else "no checkpoint untrained is known",
        str(dataset.attrs.get(UNMATCHED, "")) and "numbers of latents do not stay over checkpoints",
    )
    title = (
        f"{name}, {moment_name(dataset, label)}: which classes drive {unit}s\n{', '.join(counts)}"
    )
    headline(figure, title, *notes)
    return saved(figure, path)


def _n_shuffles(dataset: xr.Dataset) -> str:
    """How many shuffles the bound is of, and that of so few there is none."""
    n_shuffles = dataset[_NULL].sizes.get(SHUFFLE) if _NULL in dataset else None
    if n_shuffles is None:
        return ""
    lacking = "" if n_shuffles >= LEAST_SHUFFLES else f": no bound, {LEAST_SHUFFLES} are needed"
    return f" ({n_shuffles} shuffles{lacking})"


def _sorted_rows(at: xr.Dataset, max_units: int) -> tuple[np.ndarray, int]:
    """Places of units that have an index, by best class and falling index, and how many."""
    index, best = at["selectivity"].values, at["best_class"].values
    order = np.lexsort((-np.nan_to_num(index), best))
    order = order[np.isfinite(index[order])]
    if not len(order):
        raise ValueError(
            f"No unit has an index at {at[CHECKPOINT].item()}: none has a response above 0"
        )
    return order[evenly(len(order), max_units, "max_units")], len(order)


def _parts(n_rows: int, n_classes: int, is_over_training: bool) -> "tuple[Figure, list[Axes]]":
    height = float(np.clip(1.9 + 0.13 * n_rows, 3.0, 7.5))
    widths = [float(np.clip(0.22 * n_classes, 1.6, 4.0)), 1.7, *([2.6] if is_over_training else [])]
    figure, grid = subplots(
        ncols=len(widths),
        width_ratios=widths,
        figsize=(sum(widths) + 2.2, height),
        sharey=True,
        layout="constrained",
    )
    return figure, list(grid)


def _draw_classes(axes: "Axes", at: xr.Dataset, unit: str) -> None:
    """AUROC of each class, and the names of rows."""
    values = at["auroc"].transpose(unit, CLASS).values
    n_rows, n_classes = values.shape
    mesh = axes.pcolormesh(np.ma.masked_invalid(values), cmap="RdBu_r", vmin=0, vmax=1)
    axes.set_facecolor(UNKNOWN_COLOR)
    axes.set_ylim(n_rows, 0)
    shown = evenly(n_classes, _MOST_NAMED)
    names = [plain(cut(str(at[CLASS].values[each]), _CLASS_LETTERS)) for each in shown]
    axes.set_xticks(shown + 0.5, names, rotation=90, fontsize=7)
    numbers = at[unit].values
    rows = np.arange(n_rows) if n_rows <= _MOST_NAMED else np.array([], int)
    axes.set_yticks(rows + 0.5, [str(numbers[row]) for row in rows], fontsize=6.5)
    label = f"{unit}, sorted by best class" if n_rows > _FEW else unit
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(length=0)
    best = at["best_class"].values
    axes.scatter(best + 0.5, np.arange(n_rows) + 0.5, marker="|", color="black", s=8, lw=0.8)
    bar = axes.figure.colorbar(mesh, ax=axes, location="top", pad=0.01, aspect=25, shrink=0.9)
    bar.set_label("AUROC of the class; bar: best class", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)


def _draw_index(axes: "Axes", at: xr.Dataset) -> None:
    """The index of each unit over its null."""
    index, high, states = (at[n].values for n in ("selectivity", "selectivity_high", "state"))
    places = np.arange(len(index)) + 0.5
    axes.barh(places, np.nan_to_num(high), height=1.0, color=NULL_COLOR, lw=0)
    size = float(np.clip(500 / len(index), 5, 26))
    for state in STATES[:-1]:
        is_own = states == state
        if is_own.any():
            color = STATE_COLORS[state]
            axes.scatter(index[is_own], places[is_own], s=size, color=color, label=state, zorder=3)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("selectivity index", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, fontsize=7, handletextpad=0.1
    )


def _draw_over_training(axes: "Axes", of_layer: xr.Dataset) -> None:
    """The index over checkpoints, pale where it is within its null."""
    index = of_layer["selectivity"].values.T
    is_above = index > of_layer["selectivity_high"].values.T
    axes.set_facecolor(UNKNOWN_COLOR)
    for values, alpha in ((np.where(is_above, index, np.nan), 1.0), (index, 0.25)):
        cells = np.ma.masked_invalid(np.where(is_above == (alpha == 1.0), values, np.nan))
        mesh = axes.pcolormesh(cells, cmap="viridis", vmin=0, vmax=1, alpha=alpha, rasterized=True)
        if alpha == 1.0:
            bar = axes.figure.colorbar(mesh, ax=axes, location="top", pad=0.01, aspect=25)
            bar.set_label("selectivity index; pale: within its null", fontsize=7.5)
            bar.ax.tick_params(labelsize=7)
    labels = moment_names(of_layer)
    shown = evenly(len(labels), 8)
    axes.set_xticks(shown + 0.5, [plain(labels[each]) for each in shown], rotation=90, fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("checkpoint", fontsize=8)
