"""Chains that a store lacks, sampled at every checkpoint of a run.

A plan in; carried out, the group `{run}/llc/{name}` of a store grows chain by chain.
"""

import math
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvis.kinds.llc.measure import ChainTask, StartTask
from dvis.kinds.llc.measure.batched import BATCHED_ON_ACCELERATOR
from dvis.kinds.llc.named_images import NamedImages, forget_loaded
from dvis.kinds.llc.options import AUTO
from dvis.kinds.llc.plan import SamplingPlan
from dvis.kinds.llc.record import LLCRecorder, recording_llc
from dvis.kinds.llc.settings import epsilon_bound
from dvis.models.architectures import model_name
from dvis.schema import ALL_PARAMETERS, EPSILON, ESTIMATE, GAMMA, PARAMETERS
from dvis.store.metrics import write_metrics
from dvis.sweep.executors import in_processes, in_this_process, kept_open
from dvis.sweep.run_facts import choose_executor
from dvis.sweep.sweep import ExecutorFactory, sweep

if TYPE_CHECKING:
    from distributed import Client

_MAX_ERRORS = 3


@dataclass(kw_only=True)
class LLCReport:
    """What came of a run of `estimate_llc`.

    Attributes
    ----------
    store, run, name : Path, str, str
        Where the chains are.
    parameters : tuple of str
        What the sets of weights are called.
    epsilon, gamma : tuple of float
        Step sizes and localisations of the run.
    hmax : float
        Largest curvature over checkpoints and weights, NaN where none is known.
    burn_in : int
        Draws at the start of each chain that readers leave out unless told otherwise: those of the
        run that made the group, or of the last that made its chains longer.
    n_measured, n_failed : int
        Chains that were sampled, and chains and starts that failed.
    n_of_other_weights : int
        Chains that are there of other weights under the same label, and were kept.
    notes : list of str
        What is to be said of single chains.
    """

    store: Path
    run: str
    name: str
    parameters: tuple[str, ...] = ()
    epsilon: tuple[float, ...] = ()
    gamma: tuple[float, ...] = ()
    hmax: float = math.nan
    burn_in: int = 0
    n_measured: int = 0
    n_failed: int = 0
    n_of_other_weights: int = 0
    notes: list[str] = field(default_factory=list)


def carry_out(
    plan: SamplingPlan, *, client: "Client | None" = None, progress: bool = False
) -> LLCReport:
    """Sample what the store lacks of a plan: losses and curvatures at the start, then chains.

    Parameters
    ----------
    plan : SamplingPlan
        What is to be sampled.
    client : distributed.Client, optional
        Dask client on whose cluster to compute.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError, TypeError, DiskFullError
        As `dvis.kinds.llc.estimation.estimate_llc` raises them.
    """
    options, place = plan.options, plan.options.place
    model = model_name(options.model)
    store = (place.store or Path("stores") / f"{model}.zarr").expanduser()
    report = LLCReport(
        store=store,
        run=place.run,
        name=options.name,
        parameters=plan.labels,
        gamma=_distinct(options.gamma),
    )
    with recording_llc(
        store, model, place.run, options.name, plan.group_settings, overwrite=place.overwrite
    ) as recorder:
        _prepare(plan, recorder, ())
        _note_reading(plan, recorder)
        report.burn_in = int(recorder.attrs["burn_in"])
        write_metrics(store, place.run, plan.run.metrics)
        report.epsilon = _known_epsilons(plan, recorder)
        if report.epsilon:
            _prepare(plan, recorder, report.epsilon)
        report.n_of_other_weights = recorder.n_of_other_weights
        with kept_open(_executor(plan, recorder, report, client)) as executor:
            compute = partial(_compute, plan, recorder, report, executor, progress=progress)
            try:
                if not report.epsilon:
                    compute([])
                    report.epsilon = (_found_epsilon(plan, recorder, report),)
                    _prepare(plan, recorder, report.epsilon)
                _show(recorder, report)
                compute(_chain_tasks(plan, report.epsilon))
            finally:
                forget_loaded()
        report.hmax = float(recorder.hmax().max())
        report.notes += _warnings(plan, report)
    return report


