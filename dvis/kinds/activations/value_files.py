"""The chunk files of a layer's values: one for each block of samples at a checkpoint.

A worker that reaches the store's folder writes them itself; what it wrote counts once the store's
one writer has written the block's status.
"""

import os
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from dvis.disk import inside, is_held_by, unlink_inside, write_atomically
from dvis.kinds.activations.words import VALUES
from dvis.store.checksums import CRC_BYTES, ends_with_checksum, with_checksum, without_checksum


@dataclass(frozen=True)
class ValueFiles:
    """Files of a layer's values.

    Parameters
    ----------
    store : Path
        The store's folder.
    group : str
        Path of the layer's group in it.
    block : tuple of int
        Samples, tokens and channels in a file.
    dtype : str
        Its numbers.
    """

    store: Path
    group: str
    block: tuple[int, int, int]
    dtype: str

    def path(self, row: int, block: int) -> Path:
        """File of a block, by the place of its checkpoint in the group."""
        return inside(self.store, self.group, VALUES, "c", str(row), str(block), "0", "0")

    @property
    def n_bytes(self) -> int:
        """Size of every file."""
        n_bytes = int(np.prod(self.block)) * np.dtype(self.dtype).itemsize
        return n_bytes + (CRC_BYTES if self.is_checked else 0)

    @cached_property
    def is_checked(self) -> bool:
        """Whether files end with a checksum, as those of an earlier dvis do not."""
        return ends_with_checksum(inside(self.store, self.group, VALUES))

    def write(self, row: int, block: int, values: np.ndarray) -> None:
        """Write a block, (sample, token, channel), as Zarr would: the last one is filled up."""
        n_lacking = self.block[0] - len(values)
        values = np.ascontiguousarray(values, np.dtype(self.dtype).newbyteorder("<"))
        if n_lacking:
            filling = np.full((n_lacking, *self.block[1:]), np.nan, values.dtype)
            values = np.concatenate([values, filling])
        data = values.reshape(-1).view(np.uint8).data
        whole = with_checksum(data) if self.is_checked else data
        write_atomically(self.path(row, block), whole, root=self.store)

    def remove(self, row: int, block: int) -> None:
        """Remove a block, if it is there."""
        unlink_inside(self.path(row, block), root=self.store)

    def mapped(self, row: int, block: int) -> np.ndarray:
        """A block as it lies on disk, (sample, token, channel), with what fills up the last one.

        Raises
        ------
        FileNotFoundError, ValueError
            When the file is not there, not of the length that it has to have, or damaged.
        """
        dtype = np.dtype(self.dtype).newbyteorder("<")
        path = self.path(row, block)
        data = np.memmap(path, np.uint8, mode="r")
        if len(data) != self.n_bytes:
            raise ValueError(f"{len(data)} bytes where there are to be {self.n_bytes}")
        if self.is_checked:
            without_checksum(data.data, "it")
        return data[: int(np.prod(self.block)) * dtype.itemsize].view(dtype).reshape(self.block)


@dataclass(frozen=True)
class Lock:
    """The lock under which a process writes a store's activations, by which workers know both.

    Parameters
    ----------
    store : Path
        The store's folder.
    name : str
        The part of it that is locked.
    pid, host : int, str
        The process.
    """

    store: Path
    name: str
    pid: int
    host: str

    @classmethod
    def of_this_process(cls, store: Path, name: str) -> Self:
        """The lock as this process holds it, or will."""
        return cls(store.absolute(), name, os.getpid(), socket.gethostname())

    @property
    def is_in_reach(self) -> bool:
        """Whether this process sees the very folder that the other one writes."""
        return is_held_by(self.store, self.name, self.pid, self.host)
