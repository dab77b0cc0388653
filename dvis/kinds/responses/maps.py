"""Channels among each other by how they answer the same images, over checkpoints.

What `dvis.responses` gave in, positions or cosines out.
"""

import numpy as np
import xarray as xr

from dvis.analysis.births import births
from dvis.analysis.requirements import require
from dvis.analysis.selectivity import COLORS, best_classes
from dvis.analysis.trajectories import of_complete_units, origin
from dvis.analysis.unit_maps import unit_cosines, unit_map
from dvis.kinds.responses.analysis import IMAGE_CLASS, selectivity
from dvis.kinds.responses.words import IMAGE
from dvis.plots.selection import at_layer
from dvis.plots.unit_scatter import among_checkpoints
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_DIMS, did_you_mean

_LEAST_IMAGES = 3  # of two, every correlation is 1 or -1
_ADVICE = "Responses to images have them: `dvis respond --dataset NAME` without --by-class"


def channel_map(
    dataset: xr.Dataset, layer: str | None = None, *, n_components: int = 2, seed: int = 0
) -> xr.Dataset:
    """Where a layer's channels lie by their responses to the same images, at each checkpoint.

    Computes at once. Each channel is its responses, standardised over images, so that the gain of
    the layer moves nothing; channels whose responses are all the same have no place.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.responses` gave, of images.
    layer : str, optional
        The layer; needed where there are several.
    n_components, seed : int, optional
        As `dvis.analysis.unit_maps.unit_map` takes them.

    Returns
    -------
    Dataset
        `position` (checkpoint, channel, component), `explained`, `null_explained` and `overlap`, as
        `unit_map` gives them.

    Raises
    ------
    SchemaError
        When these are no responses to images.
    ValueError
        When there is no such layer, there are fewer than three images, or no checkpoint has enough
        channels.
    """
    vectors = channel_vectors(dataset, layer)
    found = unit_map(vectors, n_components=n_components, seed=seed)
    return found.assign_attrs({**origin(dataset), LAYER: vectors.attrs[LAYER]})


def channel_cosines(dataset: xr.Dataset, layer: str | None = None, *, seed: int = 0) -> xr.Dataset:
    """Correlations of a layer's channels over the same images, at each checkpoint.

    Parameters
    ----------
    dataset, layer
        As `channel_map` takes them.
    seed : int, optional
        Of the null.

    Returns
    -------
    Dataset
        `cosine` (checkpoint, channel, channel_to) and `null_cosine` (checkpoint), as
        `dvis.analysis.unit_maps.unit_cosines` gives them.

    Raises
    ------
    SchemaError, ValueError
        As `channel_map` does.
    """
    vectors = channel_vectors(dataset, layer)
    found = unit_cosines(vectors, seed=seed)
    return found.assign_attrs({**origin(dataset), LAYER: vectors.attrs[LAYER]})


def channel_vectors(dataset: xr.Dataset, layer: str | None) -> xr.DataArray:
    """Standardised responses, (checkpoint, channel, image), of length 1; NaN where constant."""
    require(dataset, "response", labels=(*UNIT_DIMS, IMAGE), advice=_ADVICE)
    of_layer = at_layer(dataset, layer)
    for dim in (CHECKPOINT, CHANNEL):
        of_layer = of_layer if dim in of_layer.dims else of_layer.expand_dims(dim)
    if of_layer.sizes[IMAGE] < _LEAST_IMAGES:
        raise ValueError(
            f"there are {of_layer.sizes[IMAGE]} images; give {_LEAST_IMAGES} or more, for of two "
            "every correlation is 1 or -1"
        )
    response = of_complete_units(of_layer, of_layer["response"]).astype(np.float64)
    response = response.transpose(CHECKPOINT, CHANNEL, IMAGE).load()
    centred = response - response.mean(IMAGE, skipna=False)
    lengths = ((centred**2).sum(IMAGE, skipna=False)) ** 0.5
    scale = abs(response).max(IMAGE) * np.finfo(np.float32).eps * response.sizes[IMAGE] ** 0.5
    vectors = (centred / lengths).where(lengths > scale)
    is_there = vectors.notnull().any([CHECKPOINT, IMAGE])
    name = str(of_layer[LAYER].item())
    return vectors.isel({CHANNEL: is_there.values}).assign_attrs({LAYER: name})


def channel_colors(dataset: xr.Dataset, by: str | None) -> xr.DataArray | None:
    """What the channels of one layer are coloured by on a map, (channel,).

    Parameters
    ----------
    dataset : Dataset
        What `dvis.responses` gave, of one layer.
    by : {"class", "birth"}, optional
        The best class at the last checkpoint of those that are selective above their null; or the
        checkpoint of birth, by number. By default the class where images have one.

    Raises
    ------
    ValueError
        When it is neither.
    SchemaError
        When it is the class, and images have none.
    """
    if by is None and IMAGE_CLASS not in dataset.coords:
        return None
    if by not in (None, *COLORS):
        raise ValueError(did_you_mean("color", str(by), COLORS, "a map"))
    if by == "birth":
        place = births(dataset)["birth"].isel({LAYER: 0}, drop=True)
        return among_checkpoints(place, dataset, "checkpoint of birth")
    return best_classes(selectivity(dataset).isel({LAYER: 0}, drop=True))
