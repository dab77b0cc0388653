"""Latents as units of feature images: which are asked for, and which a store's images are of."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from dvis.kinds.features.options import VisualizeOptions
from dvis.kinds.saes.directions import latent_directions
from dvis.models.directions import Directions
from dvis.models.model_reference import model_name
from dvis.schema import AUTOENCODER, CHANNEL, LAYER, Status
from dvis.schema import UNIT as OF_UNIT


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
