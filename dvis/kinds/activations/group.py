"""A layer's group, open for writing: its values are files of their own, a block of samples each."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from dvis.kinds.activations.value_files import ValueFiles
from dvis.kinds.activations.words import BLOCK, VALUES
from dvis.schema import CHECKPOINT, Mark, Status
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
    def n_samples(self) -> int:
        """Samples of the group."""
        return int(self.array(VALUES).shape[1])

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
        for i, (row, block) in enumerate(_each(places)):
            if status[i] != Status.COMPLETE:
                self.files.remove(row, block)
            elif VALUES in values:
                self.files.write(row, block, values[VALUES][i])
        super().write(places, others, status, mark)

    def empty(self, places: Places, mark: Mark | None = None) -> None:
        """Take blocks back with all that was measured of them."""
        super().empty(places, mark)
        for row, block in _each(places):
            self.files.remove(row, block)

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
