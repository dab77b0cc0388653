"""Sparse autoencoders whose latents are known, in a store, and what is found of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.stored import committed
from dvis.kinds.saes.words import (
    KIND,
    LOG_STEP,
    evaluation_name,
    evaluation_words,
    group_name,
    sae_words,
)
from dvis.names import parse_checkpoint
from dvis.schema import CHANNEL, CHECKPOINT, SOURCE
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing

RUN, MODEL = "checkpoints", "tiny_models:net"


def reading(rows: Any, offsets: Any = 0.0, decoder_bias: Any = 0.0) -> Autoencoder:
    """An autoencoder with rows (latent, channel) for an encoder."""
    encoder = np.asarray(rows, np.float32)
    width, n_channels = encoder.shape
    return Autoencoder(
        encoder=encoder,
        decoder=encoder.copy(),
        encoder_bias=np.full(width, offsets, np.float32),
        decoder_bias=np.full(n_channels, decoder_bias, np.float32),
        threshold=np.zeros(width, np.float32),
        kind="relu",
        k=1,
    )


def plant(
    store: Path,
    layer: str,
    autoencoders: Mapping[str, Autoencoder],
    *,
    name: str = "wide",
    weights: Mapping[str, int] | None = None,
    model: str = MODEL,
    room: Sequence[str] = (),
    **attrs: Any,
) -> None:
    """Write autoencoders by checkpoint, with room for checkpoints that have none."""
    one = next(iter(autoencoders.values()))
    dims = {LATENT: range(one.n_latents), CHANNEL: range(one.n_channels), LOG_STEP: ()}
    words = sae_words(n_latents=one.n_latents, n_channels=one.n_channels)
    settings = {"layer": layer, "kind": one.kind, "k": one.k, **attrs}
    with writing(store, model.rpartition(":")[2], RUN, KIND) as path:
        with restructuring(path):
            group = Group.open(path, words, RUN, group_name(layer, name), settings)
            labels = dict.fromkeys([*autoencoders, *room])
            group.grow([parse_checkpoint(label) for label in labels], dims)
        for label, each in autoencoders.items():
            made_of = np.array([(weights or {}).get(label, 0)], np.uint64)
            group.commit(
                committed(each, label).assign(
                    {"scale": (CHECKPOINT, [1.0]), f"{SOURCE}/weights": (CHECKPOINT, made_of)}
                )
            )


def plant_evaluation(
    store: Path, layer: str, found: Mapping[str, Mapping[str, np.ndarray]], name: str = "wide"
) -> None:
    """Write numbers of latents, (latent,) by their names, of each checkpoint."""
    n_latents = len(next(iter(next(iter(found.values())).values())))
    settings = {"layer": layer, "evaluated": name, "split": "held_out"}
    words = evaluation_words(n_latents=n_latents)
    with writing(store, MODEL.rpartition(":")[2], RUN, KIND) as path:
        with restructuring(path):
            group = Group.open(path, words, RUN, evaluation_name(layer, name), settings)
            labels = {LATENT: range(n_latents), "score": ["max"], "rank": (), "token": ()}
            labels |= {"class": (), "shuffle": ()}
            names = [parse_checkpoint(label) for label in found]
            group.grow(names, labels)
            group.write_column("step", {name.label: name.step for name in names if name.step >= 0})
        for label, numbers in found.items():
            of_latents = {n: ((CHECKPOINT, LATENT), values[None]) for n, values in numbers.items()}
            coordinates = {CHECKPOINT: [label], LATENT: range(n_latents)}
            group.commit(xr.Dataset(of_latents, coordinates))
