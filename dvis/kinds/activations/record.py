"""Where activations go: a group for each layer, which one sweep fills together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from dvis.kinds.activations.group import ActivationGroup
from dvis.kinds.activations.measure import BlockTask, of_layer
from dvis.schema import CHECKPOINT
from dvis.store.group import Group
from dvis.sweep.place import Place
from dvis.sweep.plan import Plan
from dvis.sweep.record import GroupRecorder
from dvis.sweep.run_facts import RunFacts


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
        """Put a block into the groups of its layers; return what is to be said of it."""
        said = []
        for number, part in enumerate(task.parts):
            recorder = self._recorders[part]
            of_group: Any = recorder.group
            block_samples, n_tokens, _ = of_group.files.block
            n_samples = min(block_samples, of_group.n_samples - task.block * block_samples)
            dataset = of_layer(result, number, task, n_samples * n_tokens)
            said += recorder.record(label, _one(task), dataset)
        return said

    def fail(self, label: str, task: BlockTask, error: str) -> None:
        """Mark a block failed in the groups of its layers; what is there is kept."""
        for part in task.parts:
            self._recorders[part].fail(label, _one(task), error)

    def close(self) -> None:
        """Nothing more is to be done."""


def _one(task: BlockTask) -> BlockTask:
    """The same block as a part of one group."""
    return _OfGroup(task.block, (task.block,))


class _OfGroup(BlockTask):
    """A block of samples as a part of a layer's group."""

    @property
    def labels(self) -> dict[str, Any]:
        return {"block": [self.block]}
