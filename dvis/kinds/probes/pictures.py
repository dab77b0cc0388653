"""What layers tell, over training and by depth, beside what it is held against."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.analysis.resampling import BOUND
from dvis.analysis.trajectories import of_complete_units
from dvis.kinds.probes.words import CALLED, EXCHANGED, HELD_OUT, SCORE, SPLIT, TARGET
from dvis.plots.canvas import evenly, headline, layer_colors, saved, subplots, without_box
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null, null_note
from dvis.plots.panels import panels
from dvis.plots.selection import labels_of, listed, origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, XAxis, moment_names, time_axis
from dvis.schema import CHECKPOINT, LAYER, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ADVICE = "Open one with dvis.probes"
NO_UNTRAINED = "no baseline of the network untrained was measured"
_PIXELS: dict[str, Any] = {"color": "black", "linestyle": ":", "lw": 1.2}
_MAJORITY: dict[str, Any] = {"color": "0.45", "linestyle": (0, (1, 3)), "lw": 1.0}
_PANEL = (3.0, 2.3)  # inches
_MOST_COLUMNS = 3
_MOST_NAMES = 12  # of layers below a panel


@documented
def accuracy_over_training(
    dataset: xr.Dataset,
    target: str | Sequence[str] | None = None,
    layer: str | Sequence[str] | slice | None = None,
    *,
    x: XAxis = "checkpoint",
    xscale: Scale = "auto",
    max_layers: int = 8,
    path: str | Path | None = None,
) -> "Figure":
    """What each layer tells over training, a panel for each target, of the images held out.

    Lines are scores over plus and minus a standard error, dashes the same layers untrained, dots
    pixels, and faint dots the majority: the commonest class or the mean. Grey is where scores of
    shuffled targets lie.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.probes` gave.
    target : str, or a sequence of them, optional
        What is read off; all by default.
    layer : str, or a sequence or slice of them, optional
        Layers; by default all, or `max_layers` of them.
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
        When there is no such target or layer; when x has no known values.
    SchemaError
        When the Dataset has no probes.
    """
    shown = held_out(dataset, target, layer)
    layers = labels_of(shown, LAYER)
    layers = [layers[place] for place in evenly(len(layers), max_layers, "max_layers")]
    targets, colors = labels_of(shown, TARGET), layer_colors(layers)
    axis = time_axis(shown, x, xscale)
    figure, grid = panels([_title(shown, each) for each in targets], axis, share_y=False)
    for axes, each in zip(grid, targets, strict=True):
        of_target = shown.sel({TARGET: each, LAYER: layers})
        low, high = null_band(of_target)
        draw_null(axes, axis.positions, low[axis.places], high[axis.places])
        for name, color in colors.items():
            of_layer = of_target.sel({LAYER: name})
            values, error = (of_layer[n].values[axis.places] for n in (SCORE, "score_se"))
            axes.fill_between(
                axis.positions, values - error, values + error, color=color, alpha=0.2, lw=0
            )
            axes.plot(axis.positions, values, color=color, lw=1.6, marker=".", label=plain(name))
            untrained = untrained_of(of_layer).item()
            if np.isfinite(untrained):
                axes.axhline(untrained, color=color, lw=0.9, linestyle="--")
        _draw_lines_of_all(axes, of_target)
    grid[-1].set_xlabel(axis.label, fontsize=8)
    _legend(figure, grid[0], shown, {"color": "0.3", "linestyle": "--", "lw": 0.9})
    _headline(figure, "What layers tell over training", dataset, shown, axis.note)
    return saved(figure, path)


@documented
def accuracy_by_layer(
    dataset: xr.Dataset,
    target: str | Sequence[str] | None = None,
    checkpoint: str | Sequence[str] | None = None,
    *,
    max_checkpoints: int = 5,
    path: str | Path | None = None,
) -> "Figure":
    """What layers tell in the order of execution, a panel for each target, of the images held out.

    A line is a checkpoint, over plus and minus a standard error; dashes the network untrained, dots
    pixels, and faint dots the majority: the commonest class or the mean. Grey is where scores of
    shuffled targets lie, at any of the checkpoints.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.probes` gave.
    target : str, or a sequence of them, optional
        What is read off; all by default.
    checkpoint : str, or a sequence of them, optional
        Checkpoints; by default `max_checkpoints`, evenly chosen.
    max_checkpoints : int
        How many are shown where none is named, the first and the last among them.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such target or checkpoint.
    SchemaError
        When the Dataset has no probes.
    """
    shown = held_out(dataset, target, None)
    there = labels_of(shown, CHECKPOINT)
    places = evenly(len(there), max_checkpoints, "max_checkpoints")
    chosen = listed(shown, CHECKPOINT, checkpoint) or [there[place] for place in places]
    _require("checkpoint", chosen, there, dataset)
    shown = shown.sel({CHECKPOINT: chosen})
    targets, layers = labels_of(shown, TARGET), labels_of(shown, LAYER)
    figure, grid = _plain_panels([_title(shown, each) for each in targets])
    positions, colors = np.arange(len(layers)), layer_colors(chosen)
    for axes, each in zip(grid, targets, strict=True):
        of_target = shown.sel({TARGET: each})
        edges = of_target["null_score"].transpose(BOUND, CHECKPOINT, LAYER).values
        low, high = _least(edges[0], 0), -_least(-edges[1], 0)
        draw_null(axes, positions, low, high)
        for label, name in zip(chosen, moment_names(shown), strict=True):
            at = of_target.sel({CHECKPOINT: label})
            values, error = (at[n].values for n in (SCORE, "score_se"))
            axes.errorbar(
                positions, values, error, color=colors[label], lw=1.5, marker=".", label=name
            )
        axes.plot(positions, untrained_of(of_target).values, color="black", lw=1.0, linestyle="--")
        _draw_lines_of_all(axes, of_target)
        kept = evenly(len(layers), _MOST_NAMES)
        axes.set_xticks(positions[kept], [plain(layers[place]) for place in kept])
        axes.tick_params(axis="x", rotation=90)
    _legend(figure, grid[0], shown, {"color": "black", "linestyle": "--", "lw": 1.0})
    _headline(figure, "What layers tell by depth", dataset, shown)
    return saved(figure, path)


def held_out(dataset: xr.Dataset, target: Any, layer: Any) -> xr.Dataset:
    """Scores of the images held out, in memory, of some targets and layers, NaN where none count.

    Raises
    ------
    ValueError
        When there is no such target or layer.
    SchemaError
        When the Dataset has no probes.
    """
    names = (SCORE, "score_se", "null_score", "untrained_score", "pixel_score", "majority_score")
    require(dataset, *names, labels=(CHECKPOINT, LAYER, TARGET, SPLIT), advice=ADVICE)
    for dim in (CHECKPOINT, LAYER, TARGET, SPLIT):
        dataset = dataset if dim in dataset.dims else dataset.expand_dims(dim)
    asked: dict[str, list[Any]] = {}
    for dim, labels in ((TARGET, target), (LAYER, layer)):
        wanted = listed(dataset, dim, labels)
        if wanted is not None:
            _require(dim, wanted, labels_of(dataset, dim), dataset)
            asked[dim] = wanted
    _require(SPLIT, [HELD_OUT], labels_of(dataset, SPLIT), dataset)
    shown = dataset.sel({**asked, SPLIT: HELD_OUT})
    counted = {name: of_complete_units(shown, shown[name]) for name in names}
    return shown[[*names]].assign(counted).load()


def null_band(of_target: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Between which scores those of shuffled targets lie, of any of the layers, (checkpoint,)."""
    edges = of_target["null_score"].transpose(BOUND, LAYER, CHECKPOINT).values
    return _least(edges[0], 0), -_least(-edges[1], 0)


