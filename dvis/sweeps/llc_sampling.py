"""Chains that a store lacks, sampled at every checkpoint of a run.

Options in, a plan out; carried out, the group `{run}/llc/{name}` of a store grows chain by chain.
"""

import math
import pickle
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from dvis.measure.llc import ChainTask, LocalLearning, Samples, StartTask, samples_of
from dvis.measure.llc.batched import BATCHED_ON_ACCELERATOR
from dvis.measure.llc.losses import Loss, loss_name
from dvis.measure.llc.weights import chosen
from dvis.measure.llc_options import AUTO, EstimateOptions
from dvis.measure.llc_settings import epsilon_bound
from dvis.models.architectures import model_name
from dvis.models.checkpoints import find_checkpoints
from dvis.models.devices import find_device
from dvis.recorders.llc import LLCRecorder, recording_llc
from dvis.schema import ALL_PARAMETERS, EPSILON, ESTIMATE, GAMMA, PARAMETERS
from dvis.storage.metrics import write_metrics
from dvis.sweeps.executors import in_processes, in_this_process, kept_open
from dvis.sweeps.inputs import RunFacts, choose_executor, read_run
from dvis.sweeps.named_images import NamedImages, find_images, forget_loaded
from dvis.sweeps.sweep import ExecutorFactory, sweep

if TYPE_CHECKING:
    from distributed import Client


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
    n_measured: int = 0
    n_failed: int = 0
    n_of_other_weights: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """What is to be sampled, and where."""

    options: EstimateOptions
    kind: str
    run: RunFacts
    measurement: LocalLearning
    group_settings: Mapping[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        """What the sets of weights are called."""
        return tuple(self.measurement.parameters)

    @property
    def nbeta(self) -> float:
        """Inverse temperature times the number of samples."""
        return float(self.group_settings["nbeta"])


def plan_sampling(
    options: EstimateOptions, kind: str, *, data: Any, loss: str | Loss, allow_random: bool
) -> SamplingPlan:
    """What is to be sampled, after all that can be wrong with it has been looked at.

    Parameters
    ----------
    options : EstimateOptions
        Model, checkpoints, data, and how chains are sampled.
    kind : {"estimate", "calibration"}
        What it is for, as the store says of the group.
    data, loss, allow_random
        As `dvis.estimate_llc.estimate_llc` takes them.

    Raises
    ------
    FileNotFoundError, CheckpointError, KeyError, ValueError
        As `dvis.estimate_llc.estimate_llc` raises them.
    """
    find_device(options.place.device)
    run = read_run(find_checkpoints(options.checkpoint_path))
    model, first = run.first_model(options.model)
    samples: Samples = (
        find_images(options.data, run.facts.get(first, {}))
        if data is None
        else samples_of(data, allow_random=allow_random)
    )
    measurement = LocalLearning(
        samples=samples,
        loss=loss,
        parameters=_parameters(options, model),
        settings=options.settings,
    )
    return SamplingPlan(
        options=options,
        kind=kind,
        run=run,
        measurement=measurement,
        group_settings=_group_settings(options, samples, loss),
    )


def _parameters(options: EstimateOptions, model: nn.Module) -> dict[str, str | None]:
    """Regular expressions of the weights that are sampled together, by what they are called."""
    if options.per_layer:
        tops = dict.fromkeys(name.partition(".")[0] for name, _ in model.named_parameters())
        return {top: rf"^{re.escape(top)}(\.|$)" for top in tops}
    asked = options.parameters or (ALL_PARAMETERS,)
    found = {name: None if name == ALL_PARAMETERS else name for name in asked}
    for expression in found.values():
        chosen(model, expression)  # raises where it means no weight, before work begins
    return found


def _group_settings(options: EstimateOptions, samples: Samples, loss: str | Loss) -> dict[str, Any]:
    """What all chains of a group share."""
    named = samples if isinstance(samples, NamedImages) else None
    return {
        "data": {
            "name": "given" if named is None else named.dataset,
            "split": "" if named is None else named.split,
            "fingerprint": samples.fingerprint,
            "n_samples": len(samples),
            "transform": None if named is None else named.transform.to_dict(),
        },
        "loss": loss_name(loss),
        **options.settings.attributes(len(samples)),
    }


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
        As `dvis.estimate_llc.estimate_llc` raises them.
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
        recorder.note(kind_of_run=plan.kind, burn_in=options.settings.burn_in)
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
                    report.epsilon = (_found_epsilon(plan, recorder),)
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


def _main_has_file() -> bool:
    """Whether other processes can run what this one was started with: not that of a notebook."""
    return hasattr(sys.modules["__main__"], "__file__")


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


def _found_epsilon(plan: SamplingPlan, recorder: LLCRecorder) -> float:
    """The largest step that is stable at all checkpoints; one, so that these compare."""
    hmax = recorder.hmax()
    if not np.isfinite(hmax).any():
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
