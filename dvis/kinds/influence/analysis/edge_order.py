"""Whether an edge is born between its source and its target.

Births of edges and of their ends in, shares of edges by their order, with those of matched ones,
out.
"""

from collections.abc import Mapping

import numpy as np

from dvis.kinds.influence.analysis.exchange import Scores

BETWEEN, EDGE_FIRST, TARGET_FIRST = "edge between", "edge first", "target first"
_N_BINS = 4  # quantiles of source hubs, and of final strength within them
_BLOCK = 2**21  # edges whose order is drawn at a time, over permutations


def edge_orders(
    edges: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    matched_by: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
    n_permutations: int,
    generator: np.random.Generator,
) -> dict[str, Scores]:
    """Shares of edges that are born between their ends, before their source, after their target.

    Parameters
    ----------
    edges : ndarray, (input, target)
        Places of their births, NaN where there is none.
    ends : tuple of ndarray, (input, target) and (target,)
        Births of sources and of targets.
    matched_by : tuple of ndarray, (input, target)
        Hubs and final strength: births of edges are exchanged among those that are alike in both.
    weights : ndarray, (sample, target)
        How often each target is drawn.
    n_permutations : int
        Exchanges.
    generator : Generator
        What draws them.
    """
    there = np.isfinite(edges)
    at, target = edges[there], np.nonzero(there)[1]
    source_birth, target_birth = ends[0][there], ends[1][target]
    n_edges = np.bincount(target, minlength=edges.shape[1])
    bins = _bins(*(each[there] for each in matched_by))
    moved = _exchanged(at, bins, n_permutations, generator)
    drawn = (weights @ n_edges).astype(float)
    found = {}
    for name, is_so in _orders(moved, source_birth, target_birth).items():
        of_targets = np.bincount(target, weights=is_so[0], minlength=edges.shape[1])
        with np.errstate(invalid="ignore"):
            found[name] = Scores(
                exchanged=is_so.mean(1) if len(at) else np.full(len(moved), np.nan),
                resampled=weights @ of_targets / drawn,
            )
    return found


def _orders(edge: np.ndarray, source: np.ndarray, target: np.ndarray) -> Mapping[str, np.ndarray]:
    return {
        BETWEEN: (source <= edge) & (edge <= target),
        EDGE_FIRST: edge < source,
        TARGET_FIRST: edge > target,
    }


def _bins(hubs: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Number of the group of edges of like hubs and, within these, like strength, (edge,)."""
    by_hub = _ranked(hubs) * _N_BINS // max(len(hubs), 1)
    bins = np.zeros(len(hubs), int)
    for number in range(_N_BINS):
        inside = by_hub == number
        within = _ranked(strength[inside]) * _N_BINS // max(int(inside.sum()), 1)
        bins[inside] = number * _N_BINS + within
    return bins


def _ranked(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def _exchanged(
    edges: np.ndarray, bins: np.ndarray, n_permutations: int, generator: np.random.Generator
) -> np.ndarray:
    """Births of edges, exchanged within bins, (1 + permutation, edge); the first as they are."""
    moved = np.empty((1 + n_permutations, len(edges)))
    moved[0] = edges
    by_bin = np.argsort(bins, kind="stable")
    step = max(1, _BLOCK // max(len(edges), 1))
    for start in range(1, 1 + n_permutations, step):
        n = min(step, 1 + n_permutations - start)
        drawn = np.argsort(bins + generator.random((n, len(edges))), axis=1)
        moved[start : start + n, by_bin] = edges[drawn]
    return moved
