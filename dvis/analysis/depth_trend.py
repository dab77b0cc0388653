"""Whether a number rises or falls along a chain, of several chains that were made alike.

Numbers of chains at their depths in, a correlation with its null and its test out.
"""

from itertools import product
from math import factorial, prod
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require_whole_numbers
from dvis.analysis.resampling import BOUND, MIDDLE, orders_within
from dvis.schema import counted

LEAST_P = 0.05  # where no p can be below it, none is given
_CANNOT_TELL = (
    "depth from what changes with it, such as width; a trend from a walk that drifts, whose steps "
    "are not as often up as down; nor anything of chains that begin elsewhere"
)


def depth_trend(
    values: xr.DataArray,
    depth: str = "depth",
    chain: str = "seed",
    *,
    n_permutations: int = 9_999,
    seed: int = 0,
) -> xr.Dataset:
    r"""Rank correlation of a number with depth, within chains, and whether it is one by chance.

    Of each chain Spearman's correlation of the number with depth, ties at their mean rank; then the
    mean over chains,

    .. math:: \bar\rho = \frac{1}{S} \sum_s \rho_s

    There are two nulls. A chain's depths are exchangeable: any order of its numbers was as likely.
    Or each level takes its number over from the one above, a walk: any of its steps might as well
    have gone the other way. Of each the share of orders, or of signs of steps, whose
    :math:`|\bar\rho|` is at least as large is a two-sided p; the p-value is the larger, so that it
    holds its level under both. All orders are gone through where there are at most
    `n_permutations`, else random ones. Chains are never mixed, so that what one has at all depths
    makes no difference.

    Nothing can be rarer than the most extreme: of S chains of D depths without ties p is
    :math:`2 / 2^{S (D-1)}` at least, 0.5 for one chain of three depths, 0.125 for two, 0.031 for
    three. Where that is above 0.05, there is no p-value, and `why_no_p` says so.

    Parameters
    ----------
    values : DataArray, (chain, depth, ...)
        A number of each chain at each depth, NaN where the chain has ended. Further dims are tested
        one by one, with the same random orders.
    depth, chain : str
        The dims. A level that all chains share is no evidence of any: leave it out.
    n_permutations : int
        Orders that the test goes through at most.
    seed : int
        Of random orders.

    Returns
    -------
    Dataset, (...)
        - `correlation`, float64: the mean over chains, NaN where a number is the same at all depths
          of every chain;
        - `null_correlation` (bound), float64: where 95 % of correlations lie under each null;
        - `p_value` and `smallest_p`, float64: and the smallest there could be of such numbers;
        - `n_chains`, int64: chains with two depths or more that differ;
        - `why_no_p`, text, "" where there is one.

        The attributes say what is `exchangeable`, and what the result `cannot_tell`.

    Raises
    ------
    ValueError
        When a dim is missing, or there are no permutations.

    Notes
    -----
    In 600 simulations a p of at most 0.05 is found in 0.7 % of white noise of 3 or 5 chains of 4
    depths, and in 3 to 4 % of walks, of which permuted depths alone find 10 to 11 %; where steps of
    walks are skewed, in 7 and 11 % (permuted alone: 16 and 20 %). A small p says that numbers rise
    or fall within these chains, and not that others would. It is paid for: a rise of a standard
    deviation a level is found in 42 % of 3 chains of 4 (permuted alone: 77 %), 14 % of 3 of 3 and
    88 % of 5 of 4 (`docs/levels.md`).

    References
    ----------
    Phipson and Smyth (2010), Permutation p-values should never be zero,
    doi:10.2202/1544-6115.1585.

    Examples
    --------
    >>> rising = xr.DataArray([[1.0, 2, 3], [2, 5, 7], [0, 1, 9]], dims=("seed", "depth"))
    >>> found = depth_trend(rising)
    >>> round(found.correlation.item(), 3), round(found.p_value.item(), 4)
    (1.0, 0.0312)
    >>> depth_trend(rising[:1]).why_no_p.item()
    'no p below 0.05 is possible of 1 chain that differs at 3 depths'
    """
    require_whole_numbers(n_permutations=n_permutations)
    if n_permutations < 1:
        raise ValueError(f"n_permutations={n_permutations}: a test needs some; 9999 are usual")
    lacking = [dim for dim in (depth, chain) if dim not in values.dims]
    if lacking:
        raise ValueError(
            f"the numbers have no dim {' and no '.join(lacking)}, but "
            f"{', '.join(map(str, values.dims))}; say which dims are depth and chain"
        )
    others = [str(dim) for dim in values.dims if dim not in (depth, chain)]
    table = values.transpose(*others, chain, depth).compute()
    shape = [table.sizes[dim] for dim in others]
    flat = np.asarray(table.values, float).reshape(-1, *table.shape[-2:])
    found = [_of_one(each, n_permutations, seed) for each in flat]
    columns = {name: np.array([each[name] for each in found]) for name in found[0]} if found else {}
    variables = {
        name: (
            [*others, *([BOUND] if name == "null_correlation" else [])],
            column.reshape((*shape, *column.shape[1:])),
            {"long_name": _LONG_NAMES[name], "units": "1"} if name != "why_no_p" else {},
        )
        for name, column in columns.items()
    }
    told: dict[str, Any] = {
        "exchangeable": "depths of a chain, or signs of its steps",
        "cannot_tell": _CANNOT_TELL,
        "seed": seed,
    }
    coordinates = {dim: table[dim] for dim in others if dim in table.coords}
    return xr.Dataset(variables, {**coordinates, BOUND: ["lower", "upper"]}, told)


