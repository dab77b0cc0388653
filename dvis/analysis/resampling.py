"""Orders in which layers might have stood, and layers and units drawn again.

Layers of units in, permutations and resampled statistics out: what intervals and p-values are made
of where units are clustered in layers.
"""

from collections.abc import Callable, Sequence
from itertools import permutations, product
from math import factorial, prod

import numpy as np

Statistics = Callable[[np.ndarray, np.ndarray], np.ndarray]

BOUND = "bound"  # of an interval: lower, upper
MIDDLE = np.array([0.025, 0.975])  # quantiles between which 95 % lie

_BLOCK_NUMBERS = 2**20  # resamples x units worked on at once


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


def cluster_bootstrap(
    units: Sequence[np.ndarray], statistics: Statistics, n: int, generator: np.random.Generator
) -> np.ndarray:
    """Statistics of layers drawn with replacement, and of each its units, (resample, statistic).

    Parameters
    ----------
    units : sequence of ndarray, (unit, number)
        What is known of the units of each layer, of one unit or more.
    statistics : callable
        Statistics, (resample, statistic), of numbers (resample, layer, unit, number) and of which
        of them count, (resample, layer, unit) bool.
    n : int
        Resamples.
    generator : Generator
        What draws them.

    References
    ----------
    Davison and Hinkley (1997), Bootstrap methods and their application, section 3.8.
    """
    sizes = np.array([len(of_layer) for of_layer in units])
    widest = int(sizes.max())
    packed = np.zeros((len(units), widest, units[0].shape[1]))
    for place, of_layer in enumerate(units):
        packed[place, : len(of_layer)] = of_layer
    n_at_once = max(1, _BLOCK_NUMBERS // (len(units) * widest))
    blocks = []
    for start in range(0, n, n_at_once):
        shape = (min(n_at_once, n - start), len(units))
        layer = generator.integers(0, len(units), shape)
        of_layer = sizes[layer][..., None]
        unit = (generator.random((*shape, widest)) * of_layer).astype(int)
        blocks.append(statistics(packed[layer[..., None], unit], np.arange(widest) < of_layer))
    return np.concatenate(blocks)
