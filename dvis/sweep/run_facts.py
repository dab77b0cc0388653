"""What a run over checkpoints knows before it starts: what their files say.

Checkpoint files in, plain facts out; alike for every measurement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from dvis.models.architectures import load_model
from dvis.models.checkpoints import CheckpointError, CheckpointFile, fingerprint, read_facts
from dvis.models.model_reference import Model
from dvis.names import training_steps


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
    """

    checkpoints: tuple[CheckpointFile, ...]
    facts: Mapping[str, Mapping[str, Any]]
    unreadable: Mapping[str, CheckpointError]

    @property
    def fingerprints(self) -> dict[str, int]:
        """What tells the weights of readable checkpoints apart, by label."""
        return {c.label: fingerprint(c.path) for c in self.checkpoints if c.path and self._has(c)}

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

    def first_model(self, model: Model) -> tuple[nn.Module, str]:
        """The model at the first checkpoint that fits it, and that checkpoint's label.

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
                return load_model(model, checkpoint), checkpoint.label
            except CheckpointError as err:
                errors.append(err)
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
