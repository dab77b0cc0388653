"""Calibration of the local learning coefficient: which step size and localisation to take.

Traces over a grid of them in, a recommendation with its reason out.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from dvis.analysis.learning_coefficient import llc_of
from dvis.analysis.requirements import require
from dvis.measure.llc_settings import ChainStatus
from dvis.schema import CHAIN, CHECKPOINT, DRAW, EPSILON, GAMMA, PARAMETERS

GOOD = "good"
MAX_RHAT = 1.1
# Halves, and neighbours, agree where they differ by no more than this many standard errors.
_STANDARD_ERRORS = 2.0
# A step size has a bias of its own, about as large as this share where it is well chosen.
_LEAST_DIFFERENCE = 0.1
_ACCEPTANCE_BELOW = 0.1  # the target
_OPEN_TRACES = "Open traces of chains with dvis.llc_traces"
# What a cell must be, and what it is called where it is not; the first that fails says it.
_CRITERIA = {
    "is_measured": "not measured",
    "is_stable": "diverged",
    "is_above_start": "below the start",
    "is_converged": "not converged",
    "is_accepted": "low acceptance",
    "is_on_plateau": "off the plateau",
}


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
        `verdict`, str: "good", or the first criterion that fails.
    """

    epsilon: float | None
    gamma: float | None
    reason: str
    table: xr.Dataset

    @property
    def is_found(self) -> bool:
        """Whether some cell is good."""
        return self.epsilon is not None


