"""How much the groups of a kind hold, and what was met at their parts.

A store and its groups in, lines of text out. Counts read status alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dvis.schema import CHECKPOINT, SOURCE, is_forgotten
from dvis.store.contents import Entry, StoreLike, open_group
from dvis.store.damage import NamedArray
from dvis.store.faults import words_of_labels
from dvis.store.regions import regions


def describe_groups(store: StoreLike, entries: Sequence[Entry], noun: str) -> list[str]:
    """A line for each group: its checkpoints, and its parts by status."""
    return [_described(store, entry, noun) for entry in entries]


def count_status(status: Any) -> dict[str, int]:
    """Parts of an array of status by the names that its attributes give to values."""
    flags = dict(
        zip(status.attrs["flag_values"], status.attrs["flag_meanings"].split(), strict=True)
    )
    counts = np.zeros(256, np.int64)
    for region in regions(status.shape, status.chunks):
        counts += np.bincount(np.asarray(status[region]).ravel(), minlength=256)
    return {name: int(counts[value]) for value, name in flags.items()}


def n_checkpoints(group: Any) -> int:
    """Checkpoints of a group."""
    labels = np.asarray(NamedArray(group[CHECKPOINT])[:]).tolist()
    return sum(not is_forgotten(label) for label in labels)


def _described(store: StoreLike, entry: Entry, noun: str) -> str:
    group: Any = open_group(store, entry)
    counts = count_status(NamedArray(group["status"]))
    there = [f"{n} {name}" for name, n in list(counts.items())[1:] if n]
    text = f"{noun} of {entry.run}: {entry.name}, {n_checkpoints(group)} checkpoints, "
    return text + (", ".join(there) or "nothing yet")


def group_problems(store: StoreLike, entry: Entry) -> Iterator[str]:
    """What was met at parts of a group, each with its labels."""
    group: Any = open_group(store, entry)
    if group.get(f"{SOURCE}/problem") is None:
        return
    problem = NamedArray(group[f"{SOURCE}/problem"])
    dims = list(group["status"].metadata.dimension_names)
    labels = {dim: np.asarray(group[dim][:]).tolist() for dim in dims}
    for region in regions(problem.shape, problem.chunks):
        texts = np.asarray(problem[region])
        for at in np.argwhere(texts != ""):
            pairs = zip(dims, at, region, strict=True)
            place = {dim: labels[dim][int(i) + along.start] for dim, i, along in pairs}
            where = f"{entry.run}/{entry.kind}/{entry.name}/{words_of_labels(place)}"
            yield f"{where}: {texts[tuple(at)]}"