def _prepare(plan: SamplingPlan, recorder: LLCRecorder, epsilons: Sequence[float]) -> None:
    """Make room for the starts, and for chains where epsilon is known."""
    options, run = plan.options, plan.run
    recorder.prepare(
        [checkpoint.name for checkpoint in run.checkpoints],
        run.steps,
        run.fingerprints,
        plan.labels,
        epsilons,
        _distinct(options.gamma) if epsilons else (),
        options.chains,
        options.settings.n_steps,
    )


def _note_reading(plan: SamplingPlan, recorder: LLCRecorder) -> None:
    """Say what readers are to leave out, where the group is new or its chains become longer."""
    if "burn_in" not in recorder.attrs:
        recorder.note(kind_of_run=plan.kind)
    elif plan.options.settings.n_steps <= (recorder.n_draws_before or 0):
        return
    recorder.note(burn_in=plan.options.settings.burn_in)


def _executor(
    plan: SamplingPlan, recorder: LLCRecorder, report: LLCReport, client: "Client | None"
) -> ExecutorFactory:
    """Where to compute what is missing; as many workers as chains can use, where none is known."""
    n_starts = _n_missing(plan, recorder, [StartTask(parameters=plan.labels)])
    n_tasks = n_starts + _n_missing(plan, recorder, _chain_tasks(plan, report.epsilon))
    if not report.epsilon:
        n_tasks += len(plan.run.checkpoints) * len(_chain_tasks(plan, (math.nan,)))
    place = plan.options.place
    executor = choose_executor(
        n_tasks,
        device=place.device,
        workers=place.workers,
        scheduler=place.scheduler,
        client=client,
    )
    if n_tasks:
        _check_travels("loss", plan.measurement.loss, executor)
        _check_travels("data", plan.measurement.samples, executor)
    return executor


def _compute(
    plan: SamplingPlan,
    recorder: LLCRecorder,
    report: LLCReport,
    executor: ExecutorFactory,
    chain_tasks: Sequence[ChainTask],
    *,
    progress: bool,
) -> None:
    """Measure starts and chains that are missing, and add to the report what came of them."""
    n_before = _n_missing(plan, recorder, chain_tasks)
    done = sweep(
        plan.measurement,
        plan.options.model,
        plan.run.checkpoints,
        [StartTask(parameters=plan.labels), *chain_tasks],
        recorder,
        executor,
        device=plan.options.place.device,
        unit="chains and starts",
        progress=progress,
    )
    report.n_measured += n_before - _n_missing(plan, recorder, chain_tasks)
    report.n_failed = done.n_failed  # what failed before has been tried again
    report.notes += done.notes


def _n_missing(
    plan: SamplingPlan, recorder: LLCRecorder, tasks: Sequence[StartTask | ChainTask]
) -> int:
    """Chains, or starts, that the store lacks."""
    labels = [checkpoint.label for checkpoint in plan.run.checkpoints]
    return sum(len(recorder.missing(label, task)) for label in labels for task in tasks)


def _check_travels(what: str, value: Any, executor: ExecutorFactory) -> None:
    """Raise where workers cannot be given a value, which would fail every chain."""
    if executor is in_this_process or isinstance(value, str | NamedImages):
        return
    try:
        if getattr(executor, "func", None) is not in_processes:
            from distributed.protocol.pickle import dumps  # takes lambdas, as dask does

            dumps(value)  # type: ignore[no-untyped-call]
        elif b"__main__" in pickle.dumps(value) and not hasattr(
            sys.modules["__main__"], "__file__"
        ):
            raise TypeError("it is defined in no file, so that no other process finds it")
    except Exception as err:  # whatever its own code raises
        raise TypeError(
            f"the {what} {value!r} cannot travel to workers: {err}. Define it in an importable "
            "module, or compute in this process: PlaceOptions(workers=0)"
        ) from err


