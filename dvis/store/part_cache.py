"""What a group has of its parts in memory, some checkpoints at a time: it is asked for often."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from dvis.schema import CHECKPOINT
from dvis.store.placing import Places

_SLAB_BYTES = 2**27
_SLABS = 2


class PartCache:
    """An array with a value a part, checkpoints first, for the one process that writes it."""

    def __init__(self, array: Any, dims: Sequence[str]) -> None:
        self._array, self._dims = array, tuple(dims)
        of_checkpoint = max(1, int(np.prod(array.shape[1:])))
        # Whole chunks, for each is decoded as one; of very wide groups as much as fits.
        self._height = max(1, min(array.chunks[0], _SLAB_BYTES // of_checkpoint))
        self._slabs: OrderedDict[int, np.ndarray] = OrderedDict()

    def row(self, row: int) -> np.ndarray:
        """Values at a checkpoint, over the other dims; not to be changed."""
        return np.asarray(self._slab(row // self._height)[row % self._height])

    def at(self, places: Places) -> np.ndarray:
        """Values of parts, (part,)."""
        rows = places[CHECKPOINT]
        others = tuple(places[dim] for dim in self._dims[1:])
        if not np.ndim(rows):
            return np.atleast_1d(self.row(int(rows))[others])
        found = np.empty(len(rows), self._array.dtype)
        for number in np.unique(rows // self._height).tolist():
            chosen = rows // self._height == number
            index = tuple(p[chosen] if np.ndim(p) else p for p in (rows % self._height, *others))
            found[chosen] = self._slab(number)[index]
        return found

    def put(self, places: Places, values: np.ndarray) -> None:
        """Hear of values that were written."""
        rows = np.broadcast_to(places[CHECKPOINT], len(values))
        for number in np.unique(rows // self._height).tolist():
            if number not in self._slabs:
                continue
            chosen = rows // self._height == number
            others = (places[dim] for dim in self._dims[1:])
            index = [rows[chosen] % self._height]
            index += [p[chosen] if np.ndim(p) else p for p in others]
            self._slabs[number][tuple(index)] = values[chosen]

    def _slab(self, number: int) -> np.ndarray:
        if number not in self._slabs:
            first = number * self._height
            self._slabs[number] = np.array(self._array[first : first + self._height])
            while len(self._slabs) > _SLABS:
                self._slabs.popitem(last=False)
        self._slabs.move_to_end(number)
        return self._slabs[number]
