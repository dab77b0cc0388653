"""Chimeras in a store: the reading side.

A path, a URL or a Zarr store in, an xarray Dataset out. Nothing here writes.
"""

from typing import Any

import xarray as xr

from dvis.kinds.chimera.words import CUT, KIND
from dvis.store.contents import StoreLike
from dvis.store.reader import Reader, in_order


def _ready(dataset: xr.Dataset) -> xr.Dataset:
    """Cuts in the order of execution."""
    order = dataset["cut_depth"].values.argsort(kind="stable").tolist()
    return in_order(dataset, {CUT: order})


CHIMERA_READER = Reader(kind=KIND, noun="chimeras", made_by="dvis chimera", ready=_ready)


def chimera(
    path_or_url: StoreLike,
    run: str | None = None,
    name: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """How chimeras of a checkpoint and the last one answer, lazy, in training order.

    A chimera has the layers up to a cut of one checkpoint, and the others of another.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Training run; by default the store's, or the first that has chimeras.
    name : str, optional
        Which chimeras; needed where there are several.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        With

        - `correlation` (checkpoint, cut, part, layer, channel), float32, -1 to 1: over images, of a
          unit's response (mean over positions) in the chimera with its response in the whole final
          network; NaN where one of them does not vary. Part `below` has the layers up to the cut of
          the checkpoint and the rest final, `above` those behind it of the checkpoint on final
          lower ones, `both` is the checkpoint whole. Of a layer that is not behind the cut, `below`
          equals `both`, and `above` is 1;
        - `null_correlation` (the same dims), float32: with the final response of another unit of
          the layer, drawn with the group's seed;
        - `status` (checkpoint, cut), uint8, as `dvis.open` has it;
        - `is_cut` (cut), int8: 1 where all that comes later passes through the layer, 0 where some
          goes around it: weights are split there by the order in which they work;
        - numbers of the training and coordinates as `dvis.open` has them.

        `attrs` say of what images and batch norm they are, and which checkpoint is `final`.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run or name.
    ValueError
        When there are several and none is named.
    SchemaError
        When the store has no chimeras, or what is there is no dvis store.
    """
    return CHIMERA_READER.open(
        path_or_url, run, name, chunks=chunks, storage_options=storage_options
    )
