"""Models in: any measurement over the checkpoints of a run, serial or parallel, resumable.

What a recorder lacks is divided into tasks, workers measure them, and this process, the one writer,
records what comes back. A sweep knows no measurement by name.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any
from uuid import uuid4

import xarray as xr

from dvis.models.checkpoints import CheckpointFile
from dvis.models.model_reference import Model, model_name
from dvis.progress import progress_bar
from dvis.schema import NOTES
from dvis.sweep.executors import ExecutorFactory, Room
from dvis.sweep.plan import Measurement, Recorder, Start, n_counted
from dvis.sweep.rehearsal import Rehearsal
from dvis.sweep.worker import Lacking, Order, Work, carry_out_order, forget, keep

logger = logging.getLogger(__name__)

Answer = Future[xr.Dataset | Lacking]
_TRIES = 3  # of a task whose worker died
_LOOK_AGAIN_S = 5.0  # for workers that have come meanwhile


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
    n_tries: int = 0


def sweep(
    measurement: Measurement,
    model: Model,
    checkpoints: Sequence[CheckpointFile],
    tasks: Sequence[Any],
    recorder: Recorder,
    executor: ExecutorFactory,
    *,
    device: str = "cpu",
    start: Start | None = None,
    is_chained: bool = False,
    travelling: Callable[[str, Any], Any] | None = None,
    unit: str = "units",
    progress: bool = False,
    rehearsal: Rehearsal | None = None,
) -> SweepReport:
    """Measure what a recorder lacks, over checkpoints and tasks.

    Parameters
    ----------
    measurement : Measurement
        What is measured.
    model : str or GivenModel
        The model, as `dvis.models.building.build_model` takes it.
    checkpoints : sequence of CheckpointFile
        Checkpoints in training order.
    tasks : sequence of Task
        How the work on one model divides.
    recorder : Recorder
        Where results go; what it has is skipped.
    executor : callable that gives a context manager of an Executor and of how much it takes
        Where tasks run, from `dvis.sweep.executors`. A pool whose worker was killed is made anew.
    device : str
        Device of the models.
    start : Start, optional
        Where images begin; by default the measurement begins at random.
    is_chained : bool
        Whether a task needs the result of the same task at the checkpoint before.
    travelling : callable, optional
        A task as it travels to a worker, of a checkpoint's label and the task.
    unit : str
        What the progress bar calls the parts of tasks.
    progress : bool
        Show a progress bar.
    rehearsal : Rehearsal, optional
        What tasks took is noted there, and it says when no more are to be done.

    Returns
    -------
    SweepReport
        A task that fails is recorded with its error and does not stop the others.

    Raises
    ------
    DiskFullError
        When there is no space left; what was recorded before is safe.
    ChildProcessError
        When the workers of a task were killed again and again.
    """
    report = SweepReport()
    n_units = sum(n_counted(job.task) for job in _jobs(checkpoints, tasks, recorder))
    queue = _Queue(_jobs(checkpoints, tasks, recorder), is_chained)
    orders = _Orders(uuid4().hex, Work(measurement, model), device, start, travelling)
    try:
        with progress_bar(n_units, unit, model_name(model), shown=progress) as bar:
            while not queue.is_empty:
                with executor() as (pool, room):
                    for job, future in _completed(queue, pool, room, orders):
                        if queue.give_back(job, future):
                            logger.warning("a worker was killed; its tasks are done again")
                            break
                        _settle(job, future, recorder, report)
                        bar.update(n_counted(job.task))
                        if rehearsal is not None:
                            rehearsal.note(job.task)
                            if rehearsal.is_over():
                                return report
    finally:
        forget()
    return report


class _Queue:
    """Jobs that wait, and those under way."""

    def __init__(self, jobs: Iterator[_Job], is_chained: bool) -> None:
        self._jobs, self._is_chained = jobs, is_chained
        self._waiting: deque[_Job] = deque()
        self.running: dict[Answer, _Job] = {}

    @property
    def is_empty(self) -> bool:
        """Whether all is done."""
        return not self.running and self._next() is None

    def take(self) -> _Job | None:
        """A job that can be done now: none is left, or the next waits for one under way."""
        job = self._next()
        if job is None:
            return None
        if self._is_chained and any(_precedes(other, job) for other in self.running.values()):
            return None
        return self._waiting.popleft()

    def give_back(self, job: _Job, future: Answer) -> bool:
        """Whether the job's pool of processes broke: then it, and all under way, wait again."""
        if not isinstance(future.exception(), BrokenProcessPool):
            return False
        lost = [job, *self.running.values()]
        if any(each.n_tries >= _TRIES for each in lost):
            raise ChildProcessError(
                f"workers were killed {_TRIES} times, as the system does when memory runs out. "
                "What was recorded is safe: run again, with fewer workers or a smaller batch"
            ) from future.exception()
        self._waiting.extendleft(replace(each, n_tries=each.n_tries + 1) for each in reversed(lost))
        self.running.clear()
        return True

    def _next(self) -> _Job | None:
        if not self._waiting:
            self._waiting.extend(islice(self._jobs, 1))
        return self._waiting[0] if self._waiting else None


