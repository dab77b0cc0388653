"""How steady circuits are: whether a unit's strongest inputs stay the same over checkpoints.

Influence in, numbers of each target at each checkpoint out.
"""

from math import comb

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require_whole_numbers
from dvis.analysis.trajectories import origin
from dvis.kinds.influence.analysis.layer_pairs import (
    LayerPair,
    pairs_of,
    require_influence,
    strengths,
    whole,
)
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.models.torch_guard import needing_torch
from dvis.schema import CHECKPOINT

_DIMS = (CHECKPOINT, LAYER_FROM, LAYER_TO, CHANNEL_TO)
_LONG_NAMES = {
    "overlap_previous": "top inputs shared with the checkpoint before, chance 0",
    "overlap_last": "top inputs shared with the last checkpoint, chance 0",
    "rank_correlation_previous": "rank correlation of inputs with the checkpoint before",
    "rank_correlation_last": "rank correlation of inputs with the last checkpoint",
    "n_effective": "effective number of inputs",
}
_CANNOT_TELL = (
    "Strength has an error of its images: two halves of them overlap by less than 1 as "
    "well, and checkpoints that lie closer together overlap more. Hold it against "
    "ds.dvis.reliability()"
)


def circuit_stability(influence: xr.Dataset, k: int = 8) -> xr.Dataset:
    r"""How much of each unit's strongest inputs stays, and how many inputs it has.

    Of the k strongest inputs A and B of a target at two checkpoints, of C sources, it is Jaccard's
    index less what random ones share,

    .. math:: \frac{J - E[J]}{1 - E[J]}, \quad J = \frac{|A \cap B|}{|A \cup B|}

    where :math:`|A \cap B|` is hypergeometric, with mean :math:`k^2 / C`: 0 by chance, 1 where they
    are the same. The effective number of inputs is

    .. math:: \left(\sum_c s_c^2\right)^2 / \sum_c s_c^4,

    as many as there are where all are alike, 1 where one does everything. It is computed at once,
    of lazy influence one pair of layers at one checkpoint at a time. Where two layers have as many
    channels, a channel's influence on its namesake is left out, which a skip connection may carry.

    Parameters
    ----------
    influence : Dataset
        What `dvis.influence` gave.
    k : int, optional
        Top inputs.

    Returns
    -------
    Dataset, (checkpoint, layer_from, layer_to, channel_to)
        - `overlap_previous`, `overlap_last`, float32: with the last checkpoint before at which the
          pair of layers is measured, and with the last of all; NaN where a target has not more
          than k inputs, or fewer than k with any influence;
        - `rank_correlation_previous`, `rank_correlation_last`, float32: Spearman's over sources,
          chance 0;
        - `n_effective`, float32: inputs; NaN of a target without influence.

    Raises
    ------
    TypeError, SchemaError
        When it is no influence, or k is no whole number.
    ValueError
        When k is less than 1, or a selection left nothing.

    References
    ----------
    Hubert and Arabie (1985), Comparing partitions, doi:10.1007/BF01908075, for the adjustment.

    Examples
    --------
    >>> dims = ("checkpoint", "layer_from", "channel_from", "layer_to", "channel_to")
    >>> strength = np.tile(np.arange(1.0, 13)[:, None, None], (2, 1, 1, 1, 3))
    >>> ds = xr.Dataset({"strength": (dims, strength)}, {"checkpoint": [0, 1], "layer_from": ["a"],
    ...     "channel_from": range(12), "layer_to": ["b"], "channel_to": range(3)})
    >>> steady = circuit_stability(ds.assign_coords(n_channels_from=("layer_from", [12]),
    ...     n_channels_to=("layer_to", [3])), k=4)
    >>> steady.overlap_last.values[0, 0, 0].tolist(), steady.n_effective.values[0, 0, 0, 0].round(1)
    ([1.0, 1.0, 1.0], np.float32(7.0))
    """
    require_whole_numbers(k=k)
    if k < 1:
        raise ValueError(f"k={k} top inputs: give 1 or more")
    require_influence(influence)
    strength = whole(influence)
    shape = tuple(strength.sizes[dim] for dim in _DIMS)
    found = {name: np.full(shape, np.nan, np.float32) for name in _LONG_NAMES}
    layers = {dim: strength[dim].values.tolist() for dim in (LAYER_FROM, LAYER_TO)}
    for pair in pairs_of(strength):
        ends = layers[LAYER_FROM].index(pair.source), layers[LAYER_TO].index(pair.target)
        for name, values in _of_pair(pair, k).items():
            found[name][:, *ends, pair.columns] = values
    kept = {
        name: each.variable
        for name, each in influence.coords.items()
        if set(each.dims) <= set(_DIMS) and name != CHANNEL_FROM
    }
    result = xr.Dataset(
        {
            name: (_DIMS, values, {"long_name": _LONG_NAMES[name], "units": "1"})
            for name, values in found.items()
        },
        {dim: strength[dim].variable for dim in _DIMS if dim in strength.coords} | kept,
        {**origin(influence), "k": k, "exchangeable": "sources", "cannot_tell": _CANNOT_TELL},
    )
    return result


