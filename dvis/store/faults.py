"""Faults that groups of any kind can have: arrays that are not the schema's, labels, damage.

A group as it lies on disk in, faults out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.schema import CHANNEL, VariableSpec
from dvis.store.growth import UNREADABLE


@dataclass(frozen=True)
class Fault:
    """Something that a store promises and does not keep; `unit` is its place in `status`."""

    place: str
    message: str
    unit: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def schema_faults(
    store: Path, group: zarr.Group, specs: Mapping[str, VariableSpec], place: str
) -> list[Fault]:
    """Arrays that are not the schema's, or not what the store's root says of them."""
    return list(_array_faults(group, specs, place)) or list(
        _root_faults(store, group, specs, place)
    )


def label_faults(group: zarr.Group, dims: Iterable[str], place: str) -> Iterator[Fault]:
    """Labels of some dimensions that are missing or there twice, and channels out of order."""
    yield from repeated_labels(group, dims, place)
    yield from unordered_numbers(group, (CHANNEL,), place)
    n_channels: Any = group["n_channels"]
    channels: Any = group[CHANNEL]
    if (np.asarray(n_channels[:]) > channels.shape[0]).any():
        yield Fault(place, "a layer says that it has more channels than the channel axis")


def repeated_labels(group: zarr.Group, dims: Iterable[str], place: str) -> Iterator[Fault]:
    """Labels of some dimensions that are missing or there twice."""
    array: Any
    for dim in dims:
        array = group[dim]
        counts = Counter(np.asarray(array[:]).tolist())
        if array.fill_value in counts:
            yield Fault(place, f"a {dim} has no label")
        twice = sorted(label for label, n in counts.items() if n > 1 and label != array.fill_value)
        if twice:
            yield Fault(place, f"{dim} {twice[0]!r} is there more than once")


def unordered_numbers(group: zarr.Group, dims: Iterable[str], place: str) -> Iterator[Fault]:
    """Dimensions that are not numbered from 0."""
    array: Any
    for dim in dims:
        array = group[dim]
        if not np.array_equal(array[:], np.arange(array.shape[0])):
            yield Fault(place, f"{dim} is not 0, 1, 2, ...")


def until_unreadable(faults: Iterable[Fault], place: str) -> Iterator[Fault]:
    """The faults; where a damaged file ends the search for them, a last one says so."""
    try:
        yield from faults
    except UNREADABLE as err:
        yield Fault(place, f"a file of it is damaged, the rest was not looked at: {err}")


def _array_faults(
    group: zarr.Group, specs: Mapping[str, VariableSpec], place: str
) -> Iterator[Fault]:
    sizes: dict[str, int] = {}
    for name, spec in specs.items():
        array: Any = group.get(name)
        if not isinstance(array, zarr.Array):
            yield Fault(place, f"has no variable {name!r}")
            continue
        dims = tuple(array.metadata.dimension_names or ())  # type: ignore[union-attr]
        if dims != spec.dims:
            yield Fault(place, f"{name} has dims {dims}, the schema says {spec.dims}")
            continue
        if np.dtype(array.dtype) != np.dtype(spec.dtype):
            yield Fault(place, f"{name} is {array.dtype}, the schema says {spec.dtype}")
        for dim, n in zip(dims, array.shape, strict=True):
            if sizes.setdefault(dim, n) != n:
                yield Fault(place, f"{name} has {n} along {dim}, others {sizes[dim]}")


def _root_faults(
    store: Path, group: zarr.Group, specs: Mapping[str, VariableSpec], place: str
) -> Iterator[Fault]:
    """Arrays that readers, who go by the metadata at the store's root, take for something else."""
    shown: Any = zarr.open_group(store, mode="r", use_consolidated=True)[group.path]
    present: Any = group
    for name in specs:
        layouts = [
            (array.shape, array.chunks, array.shards, array.metadata.chunk_key_encoding)
            for array in (shown[name], present[name])
        ]
        if layouts[0] != layouts[1]:
            yield Fault(place, f"{name} is not as the store's root says; --fix sets that right")
