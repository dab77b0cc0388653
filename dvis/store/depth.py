"""Layers in the order in which a model executes them.

What a store holds of its layers in, their places from the first to the last out.
"""

import gzip
import json
from functools import cache
from importlib import resources
from typing import Any

import xarray as xr

from dvis.names import natural_key
from dvis.schema import COORDINATES, DEPTH, LAYER

# Attribute of the coordinate `layer`, and its values.
ORDER, EXECUTION, NAMES = "order", "execution", "names"
_TABLE = "execution_order.json.gz"


def in_order_of_execution(dataset: xr.Dataset) -> tuple[xr.Dataset, list[int]]:
    """A Dataset that says in which order its layers stand, and that order.

    Parameters
    ----------
    dataset : Dataset, (layer, ...)
        A group of a store, whose attribute `model` names the model.

    Returns
    -------
    Dataset
        With the coordinate `depth` (layer), int32, where it is known of some layer, and the
        attribute `order` of `layer`: "execution", or "names" where the depth of some is not known.
    list of int
        Places of the layers, the first to be executed first; by natural name where that is not
        known of all.
    """
    layers = dataset[LAYER].values.tolist()
    stored = dataset[DEPTH].values.tolist() if DEPTH in dataset.coords else [-1] * len(layers)
    depths = stored
    if -1 in stored:
        # All of them from the table or none: a place counts the layers of one pass.
        table = _of_torchvision(str(dataset.attrs.get("model", "")))
        of_table = [table.get(layer, -1) for layer in layers]
        depths = stored if -1 in of_table else of_table
    is_known = -1 not in depths
    if set(depths) <= {-1}:
        dataset = dataset.drop_vars(DEPTH, errors="ignore")
    elif depths is not stored:
        words = COORDINATES[DEPTH]
        column = xr.Variable(LAYER, depths, dict(words.attrs)).astype(words.dtype)
        dataset = dataset.assign_coords({DEPTH: column})
    attrs = {**dataset[LAYER].attrs, ORDER: EXECUTION if is_known else NAMES}
    dataset = dataset.copy()
    dataset[LAYER].attrs = attrs

    def key(place: int) -> Any:
        return depths[place] if is_known else natural_key(layers[place])

    return dataset, sorted(range(len(layers)), key=key)


@cache
def _table() -> dict[str, Any]:
    packed = resources.files(__package__).joinpath(_TABLE).read_bytes()
    table: dict[str, Any] = json.loads(gzip.decompress(packed))
    return table


@cache
def _of_torchvision(model: str) -> dict[str, int]:
    """Place of each layer of a classification model of torchvision; nothing of other models."""
    table = _table()
    place = table["models"].get(model)
    layers = [] if place is None else table["layers"][place]
    return {layer: depth for depth, layer in enumerate(layers)}
