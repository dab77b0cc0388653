"""What `dvis plot` draws of sparse autoencoders and their latents, of its options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from dvis.kinds.picture import Picture, one_layer
from dvis.kinds.saes import pictures
from dvis.kinds.saes.chains.read import chosen_chains
from dvis.kinds.saes.maps import latent_colors, latent_cosines, latent_map
from dvis.kinds.saes.pictures.chosen import OneOrSeveral, layer_of
from dvis.kinds.saes.pictures.film import MAX_IMAGES as MAX_FILM_IMAGES
from dvis.kinds.saes.pictures.latent import MAX_IMAGES
from dvis.kinds.saes.pictures.tracks import MAX_TRACKS
from dvis.kinds.saes.pictures.trees import MAX_PARENTS
from dvis.kinds.saes.read import SAE_READER, chosen_tracks, name_in_layer, name_of
from dvis.kinds.saes.selectivity import latent_selectivity
from dvis.kinds.saes.words import KIND, is_autoencoders, is_evaluation, pictured_as
from dvis.plots.selectivity import selectivity_map
from dvis.plots.unit_scatter import unit_scatter
from dvis.store.contents import Contents, Entry
from dvis.store.reader import store_of

_INSTEAD = {
    True: "none is evaluated yet; run `dvis sae evaluate`",
    False: "none is there; run `dvis sae train`",
}


def _frontier(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    name: str | None = None,
    checkpoint: str | None = None,
    path: Path,
) -> None:
    _refuse_channel(channel)
    pictures.sae_frontier(_with_others(dataset, name), checkpoint=checkpoint, path=path)


def _training(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    name: str | None = None,
    checkpoint: str | None = None,
    path: Path,
) -> None:
    _refuse_channel(channel)
    pictures.sae_training(_with_others(dataset, name), checkpoint=checkpoint, path=path)


def _frequencies(
    dataset: xr.Dataset, *, layer: Any, channel: Any, checkpoint: str | None = None, path: Path
) -> None:
    _refuse_channel(channel)
    pictures.latent_frequencies(dataset, checkpoint=checkpoint, path=path)


def _latent(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    unit_images: xr.Dataset | None,
    latent: int | None = None,
    checkpoint: str | None = None,
    score: str | None = None,
    max_images: int = MAX_IMAGES,
    path: Path,
) -> None:
    _refuse_channel(channel)
    pictures.latent_sheet(
        dataset,
        latent,
        checkpoint=checkpoint,
        score=score,
        unit_images=unit_images,
        max_images=max_images,
        path=path,
    )


def _selectivity(
    dataset: xr.Dataset, *, layer: Any, channel: Any, checkpoint: str | None = None, path: Path
) -> None:
    _refuse_channel(channel)
    selectivity_map(latent_selectivity(dataset), checkpoint=checkpoint, path=path)


def _map(
    dataset: xr.Dataset, *, layer: Any, channel: Any, color: str | None = None, path: Path
) -> None:
    _refuse_channel(channel)
    unit_scatter(
        latent_map(dataset),
        cosines=latent_cosines(dataset),
        color=latent_colors(dataset, color),
        path=path,
    )


def _tracks(
    dataset: xr.Dataset, *, layer: Any, channel: Any, max_tracks: int = MAX_TRACKS, path: Path
) -> None:
    _refuse_channel(channel)
    pictures.sae_tracks(dataset, max_tracks=max_tracks, path=path)


def _film(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    track: int | None = None,
    max_images: int = MAX_FILM_IMAGES,
    path: Path,
) -> None:
    _refuse_channel(channel)
    pictures.track_film(dataset, track, max_images=max_images, path=path)


def _tracked(found: Contents, options: Any) -> tuple[str | None, str | None]:
    """Which group of tracks is opened, of what the store holds and the options of `dvis plot`."""
    entry = chosen_tracks(found, one_layer(options), options.name, options.run, options.method)
    return entry.run, entry.name


def _chain(
    dataset: xr.Dataset, *, layer: Any, channel: Any, checkpoint: str | None = None, path: Path
) -> None:
    _refuse_channel(channel)
    pictures.chain_curves(dataset, checkpoint=checkpoint, path=path)


def _chain_tree(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    latent: int | None = None,
    depth: int | None = None,
    seed: int | None = None,
    checkpoint: str | None = None,
    k: int = MAX_PARENTS,
    path: Path,
) -> None:
    _refuse_channel(channel)
    given: dict[str, Any] = {"depth": depth, "seed": seed, "checkpoint": checkpoint, "k": k}
    pictures.chain_tree(dataset, latent, path=path, **given)


def _chained(found: Contents, options: Any) -> tuple[str | None, str | None]:
    """Which group of chains is opened, of what the store holds and the options of `dvis plot`."""
    which = options.on, options.read_with
    entry = chosen_chains(found, one_layer(options), options.name, options.run, *which)
    return entry.run, entry.name


def _refuse_channel(channel: Any) -> None:
    if channel is not None:
        raise ValueError("autoencoders have latents, not channels: leave --channel out")


def _with_others(dataset: xr.Dataset, name: str | None) -> OneOrSeveral:
    """The Dataset where its name was given; else all that its run and layer have, by name."""
    if name is not None:
        return dataset
    store, found = store_of(dataset, "what dvis.saes or dvis.latents gave")
    is_meant = is_evaluation if is_evaluation(dataset.attrs) else is_autoencoders
    entries = [
        entry
        for entry in found.of(KIND, str(dataset.attrs["run"]))
        if entry.attrs.get("layer") == layer_of(dataset) and is_meant(entry.attrs)
    ]
    opened = [SAE_READER.open_entry(store, found, entry) for entry in entries]
    return {name_in_layer(each): each for each in opened}


def _chosen(
    *, is_evaluated: bool, is_of_all: bool
) -> Callable[[Contents, Any], tuple[str | None, str | None]]:
    """Which group is opened, of what the store holds and the options of `dvis plot`."""

    def name_if_meant(entry: Entry) -> str | None:
        is_meant = is_evaluation if is_evaluated else is_autoencoders
        return name_of(entry) if is_meant(entry.attrs) else None

    def chosen(found: Contents, options: Any) -> tuple[str | None, str | None]:
        layer, name = one_layer(options), options.name
        if is_of_all and name is None and found.of(KIND):  # any of them is opened first
            entries = found.of(KIND, options.run or found.default_run(KIND))
            of_layer = [e for e in entries if layer in (None, e.attrs.get("layer"))]
            name = next(filter(None, map(name_if_meant, of_layer)), None)
        entry = SAE_READER.choose_of_layer(
            found, layer, name, options.run, name_if_meant, instead=_INSTEAD[is_evaluated]
        )
        return entry.run, entry.name

    return chosen


PICTURES = {
    "sae-frontier": Picture(
        draw=_frontier,
        options=("name", "checkpoint"),
        chosen=_chosen(is_evaluated=True, is_of_all=True),
    ),
    "sae-training": Picture(
        draw=_training,
        options=("name", "checkpoint"),
        chosen=_chosen(is_evaluated=False, is_of_all=True),
    ),
    "latent-frequencies": Picture(
        draw=_frequencies,
        options=("checkpoint",),
        opens=("name",),
        chosen=_chosen(is_evaluated=True, is_of_all=False),
    ),
    "latent-selectivity": Picture(
        draw=_selectivity,
        options=("checkpoint",),
        opens=("name",),
        chosen=_chosen(is_evaluated=True, is_of_all=False),
    ),
    "latent-map": Picture(
        draw=_map,
        options=("color",),
        opens=("name",),
        chosen=_chosen(is_evaluated=False, is_of_all=False),
    ),
    "latent-sheet": Picture(
        draw=_latent,
        options=("latent", "checkpoint", "score", "max_images"),
        opens=("name", "variant"),
        chosen=_chosen(is_evaluated=True, is_of_all=False),
        beside=lambda dataset: pictured_as(name_in_layer(dataset)),
    ),
    "sae-tracks": Picture(
        draw=_tracks, options=("max_tracks",), opens=("name", "method"), chosen=_tracked
    ),
    "chain": Picture(
        draw=_chain, options=("checkpoint",), opens=("name", "on", "read_with"), chosen=_chained
    ),
    "chain-tree": Picture(
        draw=_chain_tree,
        options=("latent", "depth", "seed", "checkpoint", "k"),
        opens=("name", "on", "read_with"),
        chosen=_chained,
    ),
    "track-film": Picture(
        draw=_film, options=("track", "max_images"), opens=("name", "method"), chosen=_tracked
    ),
}
