"""Activations in a store: the reading side.

A path, a URL or a Zarr store in, a lazy xarray Dataset out. Nothing here writes.
"""

import asyncio
from typing import Any, Literal

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from dvis.kinds.activations.words import BLOCK, KIND, group_name
from dvis.schema import CHANNEL, CHECKPOINT, Status, counted, did_you_mean
from dvis.store.contents import Contents, Entry, StoreLike, read_contents, resolve
from dvis.store.reader import Reader

_MOMENTS: dict[Literal["mean", "std"], str] = {
    "mean": "mean over samples and tokens",
    "std": "standard deviation over samples and tokens",
}


def _ready(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with its moments, which are computed when they are looked at."""
    dims = (CHECKPOINT, CHANNEL)
    moments = {
        name: xr.Variable(
            dims,
            indexing.LazilyIndexedArray(_MomentArray(dataset, name)),
            {"long_name": long_name, "units": "1"},
        )
        for name, long_name in _MOMENTS.items()
    }
    return dataset.assign(moments)


class _MomentArray(BackendArray):
    """A moment (checkpoint, channel) of sums over blocks, for xarray to index before it is made."""

    def __init__(self, dataset: xr.Dataset, moment: Literal["mean", "std"]) -> None:
        names = ("sum", "sum_of_squares", "count")
        self._sums = {name: dataset[name].variable for name in names}
        self._moment = moment
        self.shape = (dataset.sizes[CHECKPOINT], dataset.sizes[CHANNEL])
        self.dtype = np.dtype("float64")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        return await asyncio.to_thread(self.__getitem__, key)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        at = {CHECKPOINT: key[0], CHANNEL: key[1]}
        total, squares, count = (
            each.isel({dim: at[dim] for dim in each.dims if dim in at}).sum(BLOCK, skipna=True)
            for each in self._sums.values()
        )
        n_rows = np.where(count.values > 0, count.values, np.nan)
        n_rows = n_rows[..., None] if total.ndim > count.ndim else n_rows
        mean: np.ndarray = total.values / n_rows
        if self._moment == "mean":
            return mean
        return np.asarray(np.sqrt(np.clip(squares.values / n_rows - mean**2, 0, None)))


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
        - coordinates `sample`, ids; `row` and `column` (token), -1 where a token has no place on
          the map; `is_special` (token), of class and register tokens; `place` (token), its number
          among all of the layer's, -1 of their mean; and those of checkpoints, as `dvis.open` has
          them.

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
    return dataset


def entry_of(found: Contents, layer: str, name: str | None, run: str | None) -> Entry:
    """The group of a layer that is asked for, or meant where none is named.

    Raises
    ------
    KeyError, ValueError, SchemaError
        As `activations` does.
    """
    if not found.of(KIND):
        READER.choose(found, run, name)  # which says what there is instead
    run = found.default_run(KIND) if run is None else run
    entries = found.of(KIND, run)
    if not entries:
        raise KeyError(did_you_mean("run", run, found.runs(KIND), found.name))
    of_layer = {_name_of(entry): entry for entry in entries if entry.attrs.get("layer") == layer}
    where = f"the activations of {found.name}, run {run!r}"
    if not of_layer:
        layers = dict.fromkeys(str(entry.attrs.get("layer")) for entry in entries)
        raise KeyError(did_you_mean("layer", layer, layers, where))
    if name is None and len(of_layer) > 1:
        raise ValueError(f"{where}, has layer {layer!r} several times: name one of {[*of_layer]}")
    chosen = next(iter(of_layer)) if name is None else name
    if chosen not in of_layer:
        raise KeyError(did_you_mean("name", chosen, of_layer, f"{where}, layer {layer!r}"))
    return of_layer[chosen]


def _name_of(entry: Entry) -> str:
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
