"""A plan carried out: the one driver of all kinds of measurement.

A plan, what the run's files say and a place in; the store's group grows, and a report comes out.
What is there is skipped, so that a run that was stopped goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dvis.models.model_reference import model_name
from dvis.schema import counted, group_path
from dvis.store.metrics import write_metrics
from dvis.store.places import keep_places
from dvis.store.writer import writing
from dvis.sweep.executors import ExecutorFactory, in_this_process
from dvis.sweep.place import Place
from dvis.sweep.plan import Plan
from dvis.sweep.record import GroupRecorder
from dvis.sweep.rehearsal import current, in_any_order
from dvis.sweep.run_facts import RunFacts
from dvis.sweep.sweep import sweep

if TYPE_CHECKING:
    from distributed import Client

_MAX_TOLD = 20


@dataclass(kw_only=True)
class Report:
    """What came of a measurement.

    Attributes
    ----------
    store, run, name : Path, str, str
        Where its group is.
    unit : str
        What the parts are called that it counts.
    n_measured, n_failed : int
        Parts that were measured, and that failed.
    kept : dict of str to int
        Parts that are there, made otherwise, and were kept as they are: by why they are others.
    notes : list of str
        What is to be said of the plan and of single parts.
    """

    store: Path
    run: str
    name: str
    unit: str = "unit"
    n_measured: int = 0
    n_failed: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def n_kept(self) -> int:
        """Parts that were kept as they are."""
        return sum(self.kept.values())

    def lines(self) -> list[str]:
        """The report as a command prints it."""
        lines = [f"  {note}" for note in self.notes[:_MAX_TOLD]]
        if len(self.notes) > _MAX_TOLD:
            n_more = len(self.notes) - _MAX_TOLD
            lines.append(f"  ... and {n_more} more: dvis info {self.store}")
        measured = counted(self.n_measured, self.unit)
        lines.append(f"{self.store}, {self.name}: {measured} measured, {self.n_failed} failed")
        lines += [
            f"kept: {counted(n, self.unit)} {why}; --overwrite measures again"
            for why, n in self.kept.items()
            if n
        ]
        return lines


def _said_of_input(plan: Plan) -> list[str]:
    """What is to be said of what the model takes, where nobody tells."""
    return list(plan.model_input.notes) if plan.model_input is not None else []


def carry_out(
    plan: Plan,
    run: RunFacts,
    place: Place,
    *,
    client: "Client | None" = None,
    executor: ExecutorFactory | None = None,
    progress: bool = False,
) -> Report:
    """Measure what a store lacks of a plan.

    Parameters
    ----------
    plan : Plan
        What is measured, and into which group.
    run : RunFacts
        Its checkpoints, and what their files say.
    place : Place
        Where to compute, and where to keep what comes of it.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    executor : callable, optional
        Where to compute, in place of what the place says: of a caller who keeps workers.
    progress : bool
        Show a progress bar.

    Notes
    -----
    While a rehearsal is on (`dvis.sweep.rehearsal`), some tasks are done alone, in this process.

    Raises
    ------
    ValueError
        When the group has other settings, and is not to be overwritten.
    SchemaError
        When there is something else at the place of the store.
    DiskFullError
        When there is no space left; what was recorded before is safe, and a second run goes on.
    """
    model, kind = model_name(plan.model), plan.words.kind
    group_path(place.run, kind, plan.name)  # raises for names that no store can keep
    architecture = next(iter(run.architecture), None)
    tasks, rehearsal = plan.tasks, current()
    if rehearsal is not None:
        rehearsal.begin((kind, place.run, plan.name), tasks, len(run.checkpoints))
        tasks, executor = in_any_order(tasks), in_this_process
    with writing(place.store_of(model), model, place.run, kind, architecture) as store:
        recorder = (plan.recorder or GroupRecorder.open)(plan, store, run, place)
        try:
            write_metrics(store, place.run, run.metrics)
            keep_places(store, place.run, run.told, run.notes)
            n_tasks = sum(
                bool(recorder.missing(checkpoint.label, task))
                for checkpoint in run.checkpoints
                for task in plan.tasks
            )
            report = Report(
                store=store,
                run=place.run,
                name=plan.name,
                unit=plan.unit,
                kept=recorder.kept,
                notes=[*run.notes, *_said_of_input(plan), *plan.notes],
            )
            done = sweep(
                plan.measurement,
                plan.model,
                run.checkpoints,
                tasks,
                recorder,
                executor or place.executor(n_tasks, client, plan.model),
                device=place.device,
                start=plan.start,
                is_chained=plan.is_chained,
                travelling=plan.travelling,
                unit=f"{plan.unit}s",
                progress=progress,
                rehearsal=rehearsal,
            )
        finally:
            recorder.close()
    report.n_measured, report.n_failed = done.n_measured, done.n_failed
    report.notes += done.notes
    return report