def _chain_tasks(plan: SamplingPlan, epsilons: Sequence[float]) -> list[ChainTask]:
    """One chain each, the first of every cell first; or those of a cell that are batched."""
    options = plan.options
    numbers = tuple(range(options.chains))
    is_batched = options.place.device != "cpu" and BATCHED_ON_ACCELERATOR
    together = [numbers] if is_batched else [(number,) for number in numbers]
    return [
        ChainTask(parameters=label, epsilon=epsilon, gamma=gamma, chains=chains)
        for chains in together
        for label in plan.labels
        for epsilon in epsilons
        for gamma in _distinct(options.gamma)
    ]


def _known_epsilons(plan: SamplingPlan, recorder: LLCRecorder) -> tuple[float, ...]:
    """The step sizes that are asked for; none where one is still to be found for the group."""
    asked = plan.options.epsilon
    if asked != AUTO:
        return _distinct(asked)
    kept = recorder.attrs.get("auto_epsilon")
    return () if kept is None else (float(kept),)


def _found_epsilon(plan: SamplingPlan, recorder: LLCRecorder, report: LLCReport) -> float:
    """The largest step that is stable at all checkpoints; one, so that these compare."""
    hmax = recorder.hmax()
    if not np.isfinite(hmax).any():
        failed = list(dict.fromkeys(note for note in report.notes if ": failed: " in note))
        if failed:
            more = f" ... and {len(failed) - _MAX_ERRORS} more" if failed[_MAX_ERRORS:] else ""
            raise ValueError(
                "no loss could be measured at the start of a chain, at any checkpoint: "
                f"{'; '.join(failed[:_MAX_ERRORS])}{more}. Mend the loss or the data, and run again"
            )
        raise ValueError(
            "epsilon cannot be found, for the curvature is known at no checkpoint. Give --epsilon, "
            "such as 1e-5"
        )
    epsilon = _rounded_down(_bound(plan, float(hmax.max())))
    recorder.note(auto_epsilon=epsilon)
    return epsilon


def _bound(plan: SamplingPlan, hmax: float) -> float:
    gamma, method = max(plan.options.gamma), plan.options.settings.method
    return epsilon_bound(plan.nbeta, hmax, gamma, method)


def _warnings(plan: SamplingPlan, report: LLCReport) -> Iterator[str]:
    """What is to be said of step sizes that curvature and localisation do not bear."""
    if plan.options.settings.method == "rmsprop":
        yield (
            "rmsprop is biased: it leaves out the term of the preconditioner's own derivative, "
            "which made LLCs of a quadratic loss 9 to 13 % too high; sgld is exact at small steps"
        )
    if plan.options.epsilon == AUTO:
        yield (
            f"epsilon {report.epsilon[0]:g} follows from the largest curvature alone: look at the "
            "MALA acceptance, which should be near 0.9, or calibrate"
        )
    if not math.isfinite(report.hmax):
        return
    bound = _bound(plan, report.hmax)
    largest = max(report.epsilon)
    if plan.kind == ESTIMATE and largest > bound:
        yield (
            f"epsilon {largest:g} is more than {bound:.2g}, up to which steps at the largest "
            f"curvature {report.hmax:.3g} and gamma {max(report.gamma):g} are small: LLCs may be "
            "too high, and chains may diverge"
        )


def _rounded_down(value: float) -> float:
    """To two digits, so that a label of the store can be typed."""
    exponent = math.floor(math.log10(value)) - 1
    return float(f"{math.floor(value / 10**exponent)}e{exponent}")


def _show(recorder: LLCRecorder, report: LLCReport) -> None:
    """Let `dvis.open` show this run: of single layers only where nothing else is there."""
    if ALL_PARAMETERS in report.parameters or "shown" not in recorder.attrs:
        is_of_all = ALL_PARAMETERS in report.parameters
        parameters = ALL_PARAMETERS if is_of_all else report.parameters[0]
        shown = {EPSILON: report.epsilon[0], GAMMA: max(report.gamma), PARAMETERS: parameters}
        recorder.note(shown=shown)


def _distinct(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(dict.fromkeys(float(value) for value in values))
