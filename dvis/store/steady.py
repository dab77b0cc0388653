"""Arrays whose values of one unit lie in several chunks, read whole while a store is written.

A group's path in, a lazy Dataset out, in which no curve is half old and half new.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint, ZarrBackendEntrypoint
from xarray.core import indexing
from zarr.abc.store import Store

from dvis.schema import Status
from dvis.store.picture_array import with_pictures
from dvis.store.read_store import read_store
from dvis.store.replaced import replacements

_STATUS = "status"
_N_TRIES = 20
_WAIT_S = 0.01  # longer each time: two seconds in all


def open_steady(
    store: str | Path | Store, group: str, attrs: Mapping[str, Any], chunks: Any = None
) -> xr.Dataset:
    """A group of a store as a lazy Dataset, by the metadata consolidated at the store's root.

    Parameters
    ----------
    store : str, Path or Store
        The store.
    group : str
        Path of the group.
    attrs : mapping of str to object
        Its attributes.
    chunks : optional
        As `xarray.open_zarr` takes it.

    Returns
    -------
    Dataset
        What `xarray.open_zarr` gives, but that variables whose values of one unit lie in several
        chunks are read again where units were replaced while they were read, and are NaN where
        `status` says that there is nothing. Of these, `chunks={}` gives whole units a task.
    """
    opened: Any = read_store(store, group, attrs)  # xarray's hints know no Zarr stores
    return xr.open_dataset(
        opened,
        engine=_SteadyEntrypoint,
        chunks={} if chunks == "auto" else chunks,  # as open_zarr does
        group=group,
    )


class _SteadyEntrypoint(BackendEntrypoint):
    """How xarray opens a group, so that it chunks and caches these variables as all others."""

    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "group",
    )

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str = "",
    ) -> xr.Dataset:
        dataset = ZarrBackendEntrypoint().open_dataset(
            filename_or_obj, drop_variables=drop_variables, group=group, consolidated=True
        )
        dataset = with_pictures(dataset, filename_or_obj, group)
        status = dataset.variables.get(_STATUS)
        if status is None:
            return dataset
        steady = {}
        for name, variable in dataset.data_vars.items():
            if _is_in_several_chunks(variable.variable, status):
                array = _SteadyArray(variable.variable, status, filename_or_obj, group)
                lazy = indexing.LazilyIndexedArray(array)
                encoding = _whole_units(variable.variable, status)
                steady[name] = xr.Variable(variable.dims, lazy, variable.attrs, encoding)
        return dataset.assign(steady)


def _is_in_several_chunks(variable: xr.Variable, status: xr.Variable) -> bool:
    """Whether one unit's values do not fit into one chunk, and can be NaN where there is none."""
    if variable.dtype.kind != "f" or not set(status.dims) < set(variable.dims):
        return False
    n_chunk = dict(zip(variable.dims, variable.encoding["chunks"], strict=True))
    return any(variable.sizes[dim] > n_chunk[dim] for dim in set(variable.dims) - {*status.dims})


def _whole_units(variable: xr.Variable, status: xr.Variable) -> dict[str, Any]:
    """A variable's encoding by which dask's tasks read units whole: each task looks for itself."""
    whole = {dim: n for dim, n in variable.sizes.items() if dim not in status.dims}
    preferred = {**variable.encoding["preferred_chunks"], **whole}
    return {**variable.encoding, "preferred_chunks": preferred}


class _SteadyArray(BackendArray):
    """Values of units of which each is of one moment, for xarray to index before they are read.

    What moves the counter of a group's replacements between two looks at it may have changed some
    of the values read in between. Status is read after the first look: where it says that a unit
    is there, its values were, and a change of them since has moved the counter.
    """

    def __init__(
        self, values: xr.Variable, status: xr.Variable, store: str | Path | Store, group: str
    ) -> None:
        self._values, self._status = values, status
        self._store, self._group = store, group
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        return await asyncio.to_thread(self.__getitem__, key)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Values of a region; of parts of it, each for itself, where it is too large to be calm."""
        for attempt in range(_N_TRIES):
            before = replacements(self._store, self._group)
            values = self._of_present_units(key)
            if replacements(self._store, self._group) == before:
                return values
            halves = self._halves(key)
            if halves:
                axis, first, second = halves
                return np.concatenate([self._read(first), self._read(second)], axis)
            time.sleep(_WAIT_S * attempt)
        raise RuntimeError(
            f"Units of {self._group} were replaced each of {_N_TRIES} times that they were read: "
            "the store is being rewritten. Read again later, or fewer units at a time"
        )

    def _of_present_units(self, key: tuple[Any, ...]) -> np.ndarray:
        at = dict(zip(self._values.dims, key, strict=True))
        status = self._status[tuple(at[dim] for dim in self._status.dims)].load()
        values = self._values[key].load()
        is_there = status != Status.ABSENT
        if not is_there.all():
            values = xr.DataArray(values).where(xr.DataArray(is_there)).variable
        return np.asarray(values.values)

    def _halves(self, key: tuple[Any, ...]) -> tuple[int, tuple[Any, ...], tuple[Any, ...]] | None:
        """A region's parts and the axis that they follow each other on; None within one chunk."""
        axis = 0
        for place, dim in enumerate(self._values.dims):
            at = key[place]
            if isinstance(at, (int, np.integer)):
                continue
            each = range(*at.indices(self.shape[place])) if isinstance(at, slice) else at
            chunk = np.asarray(each) // self._values.encoding["chunks"][place]
            borders = np.flatnonzero(np.diff(chunk)) + 1
            if dim in self._status.dims and len(borders):
                middle = int(borders[len(borders) // 2])
                parts = (_indexer(part) for part in (each[:middle], each[middle:]))
                first, second = ((*key[:place], part, *key[place + 1 :]) for part in parts)
                return axis, first, second
            axis += 1
        return None


def _indexer(places: range | np.ndarray) -> slice | np.ndarray:
    return slice(places.start, places.stop, places.step) if isinstance(places, range) else places
