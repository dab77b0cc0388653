"""Where a sweep's results go: what a group lacks, and what comes in for it.

Labelled Datasets in, committed parts out: their status is written last, and what has none is
measured again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr

from dvis.schema import CHECKPOINT, Mark
from dvis.store.faults import words_of_labels
from dvis.store.group import Group
from dvis.store.results import texts_of
from dvis.store.writer import restructuring
from dvis.sweep.place import Place
from dvis.sweep.plan import Plan
from dvis.sweep.run_facts import RunFacts

OTHER_WEIGHTS = "of other weights under the same label"


class GroupRecorder:
    """A group that one sweep fills; the one process that has it writes the group's files.

    `group_type` is what it is open as.
    """

    group_type: ClassVar[type[Group]] = Group

    def __init__(self, plan: Plan, group: Group, run: RunFacts, *, overwrite: bool) -> None:
        self.group = group
        self._at_least = plan.at_least
        self._fingerprints = run.fingerprints
        self._kept_as_they_are: set[str] = set()
        self._n_of_other_weights = 0
        self._see_weights(overwrite)

    @classmethod
    def open(cls, plan: Plan, store: Path, run: RunFacts, place: Place) -> Self:
        """The recorder of a plan, with room in the group for all of it.

        Raises
        ------
        ValueError
            When the group has other settings, and is not to be overwritten.
        """
        with restructuring(store):
            group = cls.group_type.open(
                store,
                plan.words,
                place.run,
                plan.name,
                plan.settings,
                overwrite=place.overwrite,
            )
            noted = {**plan.made_with, **({} if plan.noted is None else plan.noted(group))}
            names = [checkpoint.name for checkpoint in run.checkpoints]
            group.grow(names, plan.labels, {**plan.columns, "step": run.steps})
            group.note(**noted)
        if plan.before is not None:
            plan.before(group)
        return cls(plan, group, run, overwrite=place.overwrite)

    @property
    def kept(self) -> Mapping[str, int]:
        """Parts that are there of other weights."""
        return {OTHER_WEIGHTS: self._n_of_other_weights}

    def missing(self, label: str, task: Any) -> tuple[int, ...]:
        """Parts of a task that a checkpoint lacks.

        What is there of other weights is kept. Where parts of a checkpoint stand on what they
        share, it lacks nothing then: new parts would stand on the old.
        """
        if label in self._kept_as_they_are:
            return ()
        mark = self.group.words.mark(task.mark)
        places = self.group.places({CHECKPOINT: label, **task.labels})
        is_there = np.isin(self.group.status(places, mark), mark.kept)
        for name, least in self._at_least.items() if mark is self._main else ():
            is_there &= self.group.values(name, places) >= least
        return tuple(np.array(task.parts)[~is_there].tolist())

    def record(self, label: str, task: Any, result: xr.Dataset) -> list[str]:
        """Put a task's result into the group; return what is to be said of its parts."""
        mark = self.group.words.mark(task.mark)
        result = with_labels(result, {CHECKPOINT: label, **task.labels})
        (dims,) = {result[dim].dims for dim in task.labels if result[dim].ndim} or {()}
        weights = np.full([result.sizes[d] for d in dims], self._weights(label), np.uint64)
        self.group.commit(result.assign({mark.weights: (dims, weights)}), mark)
        return said_of(result, self.group.words.arrays[mark.status].dims)

    def fail(self, label: str, task: Any, error: str) -> None:
        """Mark a task's parts failed, with the error; those that are there are kept."""
        places = self.group.places({CHECKPOINT: label, **task.labels})
        self.group.fail(places, error, self.group.words.mark(task.mark))

    def close(self) -> None:
        """Nothing more is to be done."""

    @property
    def _main(self) -> Mark:
        return self.group.words.marks[0]

    def _weights(self, label: str) -> int:
        return self._fingerprints.get(label, 0)

    def _see_weights(self, overwrite: bool) -> None:
        """Count what is there of other weights under an old label; take it back to overwrite it."""
        for label in self._fingerprints:
            is_other = self.group.other_weights(label, self._weights(label))
            if is_other.any() and not overwrite:
                self._n_of_other_weights += int(is_other.sum())
                if self.group.words.has_common_part:
                    self._kept_as_they_are.add(label)
                continue
            for mark in self.group.words.marks:
                others = np.argwhere(self.group.other_weights(label, self._weights(label), mark))
                if len(others):
                    dims = self.group.words.arrays[mark.status].dims[1:]
                    row = self.group.rows[CHECKPOINT][label]
                    places = dict(zip(dims, others.T, strict=True))
                    self.group.empty({CHECKPOINT: row, **places}, mark)


def with_labels(result: xr.Dataset, labels: Mapping[str, Any]) -> xr.Dataset:
    """A result with the labels that are one for all of its parts, where it lacks them."""
    lacking = {
        dim: label
        for dim, label in labels.items()
        if dim not in result.coords and not np.ndim(label)
    }
    return result.assign_coords(lacking)


def said_of(result: xr.Dataset, dims: tuple[str, ...]) -> list[str]:
    """What is to be said of the parts of a result: that they failed, or what was noted of them."""
    labels = {dim: np.atleast_1d(result[dim].values) for dim in dims}
    n_parts = max(map(len, labels.values()))
    errors, notes = (texts_of(result, name, n_parts) for name in ("error", "note"))
    said = []
    for i in np.flatnonzero((errors != "") | (notes != "")).tolist():
        of_part = {dim: each[i if len(each) > 1 else 0] for dim, each in labels.items()}
        what = f"failed: {errors[i]}" if errors[i] else notes[i]
        said.append(f"{words_of_labels(of_part)}: {what}")
    return said
