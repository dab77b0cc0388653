"""What a run over checkpoints knows before it starts: what their files say.

Checkpoint files in, plain facts out; alike for every measurement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from dvis.models.architectures import load_fitted
from dvis.models.checkpoints import CheckpointError, CheckpointFile, fingerprint, read_facts
from dvis.models.data import InputTransform
from dvis.models.data.folders import IMAGENET_MEAN, IMAGENET_STD
from dvis.names import training_steps
from dvis.schema import counted

# Of inputs about which checkpoints tell nothing: what torchvision's weights take.
_DEFAULT_SIZE, _DEFAULT_RESIZE = 224, 256
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
    notes : list of str
        What is to be said of the run's files; its first model adds to it.
    """

    checkpoints: tuple[CheckpointFile, ...]
    facts: Mapping[str, Mapping[str, Any]]
    unreadable: Mapping[str, CheckpointError]
    notes: list[str] = field(default_factory=list)

    @property
    def fingerprints(self) -> dict[str, int]:
        """What tells the weights of readable checkpoints apart, by label."""
        return {
            c.label: fingerprint(c.path, c.weights_key)
            for c in self.checkpoints
            if c.path and self._has(c)
        }

    @property
    def steps(self) -> dict[str, int]:
        """Training steps by label, as files say, else as names do."""
        names = [checkpoint.name for checkpoint in self.checkpoints]
        numbers = training_steps(names, None)
        steps = {n.label: step for n, step in zip(names, numbers, strict=True) if step >= 0}
        for label, of_file in self.facts.items():
            if isinstance(of_file.get("step"), int):
                steps[label] = of_file["step"]
        return steps

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

    def first_model(self, model: str) -> tuple[nn.Module, str]:
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
            return module, checkpoint.label
        raise errors[0]

    def _has(self, checkpoint: CheckpointFile) -> bool:
        return checkpoint.label in self.facts


def read_run(checkpoints: Sequence[CheckpointFile]) -> RunFacts:
    """What the files of a run's checkpoints say; those that cannot be read are named."""
    facts: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, CheckpointError] = {}
    for checkpoint in checkpoints:
        if checkpoint.path is None:
            continue
        try:
            facts[checkpoint.label] = read_facts(checkpoint.path)
        except CheckpointError as err:
            unreadable[checkpoint.label] = err
    return RunFacts(checkpoints=tuple(checkpoints), facts=facts, unreadable=unreadable)


def _said_of_left(label: str, left: Sequence[str]) -> str:
    shown = ", ".join(left[:_SHOWN_NAMES]) + (", ..." if len(left) > _SHOWN_NAMES else "")
    entries = counted(len(left), "entry", "entries")
    return f"left aside, as not the model's: {entries} of {label} ({shown})"


def input_transform(facts: Mapping[str, Any], size: int | None = None) -> InputTransform:
    """How a model takes pictures: as its training recorded it, else as torchvision's weights do.

    Parameters
    ----------
    facts : mapping
        What a checkpoint tells of itself.
    size : int, optional
        Side of the images in pixels, in place of the recorded one.

    Raises
    ------
    ValueError
        When what was recorded is no transform.
    """
    recorded = facts.get("input")
    transform = (
        InputTransform.from_dict(recorded)
        if isinstance(recorded, Mapping)
        else InputTransform(
            size=_DEFAULT_SIZE, resize=_DEFAULT_RESIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD
        )
    )
    return transform if size is None else replace(transform, size=size, resize=None)
