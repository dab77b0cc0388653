"""Checkpoints taken back from a store: whatever was measured of them, by groups of every kind."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.disk import require_no_links, write_lock
from dvis.kinds.kind import Kind
from dvis.kinds.registry import KINDS
from dvis.schema import CHECKPOINT, counted, did_you_mean, is_forgotten
from dvis.store.contents import Contents, Entry, contents
from dvis.store.forgetting import forget_label
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
    opened = zarr.open_group(
        GuardedStore(store), path=entry.group, mode="r+", use_consolidated=False
    )
    words = kind.words(opened.attrs)
    dims = [dim for dim, of in {CHECKPOINT: entry.run, **words.of_runs}.items() if of == run]
    if not words.arrays or not dims:
        return
    settle_replaced(opened)
    group = kind.opened(store, opened)
    for dim in dims:
        for label in labels:
            if label in group.rows[dim]:
                n_parts = counted(forget_label(group, dim, label), "part")
                yield f"{entry.run}, {kind.noun} {entry.name}: {label}, {n_parts} removed"


def _run_of(store: Path, found: Contents, labels: Sequence[str], run: str | None) -> str:
    """The run that has all of the labels."""
    there: dict[str, set[str]] = {}
    for entry in found.entries:
        array: Any = zarr.open_array(store, path=f"{entry.group}/{CHECKPOINT}", mode="r")
        of_entry = np.asarray(array[:]).tolist()
        there.setdefault(entry.run, set()).update(x for x in of_entry if not is_forgotten(x))
    if run is not None and run not in there:
        raise KeyError(did_you_mean("run", run, there, str(store)))
    runs = there if run is None else {run: there[run]}
    for label in labels:
        if not any(label in of_run for of_run in runs.values()):
            where = str(store) if run is None else f"run {run!r} of {store}"
            raise KeyError(
                did_you_mean("checkpoint", label, sorted(set().union(*runs.values())), where)
            )
    having = [name for name, of_run in runs.items() if of_run.issuperset(labels)]
    if len(having) != 1:
        several = ", ".join(having or runs)
        raise ValueError(f"The checkpoints are of several runs of {store}: {several}. Give --run")
    return having[0]
