"""How the work on one model divides: channels of a layer, and what is done with them.

Free of torch, for what records results knows the tasks too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from dvis.kinds.features.words import REFERENCE
from dvis.schema import CHANNEL, LAYER


@dataclass(frozen=True)
class FeatureTask:
    """Channels of a layer, and what of them is maximised: `average`, `center`, `neuron_3_4`."""

    layer: str
    objective: str
    channels: tuple[int, ...]

    mark: ClassVar[str] = "status"

    @property
    def labels(self) -> dict[str, Any]:
        """The layer, and a channel for each part."""
        return {LAYER: self.layer, CHANNEL: list(self.channels)}

    @property
    def parts(self) -> tuple[int, ...]:
        """The channels: a sweep counts and records them one by one."""
        return self.channels

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layer and objective, and other channels."""
        return replace(self, channels=parts)

    def __str__(self) -> str:
        first, last = self.channels[0], self.channels[-1]
        return f"{self.layer}, channels {first} to {last}, {self.objective}"


@dataclass(frozen=True)
class ReferenceTask(FeatureTask):
    """Channels of a layer that have feature images, and are to be held against the reference."""

    mark: ClassVar[str] = REFERENCE
    adds: ClassVar[bool] = True  # to units that are there: none of them is measured again

    def __str__(self) -> str:
        return f"{self.layer}, reference images, {self.objective}"


@dataclass(frozen=True)
class PairTask(FeatureTask):
    """Channels of a layer, each with the one after it among all that were asked for."""

    others: tuple[int, ...] = ()

    @property
    def partners(self) -> tuple[int, ...]:
        """The channel that each is paired with, itself where there is no other."""
        places = [self.others.index(channel) for channel in self.channels]
        return tuple(self.others[(place + 1) % len(self.others)] for place in places)


def reference_tasks(tasks: Sequence[FeatureTask]) -> list[ReferenceTask]:
    """What is to be held against the reference, of images that are there already."""
    return [ReferenceTask(*place, channels) for place, channels in _of_layers(tasks).items()]


def pair_tasks(tasks: Sequence[FeatureTask]) -> list[PairTask]:
    """The tasks of a sweep, each with all the channels that it asked for of its layer."""
    others = _of_layers(tasks)
    return [
        PairTask(task.layer, task.objective, task.channels, others[task.layer, task.objective])
        for task in tasks
    ]


def _of_layers(tasks: Sequence[FeatureTask]) -> dict[tuple[str, str], tuple[int, ...]]:
    """All channels of some tasks, in order, by layer and objective."""
    channels: dict[tuple[str, str], set[int]] = {}
    for task in tasks:
        channels.setdefault((task.layer, task.objective), set()).update(task.channels)
    return {place: tuple(sorted(each)) for place, each in channels.items()}
