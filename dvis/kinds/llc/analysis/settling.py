r"""Whether chains are long enough to be a sample of the posterior near a checkpoint.

Along a direction of curvature h a chain of step size :math:`\epsilon` forgets where it began at a
rate of :math:`\epsilon (n\beta h + \gamma) / 2` a draw. The pull :math:`\gamma` alone moves
directions without curvature, which are the slowest of a convex loss: their relaxation time is

.. math:: \tau = \frac{2}{\epsilon \gamma} \text{ draws}

(Euler's scheme for a linear drift; Gardiner, Stochastic Methods, 2009, section 4.5). Steps fit for
a stiff direction are so small that :math:`\tau` is often thousands of draws. Chains that all
begin at w* agree long before that, so that neither R-hat nor the effective sample size says so.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from dvis.analysis.student import t_quantile
from dvis.kinds.llc.settings import (
    AUTO,
    LEAST_AUTO_DRAWS,
    RMSPROP_STABILITY,
    ChainSettings,
)

# After two relaxation times a direction has 98 % of its variance. Five more are worth ten
# independent draws of a chain's loss along the slowest one.
BURN_IN_RELAXATIONS, DRAW_RELAXATIONS = 2, 5
MAX_RHAT = 1.1  # above it chains do not agree
MOST_STEP_BIAS = 2  # standard errors of an LLC that the size of its steps may add
_LEVEL = 0.01  # of each test for drift
_LEAST_CHAINS = 2  # fewer have no spread to hold a drift against

Numbers = TypeVar("Numbers", np.ndarray, xr.DataArray)


def are_coarse(step_bias: Any, error: Any) -> Any:
    """Whether steps are so coarse that they may add more than two standard errors to an LLC."""
    return step_bias > MOST_STEP_BIAS * error


def relaxation_draws(epsilon: Numbers, gamma: Numbers) -> Numbers:
    """Draws in which the pull alone brings a weight back to 1 / e: 2 / (epsilon gamma).

    Infinite without a pull, NaN where either is not known.

    Examples
    --------
    >>> relaxation_draws(np.array([1e-4]), np.array([100.0]))
    array([200.])
    """
    with np.errstate(divide="ignore"):
        draws: Numbers = 2 / (epsilon * gamma)
    return draws


def preconditioned_relaxation(relaxation: np.ndarray, grad_norm: np.ndarray) -> np.ndarray:
    """Draws in which the pull brings back the slowest weight of RMSprop-SGLD, at most.

    No weight's root mean square gradient is larger than that of the whole gradient, so that its
    steps are scaled by no less than one over that norm plus 0.1. It is known of those of the first
    steps, by which the scale is set, that have diagnostics.

    Parameters
    ----------
    relaxation : ndarray, (cell,)
        That of plain SGLD.
    grad_norm : ndarray, (cell, chain, draw)
        Norms of gradients of the first steps; NaN at draws without diagnostics.

    Returns
    -------
    ndarray, (cell,)
        NaN where no norm is known.
    """
    largest = np.sqrt(mean_of_known(grad_norm.astype(float) ** 2)).max(-1)
    return np.asarray(relaxation * (largest + RMSPROP_STABILITY))


def is_long_enough(relaxation: Numbers, burn_in: int, n_draws: Numbers | int) -> Numbers:
    """Whether chains cover relaxation times enough: two by burn-in, five by the draws after it.

    Examples
    --------
    >>> is_long_enough(np.array([100.0, 101.0, np.nan]), 200, 500)
    array([ True, False, False])
    """
    is_long: Numbers = (burn_in >= BURN_IN_RELAXATIONS * relaxation) & (
        n_draws >= DRAW_RELAXATIONS * relaxation
    )
    return is_long


def settled_length(relaxation: float, most: int) -> tuple[int, int]:
    """Burn-in and draws that are long enough, and at most so many steps in all.

    Examples
    --------
    >>> settled_length(100.0, 10_000), settled_length(float("inf"), 10_000)
    ((200, 500), (2857, 7143))
    """
    n_relaxations = BURN_IN_RELAXATIONS + DRAW_RELAXATIONS
    if n_relaxations * relaxation > most:
        burn_in = most * BURN_IN_RELAXATIONS // n_relaxations
        return burn_in, most - burn_in
    return math.ceil(BURN_IN_RELAXATIONS * relaxation), math.ceil(DRAW_RELAXATIONS * relaxation)


def with_length(
    settings: ChainSettings, epsilon: Sequence[float], gamma: Sequence[float]
) -> ChainSettings:
    """Settings with the burn-in and draws that `auto` stands for at these step sizes and pulls.

    One length for all, that of the slowest, so that all of a group have one burn-in.
    """
    if settings.draws != AUTO:
        return settings
    pull = min(epsilon) * min(gamma)
    burn_in, draws = settled_length(2 / pull if pull else math.inf, settings.max_steps)
    burn_in, draws = max(settings.burn_in, burn_in), max(LEAST_AUTO_DRAWS, draws)
    if burn_in + draws > settings.max_steps:
        burn_in, draws = settled_length(math.inf, settings.max_steps)
    return replace(settings, burn_in=burn_in, draws=draws)


def is_drifting(values: np.ndarray) -> np.ndarray:
    """Whether values still rise or fall: the second half of the draws against the first.

    A t-test at the level of 1 % over chains, each of which is its own pair: what separates a
    slow common trend, in which chains agree, from their slow independent motion.

    Parameters
    ----------
    values : ndarray, (cell, chain, draw)
        NaN where a draw has none.

    Returns
    -------
    ndarray of bool, (cell,)
        False where it cannot be told: of fewer than two chains, or without values in both halves.
    """
    n_chains, middle = values.shape[-2], values.shape[-1] // 2
    if n_chains < _LEAST_CHAINS:
        return np.zeros(values.shape[:-2], bool)
    change = mean_of_known(values[..., middle:]) - mean_of_known(values[..., :middle])
    error = change.std(-1, ddof=1) / np.sqrt(n_chains)
    bound = t_quantile(1 - _LEVEL / 2, n_chains - 1)
    return np.asarray(np.abs(change.mean(-1)) > bound * error)


def is_settled(
    relaxation: np.ndarray,
    burn_in: int,
    losses: np.ndarray,
    distances: np.ndarray,
    rhat: np.ndarray,
) -> np.ndarray:
    """Whether chains are long enough, several, agree, and drift neither in loss nor in distance.

    Parameters
    ----------
    relaxation : ndarray, (cell,)
        In draws; NaN, which is not settled, where it is not known.
    burn_in : int
        Draws that were left out.
    losses, distances : ndarray, (cell, chain, draw)
        After burn-in; distances from w* are NaN at draws without diagnostics.
    rhat : ndarray, (cell,)
        Split R-hat of the losses, at most 1.1 where chains agree.

    Returns
    -------
    ndarray of bool, (cell,)
    """
    n_chains, n_draws = losses.shape[-2:]
    if n_chains < _LEAST_CHAINS:
        return np.zeros(len(losses), bool)
    moves = is_drifting(losses) | is_drifting(distances.astype(float) ** 2)
    return np.asarray(is_long_enough(relaxation, burn_in, n_draws) & (rhat <= MAX_RHAT) & ~moves)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean along the last axis of what is not NaN; NaN where all is."""
    is_known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(is_known, values, 0.0).sum(-1) / is_known.sum(-1))