def _of_pair(pair: LayerPair, k: int) -> dict[str, np.ndarray]:
    """Numbers of a pair of layers, (checkpoint, target) each."""
    n_checkpoints = pair.between.sizes[CHECKPOINT]
    found = {name: np.full((n_checkpoints, pair.shape[1]), np.nan) for name in _LONG_NAMES}
    last = strengths(pair, pair.last)
    before: np.ndarray | None = None
    for time in range(pair.first, pair.last + 1):
        now = last if time == pair.last else strengths(pair, time)
        if not np.isfinite(now).any():
            continue
        found["n_effective"][time] = _n_effective(now)
        for other, when in ((before, "previous"), (last, "last")):
            if other is not None:
                found[f"overlap_{when}"][time] = _overlap(now, other, k)
                found[f"rank_correlation_{when}"][time] = _rank_correlation(now, other)
        before = now
    return found


def _n_effective(strength: np.ndarray) -> np.ndarray:
    squares = np.nan_to_num(strength) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = squares.sum(0) ** 2 / (squares**2).sum(0)
    return found


def _overlap(first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    """Jaccard's index of the k strongest inputs of each target, chance taken away."""
    is_known = np.isfinite(first) & np.isfinite(second)
    n_known = is_known.sum(0)
    n_positive = np.minimum(*((is_known & (each > 0)).sum(0) for each in (first, second)))
    tops = []
    for each in (first, second):
        ranks = np.argsort(np.where(is_known, -each, np.inf), axis=0, kind="stable")
        is_top = np.zeros(each.shape, bool)
        np.put_along_axis(is_top, ranks[:k], True, axis=0)
        tops.append(is_top)
    shared = (tops[0] & tops[1]).sum(0)
    index = shared / (2 * k - shared)
    chance = {int(n): _by_chance(int(n), k) for n in np.unique(n_known) if n > k}
    by_chance = np.array([chance.get(int(n), np.nan) for n in n_known])
    # Among inputs of no influence the order is arbitrary, though it is the same twice.
    return np.where(n_positive >= k, (index - by_chance) / (1 - by_chance), np.nan)


def _by_chance(n_sources: int, k: int) -> float:
    """Mean of Jaccard's index of two random choices of k of so many."""
    ways = [comb(k, shared) * comb(n_sources - k, k - shared) for shared in range(k + 1)]
    terms = (n * shared / (2 * k - shared) for shared, n in enumerate(ways))
    return sum(terms) / comb(n_sources, k)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation over sources of each target, of those known in both."""
    with needing_torch("stability of influence"):
        from scipy.stats import rankdata

    is_known = np.isfinite(first) & np.isfinite(second)
    n_known = np.maximum(is_known.sum(0), 1)
    centred = []
    for each in (first, second):
        ranks = rankdata(np.where(is_known, each, np.inf), axis=0)  # those unknown come last
        centred.append(np.where(is_known, ranks - (ranks * is_known).sum(0) / n_known, 0))
    a, b = centred
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.where(is_known.sum(0) >= 3, found, np.nan)
