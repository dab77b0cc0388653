"""Do image sets of a store keep their promises: whole, each id once, every thumbnail decodes.

A store on a local disk in, faults of `datasets/`, and of groups that are of a set, out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.disk import StoreLockedError, remove_tree, write_lock
from dvis.progress import progress_bar
from dvis.schema import counted, run_group
from dvis.store.contents import Contents, Entry
from dvis.store.datasets import DATASETS, SAMPLE, has_dataset, name_of_set, path_of_set
from dvis.store.faults import Fault
from dvis.store.growth import UNREADABLE
from dvis.store.picture_codec import unpack
from dvis.store.regions import regions
from dvis.store.thumbnails import THUMBNAIL
from dvis.store.writer import restructuring

_COLUMNS = ("content", "label", "is_held_out", "height", "width")
_ABOVE_ZERO = ("height", "width")
_NOT_MENDED = "`--fix` does not mend image sets; put a copy of the file in its place"


def set_faults(
    store: Path, found: Contents, *, fix: bool = False, progress: bool = False
) -> list[Fault]:
    """Faults of the image sets of a store, and of groups whose set is missing or another one.

    Parameters
    ----------
    store : Path
        The store's folder.
    found : Contents
        What the store holds.
    fix : bool
        Remove sets that are half made, which nobody makes now and no group is of.
    progress : bool
        Show a progress bar.
    """
    folder = store / DATASETS
    there = folder.iterdir() if folder.is_dir() else ()
    names = sorted(each.name for each in there if each.is_dir() and not _is_of_run(each, found))
    uses = _uses(found, names)
    faults: list[Fault] = []
    for name in names:
        n_users = sum(used == name for used, _ in uses)
        place = f"image set {name}"
        try:
            is_whole = has_dataset(store, name)
        except UNREADABLE as err:
            faults.append(Fault(place, f"its zarr.json is damaged: {err}. {_NOT_MENDED}"))
            continue
        if is_whole:
            faults += _faults_of_set(store, name, place, progress)
        else:
            faults += _half_made(store, name, place, n_users, fix=fix)
    return [*faults, *_faults_of_uses(store, names, uses)]


def _is_of_run(folder: Path, found: Contents) -> bool:
    """Whether a folder beside the image sets is of a run that is called as they are."""
    path = f"{DATASETS}/{folder.name}"
    if any(f"{run_group(run)}/".startswith(f"{path}/") for run in found.run_attrs):
        return True
    groups = [*(entry.group for entry in found.entries), *found.training.values()]
    return any(group.startswith(f"{path}/") or group == path for group in groups)


def _uses(found: Contents, names: list[str]) -> list[tuple[str, Entry]]:
    """Groups that are of a set of the store, with the set's name."""
    uses = []
    for entry in found.entries:
        name, fingerprint = (entry.attrs.get(each) for each in ("dataset", "fingerprint"))
        if not (isinstance(name, str) and isinstance(fingerprint, str)):
            continue
        # Groups that call something else their dataset have no such name.
        if name in names or name_of_set(name.rpartition("-")[0], fingerprint) == name:
            uses.append((name, entry))
    return uses


def _half_made(store: Path, name: str, place: str, n_users: int, *, fix: bool) -> Iterator[Fault]:
    try:
        with write_lock(store, path_of_set(name), wait=False):
            if has_dataset(store, name):  # made since the look at it
                return
            if n_users:
                what = f"{counted(n_users, 'group')} of it: run the same `dvis activations` again"
                yield Fault(place, f"is half made, with {what}")
                return
            yield Fault(place, "is half made, and no group is of it; `--fix` removes it")
            if fix:
                with restructuring(store):
                    remove_tree(store / path_of_set(name), root=store)
    except StoreLockedError:
        yield Fault(place, "is being made by a process that goes on")


