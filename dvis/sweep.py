"""Models in: any measurement over the checkpoints of a run, serial or parallel, resumable.

What a recorder lacks is divided into tasks, workers measure them, and this process, the one writer,
records what comes back. A sweep knows no measurement by name.
"""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import xarray as xr

from dvis.models.architectures import load_model
from dvis.models.checkpoints import CheckpointFile
from dvis.progress import progress_bar

logger = logging.getLogger(__name__)

ExecutorContext = AbstractContextManager[tuple[Executor, int]]
_MODELS_KEPT = 2  # by a worker: tasks of two checkpoints can alternate where one ends


class Task(Protocol):
    """A part of the work on one model: some channels of a layer."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels, of which each counts as a unit done."""


class Measurement(Protocol):
    """One model in, one labelled Dataset out. It travels to workers, so it can be pickled."""

    def measure(self, model: Any, task: Any, start: np.ndarray | None) -> xr.Dataset:
        """The result of one task on a model in eval mode."""


class Recorder(Protocol):
    """Where results go."""

    def missing(self, label: str, task: Any) -> tuple[int, ...]:
        """Channels of a task that a checkpoint lacks."""

    def record(self, label: str, task: Any, result: xr.Dataset) -> list[str]:
        """Keep a result; return what is to be said of its units."""

    def fail(self, label: str, task: Any, error: str) -> None:
        """Keep the error of a task."""


class Start(Protocol):
    """Where the images of a task begin."""

    def __call__(self, before: str | None, label: str, task: Any, /) -> np.ndarray | None:
        """Model inputs to start from, or None: `before` is the checkpoint before."""


@dataclass
class SweepReport:
    """What a sweep did: units measured, units that failed, and what is to be said of units."""

    n_measured: int = 0
    n_failed: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    before: str | None
    checkpoint: CheckpointFile
    task: Any


def sweep(
    measurement: Measurement,
    model: str,
    checkpoints: Sequence[CheckpointFile],
    tasks: Sequence[Any],
    recorder: Recorder,
    executor: ExecutorContext,
    *,
    device: str = "cpu",
    start: Start | None = None,
    is_chained: bool = False,
    progress: bool = False,
) -> SweepReport:
    """Measure what a recorder lacks, over checkpoints and tasks.

    Parameters
    ----------
    measurement : Measurement
        What is measured.
    model : str
        Name of the model: torchvision's, or `package.module:function`.
    checkpoints : sequence of CheckpointFile
        Checkpoints in training order.
    tasks : sequence of Task
        How the work on one model divides.
    recorder : Recorder
        Where results go; what it has is skipped.
    executor : context manager of an Executor and its number of workers
        Where tasks run, from `dvis.executors`.
    device : str
        Device of the models.
    start : Start, optional
        Where images begin; by default the measurement begins at random.
    is_chained : bool
        Whether a task needs the result of the same task at the checkpoint before.
    progress : bool
        Show a progress bar.

    Returns
    -------
    SweepReport
        A task that fails is recorded with its error and does not stop the others.

    Raises
    ------
    DiskFullError
        When there is no space left; what was recorded before is safe.
    """
    report = SweepReport()
    n_units = sum(len(job.task.channels) for job in _jobs(checkpoints, tasks, recorder))
    jobs = _jobs(checkpoints, tasks, recorder)
    with ExitStack() as stack:
        pool, n_workers = stack.enter_context(executor)
        bar = stack.enter_context(
            progress_bar(n_units, "units", f"visualise {model}", shown=progress)
        )
        running: dict[Future[xr.Dataset], _Job] = {}
        again: deque[_Job] = deque()
        waiting: _Job | None = None
        while True:
            while len(running) < (2 * n_workers if n_workers > 1 else 1):
                job = again.popleft() if again else waiting or next(jobs, None)
                waiting = None
                if job is None:
                    break
                if is_chained and any(_precedes(other, job) for other in running.values()):
                    waiting = job
                    break
                given = None
                if start is not None:
                    given = start(job.before, job.checkpoint.label, job.task)
                future = pool.submit(
                    _measure, measurement, model, job.checkpoint, device, job.task, given
                )
                running[future] = job
            if not running:
                return report
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise ChildProcessError(
                        "a worker was killed, as the system does when memory runs out. What was "
                        "recorded is safe: run again, with fewer workers or a smaller batch"
                    ) from error
                _settle(job, future, error, recorder, report)
                bar.update(len(job.task.channels))


def _settle(
    job: _Job,
    future: Future[xr.Dataset],
    error: BaseException | None,
    recorder: Recorder,
    report: SweepReport,
) -> None:
    """Record what came of a job: a result, or an error."""
    label, n_units = job.checkpoint.label, len(job.task.channels)
    if error is None:
        result = future.result()
        report.notes += recorder.record(label, job.task, result)
        n_failed = int((result["error"] != "").sum()) if "error" in result else 0
        report.n_failed += n_failed
        report.n_measured += n_units - n_failed
        return
    if not isinstance(error, Exception):
        raise error
    text = str(error) or type(error).__name__
    recorder.fail(label, job.task, text)
    report.notes.append(f"{label}, {job.task}: failed: {text}")
    report.n_failed += n_units


def _jobs(
    checkpoints: Sequence[CheckpointFile], tasks: Sequence[Any], recorder: Recorder
) -> Iterator[_Job]:
    """What is missing, checkpoint by checkpoint, so that a worker loads each once."""
    before = None
    for checkpoint in checkpoints:
        for task in tasks:
            channels = recorder.missing(checkpoint.label, task)
            if channels:
                yield _Job(before, checkpoint, replace(task, channels=channels))
        before = checkpoint.label


def _precedes(other: _Job, job: _Job) -> bool:
    """Whether a job is the one that another waits for."""
    if other.checkpoint.label != job.before:
        return False
    there, here = other.task, job.task
    is_alike = replace(there, channels=()) == replace(here, channels=())
    return is_alike and bool(set(there.channels) & set(here.channels))


def _measure(
    measurement: Measurement,
    model: str,
    checkpoint: CheckpointFile,
    device: str,
    task: Any,
    start: np.ndarray | None,
) -> xr.Dataset:
    """One task, in a worker."""
    stamp = None if checkpoint.path is None else checkpoint.path.stat().st_mtime_ns
    return measurement.measure(_loaded(model, checkpoint, stamp, device), task, start)


@lru_cache(maxsize=_MODELS_KEPT)
def _loaded(model: str, checkpoint: CheckpointFile, _stamp: int | None, device: str) -> Any:
    return load_model(model, checkpoint, device)
