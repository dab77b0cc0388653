"""Calibration of the local learning coefficient: which step size and localisation to take.

Traces over a grid of them in, a recommendation with its reason out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.kinds.llc.analysis.calibration_words import (
    CRITERIA,
    DOUBTS,
    GOOD,
    does_not_hold,
    what_to_try,
    why,
    with_error,
)
from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.analysis.settling import MAX_RHAT, is_long_enough
from dvis.kinds.llc.words import CHAIN, DRAW, EPSILON, GAMMA, PARAMETERS, ChainStatus
from dvis.schema import CHECKPOINT

__all__ = [
    "GOOD",
    "MAX_TRIALS",
    "Recommendation",
    "after_trial",
    "cells_of",
    "problem_of",
    "recommend",
    "with_error",
]

MAX_TRIALS = 3  # candidates that are sampled with several chains
# Halves, and neighbours, agree where they differ by no more than this many standard errors.
_STANDARD_ERRORS = 2.0
# A step size has a bias of its own, about as large as this share where it is well chosen.
_LEAST_DIFFERENCE = 0.1
_ACCEPTANCE_BELOW = 0.1  # the target
_SIDE = "side"  # the next smaller epsilon, the next larger one
_NONE_HOLDS = "No cell is recommended."
_OPEN_TRACES = "Open traces of chains with dvis.llc_traces"


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The step size and localisation that a calibration speaks for.

    Attributes
    ----------
    epsilon, gamma : float or None
        Those of the recommended cell; None where no cell is good.
    reason : str
        Why, in a sentence with figures; where no cell is good, what to try next.
    table : Dataset, (epsilon, gamma)
        What was looked at: `llc`, `llc_se`, `rhat`, `ess`, `mala`, `n_chains`, `n_diverged` as
        `dvis.llc` gives them; `drift`, by how much the LLC of the second half of the draws is above
        that of the first, and its standard error `drift_se`; each criterion as a bool, and
        `verdict`, str: "good", or the first criterion that fails. `relaxation` is the pull's
        relaxation time in draws, `n_draws` those after burn-in; `is_settled` and
        `is_plateau_tested` are false where a cell that passes is "not settled", or "plateau not
        tested".
    candidates : tuple of (float, float)
        Epsilon and gamma of all cells that pass, the best first.
    """

    epsilon: float | None
    gamma: float | None
    reason: str
    table: xr.Dataset
    candidates: tuple[tuple[float, float], ...] = ()

    @property
    def is_found(self) -> bool:
        """Whether some cell is recommended."""
        return self.epsilon is not None


def recommend(
    traces: xr.Dataset, *, burn_in: int | None = None, target_acceptance: float = 0.9
) -> Recommendation:
    r"""The step size and localisation that the traces of a calibration speak for.

    Of the cells that are good, the one with the largest epsilon, which mixes best; of several
    gammas at that epsilon the smallest, which pulls the LLC down least. A cell passes where

    - no chain diverged;
    - its LLC is not below 0 by more than 2 standard errors: else the chains find a lower loss
      than the checkpoint's, which is then no minimum;
    - its chains converged: split R-hat at most 1.1, and the LLC of the second half of the draws
      differs from that of the first by no more than 2 standard errors;
    - its MALA acceptance is at most 0.1 below the target, or was not measured;
    - it is on the plateau: its LLC agrees with that of a neighbour along epsilon with the same
      gamma, within 2 standard errors of the difference or 10 %. Neighbours count that pass all
      else, where both are settled.

    It is good where it is settled, too, and some neighbour counts. It is settled where burn-in
    covers two and the draws after it five relaxation times of the pull, 2 / (epsilon gamma) draws:
    so slow are directions without curvature, which makes all others quicker. Papers often use
    small epsilons and short chains that are not settled; their LLCs compare checkpoints that were
    sampled alike, but are not those of longer chains. Where no cell is good, one is recommended
    whose plateau is not tested, else the one that comes nearest to being settled, and the reason
    says so.

    The acceptance alone would not do: that of minibatches mixes their noise in, and a chain with
    far too small a step has an acceptance of 1. It is computed at once, for the figures are needed.

    Parameters
    ----------
    traces : Dataset, (epsilon, gamma, chain, draw)
        What `dvis.llc_traces` gave, of one checkpoint and one choice of parameters.
    burn_in : int, optional
        Draws at the start of each chain that do not count; by default what the traces name.
    target_acceptance : float, optional
        Acceptance to aim at, in (0, 1].

    Raises
    ------
    ValueError
        When the traces are of several checkpoints or choices of parameters, or the target is no
        probability.
    SchemaError
        When the Dataset holds no traces.

    References
    ----------
    Acceptance near 0.9: Furman and Lau (2024), arXiv:2402.03698. Split R-hat: Vehtari et al.
    (2021), doi:10.1214/20-BA1221. Plateau and bias of the step size: Lau et al. (2023),
    arXiv:2308.12108.
    """
    if not 0 < target_acceptance <= 1:
        raise ValueError(
            f"target_acceptance={target_acceptance} is no probability above 0; 0.9 is usual"
        )
    table = _table(cells_of(traces), burn_in, target_acceptance)
    places = _best_first(table)
    if not places:
        reason = what_to_try(table, target_acceptance)
        return Recommendation(epsilon=None, gamma=None, reason=reason, table=table)
    epsilons, gammas = table[EPSILON].values, table[GAMMA].values
    candidates = tuple((float(epsilons[row]), float(gammas[column])) for row, column in places)
    return Recommendation(
        epsilon=candidates[0][0],
        gamma=candidates[0][1],
        reason=why(table, places[0], target_acceptance),
        table=table,
        candidates=candidates,
    )


