"""Pictures of an array of `dvis.jpeg` on a local disk, decoded straight into what is handed out.

A part of the array in, its pixels out. Through Zarr they are decoded beside the array that it
gives and copied there, which takes half as long again.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing
from zarr.abc.store import Store
from zarr.core.metadata import ArrayV3Metadata

from dvis.store.picture_codec import JpegCodec, decode_into, read_pictures
from dvis.store.read_store import LocalReadStore

# A thread takes this many of a file at a time: 64 channels of a layer make four tasks.
_PICTURES_A_TASK = 16
_MAX_THREADS = 8


def with_pictures(dataset: xr.Dataset, store: Store, group: str) -> xr.Dataset:
    """The Dataset with its arrays of `dvis.jpeg` read by `PictureArray`, where they lie on disk.

    Parameters
    ----------
    dataset : Dataset
        A group as xarray opens it.
    store : Store
        The store that it was opened of.
    group : str
        Path of the group.

    Returns
    -------
    Dataset
    """
    if not isinstance(store, LocalReadStore):
        return dataset
    pictures = {}
    for name, variable in dataset.variables.items():
        there = variable.encoding
        is_picture = isinstance(there.get("serializer"), JpegCodec) and variable.ndim > 3
        if is_picture and not there.get("compressors"):
            array = PictureArray(store, f"{group}/{name}", variable.shape)
            lazy = indexing.LazilyIndexedArray(array)
            pictures[name] = xr.Variable(variable.dims, lazy, variable.attrs, there)
    return dataset.assign(pictures)


class _Part(NamedTuple):
    """Pictures of one file: their positions in it, and where they go among those asked for."""

    key: str
    positions: np.ndarray
    places: np.ndarray


class PictureArray(BackendArray):
    """Pictures for xarray to index before they are read, (..., y, x, rgb) uint8.

    Parameters
    ----------
    store : LocalReadStore
        The store.
    path : str
        Path of the array in it.
    shape : tuple of int
        Its shape.
    """

    def __init__(self, store: LocalReadStore, path: str, shape: tuple[int, ...]) -> None:
        self._store, self._path = store, path
        self.shape, self.dtype = shape, np.dtype(np.uint8)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        """The same, in a thread."""
        return await asyncio.to_thread(self.__getitem__, key)

    @cached_property
    def _metadata(self) -> ArrayV3Metadata:
        root = json.loads((self._store.root / "zarr.json").read_bytes())
        return ArrayV3Metadata.from_dict(root["consolidated_metadata"]["metadata"][self._path])

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        *leading, rows, columns, colours = key
        picked = [np.arange(n)[at] for n, at in zip(self.shape, leading, strict=False)]
        places = np.stack(np.meshgrid(*picked, indexing="ij"), -1).reshape(-1, len(picked))
        cut = (rows, columns, colours)
        frame = _cut(np.empty(self.shape[-3:], np.uint8), cut).shape
        # As many rows as there are may be some of them twice.
        is_whole = all(
            np.array_equal(np.arange(n)[at], np.arange(n))
            for n, at in zip(self.shape[-3:], cut, strict=True)
        )
        pixels = np.empty((len(places), *frame), np.uint8)
        fill = partial(self._fill, pixels, None if is_whole else cut)
        parts = [*self._parts(places)]
        n_threads = min(len(parts), os.cpu_count() or 1, _MAX_THREADS)
        if n_threads > 1:
            with ThreadPoolExecutor(n_threads) as pool:
                for _ in pool.map(fill, parts):
                    pass
        else:
            for part in parts:
                fill(part)
        return pixels.reshape(*(n for each in picked for n in each.shape), *frame)

    def _parts(self, places: np.ndarray) -> Iterator[_Part]:
        """What a thread takes at a time, file by file."""
        chunk = self._metadata.chunk_grid.chunk_shape[:-3]  # type: ignore[attr-defined]  # regular
        positions = np.ravel_multi_index(tuple((places % chunk).T), chunk)
        files, of_file = np.unique(places // chunk, axis=0, return_inverse=True)
        for number, index in enumerate(files.tolist()):
            members = np.flatnonzero(of_file.ravel() == number)
            key = f"{self._path}/{self._metadata.encode_chunk_key((*index, 0, 0, 0))}"
            for first in range(0, len(members), _PICTURES_A_TASK):
                some = members[first : first + _PICTURES_A_TASK]
                yield _Part(key, positions[some], some)

    def _fill(self, pixels: np.ndarray, cut: tuple[Any, ...] | None, part: _Part) -> None:
        """Decode the pictures of a part into their places."""
        chunk = self._metadata.chunk_grid.chunk_shape  # type: ignore[attr-defined]  # regular
        n_positions = int(np.prod(chunk[:-3], dtype=np.int64))
        pictures = read_pictures(self._store.root / part.key, part.positions, n_positions)
        if pictures is None:
            self._store.confirm_missing(part.key)
        else:
            self._store.confirm(part.key)
        whole = None if cut is None else np.empty(chunk[-3:], np.uint8)
        for place, position in zip(part.places.tolist(), part.positions.tolist(), strict=True):
            if pictures is None or position not in pictures:
                pixels[place] = self._metadata.fill_value
                continue
            out = pixels[place] if whole is None else whole
            decode_into(out, pictures[position], position)
            if cut is not None:
                pixels[place] = _cut(out, cut)


def _cut(picture: np.ndarray, along: tuple[Any, ...]) -> np.ndarray:
    """A part of a picture by an indexer of each dim for itself."""
    for axis in (2, 1, 0):
        picture = picture[(*(slice(None),) * axis, along[axis])]
    return picture
