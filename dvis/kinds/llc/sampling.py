"""Chains that a store lacks, sampled at every checkpoint of a run.

A plan in; carried out, the group `{run}/llc/{name}` of a store grows chain by chain: losses and
curvatures at the start first, of which the step size may follow, then the chains.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dvis.kinds.llc.analysis.settling import with_length
from dvis.kinds.llc.measure import ChainTask, StartTask
from dvis.kinds.llc.measure.batched import BATCHED_ON_ACCELERATOR
from dvis.kinds.llc.named_images import NamedImages
from dvis.kinds.llc.plan import SamplingPlan
from dvis.kinds.llc.settings import AUTO, epsilon_bound
from dvis.kinds.llc.words import (
    ALL_PARAMETERS,
    CHAIN,
    DRAW,
    EPSILON,
    ESTIMATE,
    GAMMA,
    PARAMETERS,
    WORDS,
)
from dvis.store.group import Group
from dvis.store.making import existing_group
from dvis.sweep.executors import ExecutorFactory, check_travels, kept_open
from dvis.sweep.plan import Plan
from dvis.sweep.runner import Report, carry_out

if TYPE_CHECKING:
    from distributed import Client

_MAX_ERRORS = 3


@dataclass(kw_only=True)
class LLCReport(Report):
    """What came of chains, beside what every report says.

    Attributes
    ----------
    parameters : tuple of str
        What the sets of weights are called.
    epsilon, gamma : tuple of float
        Step sizes and localisations of the run.
    hmax : float
        Largest curvature over checkpoints and weights, NaN where none is known.
    burn_in : int
        Draws at the start of each chain that readers leave out unless told otherwise: those of the
        run that made the group, or of the last that made its chains longer.
    """

    unit: str = "chain"
    parameters: tuple[str, ...] = ()
    epsilon: tuple[float, ...] = ()
    gamma: tuple[float, ...] = ()
    hmax: float = math.nan
    burn_in: int = 0


def sample_chains(
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
    options = plan.options
    with kept_open(_executor(plan, client)) as executor:
        carried_out = partial(
            carry_out, run=plan.run, place=options, executor=executor, progress=progress
        )
        of_starts = carried_out(_plan_of_starts(plan))
        attrs, hmax = _what_is_there(plan, of_starts)
        epsilon = _epsilons(plan, attrs, hmax, of_starts.notes)
        plan = _with_length(plan, epsilon)
        of_chains = carried_out(_plan_of_chains(plan, epsilon))
    attrs, _ = _what_is_there(plan, of_chains)
    report = LLCReport(
        store=of_chains.store,
        run=of_chains.run,
        name=of_chains.name,
        parameters=plan.labels,
        epsilon=epsilon,
        gamma=_distinct(options.gamma),
        hmax=hmax,
        burn_in=int(attrs["burn_in"]),
        n_measured=of_chains.n_measured,
        n_failed=of_starts.n_failed + of_chains.n_failed,
        kept=of_chains.kept,
        notes=list(dict.fromkeys(of_starts.notes + of_chains.notes)),
    )
    report.notes += _warnings(plan, report)
    return report


def _plan_of_starts(plan: SamplingPlan) -> Plan:
    """Losses and curvatures at the weights of each checkpoint."""
    options = plan.options
    return Plan(
        model=options.model,
        words=WORDS,
        name=options.name,
        measurement=plan.measurement,
        tasks=[StartTask(parameters=plan.labels)],
        settings=plan.group_settings,
        labels={PARAMETERS: plan.labels},
        noted=partial(_noted_at_start, plan),
        model_input=plan.model_input,
        unit="start",
    )


def _noted_at_start(plan: SamplingPlan, group: Group) -> Mapping[str, Any]:
    """What the group is for, where it is new."""
    return {} if "kind_of_run" in group.attrs else {"kind_of_run": plan.kind}


def _with_length(plan: SamplingPlan, epsilon: tuple[float, ...]) -> SamplingPlan:
    """The plan with as many draws as auto stands for, where it does."""
    settings = with_length(plan.options.settings, epsilon, plan.options.gamma)
    return replace(
        plan,
        options=replace(plan.options, settings=settings),
        measurement=replace(plan.measurement, settings=settings),
    )


def _plan_of_chains(plan: SamplingPlan, epsilon: tuple[float, ...]) -> Plan:
    """The chains of each checkpoint."""
    options = plan.options
    n_steps = options.settings.n_steps
    return Plan(
        model=options.model,
        words=WORDS,
        name=options.name,
        measurement=plan.measurement,
        tasks=_chain_tasks(plan, epsilon),
        settings=plan.group_settings,
        labels={
            PARAMETERS: plan.labels,
            EPSILON: epsilon,
            GAMMA: _distinct(options.gamma),
            CHAIN: range(options.chains),
            DRAW: range(n_steps),
        },
        at_least={"n_draws": n_steps},
        noted=partial(_noted_of_chains, plan, epsilon),
        unit="chain",
    )


def _noted_of_chains(
    plan: SamplingPlan, epsilon: tuple[float, ...], group: Group
) -> Mapping[str, Any]:
    """The step size that was found, what readers leave out, and what `dvis.open` is to show.

    They leave out the burn-in of the run that made the group, or made its chains longer. Shown is
    the last run over all weights; of single layers only where nothing else is there.
    """
    settings = plan.options.settings
    found: dict[str, Any] = {}
    if plan.options.epsilon == AUTO:
        found["auto_epsilon"] = epsilon[0]
    if "burn_in" not in group.attrs or settings.n_steps > len(group.rows[DRAW]):
        found["burn_in"] = settings.burn_in
    if ALL_PARAMETERS in plan.labels:
        gamma, parameters = max(plan.options.gamma), ALL_PARAMETERS
    elif "shown" not in group.attrs:
        gamma, parameters = plan.options.gamma[0], plan.labels[0]
    else:
        return found
    shown = {PARAMETERS: parameters, EPSILON: epsilon[0], GAMMA: float(gamma)}
    return {**found, "shown": shown}


def _chain_tasks(plan: SamplingPlan, epsilons: Sequence[float]) -> list[ChainTask]:
    """One chain each, the first of every cell first; or those of a cell that are batched."""
    options = plan.options
    numbers = tuple(range(options.chains))
    is_batched = options.device != "cpu" and BATCHED_ON_ACCELERATOR
    together = [numbers] if is_batched else [(number,) for number in numbers]
    return [
        ChainTask(parameters=label, epsilon=epsilon, gamma=gamma, chains=chains)
        for chains in together
        for label in plan.labels
        for epsilon in epsilons
        for gamma in _distinct(options.gamma)
    ]


def _executor(plan: SamplingPlan, client: "Client | None") -> ExecutorFactory:
    """Where to compute; no more workers than chains can use."""
    epsilon = plan.options.epsilon
    n_epsilons = 1 if epsilon == AUTO else len(epsilon)
    n_tasks = len(plan.run.checkpoints) * len(_chain_tasks(plan, (math.nan,) * n_epsilons))
    executor = plan.options.executor(n_tasks, client, plan.options.model)
    check_travels("loss", plan.measurement.loss, executor)
    if not isinstance(plan.measurement.samples, NamedImages):
        check_travels("data", plan.measurement.samples, executor)
    return executor


def _what_is_there(plan: SamplingPlan, report: Report) -> tuple[Mapping[str, Any], float]:
    """Attributes of the group, and the largest curvature that it knows, NaN where it knows none."""
    group: Any = existing_group(report.store, WORDS, plan.options.run, plan.options.name)
    hmax = np.asarray(group["hmax"][:])
    known = hmax[np.isfinite(hmax)]
    return dict(group.attrs), float(known.max()) if known.size else math.nan


def _epsilons(
    plan: SamplingPlan, attrs: Mapping[str, Any], hmax: float, notes: Sequence[str]
) -> tuple[float, ...]:
    """The step sizes that are asked for, or the one of the group.

    That is the largest that is stable at all checkpoints: one, so that these compare.
    """
    if plan.options.epsilon != AUTO:
        return _distinct(plan.options.epsilon)
    if attrs.get("auto_epsilon") is not None:
        return (float(attrs["auto_epsilon"]),)
    if math.isfinite(hmax):
        return (_rounded_down(_bound(plan, hmax)),)
    failed = list(dict.fromkeys(note for note in notes if ": failed: " in note))
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


def _bound(plan: SamplingPlan, hmax: float) -> float:
    gamma, method = max(plan.options.gamma), plan.options.settings.method
    return epsilon_bound(plan.nbeta, hmax, gamma, method)


def _warnings(plan: SamplingPlan, report: LLCReport) -> Iterator[str]:
    """What is to be said of step sizes that curvature and localisation do not bear."""
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


def _distinct(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(dict.fromkeys(float(value) for value in values))
