"""Do groups of chains keep their promises: status against losses, and the weights they began at.

A store on a local disk in, faults out; with `fix`, chains that cannot be trusted become failed, so
that the next `dvis llc` samples them again.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.disk import write_lock
from dvis.kinds.llc.settings import ChainStatus
from dvis.kinds.llc.words import PROBLEM, WEIGHTS, array_specs
from dvis.progress import progress_bar
from dvis.schema import CELL_DIMS, CHAIN, CHAIN_DIMS, DRAW, LLC, TEXT
from dvis.store.faults import (
    Fault,
    repeated_labels,
    schema_faults,
    unordered_numbers,
    until_unreadable,
)
from dvis.store.growth import UNREADABLE
from dvis.store.guarded import GuardedStore
from dvis.store.writer import group_names

_TRACES = ("loss", "distance", "grad_norm", "noise_norm")
_SOUND = ""


def check_llc(store: Path, *, fix: bool, progress: bool) -> list[Fault]:
    """Faults of a store's chains."""
    faults: list[Fault] = []
    root = zarr.open_group(store, mode="r", use_consolidated=True)
    for path in group_names(root, LLC):
        attrs = root[path].attrs
        place = f"{attrs['run']}, LLC {attrs['name']}"
        with write_lock(store, f"{attrs['run']}/{LLC}") if fix else nullcontext():
            group = zarr.open_group(
                GuardedStore(store), path=path, mode="r+" if fix else "r", use_consolidated=False
            )
            of_group = _group_faults(store, group, place, fix=fix, progress=progress)
            faults += until_unreadable(of_group, place)
    return faults


def _group_faults(
    store: Path, group: zarr.Group, place: str, *, fix: bool, progress: bool
) -> Iterator[Fault]:
    """Faults of a group; with `fix`, chains are marked as their faults are found."""
    of_schema = schema_faults(store, group, array_specs(), place)
    if not isinstance(group.attrs.get("nbeta"), int | float):
        of_schema.append(Fault(place, "does not say what its nbeta is"))
    yield from of_schema
    if of_schema:
        return
    yield from repeated_labels(group, CELL_DIMS, place)
    yield from unordered_numbers(group, (CHAIN, DRAW), place)
    labels = [np.asarray(_array(group, dim)[:]).tolist() for dim in CHAIN_DIMS]
    regions = list(_regions(_array(group, "loss")))
    with progress_bar(len(regions), "blocks", f"check {place}", shown=progress) as bar:
        for region in regions:
            said = _said_of(group, region)
            for at in np.argwhere(said != _SOUND):
                unit = tuple(int(i + along.start) for i, along in zip(at, region, strict=True))
                words = [str(of_dim[i]) for of_dim, i in zip(labels, unit, strict=True)]
                named = [*words[:2], *map(" ".join, zip(CHAIN_DIMS[2:], words[2:], strict=True))]
                yield Fault(f"{place}, {', '.join(named)}", str(said[tuple(at)]), unit)
            if fix and (said != _SOUND).any():
                _mark_failed(group, region, said)
            bar.update()


def _regions(loss: zarr.Array[Any]) -> Iterator[tuple[slice, ...]]:
    """Chains whose losses lie in the same files, as slices."""
    sizes = list(zip(loss.shape[:-1], loss.chunks[:-1], strict=True))
    for corner in product(*(range(0, n, chunk) for n, chunk in sizes)):
        at = zip(corner, sizes, strict=True)
        yield tuple(slice(first, min(first + chunk, n)) for first, (n, chunk) in at)


def _said_of(group: zarr.Group, region: tuple[slice, ...]) -> np.ndarray:
    """What is wrong with each chain of a region, text."""
    # Status is read before what it vouches for.
    status, weights, n_draws, n_finite = (
        np.asarray(_array(group, name)[region])
        for name in ("status", WEIGHTS, "n_draws", "n_finite")
    )
    said = np.full(status.shape, _SOUND, object)
    is_measured = np.isin(status, (ChainStatus.DONE, ChainStatus.DIVERGED))
    fault = _damage(group, region)
    if fault:
        is_there = status != ChainStatus.TO_DO
        said[is_there if is_there.any() else ...] = fault
        return said
    loss = np.asarray(_array(group, "loss")[region])
    n_stored = np.isfinite(loss).sum(-1)
    is_weighed = (is_measured & (weights != 0)).any((1, 2, 3, 4), keepdims=True)
    for is_so, message in (
        (
            (status == ChainStatus.TO_DO) & ~np.isnan(loss).all(-1),
            "holds losses, but is not done: a run goes on, or died",
        ),
        (
            is_measured & (weights == 0) & is_weighed,
            "does not say of which weights it is, as others there do",
        ),
        (is_measured & (n_stored != n_finite), "has more or fewer finite losses than it says"),
        (
            (status == ChainStatus.DONE) & ((n_finite != n_draws) | (n_draws == 0)),
            "is done, but not all of its losses are finite",
        ),
        (~np.isin(status, list(ChainStatus)), "has a status that is none of chains"),
    ):
        said[is_so] = message
    return said


def _damage(group: zarr.Group, region: tuple[slice, ...]) -> str:
    """What is wrong with the files of a region's traces, "" where they can be read."""
    for name in _TRACES:
        try:
            _array(group, name)[region]
        except UNREADABLE as err:
            return f"its {name} is damaged: {err}"
    return _SOUND


def _mark_failed(group: zarr.Group, region: tuple[slice, ...], said: np.ndarray) -> None:
    """Mark chains failed, say why, and take their traces away; whole files are written."""
    is_wrong = said != _SOUND
    status, problems = (np.array(_array(group, name)[region]) for name in ("status", PROBLEM))
    status[is_wrong] = int(ChainStatus.FAILED)
    problems[is_wrong] = np.array([f"failed: {message}" for message in said[is_wrong]], TEXT)
    _array(group, "status")[region] = status
    _array(group, PROBLEM)[region] = problems
    for name in _TRACES:
        array = _array(group, name)
        try:
            values = np.array(array[region])
            values[is_wrong] = np.nan
        except UNREADABLE:
            shape = (*status.shape, array.shape[-1])
            values = np.full(shape, np.nan, array.dtype)
        array[region] = values


def _array(group: zarr.Group, name: str) -> Any:
    return group[name]
