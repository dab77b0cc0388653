"""Activations in a store: the reading side.

A path, a URL or a Zarr store in, a lazy xarray Dataset out. Nothing here writes.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.words import (
    BIN,
    BLOCK,
    HISTOGRAM,
    KIND,
    SLOT,
    TOP,
    TOP_SLOT,
    VALUES,
    group_name,
)
from dvis.schema import CHANNEL, CHECKPOINT, SchemaError, Status, counted
from dvis.store.contents import Contents, Entry, StoreLike, read_contents, resolve
from dvis.store.datasets import SAMPLE, open_dataset
from dvis.store.reader import Reader

_OF_SAMPLES = ("label", "is_held_out")
_MOMENTS: dict[Literal["mean", "std"], str] = {
    "mean": "mean over samples and tokens",
    "std": "standard deviation over samples and tokens",
}


def _ready(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with its moments and top images, which are made when they are looked at."""
    dims = (CHECKPOINT, CHANNEL)
    moments = {
        name: _made(dataset, dims, "float64", partial(_moment, dataset, name), long_name)
        for name, long_name in _MOMENTS.items()
    }
    dataset = dataset.assign(moments)
    return _with_top(dataset) if HISTOGRAM in dataset else dataset


def _with_top(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with the top images of the slot that is whole, their ids, and one histogram."""
    slot = xr.DataArray(dataset[TOP_SLOT].values, dims=CHECKPOINT)
    whole = {name: dataset[name].isel({SLOT: slot}) for name in TOP}
    places = whole["top_position"].variable
    sample_ids = np.append(dataset[SAMPLE].values, "")

    def ids(*key: Any) -> np.ndarray:
        return np.asarray(sample_ids[places[key].values])  # -1 is the last, which is none

    of_bins = (CHECKPOINT, CHANNEL, BIN)
    counts = partial(_counts, dataset[HISTOGRAM].variable)
    long_name = dataset[HISTOGRAM].attrs["long_name"]
    made = {
        "top_sample": _made(
            dataset, (CHECKPOINT, CHANNEL, RANK), sample_ids.dtype, ids, "id of the sample"
        ),
        HISTOGRAM: _made(dataset, of_bins, "int64", counts, long_name),
    }
    return dataset.drop_vars([*TOP, TOP_SLOT, HISTOGRAM, SLOT]).assign({**whole, **made})


def _moment(
    dataset: xr.Dataset, moment: Literal["mean", "std"], rows: Any, channels: Any
) -> np.ndarray:
    """A moment of some checkpoints and channels, out of sums over blocks."""
    at = {CHECKPOINT: rows, CHANNEL: channels}
    sums = (dataset[name].variable for name in ("sum", "sum_of_squares", "count"))
    total, squares, count = (
        each.isel({dim: at[dim] for dim in each.dims if dim in at}).sum(BLOCK, skipna=True)
        for each in sums
    )
    n_rows = np.where(count.values > 0, count.values, np.nan)
    n_rows = n_rows[..., None] if total.ndim > count.ndim else n_rows
    mean: np.ndarray = total.values / n_rows
    if moment == "mean":
        return mean
    return np.asarray(np.sqrt(np.clip(squares.values / n_rows - mean**2, 0, None)))


def _counts(histogram: xr.Variable, rows: Any, channels: Any, bins: Any) -> np.ndarray:
    """Numbers of values in bins, over all blocks."""
    some = histogram.isel({CHECKPOINT: rows, CHANNEL: channels, BIN: bins})
    return np.asarray(some.sum(BLOCK, dtype=np.int64).values)


def _made(
    dataset: xr.Dataset,
    dims: tuple[str, ...],
    dtype: Any,
    make: Callable[..., np.ndarray],
    long_name: str,
) -> xr.Variable:
    """A variable that is made when it is looked at, of an indexer for each dim."""
    array = _MadeArray(tuple(dataset.sizes[dim] for dim in dims), np.dtype(dtype), make)
    attrs = {"long_name": long_name, **({} if array.dtype.kind == "U" else {"units": "1"})}
    return xr.Variable(dims, indexing.LazilyIndexedArray(array), attrs)


class _MadeArray(BackendArray):
    """Numbers that are not stored, for xarray to index before they are made."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], make: Callable[..., np.ndarray]
    ) -> None:
        self.shape, self.dtype, self._make = shape, dtype, make

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, lambda each: self._make(*each)
        )

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        return await asyncio.to_thread(self.__getitem__, key)


READER = Reader(kind=KIND, noun="activations", made_by="dvis activations", ready=_ready)


