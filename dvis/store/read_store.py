"""A store as its readers open a group of it: what is lost or replaced is an error, never a value.

Zarr takes a file that is not there for one of nothing but the fill value. Here a file that the
group promises raises where it is missing, and so does whatever is read after the group was made
anew under an open Dataset.
"""

import asyncio
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Self

import numcodecs
import numpy as np
from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import LocalStore, WrapperStore

from dvis.schema import SOURCE, SchemaError, Status
from dvis.store.promised import Index, Promised, Region, promised_by

GENERATION = (
    "dvis_generation"  # attribute of a group: what tells it from one made anew in its place
)
_CHUNK = re.compile(r"(?P<array>.+?)/(?P<chunk>c[./].+|c)")
_Fetch = Callable[[str], bytes | None]


def generation_path(generation: str) -> str:
    """Path in a group of the empty node that is there as long as the group is the same."""
    return f"{SOURCE}/generation-{generation}"


def read_store(store: str | Path | Store, group: str, attrs: Mapping[str, Any]) -> Store:
    """A store that reads a group as it is now.

    Parameters
    ----------
    store : str, Path or Store
        The store, as `dvis.store.contents.resolve` gives it.
    group : str
        Path of the group.
    attrs : mapping of str to object
        Attributes of the group.
    """
    if isinstance(store, str | Path):
        generation = attrs.get(GENERATION)
        return LocalReadStore(store, group, generation if isinstance(generation, str) else None)
    return RemoteReadStore(store, group)


class _Losses:
    """Which files of a group are lost, by its metadata and its status."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._promised: dict[str, Promised] | None = None
        self._status: dict[Index, np.ndarray] = {}

    def is_lost(self, key: str, fetch: _Fetch) -> bool:
        """Whether a file that was not found is one that the group promises."""
        match = _CHUNK.fullmatch(key.removeprefix(f"{self._group}/"))
        if match is None:
            return False
        if self._promised is None:
            self._promised = _promised_of(self._group, fetch)
        promised = self._promised.get(match["array"])
        index = None if promised is None else promised.index_of(match["chunk"])
        if promised is None or index is None:
            return False
        is_due = promised.is_due(index, lambda of, region: self._has_complete(of, region, fetch))
        # It may have come since, before its status did.
        return is_due and fetch(key) is None

    def _has_complete(self, files: Promised, region: Region, fetch: _Fetch) -> bool:
        """Whether a part of a region is complete, by the files of the status."""
        spans = zip(region, files.file_shape, strict=True)
        for index in product(*(range(r.start // n, -(-r.stop // n)) for r, n in spans)):
            held = self._file_of_status(files, index, fetch)
            corner = [i * n for i, n in zip(index, files.file_shape, strict=True)]
            inside = tuple(
                slice(max(along.start - first, 0), along.stop - first)
                for along, first in zip(region, corner, strict=True)
            )
            if (held[inside] == Status.COMPLETE).any():
                return True
        return False

    def _file_of_status(self, files: Promised, index: Index, fetch: _Fetch) -> np.ndarray:
        if index not in self._status:
            data = fetch(f"{self._group}/status/{files.key(index)}")
            if data is None:
                return np.zeros(files.file_shape, np.uint8)
            decoded = numcodecs.Zstd().decode(data)
            self._status[index] = np.frombuffer(decoded, np.uint8).reshape(files.file_shape)
        return self._status[index]


def _promised_of(group: str, fetch: _Fetch) -> dict[str, Promised]:
    """What a group promises, by the metadata at the store's root."""
    root = json.loads(fetch("zarr.json") or b"{}")
    nodes = (root.get("consolidated_metadata") or {}).get("metadata", {})
    arrays = {
        path.removeprefix(f"{group}/"): ArrayV3Metadata.from_dict(node)
        for path, node in nodes.items()
        if path.startswith(f"{group}/") and node.get("node_type") == "array"
    }
    return promised_by(arrays, nodes.get(group, {}).get("attributes", {}))