_LONG_NAMES = {
    "correlation": "rank correlation with depth, mean over chains",
    "null_correlation": "95 % of correlations, depths permuted or steps turned",
    "p_value": "p, depths permuted or steps turned, the larger",
    "smallest_p": "smallest p that is possible",
    "n_chains": "chains that differ between depths",
}


def _of_one(values: np.ndarray, n_permutations: int, seed: int) -> dict[str, Any]:
    """What is found of numbers (chain, depth)."""
    chains = [row[np.isfinite(row)] for row in values]
    chains = [each for each in chains if len(each) > 1 and np.ptp(each) > 0]
    nothing = {
        "correlation": np.nan,
        "null_correlation": np.full(2, np.nan),
        "p_value": np.nan,
        "smallest_p": np.nan,
        "n_chains": len(chains),
        "why_no_p": "no chain has two depths at which it differs",
    }
    if not chains:
        return nothing
    generator = np.random.default_rng(seed)
    nulls = [way(chains, n_permutations, generator) for way in (_correlations, _turned)]
    least = max(_share_as_far(each, np.abs(each).max()) for each in nulls)
    bands = np.array([np.quantile(each, MIDDLE) for each in nulls])
    n_depths = max(map(len, chains))
    found = {
        "correlation": float(nulls[0][0]),
        "null_correlation": np.array([bands[:, 0].min(), bands[:, 1].max()]),
        "smallest_p": least,
        "n_chains": len(chains),
    }
    if least > LEAST_P:
        noun = f"{counted(len(chains), 'chain')} that {'differs' if len(chains) == 1 else 'differ'}"
        why = f"no p below {LEAST_P:g} is possible of {noun} at {n_depths} depths"
        return {**nothing, **found, "why_no_p": why}
    p_value = max(_share_as_far(each, abs(each[0])) for each in nulls)
    return {**nothing, **found, "p_value": p_value, "why_no_p": ""}


def _share_as_far(correlations: np.ndarray, reach: float) -> float:
    """Share at least as far from 0: what changes nothing is, whatever rounding makes of it."""
    return float((np.abs(correlations) >= reach - 1e-9).mean())


def _correlations(
    chains: list[np.ndarray], n_permutations: int, generator: np.random.Generator
) -> np.ndarray:
    """Mean correlation of each order of depths within chains, (order,), that there is first."""
    ends = np.cumsum([len(each) for each in chains])
    places = [range(end - len(each), end) for each, end in zip(chains, ends, strict=True)]
    orders = orders_within(places, n_permutations, generator)
    is_all = prod(factorial(len(each)) for each in chains) == len(orders)
    assert is_all or len(orders) == n_permutations + 1
    ranks = np.concatenate([_standard(_ranks(each)) / len(each) for each in chains])
    depth = np.concatenate([_standard(np.arange(len(each), dtype=float)) for each in chains])
    means: np.ndarray = ranks[orders] @ depth / len(chains)
    return means


def _turned(chains: list[np.ndarray], n_most: int, generator: np.random.Generator) -> np.ndarray:
    """Mean correlation where steps of chains go either way, (signs,), as they went first."""
    n_steps = sum(len(each) - 1 for each in chains)
    if 2**n_steps <= n_most + 1:
        signs = np.array([*product((1, -1), repeat=n_steps)])
    else:
        signs = np.concatenate(
            [np.ones((1, n_steps), int), generator.choice((1, -1), (n_most, n_steps))]
        )
    means = np.zeros(len(signs))
    ends = np.cumsum([len(each) - 1 for each in chains])
    for each, end in zip(chains, ends, strict=True):
        steps = np.diff(each) / np.ptp(each)
        walks = np.cumsum(signs[:, end - len(steps) : end] * steps, axis=1)
        # Rounded, so that numbers that are tied stay so.
        walks = np.round(np.pad(walks, ((0, 0), (1, 0))), 9)
        above = (walks[:, :, None] > walks[:, None, :]).sum(2)
        ranks = above + ((walks[:, :, None] == walks[:, None, :]).sum(2) - 1) / 2
        ranks -= ranks.mean(1, keepdims=True)
        spread = np.sqrt((ranks**2).mean(1))
        means += ranks @ _standard(np.arange(len(each), dtype=float)) / (spread * len(each))
    return means / len(chains)


def _standard(values: np.ndarray) -> np.ndarray:
    """Values of mean 0 and variance 1."""
    centred = values - values.mean()
    standard: np.ndarray = centred / centred.std()
    return standard


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, the same mean rank for ties."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (counts.cumsum() - (counts + 1) / 2)[which]
    return ranks
