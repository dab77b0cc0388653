"""The best division of many short series into segments, all series at once.

Arrays in, arrays out: for `dvis.analysis.change_points`.
"""

from typing import Any, Protocol

import numpy as np

Edges = tuple[Any, Any]  # an index, of any kind that numpy takes, into (series, edge)


class Fit(Protocol):
    """Weighted residual sums of squares of segments of series, (series, checkpoint).

    Between and around checkpoints are edges, from 0 to their number.
    """

    n_up_to: np.ndarray

    def cost(self, start: Edges, stop: Edges) -> np.ndarray:
        """Residual sum of squares of segments from one edge to another, (series, segment)."""


class LevelFit:
    """Segments of one level each: residuals from the mean, by running sums.

    Of series (series, checkpoint), NaN where nothing is, and of weights of the same shape.
    """

    def __init__(self, series: np.ndarray, weights: np.ndarray) -> None:
        is_counted = np.isfinite(series)
        # Centred, so that differences of running sums lose no digits to a common offset.
        self.values = np.where(is_counted, series, 0.0)
        self.values -= _means(self.values, is_counted)
        self.values[~is_counted] = 0.0
        self.weights = np.where(is_counted, weights, 0.0)
        self.least_weight = np.where(is_counted, weights, np.inf).min(axis=1, keepdims=True)
        self.n_up_to = _running(is_counted)
        self.weights_up_to = _running(self.weights)
        self.sums = _running(self.weights * self.values)
        self.squares = _running(self.weights * self.values**2)

    def cost(self, start: Edges, stop: Edges) -> np.ndarray:
        """Residual sum of squares around the mean, (series, segment)."""
        weight = self.weight(start, stop)
        total = _between(self.sums, start, stop)
        residual = _between(self.squares, start, stop) - total**2 / weight
        positive: np.ndarray = np.maximum(residual, 0.0)
        return positive

    def weight(self, start: Edges, stop: Edges) -> np.ndarray:
        """Sum of weights, (series, segment); of nothing that of one checkpoint."""
        weight: np.ndarray = np.maximum(
            _between(self.weights_up_to, start, stop), self.least_weight
        )
        return weight


class LineFit(LevelFit):
    """Segments of one straight line each, over the number of the counted checkpoint."""

    def __init__(self, series: np.ndarray, weights: np.ndarray) -> None:
        super().__init__(series, weights)
        is_counted = np.isfinite(series)
        place = np.where(is_counted, self.n_up_to[:, 1:], 0.0)
        place -= _means(place, is_counted)
        place[~is_counted] = 0.0
        self.places = _running(self.weights * place)
        self.place_squares = _running(self.weights * place**2)
        self.products = _running(self.weights * place * self.values)

    def cost(self, start: Edges, stop: Edges) -> np.ndarray:
        """Residual sum of squares around the line, (series, segment)."""
        weight = self.weight(start, stop)
        place = _between(self.places, start, stop)
        spread = _between(self.place_squares, start, stop) - place**2 / weight
        product = _between(self.products, start, stop)
        product = product - place * _between(self.sums, start, stop) / weight
        # The places are whole numbers apart: less than half a weight is the spread of a single one.
        least = self.least_weight / 4
        explained = np.where(spread > least, product**2 / np.maximum(spread, least), 0.0)
        residual: np.ndarray = np.maximum(super().cost(start, stop) - explained, 0.0)
        return residual


def best_segments(fit: Fit, penalty: np.ndarray, least_length: int) -> np.ndarray:
    """First checkpoints of all segments but the first, in the division of least cost.

    Optimal partitioning: the best division up to a checkpoint is the best one up to some earlier
    checkpoint and one segment more.

    Parameters
    ----------
    fit : Fit
        Of series (series, checkpoint).
    penalty : ndarray, (series,)
        Cost of a segment more.
    least_length : int
        Counted checkpoints of a segment at least.

    Returns
    -------
    ndarray, (series, checkpoint), bool
    """
    n_up_to = fit.n_up_to
    n_series, n_edges = n_up_to.shape
    # A segment begins with a counted checkpoint, so that divisions with gaps have one form.
    may_start = np.diff(n_up_to, axis=1, append=0) > 0
    may_start[:, 0] = True
    least = np.full((n_series, n_edges), np.inf)
    least[:, 0] = -penalty
    came_from = np.zeros((n_series, n_edges), int)
    for stop in range(1, n_edges):
        cost = fit.cost(np.s_[:, :stop], np.s_[:, stop : stop + 1])
        total = least[:, :stop] + cost + penalty[:, None]
        is_long = n_up_to[:, stop, None] - n_up_to[:, :stop] >= least_length
        total[~(is_long & may_start[:, :stop])] = np.inf
        came_from[:, stop] = total.argmin(axis=1)
        least[:, stop] = total.min(axis=1)

    series = np.arange(n_series)
    is_start = np.zeros((n_series, n_edges), bool)
    edge = np.where(np.isfinite(least[:, -1]), n_edges - 1, 0)
    while edge.any():
        edge = came_from[series, edge]
        is_start[series, edge] = True
    is_start[:, 0] = False
    return is_start[:, :-1]


def _means(values: np.ndarray, is_counted: np.ndarray) -> np.ndarray:
    """Mean of the counted values of each row, (series, 1); the others are 0."""
    n = np.maximum(is_counted.sum(axis=1, keepdims=True), 1)
    means: np.ndarray = values.sum(axis=1, keepdims=True) / n
    return means


def _running(values: np.ndarray) -> np.ndarray:
    """Sums of each row up to each checkpoint, from 0, (series, checkpoint + 1), float64."""
    return np.pad(values.cumsum(axis=1, dtype=float), ((0, 0), (1, 0)))


def _between(running: np.ndarray, start: Edges, stop: Edges) -> np.ndarray:
    """Sums from one edge up to another, (series, segment)."""
    sums: np.ndarray = running[stop] - running[start]
    return sums
