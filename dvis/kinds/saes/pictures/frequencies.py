"""How often latents fire: their frequencies on a logarithmic scale, dead and dense ones apart."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.pictures.chosen import layer_of, measured_at
from dvis.kinds.saes.read import name_in_layer
from dvis.kinds.saes.words import DENSE
from dvis.plots.canvas import UNIT_COLORS, evenly, headline, saved, subplots, without_box
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_name, moment_names
from dvis.schema import CHECKPOINT, Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS_A_DECADE = 4
_DEAD_PLACE, _DEAD_WIDTH = 0.9, 0.7  # in decades: how far before the rarest the dead stand
_DEAD_COLOR, _DENSE_COLOR, _COLOR = "0.6", UNIT_COLORS[1], UNIT_COLORS[0]
_RIGHT = 0.1  # end of the axis, where all rows are 0
_PANEL_INCHES = (3.1, 2.0)
_MOST_COLUMNS = 3


@documented
def latent_frequencies(
    dataset: xr.Dataset,
    *,
    checkpoint: str | int | None = None,
    max_checkpoints: int = 6,
    path: str | Path | None = None,
) -> "Figure":
    """In which share of rows latents fire, as histograms of its logarithm, a panel a checkpoint.

    Latents that never fire, which have no logarithm, are a hatched bar of their own at the left;
    dense ones, which fire in more than a tenth of the rows, are orange. Both are counted.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.latents` gives it: `frequency` (checkpoint, latent).
    checkpoint : str or int, optional
        Its name or place; by default several.
    max_checkpoints : int
        How many checkpoints to show at most, evenly chosen, the first and the last among them.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such checkpoint, or nothing at it.
    SchemaError
        When it is no Dataset of what was found of latents.
    """
    require(
        dataset,
        "frequency",
        "status",
        labels=(CHECKPOINT, LATENT),
        advice="Open one with dvis.latents, of autoencoders that `dvis sae evaluate` evaluated",
    )
    panels = _panels(dataset, checkpoint, max_checkpoints)
    edges = bin_edges(np.concatenate(list(panels.values())))
    columns = min(len(panels), _MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    width, height = _PANEL_INCHES
    figure, grid = subplots(
        nrows=rows,
        ncols=columns,
        figsize=(max(columns * width + 0.3, 4.8), rows * height + 0.8),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for axes, (name, values) in zip(grid.flat, panels.items(), strict=False):
        draw_frequencies(axes, values, edges)
        axes.set_title(plain(name), loc="left", fontsize=8)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(len(panels) - columns, 0) : len(panels)]:
        axes.tick_params(labelbottom=True)
    figure.supylabel("latents", fontsize=9)
    n_all = int((dataset["status"] == Status.COMPLETE).sum())
    notes = (
        f"{len(panels)} of {n_all} checkpoints" if 1 < len(panels) < n_all else "",
        "share of rows in which a latent fires",
        f"orange: dense, above {DENSE:g}; hatched: never fires",
        f"on the split {dataset.attrs['split']}" if "split" in dataset.attrs else "",
    )
    title = f"How often latents fire: {layer_of(dataset)}, {name_in_layer(dataset)}"
    headline(figure, title, origin_of(dataset), *notes)
    return saved(figure, path)


def bin_edges(frequency: np.ndarray) -> np.ndarray:
    """Edges of bins over the decades in which latents fire, to 1.

    Examples
    --------
    >>> bin_edges(np.array([0.0, 0.02, 0.5]))[[0, 1, -1]].tolist()
    [-2.0, -1.75, 0.0]
    """
    fires = frequency[frequency > 0]
    lowest = np.floor(np.log10(fires.min())) if len(fires) else -1.0
    first = min(float(lowest), -1.0)
    return np.linspace(first, 0.0, round(-first * _BINS_A_DECADE) + 1)


def draw_frequencies(axes: "Axes", frequency: np.ndarray, edges: np.ndarray) -> None:
    """Draw a histogram of logarithms, with the dead at its left and the dense in their colour.

    Parameters
    ----------
    axes : Axes
        Where.
    frequency : ndarray, (latent,)
        Shares of rows in which latents fire.
    edges : ndarray
        As `bin_edges` gives them.
    """
    is_dead, is_dense = frequency == 0, frequency > DENSE
    for chosen, color in ((~is_dead & ~is_dense, _COLOR), (is_dense, _DENSE_COLOR)):
        counts, _ = np.histogram(np.log10(frequency[chosen & ~is_dead]), edges)
        is_some = counts > 0
        axes.bar(
            edges[:-1][is_some],
            counts[is_some],
            np.diff(edges)[is_some],
            align="edge",
            color=color,
            edgecolor="white",
            linewidth=0.4,
        )
    n_dead, n_dense = int(is_dead.sum()), int(is_dense.sum())
    dead_at = edges[0] - _DEAD_PLACE
    axes.bar(
        dead_at, n_dead, _DEAD_WIDTH, color="white", edgecolor=_DEAD_COLOR, hatch="////", lw=0.8
    )
    _count(axes, dead_at - _DEAD_WIDTH / 2, n_dead, f"{n_dead:,} dead", "0.35", "left")
    near = np.log10(DENSE) - 2.5 / _BINS_A_DECADE  # whose bars the words would lie on
    bars: Any = axes.patches
    highest = max((bar.get_height() for bar in bars if bar.get_x() > near), default=0)
    _count(axes, _RIGHT, highest, f"{n_dense:,} dense", _DENSE_COLOR, "right")
    _show_axis(axes, edges, dead_at)


def _count(axes: "Axes", at: float, height: float, text: str, color: str, side: str) -> None:
    from matplotlib import patheffects

    # With a white rim, so that it is read where a line runs behind it.
    rim = patheffects.withStroke(linewidth=2.5, foreground="white")
    axes.annotate(
        text,
        (at, height),
        xytext=(0, 2),
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=7,
        color=color,
        path_effects=[rim],
    )


def _show_axis(axes: "Axes", edges: np.ndarray, dead_at: float) -> None:
    from matplotlib import ticker

    axes.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    decades = [int(each) for each in np.arange(np.ceil(edges[0]), 1)]
    every = -(-len(decades) // 5)
    shown = decades[::-1][::every][::-1]
    names = [f"{10.0**each:g}" if each >= -4 else f"1e{each}" for each in shown]
    axes.set_xticks([dead_at, *shown], ["0", *names], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(dead_at - _DEAD_WIDTH, _RIGHT)
    axes.margins(y=0.16)
    without_box(axes)


def _panels(
    dataset: xr.Dataset, checkpoint: str | int | None, max_checkpoints: int
) -> dict[str, np.ndarray]:
    """Frequencies of latents by what their panel is called."""
    if checkpoint is not None or CHECKPOINT not in dataset.dims:
        at = measured_at(dataset, checkpoint)
        return {moment_name(at): at["frequency"].values}
    measured_at(dataset, None)  # raises where nothing is there
    there = dataset["frequency"].isel({CHECKPOINT: dataset["status"].values == Status.COMPLETE})
    labels = [str(label) for label in there[CHECKPOINT].values]
    chosen = evenly(len(labels), max_checkpoints, "max_checkpoints")
    values = there.isel({CHECKPOINT: chosen}).transpose(CHECKPOINT, LATENT).values
    names = moment_names(there.isel({CHECKPOINT: chosen}).to_dataset())
    names = names if len(set(names)) == len(names) else [labels[place] for place in chosen]
    return dict(zip(names, values, strict=True))
