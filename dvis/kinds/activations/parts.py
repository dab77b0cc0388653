"""Parts of the page of activations: the images that drive a channel most, over checkpoints."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.read import READER, name_of
from dvis.kinds.activations.words import HISTOGRAM, TOKEN
from dvis.kinds.parts import Asked, PictureRows
from dvis.schema import CHANNEL, CHECKPOINT

MAX_RANKS = 12  # of a unit at a checkpoint: what one look takes in
_MAX_SIDE = 16  # of a map: it lies over a thumbnail


def top_images(asked: Asked) -> Iterator[PictureRows]:
    """The images of highest activation of a channel, of all activations that keep some."""
    if asked.unit is None or asked.unit.list_name:  # a latent's number is no channel's
        return
    layer = asked.unit.layer
    for entry, dataset in asked.groups(READER, lambda entry: entry.attrs.get("layer") == layer):
        if HISTOGRAM not in dataset or asked.unit.channel not in dataset[CHANNEL]:
            continue
        of_unit = dataset.sel({CHANNEL: asked.unit.channel}).isel({RANK: slice(MAX_RANKS)})
        yield PictureRows(
            title=f"Images that drive it most · {name_of(entry)}",
            note="By the maximum over places, each image once; maps show where, as shares of it.",
            image_set=str(entry.attrs["dataset"]),
            checkpoints=[str(label) for label in dataset[CHECKPOINT].values],
            samples=of_unit["top_sample"].values,
            values=of_unit["top_value"].values,
            maps=on_map(of_unit["top_map"], dataset),
        )


def on_map(maps: xr.DataArray, places: xr.Dataset) -> np.ndarray | None:
    """Numbers of tokens at their places on the layer's map, as small as lies over a thumbnail.

    Parameters
    ----------
    maps : DataArray, (..., token), uint8
        Numbers of tokens.
    places : Dataset, (token,)
        With `row` and `column` of each token, -1 where it has no place.

    Returns
    -------
    ndarray, (..., y, x), uint8, or None
        The highest of each place, 0 where there is no token; None where the map is one place.
    """
    row, column = places["row"].values, places["column"].values
    is_placed = (row >= 0) & (column >= 0)
    if not is_placed.any() or (row.max() < 1 and column.max() < 1):
        return None
    step = int(max(row.max(), column.max())) // _MAX_SIDE + 1
    values = maps.transpose(..., TOKEN).values[..., is_placed]
    y, x = row[is_placed] // step, column[is_placed] // step
    height, width = int(y.max()) + 1, int(x.max()) + 1
    drawn = np.zeros((height * width, *values.shape[:-1]), np.uint8)
    np.maximum.at(drawn, y * width + x, np.moveaxis(values, -1, 0))
    return np.moveaxis(drawn, 0, -1).reshape(*values.shape[:-1], height, width)
