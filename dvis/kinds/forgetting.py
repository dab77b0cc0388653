"""Checkpoints taken back from a store: whatever was measured of them, by groups of every kind."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import zarr

from dvis.disk import require_no_links, write_lock
from dvis.kinds.kind import Kind
from dvis.kinds.registry import KINDS
from dvis.schema import CHECKPOINT, counted, did_you_mean
from dvis.store.contents import Contents, Entry, contents
from dvis.store.forgetting import forget_label
from dvis.store.group import Group
from dvis.store.guarded import GuardedStore
from dvis.store.metrics import forget_metrics
from dvis.store.replaced import settle_replaced
from dvis.store.writer import restructuring


def forget_checkpoints(
    store: str | Path, labels: Sequence[str], *, run: str | None = None
) -> Iterator[str]:
    """Take checkpoints of a run back from all groups of a store; yield what was removed.

    Images, responses and chains of the checkpoints go, responses of others to their feature images,
    and the numbers of their training. Everything else stays bit for bit, and the checkpoints may
    be measured or imported again. Cut off, it has taken back some of it; called again, it goes on.

    Parameters
    ----------
    store : str or Path
        The store's folder.
    labels : sequence of str
        The checkpoints.
    run : str, optional
        Whose they are; it must be named where several runs have one of them.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    KeyError
        When there is no such run or checkpoint.
    ValueError
        When several runs have it and none is named, or there is a symbolic link in the store.
    OSError
        When a file is damaged; `dvis check --fix` first.
    """
    store = Path(store).expanduser()
    found = contents(store)
    require_no_links(store)
    with restructuring(store):
        pass  # which sets half-grown groups right
    run = _run_of(store, found, labels, run)
    for entry in found.entries:
        if entry.kind in KINDS:
            with write_lock(store, f"{entry.run}/{entry.kind}"):
                yield from _forget_in(store, KINDS[entry.kind], entry, run, labels)
    with restructuring(store):
        for label in labels if run in found.training else ():
            forget_metrics(store, found.training[run], label)


def _forget_in(
    store: Path, kind: Kind, entry: Entry, run: str, labels: Sequence[str]
) -> Iterator[str]:
    group = _opened(store, kind, entry)
    for dim, of_run in _checkpoint_dims(group).items():
        for label in labels if of_run == run else ():
            if label in group.rows[dim]:
                n_parts = counted(forget_label(group, dim, label), "part")
                yield f"{entry.run}, {kind.noun} {entry.name}: {label}, {n_parts} removed"


def _opened(store: Path, kind: Kind, entry: Entry, mode: Literal["r", "r+"] = "r+") -> Group:
    files = GuardedStore(store)
    opened = zarr.open_group(files, path=entry.group, mode=mode, use_consolidated=False)
    if mode == "r+":
        settle_replaced(opened)
    return kind.opened(store, opened)


def _checkpoint_dims(group: Group) -> dict[str, str]:
    """Runs of a group's dims whose labels are checkpoints; none where it is of no known words."""
    dims = {CHECKPOINT: str(group.attrs["run"]), **group.words.of_runs}
    return {dim: run for dim, run in dims.items() if dim in group.rows}


def _run_of(store: Path, found: Contents, labels: Sequence[str], run: str | None) -> str:
    """The run that has all of the labels."""
    there: dict[str, dict[str, None]] = {}
    for entry in found.entries:
        if entry.kind in KINDS:
            group = _opened(store, KINDS[entry.kind], entry, "r")
            for dim, of_run in _checkpoint_dims(group).items():
                there.setdefault(of_run, {}).update(dict.fromkeys(group.rows[dim]))
    if run is not None and run not in there:
        raise KeyError(did_you_mean("run", run, there, str(store)))
    runs = there if run is None else {run: there[run]}
    known = {label: None for of_run in runs.values() for label in of_run}
    for label in labels:
        if label not in known:
            where = str(store) if run is None else f"run {run!r} of {store}"
            raise KeyError(did_you_mean("checkpoint", label, known, where))
    having = [name for name, of_run in runs.items() if of_run.keys() >= set(labels)]
    if len(having) != 1:
        several = ", ".join(having or runs)
        raise ValueError(f"The checkpoints are of several runs of {store}: {several}. Give --run")
    return having[0]
