"""What is to be measured of a run, and into which group of its store: options in, a Plan out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import xarray as xr

from dvis.models.model_input import ModelInput
from dvis.models.model_reference import Model
from dvis.schema import Words
from dvis.store.group import Group
from dvis.sweep.place import Place
from dvis.sweep.run_facts import RunFacts

MADE_WITH = "made_with_model"  # attribute of a group: the model, as it was named or given


class Task(Protocol):
    """Some of the work on one model: channels of a layer, or chains of samples."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Numbers of what is done and recorded one by one: channels, or chains."""

    @property
    def labels(self) -> Mapping[str, Any]:
        """Labels of the parts along each dim but the checkpoint: one for all, or one a part."""

    @property
    def mark(self) -> str:
        """Name of the array of status that it is committed by."""

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same task with other parts."""


def n_counted(task: Task) -> int:
    """Parts of a task that count as measured: none where it `adds` to parts that are there."""
    return 0 if getattr(task, "adds", False) else len(task.parts)


class Measurement(Protocol):
    """One model in, one labelled Dataset out. It travels to workers, so it can be pickled.

    The Dataset's coordinates are the labels of parts, its variables those of the group; `error` and
    `note` (part) are what is to be said of a part (see `dvis.store.group.Group.commit`), the texts
    of its attribute `notes` what is to be said once of all.
    """

    def measure(self, model: Any, task: Any, start: np.ndarray | None) -> xr.Dataset:
        """The result of one task on a model in eval mode."""


class Recorder(Protocol):
    """Where results go."""

    @property
    def kept(self) -> Mapping[str, int]:
        """Numbers of parts that are there, made otherwise, and kept: by why they are others."""

    def missing(self, label: str, task: Any) -> tuple[int, ...]:
        """Parts of a task that a checkpoint lacks."""

    def record(self, label: str, task: Any, result: xr.Dataset) -> list[str]:
        """Keep a result; return what is to be said of its parts."""

    def fail(self, label: str, task: Any, error: str) -> None:
        """Keep the error of a task."""

    def close(self) -> None:
        """Show readers what was recorded, however the sweep ended."""


class Start(Protocol):
    """Where the images of a task begin."""

    def __call__(self, before: str | None, label: str, task: Any, /) -> np.ndarray | None:
        """Model inputs to start from, or None: `before` is the checkpoint before."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured, and into which group.

    Parameters
    ----------
    model : str or GivenModel
        The model.
    words : Words
        The group's arrays.
    name : str
        The group's name.
    measurement : Measurement
        What is measured.
    tasks : sequence of Task
        How the work on one model divides.
    settings : mapping
        What all of the group must share to compare.
    labels : mapping of str to sequence
        Labels by every dim but the checkpoint, for which room is made.
    columns : mapping of str to mapping
        Values by label of coordinates that no dim bears.
    start : Start, optional
        Where images begin; by default the measurement begins at random.
    is_chained : bool
        Whether a task needs the result of the same task at the checkpoint before.
    travelling : callable, optional
        A task as it travels to a worker, of a checkpoint's label and the task: with what of it is
        that checkpoint's own. What is recorded is of the task without it.
    at_least : mapping of str to int
        Arrays of parts, and what a part has at least that is not measured again.
    noted : callable, optional
        Attributes to keep with the group, of the group before it grows.
    before : callable, optional
        A look at the group once it has grown, which may take parts back, or raise.
    unit : str
        What one of its parts is called.
    recorder : callable, optional
        What records, of the plan, the store, what the run's files say and the place; by default a
        `GroupRecorder`.
    model_input : ModelInput, optional
        What the model takes, and who tells so, which the group keeps.
    notes : tuple of str
        What is to be said of the plan itself.
    """

    model: Model
    words: Words
    name: str
    measurement: Measurement
    tasks: Sequence[Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    columns: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    start: Start | None = None
    is_chained: bool = False
    travelling: Callable[[str, Any], Any] | None = None
    at_least: Mapping[str, int] = field(default_factory=dict)
    noted: Callable[[Group], Mapping[str, Any]] | None = None
    before: Callable[[Group], None] | None = None
    unit: str = "unit"
    recorder: "Callable[[Plan, Path, RunFacts, Place], Recorder] | None" = None
    model_input: ModelInput | None = None
    notes: tuple[str, ...] = ()

    @property
    def made_with(self) -> dict[str, str]:
        """Attributes that tell which model was measured, and who told what it takes."""
        of_input = {} if self.model_input is None else {"input_source": self.model_input.source}
        return {MADE_WITH: str(self.model), **of_input}
