"""A layer's group, open for writing: its values are files of their own, a block of samples each."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.top import Top
from dvis.kinds.activations.value_files import ValueFiles
from dvis.kinds.activations.words import (
    BLOCK,
    HISTOGRAM,
    TOKEN,
    TOP,
    TOP_SLOT,
    VALUES,
)
from dvis.schema import CHECKPOINT, Mark, Status
from dvis.store.datasets import SAMPLE
from dvis.store.group import Group
from dvis.store.placing import Places


class ActivationGroup(Group):
    """Activations of one layer, open for the one process that holds their lock."""

    own_files: ClassVar[frozenset[str]] = frozenset({VALUES})

    @property
    def files(self) -> ValueFiles:
        """The files of the group's values."""
        values = self.array(VALUES)
        store = Path(self.store).absolute()
        return ValueFiles(store, self.zarr.path, values.chunks[1:], str(values.dtype))

    @property
    def keeps_values(self) -> bool:
        """Whether it has values, not top images alone."""
        return VALUES in self.words.arrays

    @property
    def n_top(self) -> int:
        """Top images of a channel; 0 where it has none."""
        return int(self.array(RANK).shape[0]) if RANK in self.words.arrays else 0

    @property
    def block_samples(self) -> int:
        """Samples of a block."""
        return int(self.attrs["block_samples"])

    def n_values(self, block: int) -> int:
        """Samples of a block times tokens."""
        n_samples = min(self.block_samples, self.n_samples - block * self.block_samples)
        return n_samples * int(self.array(TOKEN).shape[0])

    def top(self, row: int) -> Top:
        """The top images of a checkpoint so far."""
        slot = int(self.array(TOP_SLOT)[row])
        sample, value, of_map = (np.asarray(self.array(name)[row, slot]) for name in TOP)
        return Top(sample, value, of_map)

    def put_top(self, row: int, top: Top) -> None:
        """Write the top images of a checkpoint: into the slot that is not whole, which then is."""
        slot = 1 - int(self.array(TOP_SLOT)[row])
        for name, values in zip(TOP, (top.sample, top.value, top.map), strict=True):
            self.array(name)[row, slot] = values
        self.array(TOP_SLOT)[row] = slot

    @property
    def n_samples(self) -> int:
        """Samples of the group."""
        return int(self.array(SAMPLE).shape[0])

    def write(
        self,
        places: Places,
        values: Mapping[str, np.ndarray],
        status: np.ndarray,
        mark: Mark | None = None,
    ) -> None:
        """Write what there is of blocks, their values first, and their status last."""
        others = {name: of_parts for name, of_parts in values.items() if name != VALUES}
        self.retract(places, mark)
        for i, (row, block) in enumerate(_each(places) if self.keeps_values else ()):
            if status[i] != Status.COMPLETE:
                self.files.remove(row, block)
            elif VALUES in values:
                self.files.write(row, block, values[VALUES][i])
        super().write(places, others, status, mark)

    def empty(self, places: Places, mark: Mark | None = None) -> None:
        """Take blocks back with all that was measured of them."""
        super().empty(places, mark)
        for row, block in _each(places):
            if self.keeps_values:
                self.files.remove(row, block)
            # Those of a block that is made again count once; of other weights nothing may stay.
            if self.n_top and not (self.status_at(row) == Status.COMPLETE).any():
                for name in TOP:
                    self.clear(name, CHECKPOINT, row)

    def put(self, name: str, places: Places, values: np.ndarray, status: np.ndarray) -> None:
        """Write an array's values of blocks."""
        if name == HISTOGRAM and not values.size:
            values = np.zeros((len(values), *self.array(name).shape[2:]), values.dtype)
        super().put(name, places, values, status)

    def clear(self, name: str, dim: str, place: int) -> None:
        """Empty an array at a place along a dim; of values, by file."""
        if name != VALUES or dim != CHECKPOINT:
            super().clear(name, dim, place)
            return
        for block in range(self.array(BLOCK).shape[0]):
            self.files.remove(place, block)


def _each(places: Places) -> list[tuple[int, int]]:
    """Row of the checkpoint, and number, of each block."""
    pairs = np.broadcast_arrays(*(np.atleast_1d(places[dim]) for dim in (CHECKPOINT, BLOCK)))
    return list(zip(*(each.tolist() for each in pairs), strict=True))
