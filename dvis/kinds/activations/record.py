"""Where activations go: a group for each layer, which one sweep fills together."""

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from dvis.kinds.activations.group import ActivationGroup
from dvis.kinds.activations.measure import BlockTask, of_layer, top_of
from dvis.kinds.activations.top import Top
from dvis.kinds.activations.words import VALUES
from dvis.schema import CHECKPOINT
from dvis.store.group import Group
from dvis.sweep.place import Place
from dvis.sweep.plan import Plan
from dvis.sweep.record import GroupRecorder
from dvis.sweep.run_facts import RunFacts

_MOST_WAITING = 32  # blocks whose top images are written together


class LayerRecorder(GroupRecorder):
    """The group of one layer."""

    group_type: ClassVar[type[Group]] = ActivationGroup


class LayersRecorder:
    """Groups of some layers, open for one sweep.

    Parameters
    ----------
    plans : list of Plan
        What is measured of each layer: a whole plan of its group.
    """

    def __init__(self, plans: list[Plan]) -> None:
        self.plans = plans
        self._recorders: list[LayerRecorder] = []
        self._kept_as_they_are: list[set[str]] = []
        self._waiting: dict[tuple[int, str], list[tuple[BlockTask, xr.Dataset, Top]]] = {}

    def open(self, _plan: Plan, store: Path, run: RunFacts, place: Place) -> "LayersRecorder":
        """Make room in every group.

        Raises
        ------
        ValueError
            When a group has other settings, and is not to be overwritten.
        """
        self._recorders = [LayerRecorder.open(each, store, run, place) for each in self.plans]
        for recorder in self._recorders:
            # Blocks of a checkpoint are of one and the same weights: none is added to old ones.
            weights = run.fingerprints.items()
            others = {
                label for label, each in weights if recorder.group.other_weights(label, each).any()
            }
            self._kept_as_they_are.append(others)
        return self

    @property
    def kept(self) -> Mapping[str, int]:
        """Blocks that are there of other weights."""
        kept: dict[str, int] = {}
        for recorder in self._recorders:
            for why, n_blocks in recorder.kept.items():
                kept[why] = kept.get(why, 0) + n_blocks
        return kept

    def rows(self, _before: str | None, label: str, task: BlockTask, /) -> np.ndarray:
        """A checkpoint's place in the group of each of a task's layers, (layer,) int64."""
        groups = [self._recorders[part].group for part in task.parts]
        return np.array([group.rows[CHECKPOINT][label] for group in groups], np.int64)

    def missing(self, label: str, task: BlockTask) -> tuple[int, ...]:
        """Layers of which a checkpoint lacks a block."""
        return tuple(
            part
            for part in task.parts
            if label not in self._kept_as_they_are[part]
            and self._recorders[part].missing(label, _one(task))
        )

    def record(self, label: str, task: BlockTask, result: xr.Dataset) -> list[str]:
        """Put a block into the groups of its layers; return what is to be said of it.

        Blocks with top images wait for others, whose top images are written together with theirs:
        what waits has no status yet, and is measured again after a kill.
        """
        said = []
        for number, part in enumerate(task.parts):
            group = self._group(part)
            dataset = of_layer(result, number, task, group.n_values(task.block))
            if not group.n_top or dataset["error"].values[0]:
                said += self._recorders[part].record(label, _one(task), dataset)
                continue
            waiting = self._waiting.setdefault((part, label), [])
            waiting.append((task, dataset, top_of(result, number)))
            if len(waiting) >= _MOST_WAITING or VALUES in dataset:
                said += self._settle(part, label)
        return said

    def _settle(self, part: int, label: str) -> list[str]:
        """Put blocks that wait into the group of a layer, after their top images."""
        waiting = self._waiting.pop((part, label))
        group = self._group(part)
        row = group.rows[CHECKPOINT][label]
        group.put_top(row, reduce(Top.merged, [of for _, _, of in waiting], group.top(row)))
        recorder = self._recorders[part]
        return [
            text
            for task, dataset, _ in waiting
            for text in recorder.record(label, _one(task), dataset)
        ]

    def _group(self, part: int) -> ActivationGroup:
        group = self._recorders[part].group
        assert isinstance(group, ActivationGroup)
        return group

    def fail(self, label: str, task: BlockTask, error: str) -> None:
        """Mark a block failed in the groups of its layers; what is there is kept."""
        for part in task.parts:
            self._recorders[part].fail(label, _one(task), error)

    def close(self) -> None:
        """Put what waits into its groups."""
        for part, label in [*self._waiting]:
            self._settle(part, label)


def _one(task: BlockTask) -> BlockTask:
    """The same block as a part of one group."""
    return _OfGroup(task.block, (task.block,))


class _OfGroup(BlockTask):
    """A block of samples as a part of a layer's group."""

    @property
    def labels(self) -> dict[str, Any]:
        return {"block": [self.block]}
