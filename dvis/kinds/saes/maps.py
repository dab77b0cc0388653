"""Latents among each other by their decoder directions, over checkpoints.

What `dvis.saes` gave in, positions or cosines out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require, require_some
from dvis.analysis.selectivity import COLORS, best_classes, selectivity_births
from dvis.analysis.trajectories import origin
from dvis.analysis.unit_maps import unit_cosines, unit_map
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.lineage import why_unmatched
from dvis.kinds.saes.pictures.chosen import layer_of
from dvis.kinds.saes.read import latents, name_in_layer
from dvis.kinds.saes.selectivity import latent_selectivity
from dvis.plots.unit_scatter import among_checkpoints
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNMATCHED, SchemaError, Status, did_you_mean
from dvis.store.reader import store_of

_ADVICE = "Open dvis.saes, or give its decoder"


def latent_map(
    dataset: xr.Dataset | xr.DataArray, *, n_components: int = 2, seed: int = 0
) -> xr.Dataset:
    """Where latents lie by their decoder directions, at each checkpoint.

    Computes at once. Each latent is its row of the decoder, of length 1.

    Parameters
    ----------
    dataset : Dataset or DataArray, (checkpoint, latent, channel)
        What `dvis.saes` gave, or its variable `decoder` alone, or directions of one's own: rows
        that are not finite or of length 0 have no place. One checkpoint needs no dimension.
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
    TypeError
        When it is neither a Dataset nor a DataArray.
    SchemaError
        When these are no autoencoders.
    ValueError
        When none is trained yet, the directions have other dimensions, or a parameter is out of its
        range.
    """
    return _told(unit_map(_vectors(dataset), n_components=n_components, seed=seed), dataset)


def latent_cosines(dataset: xr.Dataset | xr.DataArray, *, seed: int = 0) -> xr.Dataset:
    """Cosines of all pairs of latents' decoder directions, at each checkpoint.

    Parameters
    ----------
    dataset : Dataset or DataArray
        As `latent_map` takes it; select checkpoints first, for there is a number a pair.
    seed : int, optional
        Of the null.

    Returns
    -------
    Dataset
        `cosine` (checkpoint, latent, latent_to) and `null_cosine` (checkpoint), as
        `dvis.analysis.unit_maps.unit_cosines` gives them.

    Raises
    ------
    TypeError, SchemaError, ValueError
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
        checkpoint from which they are, by number. By default the class where that is known.

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
        return among_checkpoints(place, judged, "checkpoint from which it is selective")
    return best_classes(judged)


def _vectors(given: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Directions of latents at the checkpoints that are there, NaN of rows of length 0."""
    if isinstance(given, xr.DataArray):
        decoder = _directions(given)
    else:
        require(given, "decoder", "status", labels=(CHECKPOINT, LATENT), advice=_ADVICE)
        given = given if CHECKPOINT in given.dims else given.expand_dims(CHECKPOINT)
        there = given["status"].values == Status.COMPLETE
        if not there.any():
            raise ValueError("no autoencoder is trained yet: run the same `dvis sae train` again")
        decoder = given["decoder"].isel({CHECKPOINT: there})
    decoder = decoder.transpose(CHECKPOINT, LATENT, CHANNEL).astype("float64").load()
    lengths = ((decoder**2).sum(CHANNEL)) ** 0.5
    return (decoder / lengths).where(lengths > 0)


def _directions(given: xr.DataArray) -> xr.DataArray:
    """Directions that are given as an array, with the dimension of checkpoints."""
    wanted = (CHECKPOINT, LATENT, CHANNEL)
    if not {LATENT, CHANNEL} <= {*given.dims} <= {*wanted}:
        raise ValueError(
            f"the array {given.name!r} has dimensions {given.dims}; directions have {wanted}, such "
            "as dvis.saes(store, layer).decoder"
        )
    require_some(given, LATENT, CHANNEL)
    given = given if CHECKPOINT in given.dims else given.expand_dims(CHECKPOINT)
    require_some(given, CHECKPOINT)
    unlabelled = [dim for dim in (CHECKPOINT, LATENT) if dim not in given.coords]
    return given.assign_coords({dim: np.arange(given.sizes[dim]) for dim in unlabelled})


def _told(found: xr.Dataset, dataset: xr.Dataset | xr.DataArray) -> xr.Dataset:
    if isinstance(dataset, xr.DataArray):
        return found
    name = name_in_layer(dataset)
    unmatched = why_unmatched(dataset, name)
    attrs = {LAYER: layer_of(dataset), "name": name, UNMATCHED: unmatched}
    return found.assign_attrs({**origin(dataset), **attrs})
