"""Shares of input channels in a store: the reading side.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from typing import Any

import xarray as xr

from dvis.kinds.edges.words import KIND
from dvis.store.contents import StoreLike
from dvis.store.reader import Reader

EDGES_READER = Reader(kind=KIND, noun="edges", made_by="dvis influence --method edges")


def edges(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Share that each input channel of a layer has in each of its channels, in training order.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Training run; by default the store's, or the first that has edges.
    name : str, optional
        Which edges; needed where there are several.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        Lazy, dims (checkpoint, layer, channel, input_channel), with

        - `share`, float16: of the variance of the channel's output, over images and positions,
          before bias and batch norm. Signed; over input channels shares sum to 1, as far as float16
          goes. NaN of a channel that does not vary, beyond the channels of a layer, and where
          nothing is measured; 0 of inputs that a grouped convolution does not read. The `share` of
          `dvis.influence` is of responses averaged over positions, and not comparable;
        - `status` (checkpoint, layer), uint8, as `dvis.open` has it;
        - `input_layer` (layer), str: the layer whose output the input is, elementwise functions
          aside, "" where that cannot be told;
        - `n_channels`, `n_inputs` (layer): channels of its output and of its input.

        `attrs` say of what images and batch norm they are.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run or name.
    ValueError
        When there are several and none is named.
    SchemaError
        When the store has no edges, or what is there is no dvis store.
    """
    return EDGES_READER.open(path_or_url, run, name, chunks=chunks, storage_options=storage_options)
