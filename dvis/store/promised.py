"""Which files of a group must be there, so that a file that is missing was lost, not never written.

Whoever writes a group keeps to this: labels, coordinates and status have all of their files as soon
as the group has grown; every other array of parts has one wherever a part is complete, were it of
nothing but the fill value, and so has what parts share that has the first dims of their status.
Along dims that parts have beside those of their status only the first file is promised, for parts
may be of different lengths. Groups of an earlier dvis, whose arrays carry no checksums, promise
nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

from zarr.core.metadata import ArrayV3Metadata

from dvis.store.checksums import are_checked

Index: TypeAlias = tuple[int, ...]
Region: TypeAlias = tuple[slice, ...]
STATUS = "status"
_SEPARATORS = re.compile(r"[./]")


@dataclass(frozen=True)
class Promised:
    """The files of an array, and which of them must be there.

    Parameters
    ----------
    name : str
        Path of the array in its group.
    metadata : ArrayV3Metadata
        What Zarr says of it.
    status : ArrayV3Metadata, optional
        That of the status of its parts, where a file is promised where one is complete; without,
        all files are.
    """

    name: str
    metadata: ArrayV3Metadata
    status: ArrayV3Metadata | None = field(default=None)

    @property
    def file_shape(self) -> Index:
        """What a file holds: a chunk, or a shard."""
        return tuple(self.metadata.chunk_grid.chunk_shape)  # type: ignore[attr-defined]  # regular

    @property
    def n_files(self) -> Index:
        """Files along each dim."""
        pairs = zip(self.metadata.shape, self.file_shape, strict=True)
        return tuple(-(-n // of_file) for n, of_file in pairs)

    def indices(self) -> Iterator[Index]:
        """All files that can be promised."""
        n_of_parts = len(self.n_files) if self.status is None else len(self.status.shape)
        own = tuple(min(n, 1) for n in self.n_files[n_of_parts:])
        return product(*map(range, (*self.n_files[:n_of_parts], *own)))

    def key(self, index: Index) -> str:
        """Name of a file below the array's folder."""
        return self.metadata.encode_chunk_key(index)

    def index_of(self, key: str) -> Index | None:
        """Which file a name is of; None where it is of none that can be promised."""
        first, *parts = _SEPARATORS.split(key)
        if first != "c" or not all(part.isdecimal() for part in parts):
            return None
        index = tuple(map(int, parts))
        if len(index) != len(self.n_files) or any(
            i >= n for i, n in zip(index, self.n_files, strict=True)
        ):
            return None
        n_status = len(index) if self.status is None else len(self.status.shape)
        return None if any(index[n_status:]) else index

    def region(self, index: Index) -> Region:
        """What of the array a file holds."""
        along = zip(index, self.file_shape, self.metadata.shape, strict=True)
        return tuple(slice(i * of_file, min((i + 1) * of_file, n)) for i, of_file, n in along)

    def is_due(self, index: Index, has_complete: Callable[["Promised", Region], bool]) -> bool:
        """Whether a file must be there: of the files of the status, what they say of a region."""
        if self.status is None:
            return True
        region = self.region(index)[: len(self.status.shape)]
        others = self.status.shape[len(region) :]
        return has_complete(
            Promised(STATUS, self.status), (*region, *(slice(0, n) for n in others))
        )


def promised_by(
    arrays: Mapping[str, ArrayV3Metadata], attrs: Mapping[str, Any]
) -> dict[str, Promised]:
    """What a group promises of each of its arrays, by their path in it.

    Parameters
    ----------
    arrays : mapping of str to ArrayV3Metadata
        Its arrays.
    attrs : mapping of str to object
        Its attributes, of which `coordinates` names arrays.
    """
    status = arrays.get(STATUS)
    if status is None:  # what is written at once
        checked = {name: each for name, each in arrays.items() if are_checked(each.codecs)}
        return {name: Promised(name, each) for name, each in checked.items()}
    if not are_checked(status.codecs):
        return {}
    of_parts = tuple(status.dimension_names or ())
    coordinates = str(attrs.get("coordinates", "")).split()
    promised: dict[str, Promised] = {}
    for name, metadata in arrays.items():
        dims = tuple(metadata.dimension_names or ())
        if name == STATUS or dims == (name,) or name in coordinates:
            promised[name] = Promised(name, metadata)
        elif dims[: len(of_parts)] == of_parts[: len(dims)]:
            promised[name] = Promised(name, metadata, status)
        elif len(dims) == 1:  # what is known of other labels
            promised[name] = Promised(name, metadata)
    return promised
