"""Places in training of a run's checkpoints, by the best that is known of each.

Names, plain facts of files and what a user told in; names in training order out, and what of all
this was not believed. What files say is held against the names and against each other: a number
that goes back or repeats over the run is no training step, whatever it is called.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dvis.names.grammar import parse_checkpoint
from dvis.names.name import PHASES, UNPLACED, CheckpointName, natural_key
from dvis.names.order import training_order

# Keys by which trainings save a step, and an epoch; some in a dict of one of these names.
_STEP_KEYS = ("global_step", "step", "iteration", "iter")
_EPOCH_KEYS = ("epoch",)
_INNER = ("meta", "trainer_state")
_TELL = ". Tell the steps with --steps, or later with `dvis steps`"
_MOST_EPOCHS = 3000


class Told(NamedTuple):
    """What a user tells of a checkpoint: its step and its epoch, None where not told."""

    step: int | None = None
    epoch: int | None = None

    def applied_to(self, name: CheckpointName) -> CheckpointName:
        """A name with what was told of it."""
        return replace(
            name,
            step=name.step if self.step is None else self.step,
            epoch=name.epoch if self.epoch is None else self.epoch,
        )


def merged(known: Mapping[str, Told], told: Mapping[str, Told]) -> dict[str, Told]:
    """What was told before with what is told now, which wins."""
    both = dict(known)
    for label, (step, epoch) in told.items():
        before = known.get(label, Told())
        both[label] = Told(
            before.step if step is None else step, before.epoch if epoch is None else epoch
        )
    return both


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Checkpoints in training order, and what is to be said of what was not believed."""

    names: tuple[CheckpointName, ...]
    notes: tuple[str, ...] = ()


def place_in_run(
    labels: Iterable[str],
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    told: Mapping[str, Told] | None = None,
) -> Placed:
    """A run's checkpoints in training order, with all that is known of their places.

    Parameters
    ----------
    labels : iterable of str
        Names of the checkpoints.
    facts : mapping of str to mapping, optional
        Plain values in their files, by label.
    told : mapping of str to Told, optional
        What a user told, by label, which nothing contradicts.

    Examples
    --------
    >>> placed = place_in_run(["a.pth", "b.pth"], {"a.pth": {"step": 20.0}, "b.pth": {"step": 10}})
    >>> [(name.label, name.step) for name in placed.names]
    [('b.pth', 10), ('a.pth', 20)]
    """
    facts, told = facts or {}, told or {}
    notes: list[str] = []
    names = [parse_checkpoint(label) for label in labels]
    names = _with_steps_of_run(names, notes)
    names = _with_epochs(names, facts, notes)
    names = _with_steps(names, facts, notes)
    names = _with_countable_epochs(names, notes)
    names = [told.get(name.label, Told()).applied_to(name) for name in names]
    notes += repeated_steps(names)
    return Placed(names=tuple(names[i] for i in training_order(names)), notes=tuple(notes))


def repeated_steps(names: Iterable[CheckpointName]) -> list[str]:
    """What is to be said of the steps that several checkpoints have, in one text.

    Those whose names say that they are the best or the last may be another one again.

    Examples
    --------
    >>> repeated_steps(map(parse_checkpoint, ["a_step10.pt", "b_step10.pt"]))
    ['2 checkpoints have step 10: a_step10.pt, b_step10.pt. Are they of several runs, or copies?']
    """
    of_step: dict[int, list[str]] = {}
    for name in names:
        if name.step >= 0 and name.role not in UNPLACED:
            of_step.setdefault(name.step, []).append(name.label)
    repeated = {step: labels for step, labels in of_step.items() if len(labels) > 1}
    if not repeated:
        return []
    step, labels = min(repeated.items())
    shown = ", ".join(sorted(labels, key=natural_key)[:3]) + (", ..." if len(labels) > 3 else "")
    more = f"; {len(repeated) - 1} more steps are of several too" if len(repeated) > 1 else ""
    return [
        f"{len(labels)} checkpoints have step {step:,}: {shown}{more}. "
        "Are they of several runs, or copies?"
    ]


def _with_steps_of_run(names: list[CheckpointName], notes: list[str]) -> list[CheckpointName]:
    """The names; where their steps begin anew with each epoch, these are batches of it."""
    without = [replace(name, step=-1) if name.epoch >= 0 else name for name in names]
    steps = {name.label: name.step for name in names if name.step >= 0 and name.epoch >= 0}
    problem = _contradiction(without, steps)
    if not problem:
        return names
    notes.append(f"the steps in the names are those within an epoch: one {problem}{_TELL}")
    return [
        replace(name, step=-1, batch=name.step) if name.label in steps else name for name in names
    ]


