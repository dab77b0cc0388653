"""A track as a film: its top images at each checkpoint, and its numbers beside their null."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.ranking import RANK
from dvis.analysis.requirements import require
from dvis.kinds.activations.pictures.cells import MAP_NOTE, draw_sample, value_text
from dvis.kinds.saes.dims import LATENT, SCORE
from dvis.kinds.saes.pictures.chosen import layer_of
from dvis.kinds.saes.pictures.made_of import samples_and_tokens
from dvis.kinds.saes.pictures.tracks import tracks_there
from dvis.kinds.saes.read import SAE_READER, name_in_layer, weights_told_of
from dvis.kinds.saes.tracks.words import METHOD, TRACK, shared_name
from dvis.kinds.saes.words import KIND, evaluation_name
from dvis.plots.canvas import UNIT_COLORS, evenly, headline, require_limit, saved, without_box
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_name, moment_names
from dvis.schema import CHECKPOINT, Status
from dvis.store.reader import store_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_IMAGES, MAX_CHECKPOINTS = 6, 8
_CELL_INCHES, _PANEL_INCHES = 0.95, 3.0
_NEEDS = (LATENT, "frequency", "drift", "similarity", "status", "birth", "death")
_CURVES = {
    "similarity": "similarity to the checkpoint before",
    "drift": "drift since it begins",
    "frequency": "share of rows in which it fires",
    "selectivity": "class selectivity",
}


@documented
def track_film(
    tracks: xr.Dataset,
    track: int | None = None,
    *,
    max_images: int = MAX_IMAGES,
    path: str | Path | None = None,
) -> "Figure":
    """A track's top images at each checkpoint, a row each, and its numbers beside their null.

    In grey is what a second seed of the same checkpoint has: a similarity that is no lower and a
    drift that is no higher are what seeds alone give. Images are of what `dvis sae evaluate` found
    of the latent that the track is at a checkpoint, on one scale a checkpoint.

    Parameters
    ----------
    tracks : Dataset
        As `dvis.tracks` gives it, by another method than cross.
    track : int, optional
        The track; by default the one of most checkpoints that fires most.
    max_images : int
        How many images of a checkpoint to show at most.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such track, the latents are not evaluated, or a crosscoder's codes, which
        have no images of a checkpoint.
    SchemaError
        When it is no Dataset of tracks.
    """
    advice = "Open one with dvis.tracks, of what `dvis sae track` found"
    require(tracks, *_NEEDS, labels=(CHECKPOINT, TRACK), advice=advice)
    require_limit("max_images", max_images)
    there = tracks_there(tracks)
    one = _one_track(there, track, tracks)
    found = _evaluated(tracks)
    places = np.flatnonzero(one[LATENT].values >= 0)
    rows = places[evenly(len(places), MAX_CHECKPOINTS, "checkpoints")]
    top = [_top(found, one.isel({CHECKPOINT: place}), max_images) for place in rows]
    ids = [name for each in top if each is not None for name in each["top_sample"].values.tolist()]
    samples, tokens = samples_and_tokens(found, ids)
    figure, cells, panels = _parts(len(rows), max_images)
    for place, each, of_row in zip(rows, top, cells, strict=True):
        at = one.isel({CHECKPOINT: place})
        label = f"{moment_name(at)}\nlatent {int(at[LATENT])}"
        of_row[0].set_ylabel(plain(label), fontsize=6.5, rotation=0, ha="right", va="center")
        for number, cell in enumerate(of_row):
            _draw_cell(cell, each, number, samples, tokens)
    _draw_curves(panels, one)
    ends = [
        f"{word} at {moment_name(one, str(one[name].item()))}" if str(one[name].item()) else ""
        for name, word in (("birth", "born"), ("death", "gone"))
    ]
    of = f"{layer_of(tracks)}, {name_in_layer(tracks)}, by {tracks.attrs[METHOD]}"
    title = ", ".join(part for part in (f"Track {int(one[TRACK])}: {of}", *ends) if part)
    has_null = "null_drift" in one and bool(one["null_drift"].notnull().any())
    null = (
        "grey: what a second seed of the checkpoint has" if has_null else "no second seed beside it"
    )
    scale = MAP_NOTE.format(scale="the latent's largest code")
    headline(figure, title, null, scale, samples.note, origin_of(tracks))
    return saved(figure, path)


def _one_track(there: xr.Dataset, track: int | None, tracks: xr.Dataset) -> xr.Dataset:
    """The track that is asked for, else the one of most checkpoints that fires most."""
    numbers = there[TRACK].values.tolist()
    if track is None:
        length = (there[LATENT].values >= 0).sum(0)
        highest = np.nan_to_num(there["frequency"].values).max(0)
        return there.isel({TRACK: int(np.lexsort((highest, length))[-1])})
    if track not in numbers:
        raise ValueError(
            f"No track {track}. The tracks of {layer_of(tracks)}, {name_in_layer(tracks)}: "
            f"{numbers[0]} to {numbers[-1]}"
        )
    return there.sel({TRACK: track})


def _evaluated(tracks: xr.Dataset) -> xr.Dataset:
    """What was found of the latents that tracks are of, where it is of the same weights."""
    method = str(tracks.attrs[METHOD])
    if method == "cross":
        raise ValueError(
            "a crosscoder's code is one for all checkpoints and has no images of each; draw "
            "sae-tracks, or the film of another method"
        )
    store, found = store_of(tracks, "what dvis.tracks gave")
    name = name_in_layer(tracks)
    name = shared_name(name) if method == "shared" else name
    called = evaluation_name(layer_of(tracks), name)
    entries = [e for e in found.of(KIND, str(tracks.attrs["run"])) if e.name == called]
    if not entries:
        raise ValueError(
            f"the latents of {layer_of(tracks)}, {name}, are not evaluated; run `dvis sae evaluate "
            f"--name {name}`, which finds their images"
        )
    dataset = SAE_READER.open_entry(store, found, entries[0])
    of_label = weights_told_of(store, entries[0])
    made_of = list(tracks.attrs.get("made_of", ()))
    wanted = dict(zip(tracks.attrs["checkpoints"], made_of, strict=False))
    is_there = [
        status == Status.COMPLETE and of_label[label] == wanted.get(label, of_label[label])
        for label, status in zip(
            dataset[CHECKPOINT].values.tolist(), dataset["status"].values, strict=True
        )
    ]
    return dataset.isel({CHECKPOINT: np.array(is_there, bool)})


def _top(found: xr.Dataset, at: xr.Dataset, max_images: int) -> xr.Dataset | None:
    """Top images of a track's latent at a checkpoint; None where it is not evaluated."""
    label = str(at[CHECKPOINT].item())
    if label not in found[CHECKPOINT].values:
        return None
    names = ["top_sample", "top_value", "top_map"]
    of_latent = found[names].sel({CHECKPOINT: label, LATENT: int(at[LATENT])}).isel({SCORE: 0})
    return of_latent.isel({RANK: slice(max_images)}).load()


