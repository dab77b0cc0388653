"""Orders in which layers might have stood, what is found without each, and bootstrap samples.

Layers of units in, permutations and intervals out: what intervals and p-values are made of where
units are clustered in layers. Of samples, how often each is in a bootstrap sample.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import permutations, product
from math import factorial, prod

import numpy as np

from dvis.analysis.student import t_quantile

Statistics = Callable[[np.ndarray, np.ndarray], np.ndarray]

BOUND = "bound"  # of an interval: lower, upper
MIDDLE = np.array([0.025, 0.975])  # quantiles between which 95 % lie

_SHARE = 0.975  # below an interval's upper end


def orders_within(
    stages: Sequence[Sequence[int]], n_most: int, generator: np.random.Generator
) -> np.ndarray:
    """Orders of layers that move within their stages, (order, layer), as they are the first.

    Parameters
    ----------
    stages : sequence of sequence of int
        Places of the layers of each stage; together all of them.
    n_most : int
        Orders at most, beside the one there is: all of them where these are fewer, else random
        ones.
    generator : Generator
        What draws them.
    """
    places = np.concatenate([np.asarray(stage) for stage in stages])
    if prod(factorial(len(stage)) for stage in stages) <= n_most + 1:
        moved = [
            np.concatenate(chosen) for chosen in product(*(permutations(stage) for stage in stages))
        ]
    else:
        drawn = [generator.permuted(np.tile(stage, (n_most, 1)), axis=1) for stage in stages]
        moved = [places, *np.concatenate(drawn, axis=1)]
    orders = np.empty((len(moved), len(places)), int)
    orders[:, places] = np.array(moved)
    return orders


def jackknife_intervals(units: Sequence[np.ndarray], statistics: Statistics) -> np.ndarray:
    r"""95 % intervals of statistics of units that layers are clusters of, (statistic, bound).

    Each layer is left out once. Of L layers, with :math:`\theta` of all and :math:`\theta_l`
    without layer l,

    .. math:: \theta \pm t_{L-2} \sqrt{\frac{L-1}{L} \sum_l (\theta_l - \theta)^2}

    with Student's t at L - 2 degrees of freedom, for two numbers of a line are known of L layers.
    Layers of unlike sizes need nothing of their own.

    Parameters
    ----------
    units : sequence of ndarray, (unit, number)
        What is known of the units of each layer, of one unit or more; three layers or more.
    statistics : callable
        Statistics, (sample, statistic), of numbers (sample, layer, unit, number) and of which of
        them count, (sample, layer, unit) bool.

    References
    ----------
    Efron and Stein (1981), The jackknife estimate of variance, doi:10.1214/aos/1176345462.
    MacKinnon, Nielsen and Webb (2023), Cluster-robust inference, doi:10.1016/j.jeconom.2022.04.001.
    """
    n_layers, widest = len(units), max(len(of_layer) for of_layer in units)
    packed = np.zeros((n_layers, widest, units[0].shape[1]))
    is_there = np.zeros((n_layers, widest), bool)
    for place, of_layer in enumerate(units):
        packed[place, : len(of_layer)] = of_layer
        is_there[place, : len(of_layer)] = True
    is_kept = np.concatenate([np.ones((1, n_layers), bool), ~np.eye(n_layers, dtype=bool)])
    counted = is_there & is_kept[..., None]
    of_all, *without = statistics(np.broadcast_to(packed, (len(counted), *packed.shape)), counted)
    squares = ((np.array(without) - of_all) ** 2).sum(0)
    error = np.sqrt((n_layers - 1) / n_layers * squares)
    reach = t_quantile(_SHARE, n_layers - 2) * error
    return np.column_stack([of_all - reach, of_all + reach])


@lru_cache(maxsize=8)
def resamples(n_samples: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each sample is in a bootstrap sample, (resample, sample), float64."""
    if not n_samples:
        return np.full((n_resamples, 0), np.nan)
    generator = np.random.default_rng((seed, n_samples))
    return generator.multinomial(n_samples, np.full(n_samples, 1 / n_samples), n_resamples).astype(
        float
    )