def _with_epochs(
    names: list[CheckpointName], facts: Mapping[str, Mapping[str, Any]], notes: list[str]
) -> list[CheckpointName]:
    """The names with the epochs that files tell, where names do not, counted as the names count."""
    epochs = _values(names, facts, _EPOCH_KEYS[0])
    problem = _contradiction(names, epochs, may_repeat=True)
    if problem:
        notes.append(f"'epoch' in the files is not taken: it {problem}")
        return names
    differences = Counter(
        epochs[name.label] - name.epoch
        for name in names
        if name.epoch >= 0 and name.label in epochs
    )
    # Many save the number of epochs done, and count names from 0.
    offset = differences.most_common(1)[0][0] if differences else 0
    placed = []
    for name in names:
        epoch = epochs.get(name.label, -1) - offset
        if name.epoch < 0 <= epoch and name.label in epochs:
            of_file = facts[name.label]
            phase = of_file.get("phase_type")
            batch = whole_number(of_file.get("batch_iteration"))
            name = replace(
                name,
                epoch=epoch,
                phase=phase if phase in PHASES else "",
                batch=-1 if batch is None else batch,
            )
        placed.append(name)
    return placed


def _with_steps(
    names: list[CheckpointName], facts: Mapping[str, Mapping[str, Any]], notes: list[str]
) -> list[CheckpointName]:
    """The names with the steps that files tell, by the first key that can be believed."""
    for key in _STEP_KEYS:
        steps = _values(names, facts, key)
        problem = _other_than_named(names, steps) or _contradiction(names, steps)
        if problem:
            notes.append(
                f"{key!r} in the files is not taken as the training step: it {problem}{_TELL}"
            )
            continue
        if steps:
            if all(name.epoch == steps.get(name.label) for name in names if name.is_counted):
                names = [
                    replace(n, epoch=-1, is_counted=False) if n.is_counted else n for n in names
                ]
            names = [
                replace(n, step=steps[n.label]) if n.step < 0 and n.label in steps else n
                for n in names
            ]
            break
    return names


def _with_countable_epochs(names: list[CheckpointName], notes: list[str]) -> list[CheckpointName]:
    """The names without epochs that are plain numbers, where these are too large to be some."""
    counted = [name for name in names if name.is_counted]
    last = max(counted, key=lambda name: name.epoch, default=None)
    if last is None or last.epoch <= _MOST_EPOCHS:
        return names
    notes.append(
        f"the number in {last.label} is too large for an epoch, and may be a step or not: the "
        f"order follows the numbers in the names{_TELL}"
    )
    # Numbers order what says nothing else.
    return [replace(n, epoch=-1, is_counted=False) if n.is_counted else n for n in names]


def _values(
    names: Iterable[CheckpointName], facts: Mapping[str, Mapping[str, Any]], key: str
) -> dict[str, int]:
    """Whole numbers that files have under a key, by label."""
    values = {}
    for name in names:
        of_file = facts.get(name.label, {})
        inner = [of_file[outer] for outer in _INNER if isinstance(of_file.get(outer), Mapping)]
        found = (whole_number(each.get(key)) for each in (of_file, *inner))
        value = next((number for number in found if number is not None), None)
        if value is not None:
            values[name.label] = value
    return values


def whole_number(value: Any) -> int | None:
    """A number from 0 on that is whole, whatever its type; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**53 and value == int(value) else None


def _other_than_named(names: Iterable[CheckpointName], steps: Mapping[str, int]) -> str:
    """How steps differ from those that names tell, "" where they do not: by one they may."""
    for name in names:
        step = steps.get(name.label, name.step)
        if name.step >= 0 and abs(step - name.step) > 1:
            return f"is {step:,} in {name.label}"
    return ""


def _contradiction(
    names: Sequence[CheckpointName], values: Mapping[str, int], *, may_repeat: bool = False
) -> str:
    """How values go back or repeat over the run as the names order it, "" where they rise.

    Of checkpoints without a place only repetition can be told. Those whose names say that they are
    the best or the last may be another one again.
    """
    known = [n for n in names if n.label in values and n.role not in UNPLACED]
    known = [known[i] for i in training_order(known)]
    placed = [name for name in known if is_placed(name)]
    for before, after in pairwise(placed):
        first, second = values[before.label], values[after.label]
        if before.sort_key[:2] == after.sort_key[:2]:
            continue
        if second < first:
            return f"goes back from {first:,} at {before.label} to {second:,} at {after.label}"
        if second == first and not may_repeat:
            return f"is {first:,} at {before.label} and at {after.label}"
    seen: dict[int, str] = {}
    for name in known if not placed and not may_repeat else ():
        first_label = seen.setdefault(values[name.label], name.label)
        if first_label != name.label:
            return f"is {values[name.label]:,} at {first_label} and at {name.label}"
    return ""


def is_placed(name: CheckpointName) -> bool:
    """Whether anything tells the place of a checkpoint in training."""
    return name.step >= 0 or name.epoch >= 0 or not np.isnat(name.time)