def problem_of(
    traces: xr.Dataset, grid: xr.Dataset, *, target_acceptance: float = 0.9
) -> str | None:
    """What is wrong with a recommended cell when it is sampled with several chains.

    Parameters
    ----------
    traces : Dataset, (chain, draw)
        Its chains.
    grid : Dataset, (epsilon, gamma)
        Table of the recommendation.
    target_acceptance : float, optional
        As for `recommend`.

    Returns
    -------
    str or None
        A sentence with the figures and which way to go; None where the cell passes, R-hat of all
        chains and agreement of their halves included.
    """
    cell = _table(cells_of(traces), None, target_acceptance)
    if cell["verdict"].item() not in CRITERIA.values():
        return None
    return does_not_hold(cell, grid, target_acceptance)


def after_trial(
    found: Recommendation, problems: Sequence[str], *, target_acceptance: float = 0.9
) -> Recommendation:
    """The recommendation after its first candidates were tried and did not hold.

    Parameters
    ----------
    found : Recommendation
        What `recommend` gave.
    problems : sequence of str
        What `problem_of` said of the first candidates, in order.
    target_acceptance : float, optional
        As for `recommend`.

    Returns
    -------
    Recommendation
        The candidate that follows; none where all, or three, have been tried. The reason begins
        with the problems.
    """
    if not problems:
        return found
    if len(problems) >= min(MAX_TRIALS, len(found.candidates)):
        return replace(found, epsilon=None, gamma=None, reason=" ".join([*problems, _NONE_HOLDS]))
    epsilon, gamma = found.candidates[len(problems)]
    place = (
        int(np.flatnonzero(found.table[EPSILON].values == epsilon)[0]),
        int(np.flatnonzero(found.table[GAMMA].values == gamma)[0]),
    )
    reason = " ".join([*problems, f"Next, {why(found.table, place, target_acceptance)}"])
    return replace(found, epsilon=epsilon, gamma=gamma, reason=reason)


def cells_of(traces: xr.Dataset) -> xr.Dataset:
    """Traces of one checkpoint and choice of parameters, (epsilon, gamma, chain, draw), in order.

    Raises
    ------
    ValueError
        When they are of several.
    SchemaError
        When the Dataset holds no traces.
    """
    require(
        traces,
        "loss",
        "status",
        "n_draws",
        "init_loss",
        labels=(EPSILON, GAMMA),
        advice=_OPEN_TRACES,
    )
    for dim in (CHECKPOINT, PARAMETERS):
        if traces.sizes.get(dim, 1) != 1:
            last = traces[dim].values[-1:].tolist()
            raise ValueError(
                f"These traces are of {traces.sizes[dim]} {dim.removesuffix('s')}s; choose one: "
                f"traces.sel({dim}={last[0] if last else '...'!r})"
            )
        if dim in traces.dims:
            traces = traces.squeeze(dim)
    for dim in (CHAIN, GAMMA, EPSILON):
        if dim not in traces.dims:
            traces = traces.expand_dims(dim)
    return traces.sortby([EPSILON, GAMMA])


