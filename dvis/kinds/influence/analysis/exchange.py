"""What a number between units would be, had they stood in each other's places.

Matrices of two layers' units in; the number, the same of permuted units and of resampled ones out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dvis.analysis.resampling import MIDDLE
from dvis.analysis.trajectories import quantiles
from dvis.models.torch_guard import needing_torch

_EXACT = 1e-9  # an exchange that changes nothing is a hit, whatever rounding makes of it


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Orders and weights of the units of each layer, which all of its pairs share.

    Attributes
    ----------
    orders : mapping of str to ndarray, (1 + permutation, unit), int
        The first is as they are.
    weights : mapping of str to ndarray, (sample, unit), int
        How often each unit is drawn, with replacement.
    """

    orders: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]

    def order_of(self, layer: str, units: np.ndarray) -> np.ndarray:
        """Orders among some units of a layer, (1 + permutation, unit), as places among these."""
        orders = self.orders[layer]
        place = np.full(orders.shape[1], -1)
        place[units] = np.arange(len(units))
        found = place[orders]
        return np.asarray(found[found >= 0].reshape(len(orders), len(units)))


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A number, what it is where units are exchanged (the first as it is), and of resampled ones.

    Attributes
    ----------
    exchanged : ndarray, (1 + permutation,)
    resampled : ndarray, (sample,)
    """

    exchanged: np.ndarray
    resampled: np.ndarray

    @property
    def untested(self) -> "Scores":
        """The number and its interval, without a null."""
        return Scores(
            exchanged=np.where(np.arange(len(self.exchanged)) == 0, self.exchanged, np.nan),
            resampled=self.resampled,
        )

    @property
    def value(self) -> float:
        """The number."""
        return float(self.exchanged[0])

    @property
    def interval(self) -> np.ndarray:
        """Where 95 % of resampled ones lie, (bound,)."""
        return quantiles(self.resampled, MIDDLE)

    @property
    def null(self) -> np.ndarray:
        """Where 95 % of exchanged ones lie, (bound,)."""
        return quantiles(self.exchanged[1:], MIDDLE)

    @property
    def p_value(self) -> float:
        """Share of exchanges, itself counted, as far from their mean or farther."""
        if not np.isfinite(self.exchanged).all():
            return np.nan
        far = np.abs(self.exchanged - self.exchanged.mean())
        return float((far >= far[0] - _EXACT).mean())


def drawn(n_units: Mapping[str, int], n_permutations: int, n_bootstrap: int, seed: int) -> Draws:
    """Orders and weights of the units of each layer."""
    generator = np.random.default_rng(seed)
    orders, weights = {}, {}
    for layer, n in n_units.items():
        stay = np.arange(n)
        shuffled = generator.permuted(np.tile(stay, (n_permutations, 1)), axis=1)
        orders[layer] = np.concatenate([stay[None], shuffled])
        weights[layer] = generator.multinomial(n, np.full(n, 1 / max(n, 1)), n_bootstrap)
    return Draws(orders=orders, weights=weights)


def pooled(scores: Sequence[Scores]) -> Scores | None:
    """Mean of pairs of layers, each weighted by how little its exchanges spread; None of none.

    Its distance from the mean of exchanges is the sum of standardised scores, in other units.
    """
    told = [each for each in scores if np.isfinite(each.exchanged).all()]
    told = [each for each in told if each.exchanged.std() > 0]
    if not told:
        return None
    share = np.array([1 / each.exchanged.std() for each in told])
    share /= share.sum()
    return Scores(
        exchanged=share @ np.array([each.exchanged for each in told]),
        resampled=share @ np.array([each.resampled for each in told]),
    )


def between(
    centred: np.ndarray,
    other: np.ndarray,
    orders: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
) -> Scores:
    """Correlation of a double-centred matrix with another, the latter's rows permuted.

    Permuting rows leaves the length of what is centred as it is, so that all permutations are sums
    over one matrix of products of rows.

    Parameters
    ----------
    centred : ndarray, (source, target)
        Its rows and columns have mean 0.
    other : ndarray, (source, target)
        What it is held against; centred here.
    orders : ndarray, (1 + permutation, source), int
        Orders of sources.
    weights : tuple of ndarray, (sample, source) and (sample, target)
        How often each is drawn.
    """
    rows, columns = other.mean(1, keepdims=True), other.mean(0, keepdims=True)
    other = other - rows - columns + other.mean()
    length = np.sqrt((centred**2).sum() * (other**2).sum())
    if not length > _EXACT:
        return Scores(
            exchanged=np.full(len(orders), np.nan), resampled=np.full(len(weights[0]), np.nan)
        )
    products = centred @ other.T / length
    n_sources = len(centred)
    exchanged = products.ravel()[orders + n_sources * np.arange(n_sources)].sum(1)
    return Scores(exchanged=exchanged, resampled=resampled(centred, other, weights))


def resampled(
    first: np.ndarray, second: np.ndarray, weights: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Correlations of two matrices, (sample,), of rows and columns drawn with replacement.

    Each sample centres its own rows and columns; sums over both are products of matrices.
    """
    of_rows, of_columns = (each / each.sum(1, keepdims=True) for each in weights)

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        cells = ((of_rows @ (a * b)) * of_columns).sum(1)
        by_row = (of_rows * (of_columns @ a.T) * (of_columns @ b.T)).sum(1)
        by_column = (of_columns * (of_rows @ a) * (of_rows @ b)).sum(1)
        means = [((of_rows @ each) * of_columns).sum(1) for each in (a, b)]
        return np.asarray(cells - by_row - by_column + means[0] * means[1])

    lengths = np.sqrt(covariance(first, first).clip(0) * covariance(second, second).clip(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = covariance(first, second) / lengths
    return np.where(lengths > _EXACT / first.size, found, np.nan)


def along(first: np.ndarray, second: np.ndarray, orders: np.ndarray, weights: np.ndarray) -> Scores:
    """Rank correlation of two numbers of units, the second permuted; ranks are those of all.

    Parameters
    ----------
    first, second : ndarray, (unit,)
        Finite numbers.
    orders : ndarray, (1 + permutation, unit), int
        Orders of the units.
    weights : ndarray, (sample, unit)
        How often each is drawn.
    """
    with needing_torch("changes beside influence"):
        from scipy.stats import rankdata

    a, b = (rankdata(each) - (len(each) + 1) / 2 for each in (first, second))
    length = np.sqrt((a**2).sum() * (b**2).sum())
    if len(a) < 3 or not length:
        return Scores(
            exchanged=np.full(len(orders), np.nan), resampled=np.full(len(weights), np.nan)
        )
    shares = weights / weights.sum(1, keepdims=True).clip(1)
    mean_a, mean_b = shares @ a, shares @ b
    squares = (shares @ a**2 - mean_a**2).clip(0) * (shares @ b**2 - mean_b**2).clip(0)
    spread = np.where(squares > _EXACT, np.sqrt(squares), np.nan)  # of a sample that is all alike
    of_samples = (shares @ (a * b) - mean_a * mean_b) / spread
    return Scores(exchanged=b[orders] @ a / length, resampled=of_samples)
