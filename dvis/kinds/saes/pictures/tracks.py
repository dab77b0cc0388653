"""Tracks of latents over checkpoints as a river: as wide as they fire often, born and dying."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.requirements import require
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.pictures.chosen import layer_of
from dvis.kinds.saes.read import name_in_layer
from dvis.kinds.saes.tracks.words import METHOD, TRACK
from dvis.plots.canvas import UNIT_COLORS, headline, require_limit, saved, subplots, without_box
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null, null_note
from dvis.plots.selection import origin_of
from dvis.plots.ticks import name_ticks
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, Status, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_TRACKS = 60
_NEEDS = (LATENT, "frequency", "drift", "birth", "death", "status")
_ADVICE = "Open one with dvis.tracks, of what `dvis sae track` found"
_BIRTH, _DEATH = UNIT_COLORS[2], UNIT_COLORS[1]


@documented
def sae_tracks(
    tracks: xr.Dataset, *, max_tracks: int = MAX_TRACKS, path: str | Path | None = None
) -> "Figure":
    """Tracks over checkpoints: each as wide as it fires often, where it is born and where it dies.

    Shown are those that fire most, sorted by where they begin; the others are one grey stream.
    Below stand how many begin and end at each checkpoint, of all tracks, and the drift of those
    that are there: its median and quarters, and in grey how far two seeds of one checkpoint are
    apart. What does not leave the grey is no finding.

    Parameters
    ----------
    tracks : Dataset
        As `dvis.tracks` gives it.
    max_tracks : int
        How many are shown by themselves at most.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When no track is there.
    SchemaError
        When it is no Dataset of tracks.
    """
    require(tracks, *_NEEDS, labels=(CHECKPOINT, TRACK), advice=_ADVICE)
    require_limit("max_tracks", max_tracks)
    there = tracks_there(tracks)
    figure, grid = subplots(
        nrows=3, figsize=(8.2, 7.0), height_ratios=(3.2, 1, 1.1), sharex=True, layout="constrained"
    )
    n_shown = _draw_river(grid[0], there, max_tracks)
    _draw_ends(grid[1], there)
    _draw_drift(grid[2], there)
    names = moment_names(there)
    locator, formatter = name_ticks(names)
    grid[-1].xaxis.set_major_locator(locator)
    grid[-1].xaxis.set_major_formatter(formatter)
    for axes in grid:
        axes.tick_params(labelsize=7)
        without_box(axes)
    n_all = there.sizes[TRACK]
    others = f"; {counted(n_all - n_shown, 'other')} in grey" if n_shown < n_all else ""
    grid[0].set_title(f"share of rows in which each fires{others}", loc="left", fontsize=8)
    title = f"{counted(n_all, 'track')} of latents: {layer_of(tracks)}, {name_in_layer(tracks)}"
    has_null = "null_drift" in there and bool(there["null_drift"].notnull().any())
    exchanged = str(there["null_drift"].attrs.get(EXCHANGEABLE, "")) if has_null else ""
    notes = (
        f"by {tracks.attrs[METHOD]}, which cannot tell {tracks.attrs.get('cannot_tell', '')}",
        null_note(exchanged, "lower three quarters")
        if has_null
        else "no second seed stands beside the drift",
        origin_of(tracks),
    )
    headline(figure, title, *notes)
    return saved(figure, path)


def tracks_there(tracks: xr.Dataset) -> xr.Dataset:
    """Tracks at the checkpoints that are there, in memory.

    Raises
    ------
    ValueError
        When there is none.
    """
    is_there = tracks["status"].values == Status.COMPLETE
    if not is_there.any() or not tracks.sizes[TRACK]:
        raise ValueError(
            f"No track of {layer_of(tracks)}, {name_in_layer(tracks)} is there; run the same "
            "`dvis sae track` again, or of autoencoders that fire"
        )
    names = [str(name) for name, each in tracks.data_vars.items() if TRACK in each.dims]
    return tracks[names].isel({CHECKPOINT: is_there}).load()


def _draw_river(axes: "Axes", there: xr.Dataset, max_tracks: int) -> int:
    """Streams of the tracks that fire most, one above the other; how many."""
    width = np.nan_to_num(there["frequency"].transpose(CHECKPOINT, TRACK).values)
    chosen = np.sort(np.argsort(-width.max(0), kind="stable")[:max_tracks])
    places = np.arange(len(width))
    low = np.zeros(len(width))
    if len(chosen) < width.shape[1]:
        rest = np.delete(width, chosen, axis=1).sum(1)
        axes.fill_between(places, low, rest, color="0.85", lw=0)
        low = low + rest
    for number, track in enumerate(chosen):
        high = low + width[:, track]
        is_there = np.flatnonzero(there[LATENT].values[:, track] >= 0)
        shown = slice(max(0, is_there[0] - 1), is_there[-1] + 2)
        color = UNIT_COLORS[number % len(UNIT_COLORS)]
        axes.fill_between(places[shown], low[shown], high[shown], color=color, alpha=0.7, lw=0.3)
        middle = (low + high) / 2
        if there["birth"].values[track]:
            axes.plot(is_there[0], middle[is_there[0]], "^", color=_BIRTH, ms=4, mec="white")
        if there["death"].values[track]:
            axes.plot(is_there[-1], middle[is_there[-1]], "v", color=_DEATH, ms=4, mec="white")
        low = high
    axes.set_ylabel("summed", fontsize=8)
    axes.set_ylim(0, None)
    return len(chosen)


def _draw_ends(axes: "Axes", there: xr.Dataset) -> None:
    """How many tracks begin and end at each checkpoint."""
    labels = [str(label) for label in there[CHECKPOINT].values]
    for name, color, sign in (("birth", _BIRTH, 1), ("death", _DEATH, -1)):
        at = np.array(there[name].values.tolist(), str)
        counts = np.array([(at == label).sum() for label in labels])
        axes.bar(np.arange(len(labels)), sign * counts, 0.5, color=color)
    axes.axhline(0, color="0.4", lw=0.6)
    axes.set_ylabel("tracks", fontsize=8)
    axes.set_title("births (up) and deaths (down) of all tracks", loc="left", fontsize=8)


def _draw_drift(axes: "Axes", there: xr.Dataset) -> None:
    """Drift from where tracks begin, beside how far two seeds are apart."""
    places = np.arange(there.sizes[CHECKPOINT])
    if "null_drift" in there:
        high = _quarters(there["null_drift"])[2]
        draw_null(axes, places, np.where(np.isfinite(high), 0.0, np.nan), high)
    is_here = (there[LATENT] >= 0).transpose(CHECKPOINT, TRACK)
    is_older = is_here.copy(data=is_here.values.cumsum(0) > 1)  # where it begins a drift is 0
    low, middle, high = _quarters(there["drift"].where(is_older))
    axes.fill_between(places, low, high, color=UNIT_COLORS[0], alpha=0.25, lw=0)
    axes.plot(places, middle, color=UNIT_COLORS[0], lw=1.4, marker=".")
    axes.set_ylabel("1 - cosine", fontsize=8)
    what = "drift of the decoder since a track begins, of those that began before"
    axes.set_title(what, loc="left", fontsize=8)
    axes.set_ylim(0, None)


def _quarters(values: xr.DataArray) -> np.ndarray:
    """Quarters of tracks at each checkpoint, (3, checkpoint), NaN where there is none."""
    out = np.full((3, values.sizes[CHECKPOINT]), np.nan)
    for place, row in enumerate(values.transpose(CHECKPOINT, TRACK).values):
        known = row[np.isfinite(row)]
        if len(known):
            out[:, place] = np.quantile(known, (0.25, 0.5, 0.75))
    return out
