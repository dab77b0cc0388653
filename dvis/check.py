"""Does a store keep its promises: schema, labels, status against data, every image decodes.

A store on a local disk in, a list of faults out; with `fix`, parts that cannot be trusted become
failed, so that an import or a measurement makes them again.
"""

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path

import numpy as np
import zarr

from dvis.disk import links_below, specials_below, write_lock
from dvis.kinds.kind import Kind
from dvis.kinds.registry import KINDS, OF_UNITS
from dvis.store.contents import Contents, Entry, contents
from dvis.store.faults import (
    Fault,
    attribute_faults,
    chunk_faults,
    empty_chunk,
    label_faults,
    schema_faults,
    unreadable_labels,
    until_unreadable,
)
from dvis.store.group import Group
from dvis.store.guarded import GuardedStore
from dvis.store.metric_faults import metric_faults
from dvis.store.root_file import ROOT, DamagedRootError, different_nodes, is_whole
from dvis.store.set_faults import set_faults
from dvis.store.writer import clear_unfinished, restructuring

_MAX_LINKS = 100


def check_store(store: str | Path, *, fix: bool = False, progress: bool = False) -> list[Fault]:
    """Faults of a store on a local disk.

    Parameters
    ----------
    store : str or Path
        The store's folder.
    fix : bool
        Mark parts whose data cannot be trusted failed, under the lock of their run, set
        half-grown groups right, and remove half-made image sets that no group is of.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Fault
        Those that were found, fixed or not. Where there are symbolic links or pipes in the store,
        these alone: nothing else is looked at or fixed, for they may lead anywhere.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    store = Path(store).expanduser()
    try:
        _contents(store)  # raises where there is no store, before anything is written
    except DamagedRootError:
        if not fix:
            raise
    if links := [_link_fault(store, path) for path in islice(links_below(store), _MAX_LINKS)]:
        return links
    if specials := [_special_fault(store, p) for p in islice(specials_below(store), _MAX_LINKS)]:
        return specials
    if fix:
        with restructuring(store):
            pass  # which sets half-grown groups right
    found = _contents(store)
    faults = [*_store_faults(store, found), *metric_faults(store, found)]
    faults += set_faults(store, found, fix=fix, progress=progress)
    for entry in found.entries:
        if entry.kind in KINDS:
            faults += _check_entry(store, KINDS[entry.kind], entry, fix=fix, progress=progress)
    return faults


def _contents(store: Path) -> Contents:
    with warnings.catch_warnings():  # of what is a fault here
        warnings.filterwarnings("ignore", message=".*was changed by another program")
        return contents(store)


def _link_fault(store: Path, link: Path) -> Fault:
    return Fault(
        str(link.relative_to(store)),
        "is a symbolic link, which dvis does not follow: put what it points to in its place, or "
        "remove it. Nothing else was looked at",
    )


def _special_fault(store: Path, path: Path) -> Fault:
    return Fault(
        str(path.relative_to(store)),
        "is a pipe, a socket or a device, which no store has: remove it. Nothing else was "
        "looked at",
    )


def _store_faults(store: Path, found: Contents) -> Iterator[Fault]:
    if not is_whole((store / ROOT).read_bytes()):
        message = "was changed by another program, or is damaged: its checksum does not match"
        yield Fault(ROOT, f"{message}; --fix takes it as it is")
    for path in different_nodes(store):
        yield Fault(
            f"{path}/{ROOT}",
            "is not what the store's root says: a writer was stopped, or one of the two is "
            "damaged; --fix takes it as it is",
        )
    runs = found.runs(OF_UNITS)
    if runs and found.attrs.get("default_run") not in runs:
        yield Fault(str(store), "its import has not ended; run it again")


def _check_entry(
    store: Path, kind: Kind, entry: Entry, *, fix: bool, progress: bool
) -> list[Fault]:
    """Faults of a group; with `fix`, its parts are marked, and what is damaged is emptied."""
    place = f"{entry.run}, {kind.noun} {entry.name}"
    with write_lock(store, f"{entry.run}/{kind.name}") if fix else nullcontext():
        if fix:
            clear_unfinished(store, entry.run, kind.name)
        group = zarr.open_group(
            GuardedStore(store), path=entry.group, mode="r+" if fix else "r", use_consolidated=False
        )
        faults = list(until_unreadable(_schema_faults(kind, group, place), place))
        if faults:
            return faults
        opened = kind.opened(store, group)
        # First, and emptied: nothing that reads a damaged chunk comes any further.
        faults = list(chunk_faults(opened, place, progress))
        if fix:
            _mend(opened, faults)
        known = {fault.unit for fault in faults if fault.unit is not None}
        of_parts = chain(label_faults(opened, place), kind.faults(opened, place, progress))
        found = [
            f for f in until_unreadable(of_parts, place) if f.unit is None or f.unit not in known
        ]
        if fix:
            _mend(opened, found)
    return faults + found


def _schema_faults(kind: Kind, group: zarr.Group, place: str) -> Iterator[Fault]:
    words = kind.words(group.attrs)
    if not words.arrays:
        yield Fault(place, "says that it holds what this dvis does not know")
        return
    of_schema = attribute_faults(group, words, place)
    words = words.there(group.__contains__)
    of_schema += schema_faults(group, words.arrays, place)
    yield from of_schema or unreadable_labels(group, words, place)


def _mend(group: Group, faults: list[Fault]) -> None:
    """Empty the damaged chunks, and mark the parts failed."""
    for name, region in {str(f.damaged): f.damaged for f in faults if f.damaged}.values():
        empty_chunk(group, name, region)
    of_parts = {fault.unit: fault.message for fault in faults if fault.unit is not None}
    if of_parts:
        group.mark_failed(np.array(list(of_parts)), list(of_parts.values()))
