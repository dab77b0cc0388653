"""The chunk files of a layer's values: one for each block of samples at a checkpoint.

A worker that reaches the store's folder writes them itself; what it wrote counts once the store's
one writer has written the block's status.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from dvis.disk import inside, is_held_by, unlink_inside, write_atomically
from dvis.kinds.activations.words import VALUES


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
        return int(np.prod(self.block)) * np.dtype(self.dtype).itemsize

    def write(self, row: int, block: int, values: np.ndarray) -> None:
        """Write a block, (sample, token, channel), as Zarr would: the last one is filled up."""
        n_lacking = self.block[0] - len(values)
        values = np.ascontiguousarray(values, np.dtype(self.dtype).newbyteorder("<"))
        if n_lacking:
            filling = np.full((n_lacking, *self.block[1:]), np.nan, values.dtype)
            values = np.concatenate([values, filling])
        data = values.reshape(-1).view(np.uint8).data
        write_atomically(self.path(row, block), data, root=self.store)

    def remove(self, row: int, block: int) -> None:
        """Remove a block, if it is there."""
        unlink_inside(self.path(row, block), root=self.store)

    def mapped(self, row: int, block: int) -> np.ndarray:
        """A block as it lies on disk, (sample, token, channel), with what fills up the last one.

        Raises
        ------
        FileNotFoundError, ValueError
            When the file is not there, or shorter than it has to be.
        """
        dtype = np.dtype(self.dtype).newbyteorder("<")
        return np.memmap(self.path(row, block), dtype, mode="r", shape=self.block)


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
