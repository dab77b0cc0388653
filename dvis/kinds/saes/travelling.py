"""Tasks of a sweep that take a checkpoint's autoencoders along to the worker."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import xarray as xr

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.schema import CHECKPOINT


class Carrying(Protocol):
    """A task with room for the autoencoders of its layers, a dataclass."""

    @property
    def autoencoders(self) -> Mapping[str, Autoencoder]:
        """Those of one checkpoint, by layer."""

    @property
    def looked_at(self) -> set[str]:
        """Layers, or what else autoencoders are called by, of which the task has some part."""


Task = TypeVar("Task", bound=Carrying)


@dataclass(frozen=True)
class WithAutoencoders:
    """A task as it travels to a worker: with a checkpoint's autoencoders, of its layers alone.

    Parameters
    ----------
    trained : mapping of str to Dataset
        As `dvis.saes` gives them, by what tasks call them.
    """

    trained: Mapping[str, xr.Dataset]

    def __call__(self, label: str, task: Task, /) -> Task:
        """The task with those autoencoders that there are."""
        own = {
            name: autoencoder_at(dataset, label)
            for name, dataset in self.trained.items()
            if name in task.looked_at and label in dataset[CHECKPOINT].values
        }
        dataclass_: Any = task
        carrying: Task = replace(dataclass_, autoencoders=own)
        return carrying