class LocalReadStore(LocalStore):
    """A group of a store on a local disk.

    Parameters
    ----------
    root : str or Path
        The store's folder.
    group : str
        Path of the group.
    generation : str, optional
        What tells the group from one that is made anew in its place.
    """

    def __init__(self, root: str | Path, group: str, generation: str | None) -> None:
        super().__init__(root, read_only=True)
        self._group, self._inside, self._losses = group, f"{group}/", _Losses(group)
        path = None if generation is None else f"{group}/{generation_path(generation)}/zarr.json"
        self._marker = None if path is None else os.path.join(self.root, path)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Value of a key, or None where there is none and none is promised."""
        self._require_file(key, byte_range)
        value = await super().get(key, prototype, byte_range)
        if value is None and key.startswith(self._inside):
            await asyncio.to_thread(self.confirm_missing, key)
        self.confirm(key)
        return value

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Value of a key, or None where there is none and none is promised."""
        self._require_file(key, byte_range)
        value = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        if value is None and key.startswith(self._inside):
            self.confirm_missing(key)
        self.confirm(key)
        return value

    def confirm(self, key: str) -> None:
        """Raise where the group is no longer the one that was opened; what was read is not of it.

        Raises
        ------
        SchemaError
            When it was removed, or made anew.
        """
        if self._marker and key.startswith(self._inside) and not os.path.exists(self._marker):
            raise SchemaError(
                f"{self._group} of {self.root} was removed or overwritten after this Dataset was "
                "opened. Open it again"
            )

    def _require_file(self, key: str, byte_range: ByteRequest | None = None) -> None:
        """Raise where a pipe or a folder lies in a file's place, of which the one would hang.

        Nor is memory asked for what an index says to lie beyond the end of its file.
        """
        try:
            there = os.stat(os.path.join(self.root, key))
        except OSError:
            return
        if not stat.S_ISREG(there.st_mode):
            raise SchemaError(
                f"{key} of {self.root} is no file: remove it, then `dvis check --fix`"
            )
        if isinstance(byte_range, RangeByteRequest) and not (
            byte_range.start <= byte_range.end <= there.st_size
        ):
            raise SchemaError(
                f"{key} of {self.root} is damaged: its index speaks of what lies beyond its end. "
                "`dvis check` says more"
            )

    def confirm_missing(self, key: str) -> None:
        """Raise where a file that was not found is one that the group promises.

        Raises
        ------
        SchemaError
            When it is lost, or the group is no longer the one that was opened.
        """
        self.confirm(key)
        if self._losses.is_lost(key, self._fetch):
            raise lost(key, self.root)

    def _fetch(self, key: str) -> bytes | None:
        self._require_file(key)
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


class RemoteReadStore(WrapperStore[Store]):
    """A group of a store anywhere: a lost file raises."""

    def __init__(self, store: Store, group: str) -> None:
        super().__init__(store)
        self._group, self._losses = group, _Losses(group)

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._group)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Value of a key, or None where there is none and none is promised."""
        prototype = prototype or default_buffer_prototype()
        value = await self._store.get(key, prototype, byte_range)
        if value is None and key.startswith(f"{self._group}/"):
            loop = asyncio.get_running_loop()

            def fetch(other: str) -> bytes | None:
                reading = self._store.get(other, default_buffer_prototype())
                found = asyncio.run_coroutine_threadsafe(reading, loop).result()
                return None if found is None else found.to_bytes()

            if await asyncio.to_thread(self._losses.is_lost, key, fetch):
                raise lost(key, self._store)
        return value


def lost(key: str, store: object) -> SchemaError:
    """The error for a file that a group promises and does not have."""
    return SchemaError(
        f"The file {key} of {store} is missing, though what it held is complete. `dvis check` says "
        "what is lost, `dvis check --fix` marks it, to be made again"
    )