def recommend(
    traces: xr.Dataset, *, burn_in: int | None = None, target_acceptance: float = 0.9
) -> Recommendation:
    r"""The step size and localisation that the traces of a calibration speak for.

    Of the cells that are good, the one with the largest epsilon, which mixes best; of several
    gammas at that epsilon the smallest, which pulls the LLC down least. A cell is good where

    - no chain diverged;
    - its LLC is not below 0 by more than 2 standard errors: else the chains find a lower loss
      than the checkpoint's, which is then no minimum;
    - its chains converged: split R-hat at most 1.1, and the LLC of the second half of the draws
      differs from that of the first by no more than 2 standard errors;
    - its MALA acceptance is at most 0.1 below the target, or was not measured;
    - it is on the plateau: its LLC agrees with that of a neighbour along epsilon with the same
      gamma, within 2 standard errors of the difference or 10 %. Of one epsilon alone this is not
      asked.

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
    place = _largest_step(table[f"is_{GOOD}"].values)
    if place is None:
        reason = _what_to_try(table, target_acceptance)
        return Recommendation(epsilon=None, gamma=None, reason=reason, table=table)
    epsilon, gamma = (
        float(table[name][i]) for name, i in zip((EPSILON, GAMMA), place, strict=True)
    )
    reason = _why(table, place, target_acceptance)
    return Recommendation(epsilon=epsilon, gamma=gamma, reason=reason, table=table)


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


def with_error(value: float, error: float) -> str:
    """A number with its standard error, both to the error's second digit.

    Examples
    --------
    >>> with_error(41.234, 1.27)
    '41.2 ± 1.3'
    >>> with_error(1234.5, 67.8)
    '1,234 ± 68'
    """
    if not np.isfinite(error) or error <= 0:
        return f"{value:.3g}"
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def _table(cells: xr.Dataset, burn_in: int | None, target_acceptance: float) -> xr.Dataset:
    """Figures and verdicts of the cells, (epsilon, gamma)."""
    names = ["llc", "llc_se", "rhat", "ess", "mala", "n_chains", "n_diverged"]
    table = llc_of(cells, burn_in=burn_in)[names].transpose(EPSILON, GAMMA).compute()
    table = table.drop_vars(set(table.coords) - {EPSILON, GAMMA})
    llc, error = table["llc"], table["llc_se"]
    drift = _drift(cells, burn_in).compute().transpose(EPSILON, GAMMA).variable
    # Two halves, each with twice the variance of the whole.
    table = table.assign(drift=drift, drift_se=2 * error)
    has_settled = abs(table["drift"]) <= _STANDARD_ERRORS * table["drift_se"]
    table = table.assign(
        is_measured=table["n_chains"] + table["n_diverged"] > 0,
        is_stable=table["n_diverged"] == 0,
        is_above_start=llc >= -_STANDARD_ERRORS * error,
        is_converged=has_settled & (table["rhat"] <= MAX_RHAT),
        is_accepted=~(table["mala"] < target_acceptance - _ACCEPTANCE_BELOW),
    )
    is_usable = table["is_measured"] & table["is_stable"]
    table["is_on_plateau"] = _agrees(llc.where(is_usable), error).any("side")
    failed = [~table[name].values for name in _CRITERIA]
    table["verdict"] = (EPSILON, GAMMA), np.select(failed, list(_CRITERIA.values()), GOOD)
    table[f"is_{GOOD}"] = table["verdict"] == GOOD
    return table


def _drift(cells: xr.Dataset, burn_in: int | None) -> xr.DataArray:
    """LLC of the second half of the draws less that of the first, mean over chains."""
    start = int(cells.attrs.get("burn_in", 0)) if burn_in is None else burn_in
    draw = cells[DRAW]  # xarray numbers a dimension that has no labels
    middle = (start + cells["n_draws"]) // 2
    loss = cells["loss"].where(cells["status"] == ChainStatus.DONE)
    late = loss.where(draw >= middle).mean(DRAW)
    early = loss.where((draw >= start) & (draw < middle)).mean(DRAW)
    return float(cells.attrs["nbeta"]) * (late - early).mean(CHAIN)


def _agrees(llc: xr.DataArray, error: xr.DataArray) -> xr.DataArray:
    """Whether the LLC agrees with that at the next smaller and the next larger epsilon, (side)."""
    if llc.sizes[EPSILON] == 1:
        return xr.ones_like(llc, bool).expand_dims(side=1)
    sides = []
    for shift in (1, -1):
        difference = abs(llc - llc.shift({EPSILON: shift}))
        of_difference = (error**2 + error.shift({EPSILON: shift}) ** 2) ** 0.5
        is_near = difference <= _STANDARD_ERRORS * of_difference
        sides.append(is_near | (difference <= _LEAST_DIFFERENCE * abs(llc)))
    agrees: xr.DataArray = xr.concat(sides, "side")
    return agrees


def _largest_step(is_good: np.ndarray) -> tuple[int, int] | None:
    """Place of the good cell with the largest epsilon and then the smallest gamma."""
    places = np.argwhere(is_good)
    if not len(places):
        return None
    row = int(places[:, 0].max())
    return row, int(places[places[:, 0] == row, 1].min())


def _why(table: xr.Dataset, place: tuple[int, int], target_acceptance: float) -> str:
    """Why the recommended cell is the one, with its figures."""
    n_good, n = int(table[f"is_{GOOD}"].sum()), table["verdict"].size
    return (
        f"{_named(table, place)} is the largest step of {n_good} good cells among {n}: "
        f"LLC {_figure(table, place)}{_beside(table, place)}, its halves differ by "
        f"{_figure(table, place, 'drift')}, R-hat {float(table['rhat'][place]):.2f}, "
        f"{_acceptance(table, place, target_acceptance)}, none of "
        f"{_chains(int(table['n_chains'][place]))} diverged."
    )


def _what_to_try(table: xr.Dataset, target_acceptance: float) -> str:
    """Why no cell is good, by the figures of the one that comes nearest, and what to do next."""
    verdicts = table["verdict"].values
    rank = np.array([list(_CRITERIA.values()).index(verdict) for verdict in verdicts.flat])
    if not rank.max():
        return "No cell is measured yet; run the calibration until its chains are done."
    verdict = list(_CRITERIA.values())[rank.max()]
    places = np.argwhere(verdicts == verdict)
    # Too large a step is nearest where it is smallest, all else where it mixes best.
    is_too_large = verdict in ("diverged", "low acceptance")
    row, column = places[0 if is_too_large else np.lexsort((-places[:, 1], places[:, 0]))[-1]]
    place = int(row), int(column)
    epsilons, gammas = table[EPSILON].values, table[GAMMA].values
    epsilon = float(epsilons[row])
    if verdict == "diverged":
        return (
            f"Each of the {(rank > 0).sum()} measured cells has diverged chains; take epsilon "
            f"below {epsilon:g}."
        )
    next_ = place[0] + 1
    is_last = next_ == len(epsilons) or verdicts[next_, place[1]] == "not measured"
    further = (
        "a larger epsilon" if is_last else f"epsilons between {epsilon:g} and {epsilons[next_]:g}"
    )
    found = {
        "below the start": f"its LLC is {_figure(table, place)}, for chains find a lower loss than "
        f"the checkpoint's; take gamma above {gammas.max():g} or a later checkpoint",
        "not converged": f"its halves differ by {_figure(table, place, 'drift')} and R-hat is "
        f"{float(table['rhat'][place]):.2f}; take more draws and burn-in, or {further}, or gamma "
        f"above {gammas.max():g}",
        "low acceptance": f"{_acceptance(table, place, target_acceptance)}; take epsilon below "
        f"{epsilon:g}, with more draws",
        "off the plateau": f"LLC {_figure(table, place)}{_beside(table, place)}; take epsilons "
        f"nearer to {epsilon:g}, such as {epsilon / 3:.1g} and {3 * epsilon:.1g}, and more draws",
    }[verdict]
    return f"No cell is good. The nearest is {_named(table, place)}: {found}."


def _named(table: xr.Dataset, place: tuple[int, int]) -> str:
    return f"epsilon {table[EPSILON][place[0]]:g}, gamma {table[GAMMA][place[1]]:g}"


def _figure(table: xr.Dataset, place: tuple[int, int], name: str = "llc") -> str:
    return with_error(float(table[name][place]), float(table[f"{name}_se"][place]))


def _beside(table: xr.Dataset, place: tuple[int, int]) -> str:
    """The LLC of the neighbours along epsilon that have one, smaller epsilon first."""
    row, column = place
    found = [
        f"{_figure(table, (other, column))} at epsilon {table[EPSILON][other]:g}"
        for other in (row - 1, row + 1)
        if 0 <= other < table.sizes[EPSILON] and bool(np.isfinite(table["llc"][other, column]))
    ]
    return f" beside {' and '.join(found)}" if found else ""


def _acceptance(table: xr.Dataset, place: tuple[int, int], target_acceptance: float) -> str:
    acceptance = float(table["mala"][place])
    if np.isnan(acceptance):
        return "MALA acceptance not measured"
    return f"MALA acceptance {acceptance:.2f} (target {target_acceptance:g})"


def _chains(n: int) -> str:
    return "1 chain" if n == 1 else f"{n} chains"
