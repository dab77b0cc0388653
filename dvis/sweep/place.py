"""Where a measurement computes, and where what comes of it goes: options that all commands share.

Free of torch, so that the command line can name the options where torch is absent.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dvis.models.input_options import InputOptions
from dvis.models.model_reference import Model
from dvis.models.option_numbers import at_least, bounded
from dvis.schema import DEFAULT_RUN
from dvis.sweep.executors import (
    ExecutorFactory,
    check_travels,
    in_processes,
    in_this_process,
    on_client,
    on_cluster,
    on_scheduler,
    travels_to_processes,
)

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where to compute, and where to keep what comes of it.

    Parameters
    ----------
    device
        Where to compute: cpu, cuda, cuda:1, mps.
    store
        The store (default: stores/MODEL.zarr).
    run
        The run's name in the store.
    scheduler
        Address of a dask scheduler, such as tcp://node7:8786, on whose workers to compute. They
        read the image files of a set themselves.
    workers
        Workers of a dask cluster on this machine; 0 computes in this process (default: a process
        for each core on a CPU, this process on a GPU).
    overwrite
        Measure again what is there of other options, other images or data, or other weights under
        the same label.
    """

    device: str = "cpu"
    store: Path | None = None
    run: str = DEFAULT_RUN
    scheduler: str | None = None
    workers: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        at_least("workers", self.workers, 0)
        if not self.run.strip():
            raise ValueError("run is empty; give the run a name, or leave --run out")
        if self.scheduler is not None and self.workers is not None:
            raise ValueError("give --scheduler or --workers, not both")

    def store_of(self, model: str) -> Path:
        """The store of a model by its name."""
        return (self.store or Path("stores") / f"{model}.zarr").expanduser()

    def executor(
        self, n_tasks: int, client: "Client | None" = None, model: Model = ""
    ) -> ExecutorFactory:
        """Where tasks run: as told, else on an accelerator alone, or in a process for each core.

        A model that no other process can be given, such as one of a class that a notebook defines,
        is measured in this one unless another place is told.

        Raises
        ------
        TypeError
            When the model cannot travel to the workers that are told.
        """
        told = self._told_executor(client)
        if told is not None:
            check_travels("model", model, told)
            return told
        n_processes = min(len(os.sched_getaffinity(0)), n_tasks)
        if self.device != "cpu" or n_processes < 2 or not travels_to_processes(model):
            return in_this_process
        return partial(in_processes, n_processes)

    def _told_executor(self, client: "Client | None") -> ExecutorFactory | None:
        if client is not None:
            return partial(on_client, client)
        if self.scheduler is not None:
            return partial(on_scheduler, self.scheduler)
        if self.workers is not None:
            return partial(on_cluster, self.workers) if self.workers > 0 else in_this_process
        return None


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Place, InputOptions):
    """Which model is measured, what it takes, where, and where to.

    Parameters
    ----------
    model
        Name of a torchvision classification model, timm:NAME, open_clip:NAME (its visual tower), or
        package.module:function of a factory.
    weights_key
        Which weights of a checkpoint's file are meant, where several fit the model: model_ema,
        teacher.backbone.
    """

    model: Annotated[Model, tyro.conf.arg(constructor=str)]
    weights_key: str | None = None

    def __post_init__(self) -> None:
        bounded(self)
        Place.__post_init__(self)
        InputOptions.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class RunOptions(ModelOptions):
    """Which model is measured, and at which of its checkpoints.

    Parameters
    ----------
    checkpoint_path
        Checkpoint files, or folders of them (default: torchvision's pretrained weights).
    checkpoint_patterns
        Only checkpoints with names like these, such as "epoch_*" (default: all).
    steps
        A csv or json file of training steps: name,step or name,step,epoch in each line (default:
        as the files or the names of the checkpoints tell them).
    """

    # From Python also files by the labels that they are to have.
    checkpoint_path: Annotated[
        tuple[Path, ...] | Mapping[str, Path] | None,
        tyro.conf.arg(constructor=tuple[Path, ...] | None),
    ] = None
    checkpoint_patterns: Annotated[tuple[str, ...], tyro.conf.arg(name="checkpoints")] = ()
    steps: Path | None = None