def _draw_cell(
    cell: "Axes", top: xr.Dataset | None, number: int, samples: Any, tokens: Any
) -> None:
    is_one = top is not None and number < top.sizes[RANK]
    one = top.isel({RANK: number}) if top is not None and is_one else None
    if one is None or not float(one["top_value"]) > 0:
        cell.set_xticks([])
        cell.set_yticks([])
        cell.spines[:].set_visible(False)
        if number == 0 and top is None:
            cell.text(0.5, 0.5, "not evaluated", ha="center", va="center", fontsize=6)
        return
    caption = value_text(float(one["top_value"]))
    draw_sample(
        cell, str(one["top_sample"].item()), samples, one["top_map"].values, tokens, caption
    )


def _parts(n_rows: int, n_columns: int) -> "tuple[Figure, Any, list[Axes]]":
    """A figure with a row of cells for each checkpoint, and panels beside."""
    import matplotlib.pyplot as plt

    width, height = _CELL_INCHES * n_columns + 1.0, max(4.2, 1.25 * _CELL_INCHES * n_rows + 0.8)
    figure = plt.figure(figsize=(width + _PANEL_INCHES, height), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(width, _PANEL_INCHES))
    left, right = halves
    cells = left.subplots(n_rows, n_columns, squeeze=False)
    return figure, cells, list(right.subplots(len(_CURVES), 1, sharex=True))


def _draw_curves(panels: "list[Axes]", one: xr.Dataset) -> None:
    """Numbers of a track over checkpoints, with those of its match in a second seed in grey."""
    places = np.arange(one.sizes[CHECKPOINT])
    for axes, (name, title) in zip(panels, _CURVES.items(), strict=True):
        if f"null_{name}" in one:
            null = one[f"null_{name}"].values
            edge = 1.0 if name == "similarity" else 0.0
            draw_null(axes, places, np.minimum(null, edge), np.maximum(null, edge))
        if name in one:
            axes.plot(places, one[name].values, color=UNIT_COLORS[0], marker=".", lw=1.2)
        else:
            axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", fontsize=7)
        axes.set_title(title, loc="left", fontsize=7.5)
        axes.tick_params(labelsize=6.5)
        axes.set_xlim(-0.5, len(places) - 0.5)
        without_box(axes)
    names = moment_names(one)
    shown = evenly(len(names), 4, "checkpoints")
    panels[-1].set_xticks(shown, [plain(names[place]) for place in shown], rotation=20)
