"""A task of an import, and what its units become in a group: columns of variables, and places."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import orjson

from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.tree.differences import is_difference, with_difference
from dvis.kinds.features.tree.reading import BlockTask, UnitReads
from dvis.kinds.features.tree.unit_files import Info, rebuild_info
from dvis.kinds.features.words import FINGERPRINT, FORM, INFO, PROBLEM, Form
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, TEXT
from dvis.store.placing import Places


@dataclass(frozen=True, kw_only=True)
class PlannedTask:
    """A task, and what of its units only the process that commits needs."""

    task: BlockTask
    block: tuple[str, str, int, int]  # variant, layer, row and column of blocks
    labels: tuple[str, ...]  # of the task's folders
    fingerprint: np.ndarray  # (unit,) uint64
    notes: dict[int, str]

    def take(self, members: np.ndarray, group: FeatureGroup) -> "PlannedTask":
        """The same for some of the units, with rows and layer of a group."""
        chosen = {name: getattr(self.task, name)[members] for name in ("folder", "channel", "form")}
        rows = np.array(
            [group.rows[CHECKPOINT][self.labels[i]] for i in chosen["folder"].tolist()], np.int64
        )
        task = replace(
            self.task,
            **chosen,
            row=rows,
            layer_index=group.layers[self.task.layer],
            blocks=group.blocks,
        )
        notes = {i: self.notes[m] for i, m in enumerate(members.tolist()) if m in self.notes}
        return replace(self, task=task, fingerprint=self.fingerprint[members], notes=notes)


def columns_of(
    group: FeatureGroup, planned: PlannedTask, reads: UnitReads, *, is_new: bool
) -> dict[str, np.ndarray]:
    """Variables of units by name."""
    indices = np.array(
        [group.parameter_index(orjson.loads(text)) for text in reads.parameters] + [-1]
    )
    params = indices[reads.params]
    verbatim = dict(reads.verbatim)
    for i in np.flatnonzero((params < 0) & (reads.params >= 0)).tolist():
        verbatim[i] = _rebuilt(planned.task, reads, i)  # the table is full
    problem = dict(reads.problem)
    for i, note in planned.notes.items():
        problem[i] = "; ".join(filter(None, [problem.get(i), note]))
    columns = {
        "activation": reads.activation,
        "stop_step": reads.stop_step,
        "seed": reads.seed,
        "params": params,
        "loss": _losses(reads.losses),
        FORM: reads.form,
        FINGERPRINT: np.where(reads.is_retriable, np.uint64(0), planned.fingerprint),
    }
    for name, texts in ((PROBLEM, problem), (INFO, verbatim)):
        # Most units have neither: no chunk is made for them.
        if texts or not is_new:
            columns[name] = np.array([texts.get(i, "") for i in range(len(reads))], TEXT)
    return columns


def _losses(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Loss curves (unit, step), NaN after the end of each."""
    losses = np.full((len(curves), max(map(len, curves), default=0)), np.nan, np.float32)
    for row, curve in zip(losses, curves, strict=True):
        row[: len(curve)] = curve
    return losses


def places_of(task: BlockTask) -> Places:
    """Where a task's units stand in their group."""
    return {CHECKPOINT: task.row, LAYER: task.layer_index, CHANNEL: task.channel}


def _rebuilt(task: BlockTask, reads: UnitReads, i: int) -> str:
    """A unit's whole info.json."""
    verbatim = reads.verbatim.get(i, "")
    if verbatim and not is_difference(verbatim):
        return verbatim
    info = Info(
        activation=float(reads.activation[i]),
        stop_step=int(reads.stop_step[i]),
        seed=int(reads.seed[i]),
        loss=reads.losses[i],
        is_numbered=bool(reads.form[i] & Form.NUMBERED_INFO),
    )
    parameters = orjson.loads(reads.parameters[int(reads.params[i])])
    record = rebuild_info(info, task.layer, int(task.channel[i]), task.variant, parameters)
    return json.dumps(with_difference(record, verbatim) if verbatim else record)