def _table(cells: xr.Dataset, burn_in: int | None, target_acceptance: float) -> xr.Dataset:
    """Figures and verdicts of the cells, (epsilon, gamma)."""
    names = ["llc", "llc_se", "rhat", "ess", "mala", "n_chains", "n_diverged", "relaxation_draws"]
    table = llc_of(cells, burn_in=burn_in)[names].transpose(EPSILON, GAMMA).compute()
    table = table.drop_vars(set(table.coords) - {EPSILON, GAMMA})
    llc, error = table["llc"], table["llc_se"]
    drift = _drift(cells, burn_in).compute().transpose(EPSILON, GAMMA).variable
    # Two halves, each with twice the variance of the whole.
    table = table.assign(drift=drift, drift_se=2 * error)
    do_halves_agree = abs(table["drift"]) <= _STANDARD_ERRORS * table["drift_se"]
    start = _burn_in(cells, burn_in)
    table = table.assign(
        relaxation=table["relaxation_draws"],
        is_measured=table["n_chains"] + table["n_diverged"] > 0,
        is_stable=table["n_diverged"] == 0,
        is_above_start=llc >= -_STANDARD_ERRORS * error,
        is_converged=do_halves_agree & (table["rhat"] <= MAX_RHAT),
        is_accepted=~(table["mala"] < target_acceptance - _ACCEPTANCE_BELOW),
    )
    table["n_draws"] = (cells["n_draws"].max(CHAIN) - start).clip(0).transpose(EPSILON, GAMMA)
    table["is_settled"] = is_long_enough(table["relaxation"], start, table["n_draws"])
    passes = [table[name] for name in CRITERIA if name in table]
    table["is_comparable"] = _comparable(xr.concat(passes, "criterion").all("criterion"), table)
    is_near = _agrees(llc, error) & table["is_comparable"]
    table["is_plateau_tested"] = table["is_comparable"].any(_SIDE)
    table["is_on_plateau"] = is_near.any(_SIDE) | ~table["is_plateau_tested"]
    asked = CRITERIA | DOUBTS
    failed = [~table[name].values for name in asked]
    table["verdict"] = (EPSILON, GAMMA), np.select(failed, list(asked.values()), GOOD)
    table[f"is_{GOOD}"] = table["verdict"] == GOOD
    return table.assign_attrs(burn_in=start)


def _burn_in(cells: xr.Dataset, burn_in: int | None) -> int:
    return int(cells.attrs.get("burn_in", 0)) if burn_in is None else burn_in


def _comparable(passes: xr.DataArray, table: xr.Dataset) -> xr.DataArray:
    """Whether the neighbour on each side along epsilon counts, (side, epsilon, gamma)."""
    is_settled = table["is_settled"]
    sides = []
    for shift in (1, -1):
        passes_too = passes.shift({EPSILON: shift}, fill_value=False)
        are_settled = is_settled & is_settled.shift({EPSILON: shift}, fill_value=False)
        sides.append(passes_too & are_settled)
    comparable: xr.DataArray = xr.concat(sides, _SIDE)
    return comparable.transpose(_SIDE, EPSILON, GAMMA)


def _drift(cells: xr.Dataset, burn_in: int | None) -> xr.DataArray:
    """LLC of the second half of the draws less that of the first, mean over chains."""
    start = _burn_in(cells, burn_in)
    draw = cells[DRAW]  # xarray numbers a dimension that has no labels
    middle = (start + cells["n_draws"]) // 2
    loss = cells["loss"].where(cells["status"] == ChainStatus.DONE)
    late = loss.where(draw >= middle).mean(DRAW)
    early = loss.where((draw >= start) & (draw < middle)).mean(DRAW)
    return float(cells.attrs["nbeta"]) * (late - early).mean(CHAIN)


def _agrees(llc: xr.DataArray, error: xr.DataArray) -> xr.DataArray:
    """Whether the LLC agrees with that at the next smaller and the next larger epsilon, (side)."""
    sides = []
    for shift in (1, -1):
        difference = abs(llc - llc.shift({EPSILON: shift}))
        of_difference = (error**2 + error.shift({EPSILON: shift}) ** 2) ** 0.5
        is_near = difference <= _STANDARD_ERRORS * of_difference
        sides.append(is_near | (difference <= _LEAST_DIFFERENCE * abs(llc)))
    agrees: xr.DataArray = xr.concat(sides, _SIDE)
    return agrees


def _best_first(table: xr.Dataset) -> list[tuple[int, int]]:
    """Places of the cells that pass: good ones first, then the largest epsilon, smallest gamma.

    Of those that are not settled the one that comes nearest to it is first.
    """
    tiers = {verdict: tier for tier, verdict in enumerate((GOOD, *reversed(DOUBTS.values())))}
    waiting = table["relaxation"].fillna(np.inf).where(~table["is_settled"], 0.0).values
    found = [
        (tiers[verdict], round(float(waiting[row, column]), 6), -row, column)
        for (row, column), verdict in np.ndenumerate(table["verdict"].values)
        if verdict in tiers
    ]
    return [(-row, column) for _, _, row, column in sorted(found)]
