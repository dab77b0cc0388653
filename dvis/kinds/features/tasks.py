"""How the work on one model divides: channels of a layer, and what is done with them.

Where directions are maximised, such as latents, these are what a task calls its channels.

Free of torch, for what records results knows the tasks too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from dvis.kinds.features.words import BLOCK_CHANNELS, REFERENCE
from dvis.models.directions import ReadOut
from dvis.schema import CHANNEL, LAYER


@dataclass(frozen=True)
class FeatureTask:
    """Channels of a layer, and what of them is maximised: `average`, `center`, `neuron_3_4`.

    `read_out` is what its units are at the checkpoint that it travels to, where they are no
    channels.
    """

    layer: str
    objective: str
    channels: tuple[int, ...]
    read_out: ReadOut | None = field(default=None, kw_only=True, compare=False, repr=False)

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

    @property
    def needed(self) -> tuple[int, ...]:
        """Channels that its measurement takes, once each."""
        return self.channels

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

    @property
    def needed(self) -> tuple[int, ...]:
        """Its channels, and those that they are paired with."""
        return tuple(dict.fromkeys((*self.channels, *self.partners)))


def block_tasks(
    channels: Mapping[str, Sequence[int]], objectives: Sequence[str], most: int
) -> list[FeatureTask]:
    """Tasks of at most so many channels each, all of them of one file of images.

    Parameters
    ----------
    channels : mapping of str to sequence of int
        Channels by layer, in order.
    objectives : sequence of str
        What of them is maximised.
    most : int
        Channels of a task.
    """
    size = max(1, min(BLOCK_CHANNELS, most))
    size = next(n for n in range(size, 0, -1) if BLOCK_CHANNELS % n == 0)
    tasks = []
    for layer, wanted in channels.items():
        blocks: dict[int, list[int]] = {}
        for index in wanted:
            blocks.setdefault(index // size, []).append(index)
        tasks += [
            FeatureTask(layer, objective, tuple(block))
            for objective in objectives
            for block in blocks.values()
        ]
    return tasks


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
