"""Latents among each other by their decoder directions, over checkpoints.

What `dvis.saes` gave in, positions or cosines out.
"""

import xarray as xr

from dvis.analysis.requirements import require
from dvis.analysis.selectivity import COLORS, best_classes, selectivity_births
from dvis.analysis.trajectories import origin
from dvis.analysis.unit_maps import unit_cosines, unit_map
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.lineage import why_unmatched
from dvis.kinds.saes.pictures.chosen import layer_of
from dvis.kinds.saes.read import latents, name_in_layer
from dvis.kinds.saes.selectivity import latent_selectivity
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNMATCHED, SchemaError, Status, did_you_mean
from dvis.store.reader import store_of


def latent_map(dataset: xr.Dataset, *, n_components: int = 2, seed: int = 0) -> xr.Dataset:
    """Where latents lie by their decoder directions, at each checkpoint.

    Computes at once. Each latent is its row of the decoder, of length 1.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.saes` gave.
    n_components, seed : int, optional
        As `dvis.analysis.unit_maps.unit_map` takes them.

    Returns
    -------
    Dataset
        `position` (checkpoint, latent, component), `explained`, `null_explained` and `overlap`, as
        `unit_map` gives them. Where a latent's number is another latent at each checkpoint,
        `attrs["unmatched"]` says so: then points move, and mean nothing.

    Raises
    ------
    SchemaError
        When these are no autoencoders.
    ValueError
        When none is trained yet, or a parameter is out of its range.
    """
    return _told(unit_map(_vectors(dataset), n_components=n_components, seed=seed), dataset)


def latent_cosines(dataset: xr.Dataset, *, seed: int = 0) -> xr.Dataset:
    """Cosines of all pairs of latents' decoder directions, at each checkpoint.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.saes` gave; select checkpoints first, for there is a number a pair.
    seed : int, optional
        Of the null.

    Returns
    -------
    Dataset
        `cosine` (checkpoint, latent, latent_to) and `null_cosine` (checkpoint), as
        `dvis.analysis.unit_maps.unit_cosines` gives them.

    Raises
    ------
    SchemaError, ValueError
        As `latent_map` does.
    """
    return _told(unit_cosines(_vectors(dataset), seed=seed), dataset)


def latent_colors(dataset: xr.Dataset, by: str | None) -> xr.DataArray | None:
    """What latents are coloured by on a map, (latent,), of what their evaluation found.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.saes` gave, tied to its store.
    by : {"class", "birth"}, optional
        The best class at the last checkpoint of those that are selective above their null; or the
        number of the checkpoint from which they are. By default the class where that is known.

    Raises
    ------
    ValueError
        When it is neither, or births are asked for and latents are others at each checkpoint.
    SchemaError, KeyError
        When it is asked for, and nothing is evaluated.
    """
    if by not in (None, *COLORS):
        raise ValueError(did_you_mean("color", str(by), COLORS, "a map"))
    try:
        store, _ = store_of(dataset, "what dvis.saes gave")
        found = latents(store, layer_of(dataset), name_in_layer(dataset), str(dataset.attrs["run"]))
        judged = latent_selectivity(found)
    except (SchemaError, KeyError, ValueError):
        if by is None:
            return None
        raise
    if by == "birth":
        place = selectivity_births(judged)["birth"]
        text = "number of the checkpoint from which it is selective"
        return place.where(place >= 0).assign_attrs(long_name=text)
    return best_classes(judged)


def _vectors(dataset: xr.Dataset) -> xr.DataArray:
    """Directions of latents at the checkpoints that are there, NaN of rows of length 0."""
    require(dataset, "decoder", "status", labels=(CHECKPOINT, LATENT), advice="Open dvis.saes")
    dataset = dataset if CHECKPOINT in dataset.dims else dataset.expand_dims(CHECKPOINT)
    there = dataset["status"].values == Status.COMPLETE
    if not there.any():
        raise ValueError("no autoencoder is trained yet: run the same `dvis sae train` again")
    decoder = dataset["decoder"].isel({CHECKPOINT: there}).transpose(CHECKPOINT, LATENT, CHANNEL)
    decoder = decoder.astype("float64").load()
    lengths = ((decoder**2).sum(CHANNEL)) ** 0.5
    return (decoder / lengths).where(lengths > 0)


def _told(found: xr.Dataset, dataset: xr.Dataset) -> xr.Dataset:
    name = name_in_layer(dataset)
    unmatched = why_unmatched(dataset, name)
    attrs = {LAYER: layer_of(dataset), "name": name, UNMATCHED: unmatched}
    return found.assign_attrs({**origin(dataset), **attrs})
