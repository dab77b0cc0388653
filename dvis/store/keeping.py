"""What a group promises of its files, kept by the one process that writes it.

See `dvis.store.promised`: what readers may rely on.
"""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from dvis.schema import Status, Words
from dvis.store.placing import Places
from dvis.store.promised import Index, Promised, Region, promised_by


class Written(Protocol):
    """A group that is written."""

    folder: Path
    words: Words
    own_files: ClassVar[frozenset[str]]

    @property
    def attrs(self) -> dict[str, Any]:
        """Its attributes."""

    def array(self, name: str) -> Any:
        """One of its arrays, which writes chunks of nothing but the fill value too."""


def promises_of(group: Written) -> dict[str, Promised]:
    """What a group that is open promises of its arrays."""
    arrays = {name: group.array(name).metadata for name in group.words.arrays}
    return promised_by(arrays, group.attrs)


class Keeper:
    """Gives a group the files that it promises, of nothing but the fill value, until it grows."""

    def __init__(self, group: Written) -> None:
        self._group = group
        self._there: set[tuple[str, Index]] = set()

    @cached_property
    def _promised(self) -> dict[str, Promised]:
        promised = promises_of(self._group)
        return {n: each for n, each in promised.items() if n not in self._group.own_files}

    def keep_labels(self) -> None:
        """Give labels, coordinates and status all of their files; the group has just grown."""
        for promised in self._promised.values():
            if promised.status is None:
                for index in promised.indices():
                    self._keep(promised, index)

    def lengthen(self, name: str, n: int) -> None:
        """Make room along an unlabelled last dim; readers hear of it when the store is shown."""
        array = self._group.array(name)
        if n > (before := array.shape[-1]):
            array.resize((*array.shape[:-1], n))
            self.__dict__.pop("_promised", None)  # which goes by the lengths
            if not before:
                self.keep_arrays([name])

    def keep_arrays(self, names: Collection[str]) -> None:
        """Give arrays that came, or got a length, after parts were complete the files they lack."""
        for name in names:
            if name in self._promised:
                for index in self._promised[name].indices():
                    if self._promised[name].is_due(index, self._has_complete):
                        self._keep(self._promised[name], index)

    def _has_complete(self, status: Promised, region: Region) -> bool:
        stored = self._group.array(status.name)[region]
        return bool((np.asarray(stored) == Status.COMPLETE).any())

    def keep_parts(self, places: Places, written: Collection[str]) -> None:
        """Give the arrays of parts that are about to be complete those files that they lack.

        Parameters
        ----------
        places : mapping of str to int or ndarray
            Where the parts are.
        written : collection of str
            Arrays that were written at these places.
        """
        for name, promised in self._promised.items():
            if promised.status is not None and name not in written and all(promised.n_files):
                for index in _indices_at(promised, places):
                    self._keep(promised, index)

    def _keep(self, promised: Promised, index: Index) -> None:
        if (promised.name, index) in self._there:
            return
        if not self._is_there(promised, index):
            array = self._group.array(promised.name)
            array[promised.region(index)] = array.fill_value
        self._there.add((promised.name, index))

    def _is_there(self, files: Promised, index: Index) -> bool:
        return (self._group.folder / files.name / files.key(index)).exists()

    def clear(self, name: str, dim: str, place: int) -> None:
        """Empty an array at a place along a dim, in those of its files that are there."""
        array = self._group.array(name)
        files, along = (
            Promised(name, array.metadata),
            self._group.words.arrays[name].dims.index(dim),
        )
        for index in files.indices():
            region = files.region(index)
            is_at = region[along].start <= place < region[along].stop
            if is_at and self._is_there(files, index):
                array[(*region[:along], place, *region[along + 1 :])] = array.fill_value


def _indices_at(promised: Promised, places: Places) -> set[Index]:
    """Files that hold parts."""
    assert promised.status is not None
    dims = promised.metadata.dimension_names or ()
    n_own = max(0, len(dims) - len(promised.status.shape))
    along = [
        np.atleast_1d(places[str(dim)]) // of_file
        for dim, of_file in zip(dims, promised.file_shape, strict=True)
        if dim in places
    ]
    pairs = np.stack(np.broadcast_arrays(*along), axis=-1)
    return {(*map(int, index), *(0,) * n_own) for index in np.unique(pairs, axis=0)}