def untrained_of(shown: xr.Dataset) -> xr.DataArray:
    """Scores of the network untrained, which checkpoints share."""
    scores = shown["untrained_score"]
    return scores.isel({CHECKPOINT: 0}) if CHECKPOINT in scores.dims else scores


def _least(values: np.ndarray, axis: int) -> np.ndarray:
    """The least along an axis of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    least = np.where(known, values, np.inf).min(axis)
    return np.where(known.any(axis), least, np.nan)


def _draw_lines_of_all(axes: "Axes", of_target: xr.Dataset) -> None:
    """Draw what all layers are held against: pixels, and the commonest class."""
    for name, style in (("pixel_score", _PIXELS), ("majority_score", _MAJORITY)):
        value = float(np.ravel(of_target[name].values)[0])
        if np.isfinite(value):
            axes.axhline(value, **style)


def _legend(figure: "Figure", axes: "Axes", shown: xr.Dataset, untrained: Any) -> None:
    from matplotlib.lines import Line2D

    handles, names = axes.get_legend_handles_labels()
    if _has_untrained(shown):
        handles, names = [*handles, Line2D([], [], **untrained)], [*names, "untrained"]
    handles += [Line2D([], [], **_PIXELS), Line2D([], [], **_MAJORITY)]
    names += ["pixels", "majority"]
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=7)


def _headline(
    figure: "Figure", title: str, dataset: xr.Dataset, shown: xr.Dataset, *notes: str
) -> None:
    has_null = bool(shown["null_score"].notnull().any())
    null = null_note(exchanged_of(dataset), "95 %") if has_null else ""
    lacking = "" if _has_untrained(shown) else NO_UNTRAINED
    errors = "± standard error over the images held out"
    headline(figure, title, origin_of(dataset), *notes, errors, null, lacking)


def exchanged_of(dataset: xr.Dataset) -> str:
    """What the null exchanges, and by how many shuffles it is known."""
    n_shuffles = dataset.attrs.get("n_shuffles")
    return EXCHANGED if n_shuffles is None else f"{EXCHANGED}, {n_shuffles} shuffles"


def _has_untrained(shown: xr.Dataset) -> bool:
    return bool(shown["untrained_score"].notnull().any())


def _title(shown: xr.Dataset, target: str) -> str:
    metric = str(shown["metric"].sel({TARGET: target}).item())
    return f"{target}: {CALLED.get(metric, metric)}"


def _plain_panels(titles: Sequence[str]) -> "tuple[Figure, list[Axes]]":
    columns = min(len(titles), _MOST_COLUMNS)
    rows = -(-len(titles) // columns)
    figure, grid = subplots(
        nrows=rows,
        ncols=columns,
        figsize=(max(columns * _PANEL[0] + 1.2, 5.0), rows * _PANEL[1] + 0.8),
        squeeze=False,
        layout="constrained",
    )
    made = list(grid.flat)
    for axes, title in zip(made, titles, strict=False):
        axes.set_title(plain(title), loc="left", fontsize=8)
        axes.tick_params(labelsize=7)
        without_box(axes)
    for axes in made[len(titles) :]:
        axes.set_axis_off()
    return figure, made[: len(titles)]


def _require(what: str, asked: Sequence[Any], there: Sequence[str], dataset: xr.Dataset) -> None:
    for each in asked:
        if each not in there:
            raise ValueError(did_you_mean(what, str(each), there, origin_of(dataset)))
