"""Latents as units of feature images: which are asked for, and which a store's images are of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.saes.directions import dead_latents, latent_directions
from dvis.models.directions import Directions
from dvis.models.model_reference import model_name
from dvis.schema import AUTOENCODER, CHANNEL, LAYER, Status, counted
from dvis.schema import UNIT as OF_UNIT

_SHOWN = 5  # checkpoints of a note


def asked_latents(options: VisualizeOptions, weights: Mapping[str, int]) -> Directions | None:
    """The latents that options ask for, of weights by checkpoint; None where they ask for none.

    Raises
    ------
    FileNotFoundError, KeyError, SchemaError, ValueError
        As `dvis.kinds.saes.directions.latent_directions` does.
    """
    if not options.latents:
        return None
    name, numbers = options.latents_asked
    return latent_directions(
        options.store_of(model_name(options.model)),
        name,
        numbers,
        layers=options.layers,
        run=options.run,
        weights=weights,
    )


def said_of_dead(
    options: VisualizeOptions, directions: Directions | None, labels: Sequence[str]
) -> list[str]:
    """How many of the latents that are asked for never fire at some checkpoints, by layer."""
    if not options.latents or directions is None:
        return []
    store = options.store_of(model_name(options.model))
    found = dead_latents(store, directions, run=options.run)
    notes = []
    for layer in options.layers:
        dead = [(found.get((layer, label), 0), label) for label in labels]
        n_all = len(directions.numbers[layer])
        places = [f"{n} of {n_all} at {label}" for n, label in dead if n]
        if places:
            n_more = len(places) - _SHOWN
            rest = f", and some at {counted(n_more, 'more checkpoint')}" if n_more > 0 else ""
            notes.append(
                f"latents of {layer} that never fire, as `dvis sae evaluate` found: "
                f"{', '.join(places[:_SHOWN])}{rest}"
            )
    return notes


def stored_latents(store: str | Path, run: str, dataset: xr.Dataset) -> Directions:
    """The latents that a variant's complete images are of, as the store has them now.

    Raises
    ------
    KeyError, SchemaError, ValueError
        When the store does not have them.
    """
    name = dataset.attrs.get(AUTOENCODER)
    if name is None:
        unit = dataset.attrs.get(OF_UNIT, "direction")
        raise ValueError(f"a store keeps no {unit}s that were given from Python")
    is_there = (dataset["status"] == Status.COMPLETE).any(
        [d for d in dataset["status"].dims if d != CHANNEL]
    )
    numbers = dataset[CHANNEL].values[is_there.values]
    layers = [str(layer) for layer in np.atleast_1d(dataset[LAYER].values)]
    return latent_directions(store, str(name), numbers.tolist(), layers=layers, run=run)