def activations(
    path_or_url: StoreLike,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    allow_partial: bool = False,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Activations of a layer for every sample of an image set as a lazy Dataset.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    layer : str
        The layer.
    name : str, optional
        Which activations; needed where the layer has several.
    run : str, optional
        Training run; by default the store's, or the first that has activations.
    allow_partial : bool
        Open it also where blocks of samples are not there, whose values are NaN.
    chunks : optional
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        With

        - `values` (checkpoint, sample, token, channel), float16 or float32, in units of the layer's
          output, NaN where there is none; tokens of a map row by row, of a transformer in its
          order, one of a vector;
        - `mean`, `std` (checkpoint, channel), float64, over the samples and tokens that are there;
        - `status`, uint8, and `count` (checkpoint, block), and `sum` and `sum_of_squares`
          (checkpoint, block, channel), float64, of `attrs["block_samples"]` samples each;
        - where `--keep top:64` was asked for, `top_value`, float32, `top_sample`, ids, and
          `top_position`, places in the set (checkpoint, channel, rank), of the samples with the
          highest maxima over tokens, the highest first, each once; `top_map` (checkpoint, channel,
          rank, token), uint8, their activations as shares of `top_value`, 255 for all of it; and
          `histogram` (checkpoint, channel, bin), numbers of values from `bin_low` on;
        - coordinates `sample`, ids, with `label`, an index into the classes, and `is_held_out`,
          whether a sample is kept out of training; `row` and `column` (token), -1 where a token
          has no place on the map; `is_special` (token), of class and register tokens; `place`
          (token), its number among all of the layer's, -1 of their mean; and those of checkpoints,
          as `dvis.open` has them.

        `attrs["classes"]` names the classes, `attrs["dataset"]` the image set in the
        store, `attrs["fingerprint"]` its content.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run, layer or name.
    ValueError
        When there are several names and none is given, or blocks are missing.
    SchemaError
        When the store has no activations, or what is there is no dvis store.
    """
    store = resolve(path_or_url, storage_options)
    found = read_contents(store, str(path_or_url))
    entry = entry_of(found, layer, name, run)
    dataset = READER.open_entry(store, found, entry, chunks)
    if not allow_partial:
        require_whole(dataset, entry)
    return _with_samples(dataset, store)


def _with_samples(dataset: xr.Dataset, store: StoreLike) -> xr.Dataset:
    """The Dataset with the class of each sample, and whether it is held out, where it is known."""
    try:
        samples = open_dataset(store, str(dataset.attrs["dataset"]))
    except SchemaError:  # a copy of this group alone
        return dataset
    known = samples[[*_OF_SAMPLES]].reindex({SAMPLE: dataset[SAMPLE].values})
    return dataset.assign_coords({name: known[name].variable for name in _OF_SAMPLES})


def entry_of(
    found: Contents,
    layer: str,
    name: str | None,
    run: str | None,
    *,
    with_values: bool = False,
) -> Entry:
    """The group of a layer that is asked for, or meant where none is named.

    Parameters
    ----------
    found : Contents
        What the store holds.
    layer, name, run
        What is asked for.
    with_values : bool
        Whether those that keep no values, but top images alone, are not meant where others are
        there.

    Raises
    ------
    KeyError, ValueError, SchemaError
        As `activations` does.
    """

    def names(entry: Entry) -> str | None:
        return name_of(entry) if not others or _has_values(entry) else None

    is_open = with_values and name is None
    of_layer = [each for each in found.of(KIND) if each.attrs.get("layer") == layer]
    others = is_open and any(_has_values(each) for each in of_layer if run in (None, each.run))
    return READER.choose_of_layer(found, layer, name, run, names)


def _has_values(entry: Entry) -> bool:
    return VALUES in entry.attrs.get("keep", (VALUES,))


def name_of(entry: Entry) -> str:
    """What a group of activations is called within its layer."""
    return entry.name.removesuffix(group_name("", str(entry.attrs.get("layer"))))


def require_whole(dataset: xr.Dataset, entry: Entry) -> None:
    """Raise where blocks of samples are missing.

    Raises
    ------
    ValueError
        When some are: how many, and of which checkpoint.
    """
    is_lacking = dataset["status"].values != Status.COMPLETE
    if not is_lacking.any():
        return
    rows = np.flatnonzero(is_lacking.any(1))
    label = dataset[CHECKPOINT].values[rows[0]]
    more = f" and {counted(len(rows) - 1, 'other checkpoint')}" if len(rows) > 1 else ""
    raise ValueError(
        f"{counted(int(is_lacking.sum()), 'block')} of {is_lacking.size} of the activations "
        f"{entry.name!r} are not there, of {label}{more}. Run the same `dvis activations` again; "
        "`dvis info` lists what failed; allow_partial=True opens what there is"
    )