def _faults_of_uses(
    store: Path, names: list[str], uses: list[tuple[str, Entry]]
) -> Iterator[Fault]:
    for name, entry in uses:
        place = f"{entry.run}, {entry.kind} {entry.name}"
        if name not in names:
            yield Fault(
                place,
                f"is of the image set {name!r}, which is not under {DATASETS}/. Copy that folder "
                "too, or measure it again",
            )
            continue
        attrs = _attrs_of(store, name)
        for key, n in (
            ("fingerprint", attrs.get("fingerprint")),
            ("n_samples", _n_of(store, name)),
        ):
            if key in entry.attrs and None not in (n, entry.attrs[key]) and entry.attrs[key] != n:
                yield Fault(
                    place,
                    f"is of a set of {key} {entry.attrs[key]}, but the image set {name!r} has {n}: "
                    "measure it again under another name",
                )


def _attrs_of(store: Path, name: str) -> Mapping[str, Any]:
    try:
        return zarr.open_group(
            store, path=path_of_set(name), mode="r", use_consolidated=False
        ).attrs
    except UNREADABLE:
        return {}


def _n_of(store: Path, name: str) -> int | None:
    """Samples of a set, where that can be told."""
    try:
        group: Any = zarr.open_group(
            store, path=path_of_set(name), mode="r", use_consolidated=False
        )
        return int(group[SAMPLE].shape[0])
    except (*UNREADABLE, KeyError):
        return None


def _faults_of_set(store: Path, name: str, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a set that is whole."""
    path = path_of_set(name)
    group: Any = zarr.open_group(store, path=path, mode="r", use_consolidated=False)
    missing = [column for column in (SAMPLE, *_COLUMNS) if column not in group]
    if missing:
        yield Fault(place, f"has no {', '.join(missing)}: make it again under another store")
    if SAMPLE in missing:
        return
    n_samples = int(group[SAMPLE].shape[0])
    for column, array in group.arrays():
        if array.shape[:1] != (n_samples,):
            yield Fault(place, f"has {array.shape[0]} of {column} for {n_samples} samples")
        elif column != THUMBNAIL:
            yield from _faults_of_column(array, str(column), place)
    if THUMBNAIL in group and group[THUMBNAIL].shape[0] == n_samples:
        yield from _faults_of_thumbnails(
            group[THUMBNAIL], store / path / THUMBNAIL, place, progress
        )


def _faults_of_column(array: Any, column: str, place: str) -> Iterator[Fault]:
    try:
        values = np.asarray(array[:])
    except UNREADABLE as err:
        yield Fault(place, f"its {column} is damaged: {err.__cause__ or err}. {_NOT_MENDED}")
        return
    if column in _ABOVE_ZERO and (values == 0).any():
        yield Fault(place, f"a {column} is 0: a file of it is missing. {_NOT_MENDED}")
    if column != SAMPLE:
        return
    counts = Counter(values.tolist())
    if "" in counts:
        yield Fault(place, f"a sample has no id: a file of them is missing. {_NOT_MENDED}")
    twice = [each for each, n in counts.items() if n > 1 and each]
    if twice:
        yield Fault(place, f"the sample {twice[0]!r} is there {counts[twice[0]]} times")


def _faults_of_thumbnails(array: Any, folder: Path, place: str, progress: bool) -> Iterator[Fault]:
    of_file = array.chunks[0]
    spans = list(regions(array.shape[:1], (of_file,)))
    with progress_bar(len(spans), "files", f"thumbnails of {place}", shown=progress) as bar:
        for number, (span,) in enumerate(spans):
            path = folder / "c" / str(number) / "0" / "0" / "0"
            message = _thumbnail_fault(array, path, span, of_file)
            if message:
                samples = f"thumbnails {span.start} to {span.stop - 1}"
                yield Fault(place, f"its {samples} {message}. {_NOT_MENDED}")
            bar.update()


def _thumbnail_fault(array: Any, path: Path, span: slice, of_file: int) -> str:
    """What is wrong with a file of thumbnails, or nothing."""
    if not path.is_file():
        return "are missing"
    try:
        n_there = len(unpack(path.read_bytes(), of_file))
        np.asarray(array[span])
    except UNREADABLE as err:
        # What units are mended by is no help here.
        return f"are damaged: {str(err.__cause__ or err).partition('. `')[0]}"
    n_lacking = span.stop - span.start - n_there
    return f"lack {n_lacking}" if n_lacking else ""
