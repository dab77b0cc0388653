"""Whether influence is strong between units that are born close to each other.

Log strength without hubs and fan-in, and births of both ends, in; correlations with their nulls
out.
"""

from typing import Literal

import numpy as np

from dvis.kinds.influence.analysis.exchange import Scores, between, resampled
from dvis.kinds.influence.analysis.layer_pairs import double_centred

Null = Literal["births", "mrqap"]
_EXACT = 1e-12


def closeness(of_sources: np.ndarray, of_targets: np.ndarray) -> np.ndarray:
    """Minus the distance of births in checkpoints, (source, target)."""
    close: np.ndarray = -np.abs(of_sources[:, None] - of_targets)
    return close


def is_before(of_sources: np.ndarray, of_targets: np.ndarray) -> np.ndarray:
    """Whether the source is born before the target, (source, target), 0 or 1."""
    return np.asarray(of_sources[:, None] < of_targets, float)


def with_births(
    centred: np.ndarray,
    other: np.ndarray,
    orders: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray],
    beyond: np.ndarray | None = None,
) -> Scores:
    """Correlation of centred log strength with a matrix of births.

    Parameters
    ----------
    centred, other : ndarray, (source, target)
        The first has rows and columns of mean 0.
    orders : tuple of ndarray, (1 + permutation, source) and (1 + permutation, target)
        Orders of the units of both layers.
    weights : tuple of ndarray, (sample, source) and (sample, target)
        How often each is drawn.
    beyond : ndarray, (source, target), optional
        Centred log strength at the first checkpoint: then it is a partial correlation beyond that,
        and residuals of births are permuted by rows and by columns (MRQAP-DSP) in place of births
        of sources.
    """
    usual = between(centred, other, orders[0], weights)
    if beyond is None or not np.isfinite(usual.value):
        return usual
    others = [resampled(each, beyond, weights) for each in (centred, double_centred(other))]
    of_first, of_second = (np.nan_to_num(each) for each in others)
    left = (1 - of_first**2) * (1 - of_second**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        partial = (usual.resampled - of_first * of_second) / np.sqrt(left)
    return Scores(
        exchanged=_semi_partial(centred, double_centred(other), beyond, orders), resampled=partial
    )


def _semi_partial(
    centred: np.ndarray,
    other: np.ndarray,
    beyond: np.ndarray,
    orders: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Partial correlations, (1 + permutation,), with residuals permuted by rows and by columns.

    A partial correlation goes up with the t that Dekker's permutations compare.
    """
    square = (beyond**2).sum()
    if square < _EXACT:  # one checkpoint alone, or nothing known of the first
        beyond, square = np.zeros_like(centred), 1.0
    outcome = centred - beyond * ((centred * beyond).sum() / square)
    residual = other - beyond * ((other * beyond).sum() / square)
    length, whole = np.sqrt((outcome**2).sum()), (residual**2).sum()
    found = np.empty(len(orders[0]))
    for place, (rows, columns) in enumerate(zip(*orders, strict=True)):
        moved = residual[np.ix_(rows, columns)]
        left = whole - (moved * beyond).sum() ** 2 / square
        found[place] = (outcome * moved).sum() / (length * np.sqrt(left)) if left > 0 else np.nan
    return found
