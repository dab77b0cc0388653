"""Units that tell attributes, and the pairs as they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.kinds.attributes.analysis import ADVICE
from dvis.kinds.attributes.pictures.selected import selected, titled
from dvis.kinds.attributes.words import ATTRIBUTE, EXCHANGED, SCORE, SHUFFLE, SIDE, TELLS
from dvis.plots.canvas import UNKNOWN_COLOR, headline, require_limit, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.selection import at_checkpoint, labels_of, origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_name
from dvis.schema import CHANNEL, LATENT, LAYER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_INCHES, _COLUMN_INCHES = 0.2, 0.85
_PAIR_INCHES = 0.8


@dataclass(frozen=True)
class _Scores:
    """What one kind of unit has: its dimension, its scores, and their null."""

    unit: str
    score: str
    null: str


_SCORES = (
    _Scores(CHANNEL, SCORE, "null_score"),
    _Scores(LATENT, "latent_score", "null_latent_score"),
)


@documented
def attribute_units(
    dataset: xr.Dataset,
    attribute: str | Sequence[str] | None = None,
    layer: str | Sequence[str] | slice | None = None,
    *,
    checkpoint: str | int | None = None,
    max_units: int = 30,
    path: str | Path | None = None,
) -> "Figure":
    """Scores of the units that tell an attribute best, a row a unit and a column an attribute.

    Channels are above and, where the attributes were measured of latents too, latents below. Dots
    mark scores beyond the highest of any channel, or latent, of the layer with sides of pairs
    exchanged. Of each attribute as many are shown, by their scores without the sign, in the layers'
    order.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.attributes` gave.
    attribute : str, or a sequence of them, optional
        Attributes; all by default.
    layer : str, or a sequence or slice of them, optional
        Layers; all by default.
    checkpoint : str or int, optional
        By name or place; the last by default.
    max_units : int
        How many channels, and latents, to show at most.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such attribute, layer or checkpoint, or no unit has a score.
    SchemaError
        When the Dataset has no attributes.
    """
    require_limit("max_units", max_units)
    shown = at_checkpoint(selected(dataset, attribute, layer), checkpoint)
    kinds = [of for of in _SCORES if of.score in shown]
    several = {of.unit: _best(shown, of, max_units) for of in kinds}
    several = {unit: scores for unit, scores in several.items() if scores.sizes["unit"]}
    if not several:
        raise ValueError("No unit has a score there; nothing to draw")
    names = labels_of(shown, ATTRIBUTE)
    heights = [_ROW_INCHES * scores.sizes["unit"] + 0.5 for scores in several.values()]
    figure, grid = subplots(
        nrows=len(several),
        figsize=(max(4.2, 2.4 + _COLUMN_INCHES * len(names)), max(2.2, 0.8 + sum(heights))),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    panels = list(grid[:, 0])
    notes = []
    for axes, of in zip(panels, [of for of in kinds if of.unit in several], strict=True):
        mesh = _draw_scores(axes, several[of.unit], shown, of)
        axes.set_xticks(
            range(len(names)), [plain(titled(shown, name)) for name in names], fontsize=7
        )
        n_there = int(shown[of.score].notnull().any(ATTRIBUTE).sum())
        notes.append(f"{several[of.unit].sizes['unit']} of {n_there} {of.unit}s")
    bar = figure.colorbar(mesh, ax=panels, pad=0.02, aspect=30)
    bar.set_label("score: -1 the first value, 1 the second", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    headline(
        figure,
        f"Units that tell attributes, at {moment_name(shown)}",
        origin_of(dataset),
        *notes,
        f"dots: beyond the highest of a layer's {' or '.join(f'{unit}s' for unit in several)} in "
        f"{shown.sizes[SHUFFLE]} shuffles, {EXCHANGED[TELLS]} exchanged",
    )
    return saved(figure, path)


def _best(shown: xr.Dataset, of: _Scores, max_units: int) -> xr.DataArray:
    """Scores of the units of one kind that tell best, (unit, attribute)."""
    scores = shown[of.score].stack(unit=(LAYER, of.unit)).transpose("unit", ATTRIBUTE)
    return scores.isel(unit=best_units(scores.values, max_units))


def _draw_scores(axes: "Axes", scores: xr.DataArray, shown: xr.Dataset, of: _Scores) -> Any:
    """A row a unit, with dots where a score is beyond the null of the layer's units."""
    owners = [str(each) for each in scores[LAYER].values]
    bounds = shown[of.null].max(SHUFFLE).transpose(LAYER, ATTRIBUTE)
    beyond = np.abs(scores.values) > bounds.sel({LAYER: owners}).values
    mesh = axes.imshow(
        np.ma.masked_invalid(scores.values), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto"
    )
    axes.set_facecolor(UNKNOWN_COLOR)
    found = np.argwhere(beyond)
    axes.plot(found[:, 1], found[:, 0], ".", color="black", markersize=3, linestyle="none")
    called = "" if of.unit == CHANNEL else f"{of.unit} "
    units = zip(owners, scores[of.unit].values.tolist(), strict=True)
    axes.set_yticks(range(len(owners)), [plain(f"{name}, {called}{unit}") for name, unit in units])
    axes.tick_params(axis="y", labelsize=6)
    for place in [i for i in range(1, len(owners)) if owners[i] != owners[i - 1]]:
        axes.axhline(place - 0.5, color="black", lw=0.8)
    return mesh


@documented
def attribute_pairs(
    dataset: xr.Dataset,
    attribute: str | Sequence[str] | None = None,
    *,
    path: str | Path | None = None,
) -> "Figure":
    """The first pairs of each attribute as they are drawn, a row an attribute, sides together.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.attributes` gave.
    attribute : str, or a sequence of them, optional
        Attributes; all by default.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such attribute.
    SchemaError
        When the Dataset has no attributes.
    """
    shown = selected(dataset, attribute, None)
    require(shown, "picture", labels=(SIDE,), advice=ADVICE)
    names, pictures = labels_of(shown, ATTRIBUTE), shown["picture"].values
    n_rows, n_pairs = pictures.shape[:2]
    figure, grid = subplots(
        nrows=n_rows,
        ncols=n_pairs,
        figsize=(1.3 + 2 * _PAIR_INCHES * n_pairs, 0.8 + (_PAIR_INCHES + 0.08) * n_rows),
        squeeze=False,
        layout="constrained",
    )
    for name, row, of_row in zip(names, grid, pictures, strict=True):
        for axes, (first, second) in zip(row, of_row, strict=True):
            between = np.full((len(first), max(1, len(first) // 32), 3), 255, np.uint8)
            axes.imshow(np.concatenate([first, between, second], 1), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(
            plain(titled(shown, name)), fontsize=7, rotation=0, ha="right", va="center"
        )
    headline(
        figure,
        "Pairs that differ in one attribute alone",
        origin_of(dataset),
        f"the first {n_pairs} of {shown.attrs.get('n_pairs', '?')} of each; background and noise "
        "of the two sides are the same",
    )
    return saved(figure, path)


def best_units(scores: np.ndarray, n_most: int) -> np.ndarray:
    """Rows of the units of the highest scores (unit, attribute), of each attribute as many.

    Rows are in their order. Where some are among the best of several, more of each are taken.
    """
    sizes = np.abs(scores)
    known = np.flatnonzero(np.isfinite(sizes).any(1))
    order = np.argsort(-np.nan_to_num(sizes[known]), axis=0, kind="stable")
    ranked = known[order].ravel()  # the best of each, then the second of each
    _, first = np.unique(ranked, return_index=True)
    return np.sort(ranked[np.sort(first)[:n_most]])
