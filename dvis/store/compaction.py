"""Checksums for the arrays of a store that an earlier dvis wrote without any.

A compressed chunk with a checksum is read as one without, so that each is replaced by itself and an
array's metadata follow when all are. A file of an array that is not compressed becomes four bytes
longer: readers of an earlier opening, and of a store in which this was cut off, get an error of
those files, and a second run goes on.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec

from dvis.disk import inside, whole_store_lock, write_atomically
from dvis.progress import progress_bar
from dvis.schema import Status
from dvis.store.checksums import (
    NOT_COMPRESSED,
    checked_metadata,
    is_checked,
    is_compressed,
    with_checksum,
)
from dvis.store.contents import groups_below
from dvis.store.growth import arrays_of
from dvis.store.guarded import GuardedStore
from dvis.store.promised import STATUS, Promised, Region, promised_by
from dvis.store.writer import consolidate


@dataclass(frozen=True)
class _Array:
    """An array without checksums: its path in its group, and how it gets them."""

    name: str
    array: Any

    @property
    def is_compressed(self) -> bool:
        """Whether chunks with checksums can lie beside those without."""
        return is_compressed(self.array)

    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the array with checksums."""
        described = dict(checked_metadata(self.array))
        if not self.is_compressed:
            described["codecs"] = [*described["codecs"], NOT_COMPRESSED[0].to_dict()]
        return described


def add_checksums(store: Path, *, progress: bool = False) -> int:
    """Give the arrays of a store on a local disk checksums, and the files that groups promise.

    Parameters
    ----------
    store : Path
        The store's folder, in which there are no symbolic links.
    progress : bool
        Show a progress bar.

    Returns
    -------
    int
        Groups that were rewritten.

    Raises
    ------
    StoreLockedError
        When there is something to do, and another process writes a part of the store.
    ValueError, OSError
        When a chunk is damaged; `dvis check --fix` first.
    """
    if not any(_lacking(group) for group in _groups(store)):
        return 0
    n_rewritten = 0
    with whole_store_lock(store):
        for group in _groups(store):
            if lacking := _lacking(group):
                _rewrite(store, group, lacking, progress)
                n_rewritten += 1
        consolidate(store)
    return n_rewritten


def _groups(store: Path) -> Iterator[zarr.Group]:
    """Groups that hold arrays, none below another."""
    root = zarr.open_group(store, mode="r")
    for path, attrs in groups_below(root).items():
        if "dvis_kind" in attrs or "dvis_dataset" in attrs:
            yield zarr.open_group(GuardedStore(store), path=path, mode="r+", use_consolidated=False)


def _lacking(group: zarr.Group) -> list[_Array]:
    """Arrays of a group without checksums, its status last; pictures have their own."""
    arrays = [
        _Array(name, array)
        for name, array in arrays_of(group)
        if not is_checked(array) and _is_plain(array)
    ]
    return sorted(arrays, key=lambda each: each.name == STATUS)


def _is_plain(array: zarr.Array[Any]) -> bool:
    """Whether chunks are numbers or texts by Zarr's own codecs, and files of one chunk each."""
    codecs = array.metadata.codecs  # type: ignore[union-attr]  # Zarr v3 only
    return is_compressed(array) or (len(codecs) == 1 and isinstance(codecs[0], BytesCodec))


def _rewrite(store: Path, group: zarr.Group, lacking: list[_Array], progress: bool) -> None:
    folder = inside(store, group.path)
    with progress_bar(len(lacking), "arrays", f"checksums of {group.path}", shown=progress) as bar:
        for each in lacking:
            if each.name == STATUS:  # by which the group promises its files
                _keep_promises(group, folder)
            rewrite = _compress if each.is_compressed else _lengthen
            rewrite(store, folder / each.name, each)
            described = json.dumps(each.metadata()).encode()
            write_atomically(folder / each.name / "zarr.json", described, root=store)
            bar.update()


def _compress(_: Path, folder: Path, each: _Array) -> None:
    """Write each chunk that is there anew, with a checksum."""
    checked = _opened(each)
    files = Promised(each.name, each.array.metadata)
    for index in files.indices():
        if (folder / files.key(index)).exists():
            region = files.region(index)
            checked[region] = np.asarray(each.array[region])


def _opened(each: _Array) -> Any:
    """The array as its future metadata say."""
    metadata: Any = type(each.array.metadata).from_dict(dict(each.metadata()))
    path = each.array.store_path
    opened = zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=path))
    return opened.with_config({"write_empty_chunks": True})


def _lengthen(store: Path, folder: Path, each: _Array) -> None:
    """Add a checksum to each file that has none."""
    n_bytes = int(np.prod(each.array.chunks)) * each.array.dtype.itemsize
    files = Promised(each.name, each.array.metadata)
    for index in files.indices():
        path = folder / files.key(index)
        data = path.read_bytes() if path.exists() else b""
        if len(data) == n_bytes:
            write_atomically(path, with_checksum(data), root=store)


def _keep_promises(group: zarr.Group, folder: Path) -> None:
    """Write those files of nothing but the fill value that a group with checksums has."""
    arrays = dict(arrays_of(group))
    status: Any = arrays[STATUS]
    metadata: dict[str, Any] = {name: array.metadata for name, array in arrays.items()}
    metadata[STATUS] = _opened(_Array(STATUS, status)).metadata

    def has_complete(_: Promised, region: Region) -> bool:
        return bool((np.asarray(status[region]) == Status.COMPLETE).any())

    for name, promised in promised_by(metadata, dict(group.attrs)).items():
        array: Any = arrays[name].with_config({"write_empty_chunks": True})
        if not is_compressed(array):  # files of pictures and of activations: of what is complete
            continue
        for index in promised.indices():
            is_there = (folder / name / promised.key(index)).exists()
            if not is_there and promised.is_due(index, has_complete):
                array[promised.region(index)] = array.fill_value
