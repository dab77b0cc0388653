"""The influence of one layer's units on another's, all pairs at once, over training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.kinds.influence.ends import (
    FROM,
    TO,
    End,
    channels_of,
    known_layer,
    other_layer,
    prepared,
)
from dvis.kinds.influence.pictures.nodes import Births
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.plots.canvas import UNKNOWN_COLOR, evenly, headline, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, Status, counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL_INCHES, _MOST_COLUMNS = 2.3, 3
_MOST_NAMES = 9  # of channels along a side
_BRIGHTEST = 0.995  # quantile of strengths at which the colours end: few pairs are far above all
_GAMMA = 0.5  # most strengths are far below the largest
_HOW = "colours by the square root of strength; grey: not measured, or the target is dead"


@dataclass(frozen=True, kw_only=True)
class _Order:
    """Places of a layer's channels as they are drawn, their numbers, and how many are born."""

    places: np.ndarray
    channels: np.ndarray
    n_born: int


@documented
def influence_matrix(
    dataset: xr.Dataset,
    layer: str | None = None,
    *,
    layer_from: str | None = None,
    births: xr.Dataset | None = None,
    max_checkpoints: int = 6,
    path: str | Path | None = None,
) -> "Figure":
    """Strength of all pairs of two layers, a panel a checkpoint: a row a source, a column a target.

    Units stand in the same order in all panels, some with their numbers: by their births, those
    that are not born last, behind a line, and those of one checkpoint by their numbers, for an
    order by the strength that is drawn would make blocks of noise; without births by the strength
    of all that they receive or give (the root of the mean of squares) at the last checkpoint, the
    strongest first.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.influence` gives it.
    layer : str, optional
        The layer that is influenced; needed where there are several.
    layer_from : str, optional
        The layer that influences it; by default the nearest before.
    births : Dataset, optional
        As `ds.dvis.births` gives it of units.
    max_checkpoints : int
        How many checkpoints to show at most, evenly chosen, the first and the last among them.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such layer, none before it, or nothing measured of the pair.
    SchemaError
        When it is no Dataset of influence.
    """
    whole = prepared(dataset)
    to = known_layer(whole, TO, layer)
    source = other_layer(whole, TO, to, layer_from)
    pair = whole.sel({LAYER_FROM: source, LAYER_TO: to})
    is_there = (pair["status"] == Status.COMPLETE).any(CHANNEL_FROM).values
    if not is_there.any():
        raise ValueError(
            f"No influence of {source} on {to} is measured; `dvis influence` measures it"
        )
    places = np.flatnonzero(is_there)
    chosen = places[evenly(len(places), max_checkpoints, "max_checkpoints")]
    shown = pair.isel({CHECKPOINT: chosen})
    strength = _strength(whole, shown, source, to)
    born = Births.of(births)
    rows = _order(whole, strength[-1], FROM, source, born)
    columns = _order(whole, strength[-1].T, TO, to, born)
    figure = _draw(strength, rows, columns, moment_names(shown), (source, to))
    n_all = int(is_there.sum())
    by = "sorted by birth" if born.labels else "the strongest at the last checkpoint first"
    notes = (
        origin_of(dataset),
        f"{len(chosen)} of {n_all} checkpoints" if len(chosen) < n_all else "",
        _HOW,
        f"{born.criterion}; behind the line: not born" if born.criterion else "",
        "ties by channel number" if born.labels else "",
    )
    headline(figure, f"Influence of {source} on {to}, {by}", *notes)
    return saved(figure, path)


def _strength(whole: xr.Dataset, shown: xr.Dataset, source: str, to: str) -> np.ndarray:
    """Strength of the pairs that the layers have, (checkpoint, channel_from, channel_to)."""
    there: dict[Any, Any] = {
        CHANNEL_FROM: channels_of(whole, FROM, source),
        CHANNEL_TO: channels_of(whole, TO, to),
    }
    strength = shown["strength"].sel(there).transpose(CHECKPOINT, CHANNEL_FROM, CHANNEL_TO)
    return np.asarray(strength.values, np.float32)


def _order(whole: xr.Dataset, last: np.ndarray, end: End, layer: str, born: Births) -> _Order:
    """Places of a layer's units by their births, else by strength, (unit, other unit)."""
    channels = channels_of(whole, end, layer)
    if not born.labels:
        squares = np.nan_to_num(last.astype(float)) ** 2
        places = np.argsort(-squares.sum(1), kind="stable")
        return _Order(places=places, channels=channels[places], n_born=0)
    units = [(layer, int(channel)) for channel in channels]
    at = [born.place(unit, whole) for unit in units]
    is_born = np.array([place >= 0 for place in at], bool)
    key = np.where(is_born, at, whole.sizes[CHECKPOINT])
    places = np.lexsort((channels, key))
    return _Order(places=places, channels=channels[places], n_born=int(is_born.sum()))


def _draw(
    strength: np.ndarray, rows: _Order, columns: _Order, names: list[str], layers: tuple[str, str]
) -> "Figure":
    """A panel a checkpoint, on one scale of colours."""
    from matplotlib.colors import PowerNorm

    n_columns = min(len(names), _MOST_COLUMNS)
    n_rows = -(-len(names) // n_columns)
    figure: Figure
    figure, grid = subplots(
        nrows=n_rows,
        ncols=n_columns,
        figsize=(max(n_columns * _PANEL_INCHES + 1.3, 4.8), n_rows * _PANEL_INCHES + 1.0),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    known = strength[np.isfinite(strength)]
    top = float(np.quantile(known, _BRIGHTEST)) if len(known) else 1.0
    norm = PowerNorm(_GAMMA, vmin=0, vmax=top or 1.0)
    for axes, at, name in zip(grid.flat, strength, names, strict=False):
        cells = np.ma.masked_invalid(at[rows.places][:, columns.places])
        axes.set_facecolor(UNKNOWN_COLOR)
        image = axes.imshow(cells, cmap="cividis", norm=norm, aspect="auto", interpolation="none")
        axes.set_title(plain(name), fontsize=8, loc="left")
        _name_channels(axes, rows.channels, columns.channels)
        _part(axes, rows, columns)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=grid, pad=0.02, aspect=30, extend="max")
    bar.set_label("strength, in SD of the target", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    source, to = layers
    figure.supylabel(plain(f"{source}, {counted(len(rows.channels), 'channel')}"), fontsize=9)
    for axes in grid[-1]:
        text = plain(f"{to}, {counted(len(columns.channels), 'channel')}")
        axes.set_xlabel(text, fontsize=8)
    return figure


def _name_channels(axes: Any, rows: np.ndarray, columns: np.ndarray) -> None:
    """Numbers of some channels at their places, of all where there is room."""
    for axis, channels in ((axes.yaxis, rows), (axes.xaxis, columns)):
        places = evenly(len(channels), _MOST_NAMES, "channels")
        axis.set_ticks(places, [str(each) for each in channels[places]])
    axes.tick_params(labelsize=5.5, length=2, pad=1.5)


def _part(axes: Any, rows: _Order, columns: _Order) -> None:
    """Lines between units that are born and those that are not."""
    if 0 < rows.n_born < len(rows.channels):
        axes.axhline(rows.n_born - 0.5, color="white", lw=1)
    if 0 < columns.n_born < len(columns.channels):
        axes.axvline(columns.n_born - 0.5, color="white", lw=1)