@dataclass(frozen=True)
class _Orders:
    """Makes orders of jobs."""

    key: str
    work: Work
    device: str
    start: Start | None
    travelling: Callable[[str, Any], Any] | None

    def of(self, job: _Job) -> Order:
        """What travels to a worker for a job."""
        label = job.checkpoint.label
        given = None if self.start is None else self.start(job.before, label, job.task)
        task = job.task if self.travelling is None else self.travelling(label, job.task)
        return Order(self.key, job.checkpoint, self.device, task, given)


def _completed(
    queue: _Queue, pool: Executor, room: Room, orders: _Orders
) -> Iterator[tuple[_Job, Answer]]:
    """Jobs with their finished futures, as they finish."""
    keep(orders.key, orders.work)  # for tasks in this process
    sent: dict[Answer, Order] = {}
    # One each at first: a worker that lacks the work says so before more is sent to it.
    n_each = 1
    while True:
        n_workers = room()
        n_in_flight = n_each * n_workers if n_workers > 1 else 1
        while len(queue.running) < n_in_flight and (job := queue.take()) is not None:
            order = orders.of(job)
            future = _submitted(pool, order)
            queue.running[future], sent[future] = job, order
        if not queue.running:
            return
        done, _ = wait(queue.running, _LOOK_AGAIN_S, return_when=FIRST_COMPLETED)
        for future in done:
            if future not in queue.running:
                continue
            job, order = queue.running.pop(future), sent.pop(future)
            if future.exception() is None and isinstance(future.result(), Lacking):
                again = _submitted(pool, order, orders.work)
                queue.running[again], sent[again] = job, order
                continue
            n_each = 2
            yield job, future


def _submitted(pool: Executor, *arguments: Any) -> Answer:
    try:
        return pool.submit(carry_out_order, *arguments)
    except BrokenProcessPool as err:  # it broke since the last task was submitted
        future: Answer = Future()
        future.set_exception(err)
        return future


def _settle(
    job: _Job,
    future: Answer,
    recorder: Recorder,
    report: SweepReport,
) -> None:
    """Record what came of a job: a result, or an error."""
    error = future.exception()
    label, n_units = job.checkpoint.label, n_counted(job.task)
    if error is None:
        result = future.result()
        assert isinstance(result, xr.Dataset)
        said = result.attrs.get(NOTES, ())
        report.notes += [note for note in said if note not in report.notes]
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
            parts = recorder.missing(checkpoint.label, task)
            if parts:
                yield _Job(before, checkpoint, task.with_parts(parts))
        before = checkpoint.label


def _precedes(other: _Job, job: _Job) -> bool:
    """Whether a job is the one that another waits for."""
    if other.checkpoint.label != job.before:
        return False
    there, here = other.task, job.task
    is_alike = there.with_parts(()) == here.with_parts(())
    return is_alike and bool(set(there.parts) & set(here.parts))
