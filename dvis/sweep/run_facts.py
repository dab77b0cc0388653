"""What a run over checkpoints knows before it starts: what their files say.

Checkpoint files in, plain facts out; alike for every measurement.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import nn

from dvis.models.architectures import load_fitted
from dvis.models.building import architecture_of
from dvis.models.checkpoints import (
    CheckpointError,
    CheckpointFile,
    find_checkpoints,
    fingerprint,
    read_facts,
)
from dvis.models.model_reference import Model, model_name
from dvis.names import (
    UNPLACED,
    Told,
    check_told,
    chosen,
    merged,
    place_in_run,
    read_told,
    training_steps,
)
from dvis.schema import counted
from dvis.store.places import stored_places
from dvis.sweep.place import RunOptions

_T = TypeVar("_T")
_SHOWN_NAMES = 10


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What the checkpoints of a run tell of themselves.

    Parameters
    ----------
    checkpoints : tuple of CheckpointFile
        All of them, in training order.
    facts : mapping of str to mapping
        Plain values in the files, by label, of those that can be read.
    unreadable : mapping of str to CheckpointError
        Why the others cannot.
    fingerprints : mapping of str to int
        What tells the weights of readable checkpoints apart, by label.
    told : mapping of str to Told
        Steps and epochs that a user told with the options, by label, for the store to keep.
    notes : list of str
        What was not believed of their places, and which were left out; the first model adds what
        is in its file beside its weights.
    architecture : set of str
        What tells the model from others, which the first model adds.
    """

    checkpoints: tuple[CheckpointFile, ...]
    facts: Mapping[str, Mapping[str, Any]]
    unreadable: Mapping[str, CheckpointError]
    fingerprints: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    architecture: set[str] = field(default_factory=set)

    @property
    def steps(self) -> dict[str, int]:
        """Training steps by label, of those whose is known."""
        names = [checkpoint.name for checkpoint in self.checkpoints]
        steps = zip(names, training_steps(names, None), strict=True)
        return {name.label: step for name, step in steps if step >= 0}

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Numbers that the training kept with its checkpoints, by label and name."""
        metrics = {}
        for label, of_file in self.facts.items():
            numbers = of_file.get("metrics")
            if isinstance(numbers, Mapping):
                metrics[label] = {
                    str(name): float(value)
                    for name, value in numbers.items()
                    if isinstance(value, int | float)
                }
        return metrics

    def first_model(self, model: Model) -> tuple[nn.Module, str]:
        """The model at the first checkpoint that fits it, and that checkpoint's label.

        What is in its file beside the model's weights is noted.

        Raises
        ------
        CheckpointError
            When none does: why the first does not.
        """
        errors = list(self.unreadable.values())
        for checkpoint in self.checkpoints:
            if checkpoint.label in self.unreadable:
                continue
            try:
                module, left = load_fitted(model, checkpoint)
            except CheckpointError as err:
                errors.append(err)
                continue
            if left:
                self.notes.append(_said_of_left(checkpoint.label, left))
            self.architecture.add(architecture_of(module))
            return module, checkpoint.label
        raise errors[0]


def run_of(options: RunOptions) -> RunFacts:
    """The checkpoints that are asked for, in training order, and what their files say.

    Raises
    ------
    FileNotFoundError
        When there are no checkpoints, or no file of steps.
    ValueError
        When a pattern fits no checkpoint, or the steps are none of theirs.
    """
    found = find_checkpoints(options.checkpoint_path, weights_key=options.weights_key)
    labels = [checkpoint.label for checkpoint in found]
    before = stored_places(options.store_of(model_name(options.model)), options.run)
    told = {} if options.steps is None else read_told(options.steps)
    check_told(told, [*labels, *before], "the run")
    wanted = set(chosen(labels, options.checkpoint_patterns))
    run = read_run([each for each in found if each.label in wanted], merged(before, told))
    return replace(run, told=told)


def read_run(
    checkpoints: Sequence[CheckpointFile], told: Mapping[str, Told] | None = None
) -> RunFacts:
    """What the files of a run's checkpoints say, in training order; unreadable ones are named.

    Parameters
    ----------
    checkpoints : sequence of CheckpointFile
        The checkpoints. One whose name says no more than that it is the last, or the best, is left
        out where it is a link to another or has the same content.
    told : mapping of str to Told, optional
        What a user told of their places.
    """
    facts: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, CheckpointError] = {}
    fingerprints: dict[str, int] = {}
    for checkpoint in checkpoints:
        if checkpoint.path is None:
            continue
        try:
            facts[checkpoint.label] = read_facts(checkpoint.path)
            fingerprints[checkpoint.label] = fingerprint(checkpoint.path, checkpoint.weights_key)
        except CheckpointError as err:
            unreadable[checkpoint.label] = err
    told = told or {}
    copies = _copies([each for each in checkpoints if each.label not in told], fingerprints)
    files = {each.label: each for each in checkpoints if each.label not in copies}
    placed = place_in_run(files, facts, told)
    notes = [f"{copy} is the same as {other}, and left out" for copy, other in copies.items()]
    return RunFacts(
        checkpoints=tuple(replace(files[name.label], name=name) for name in placed.names),
        facts=_without(copies, facts),
        unreadable=unreadable,
        fingerprints=_without(copies, fingerprints),
        notes=[*placed.notes, *notes],
    )


def _copies(
    checkpoints: Iterable[CheckpointFile], fingerprints: Mapping[str, int]
) -> dict[str, str]:
    """Checkpoints whose names tell no place, by label, and those with one that are the same."""
    originals: dict[int, str] = {}
    copies: dict[str, str] = {}
    for checkpoint in sorted(checkpoints, key=lambda each: each.name.role in UNPLACED):
        content = fingerprints.get(checkpoint.label)
        if content is None:
            continue
        original = originals.setdefault(content, checkpoint.label)
        is_placed = checkpoint.name.epoch >= 0 or checkpoint.name.step >= 0
        if original != checkpoint.label and checkpoint.name.role in UNPLACED and not is_placed:
            copies[checkpoint.label] = original
    return copies


def _without(labels: Container[str], values: Mapping[str, _T]) -> dict[str, _T]:
    return {label: value for label, value in values.items() if label not in labels}


def _said_of_left(label: str, left: Sequence[str]) -> str:
    shown = ", ".join(left[:_SHOWN_NAMES]) + (", ..." if len(left) > _SHOWN_NAMES else "")
    entries = counted(len(left), "entry", "entries")
    return f"left aside, as not the model's: {entries} of {label} ({shown})"
