"""Blocks of a layer's values as they are stored: mapped files, or chunks that Zarr reads.

A group of a store in, arrays (row, channel) of its blocks out, of which none is copied that a
local disk has.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import LocalStore

from dvis.kinds.activations.value_files import ValueFiles
from dvis.kinds.activations.words import VALUES
from dvis.store.contents import Entry, StoreLike

_KEPT_BYTES = 2**30  # of chunks that Zarr has read


class StoredBlocks(Protocol):
    """Blocks of samples at one checkpoint."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Samples, tokens and channels of a block."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its numbers."""

    def rows(self, block: int) -> np.ndarray:
        """A block, (sample times token, channel); of a last one that is not full perhaps more."""


def stored_blocks(store: StoreLike, entry: Entry, group: Any, row: int) -> StoredBlocks:
    """The blocks of a checkpoint, mapped where its files are arrays on a local disk.

    Parameters
    ----------
    store : str, Path or Store
        The store, as `dvis.store.contents.resolve` gives it.
    entry : Entry
        The group.
    group : zarr.Group
        The same, open.
    row : int
        The checkpoint's place in it.
    """
    folder = store.root if isinstance(store, LocalStore) else store
    values = group[VALUES]
    is_local = isinstance(folder, str | Path)
    if is_local and _is_raw(values):
        files = ValueFiles(
            Path(str(folder)).absolute(), entry.group, values.chunks[1:], str(values.dtype)
        )
        return MappedBlocks(files, row)
    return ReadBlocks(values, row)


def _is_raw(values: Any) -> bool:
    """Whether a chunk's file is the array, with a checksum after it or none."""
    codecs = values.metadata.codecs
    is_plain = len(codecs) == 1 or (len(codecs) == 2 and isinstance(codecs[1], Crc32cCodec))
    if not is_plain or not isinstance(codecs[0], BytesCodec):
        return False
    # As its metadata say it: the attribute is an enum or a text, by the version of zarr.
    described: Any = codecs[0].to_dict()
    is_little = described.get("configuration", {}).get("endian") == "little"
    is_whole = values.chunks[0] == 1 and values.chunks[2:] == values.shape[2:]
    return bool(is_little and is_whole)


class MappedBlocks:
    """Files of a local store, mapped when they are first asked for."""

    def __init__(self, files: ValueFiles, row: int) -> None:
        self._files, self._row = files, row
        self._mapped: dict[int, np.ndarray] = {}
        self.shape, self.dtype = files.block, np.dtype(files.dtype)

    def rows(self, block: int) -> np.ndarray:
        """A block, (sample times token, channel).

        Raises
        ------
        ValueError
            When its file is not there, or too short.
        """
        if block not in self._mapped:
            try:
                mapped = self._files.mapped(self._row, block)
            except (OSError, ValueError) as err:
                raise ValueError(
                    f"The file {self._files.path(self._row, block)} is not what the store says "
                    f"({err}). `dvis check --fix`, then the same `dvis activations`, makes it again"
                ) from err
            self._mapped[block] = mapped.reshape(-1, self.shape[2])
        return self._mapped[block]


class ReadBlocks:
    """Chunks of any store, of which the latest are kept."""

    def __init__(self, values: Any, row: int) -> None:
        self._values, self._row = values, row
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self.shape, self.dtype = tuple(values.chunks[1:]), values.dtype
        n_bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self._n_kept = max(1, _KEPT_BYTES // n_bytes)

    def rows(self, block: int) -> np.ndarray:
        """A block, (sample times token, channel)."""
        if block not in self._kept:
            while len(self._kept) >= self._n_kept:
                self._kept.popitem(last=False)
            first = block * self.shape[0]
            values = np.asarray(self._values[self._row, first : first + self.shape[0]])
            self._kept[block] = values.reshape(-1, self.shape[2])
        self._kept.move_to_end(block)
        return self._kept[block]
