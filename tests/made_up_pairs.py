"""Made-up layers before pairs of images, and what is found of them where there is something or not.

Sides of a pair differ by chance alone, or by a direction that all pairs share; the output is linear
in the layer.
"""

from dataclasses import dataclass

import numpy as np

from dvis.analysis.linear_probes import band_of
from dvis.kinds.attributes.statistics import (
    exchanges,
    folds_of,
    separations,
    told_right,
    with_random,
)

N_FOLDS, N_SHUFFLES, N_RANDOM, N_OUTPUTS = 5, 20, 10, 10


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer that is made up.

    Parameters
    ----------
    n_channels, n_pairs : int
        How many there are.
    falls_by : float
        Number of dimensions in which what channels vary by falls to a third.
    step : float
        How far all second sides lie from the first, in the largest spread.
    is_used : bool
        Whether the output depends on that direction.
    """

    n_channels: int = 32
    n_pairs: int = 128
    falls_by: float = 4.0
    step: float = 0.0
    is_used: bool = True

    def made(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Values (2 pair, channel), and weights (output, channel)."""
        rng = np.random.default_rng(seed)
        n = self.n_channels
        mixing = rng.standard_normal((n, n)) * np.exp(-np.arange(n) / self.falls_by)
        scenes = rng.standard_normal((self.n_pairs, n)) @ mixing.T
        own = rng.standard_normal((2 * self.n_pairs, n)) @ mixing.T
        direction = np.linalg.svd(mixing)[0][:, 0]
        spread = np.linalg.norm(mixing, axis=0).max()
        values = np.repeat(scenes, 2, 0) + 0.3 * own
        values[1::2] += self.step * spread * direction
        weights = rng.standard_normal((N_OUTPUTS, n))
        if not self.is_used:
            weights -= np.outer(weights @ direction, direction)
        return values, weights


def found_in(layer: Layer, seed: int) -> dict[str, bool]:
    """Whether a score, what is told, what is used, and the last two together, are beyond nulls."""
    values, weights = layer.made(seed)
    folds = folds_of(layer.n_pairs, N_FOLDS, seed)
    is_exchanged = exchanges(layer.n_pairs, N_SHUFFLES, seed)
    scores = np.abs(separations(values, is_exchanged)).max(1)
    told = told_right(values, is_exchanged, folds).mean(1)
    shares = shares_lost(values, weights, folds, seed)
    tells = bool(told[0] > band_of(told[1:])[1][1])
    uses = bool(shares[0] > band_of(shares[1:])[1][1])
    return {
        "score": bool(scores[0] > scores[1:].max()),
        "tells": tells,
        "uses": uses,
        "tells and uses": tells and uses,
    }


def shares_lost(
    values: np.ndarray, weights: np.ndarray, folds: np.ndarray, seed: int
) -> np.ndarray:
    """Share of a linear output's response that goes with a direction, and with random ones."""
    directions = with_random(values, folds, N_RANDOM, (seed,))
    steps = values[1::2] - values[::2]
    response = steps @ weights.T
    lost = np.zeros(1 + N_RANDOM)
    for fold, of_fold in enumerate(directions):
        spread = (values[np.repeat(folds != fold, 2)] @ of_fold.T).std(0)
        is_held = folds == fold
        along = steps[is_held] @ of_fold.T * (spread[0] / spread)  # (pair, draw)
        lost += np.einsum("pd,do,po->d", along, of_fold @ weights.T, response[is_held])
    return np.asarray(lost / (response**2).sum())
