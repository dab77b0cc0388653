"""Order of births: whether earlier layers settle before later ones.

Births in, a correlation with its test and the births of each layer out.
"""

from itertools import permutations
from math import factorial

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN, NEVER, UNSTABLE
from dvis.analysis.requirements import require_births, require_whole_numbers
from dvis.analysis.trajectories import quantiles
from dvis.schema import LAYER, did_you_mean


def birth_order(
    births: xr.Dataset,
    *,
    layers: list[str] | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    r"""Whether earlier layers are born before later ones, with a test.

    Spearman's rank correlation between the depth of a unit's layer and the place of its birth along
    checkpoints, over all units that were born; ties have their mean rank. It is computed at once,
    for ranks need all units.

    Two p-values, one-sided, each of them :math:`(1 + hits) / (1 + n)` where a hit is a permutation
    whose correlation is at least the one found. `p_value` permutes the layer labels among units: is
    there more order than in units that know of no layer? Units of a layer share much, so a small
    one says that these layers differ, and in this direction; not that depth is the reason.
    `p_value_of_layers` permutes whole layers: would another order of them show as much? With
    :math:`L` layers it cannot be smaller than :math:`1 / L!`.

    Parameters
    ----------
    births : Dataset, (layer, ...)
        What `births` gave: `birth_order(births(ds))`, or `ds.dvis.births().dvis.birth_order()`.
    layers : list of str, optional
        Layers from the first to the last, and only these; by default all, in the Dataset's order,
        which is the natural order of their names.
    n_permutations : int, optional
        Permutations of each test; all orders of the layers where these are fewer.
    seed : int, optional
        Seed of the permutations.

    Returns
    -------
    Dataset, (layer, quantile)
        - `correlation`, float64: between -1 and 1, 1 where every layer follows the one before; NaN
          where all births, or all born units' layers, are the same;
        - `p_value`, `p_value_of_layers`, float64: NaN where the correlation is;
        - `birth_step` (layer, quantile), float64: quartiles of the born units' steps, NaN where a
          layer has none;
        - `n_born`, `n_never`, `n_unstable` (layer), int64: units.

    Raises
    ------
    KeyError
        When there is no such layer.
    SchemaError
        When these are no births.
    ValueError
        When there are fewer than two layers, or no permutations.

    References
    ----------
    Phipson and Smyth (2010), Permutation p-values should never be zero,
    doi:10.2202/1544-6115.1585.

    Examples
    --------
    >>> birth = xr.DataArray([[1, 2], [3, 4]], {"layer": ["layer1", "layer2"], "channel": [0, 1]})
    >>> state = xr.full_like(birth, "born", dtype="U8")
    >>> found = xr.Dataset({"birth": birth, "birth_step": 10.0 * birth, "state": state})
    >>> birth_order(found).correlation.round(2).item()
    0.89
    """
    require_births(births, "birth", "birth_step", "state", LAYER)
    require_whole_numbers(n_permutations=n_permutations)
    of_layers = _in_order(births, layers)
    if n_permutations < 1:
        raise ValueError(f"n_permutations={n_permutations}: a test needs some; 999 is usual")
    others = [dim for dim in of_layers["birth"].dims if dim != LAYER]
    chosen = of_layers[["birth", "birth_step", "state"]].transpose(LAYER, *others).compute()
    n_layers = chosen.sizes[LAYER]
    birth = chosen["birth"].values.reshape(n_layers, -1)
    steps = chosen["birth_step"].values.reshape(n_layers, -1)
    state = chosen["state"].values.reshape(n_layers, -1)
    is_born = state == BORN
    depth = np.nonzero(is_born)[0]
    correlation, *p_values = _tested(birth[is_born], depth, n_layers, n_permutations, seed)

    quartiles = np.array([0.25, 0.5, 0.75])
    attrs = {"long_name": "training step of birth", "units": "1"}
    result = xr.Dataset(
        {
            "correlation": ((), correlation, {"long_name": "rank correlation of birth and depth"}),
            "p_value": ((), p_values[0], {"long_name": "p, units permuted"}),
            "p_value_of_layers": ((), p_values[1], {"long_name": "p, layers permuted"}),
            "birth_step": (
                (LAYER, "quantile"),
                quantiles(np.where(is_born, steps, np.nan), quartiles),
                attrs,
            ),
            **{
                f"n_{name}": (LAYER, (state == name).sum(axis=1), {"long_name": f"units {name}"})
                for name in (BORN, NEVER, UNSTABLE)
            },
        },
        {LAYER: chosen[LAYER], "quantile": quartiles},
        {**births.attrs, "n_permutations": n_permutations, "seed": seed},
    )
    for variable in result.data_vars.values():
        variable.attrs.setdefault("units", "1")
    return result


def _in_order(births: xr.Dataset, layers: list[str] | None) -> xr.Dataset:
    """Births of the layers that are asked for, from the first to the last."""
    there = [str(layer) for layer in np.atleast_1d(births[LAYER].values)]
    asked = there if layers is None else list(layers)
    for layer in asked:
        if layer not in there:
            raise KeyError(did_you_mean("layer", layer, there, "these births"))
    if len(asked) < 2:
        raise ValueError(
            f"An order needs two layers or more; here are {', '.join(asked) or 'none'}. "
            "Take births of several layers"
        )
    return births.sel({LAYER: asked})


def _tested(
    birth: np.ndarray, depth: np.ndarray, n_layers: int, n_permutations: int, seed: int
) -> tuple[float, float, float]:
    """Rank correlation, and its p-values with units and with layers permuted."""
    if len(np.unique(birth)) < 2 or len(np.unique(depth)) < 2:
        return np.nan, np.nan, np.nan
    when = _standardised(_ranks(birth))
    where = _standardised(_ranks(depth))
    found = float(when @ where)
    # A permutation that changes nothing is a hit, whatever rounding makes of it.
    least = found - 1e-12
    generator = np.random.default_rng(seed)
    hits = sum(when @ generator.permutation(where) >= least for _ in range(n_permutations))

    # Layers move as wholes, so their sizes and the sum of their births are all that is needed.
    sizes = np.bincount(depth, minlength=n_layers)
    born = np.bincount(depth, when, minlength=n_layers)
    if factorial(n_layers) <= n_permutations + 1:
        orders = [np.array(order) for order in permutations(range(n_layers))][1:]
    else:
        orders = [generator.permutation(n_layers) for _ in range(n_permutations)]
    layer_hits = sum(_correlation_of_layers(born[o], sizes[o]) >= least for o in orders)
    return found, (1 + hits) / (1 + n_permutations), (1 + layer_hits) / (1 + len(orders))


def _correlation_of_layers(born: np.ndarray, sizes: np.ndarray) -> float:
    """Rank correlation of births with the depth of layers that stand in this order."""
    ranks = sizes.cumsum() - (sizes + 1) / 2
    centred = ranks - np.average(ranks, weights=sizes)
    return float(born @ centred / np.sqrt(sizes @ centred**2))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, the same mean rank for ties."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (counts.cumsum() - (counts + 1) / 2)[which]
    return ranks


def _standardised(values: np.ndarray) -> np.ndarray:
    """Values with mean 0 and norm 1, so that a product of two is their correlation."""
    centred = values - values.mean()
    standardised: np.ndarray = centred / np.linalg.norm(centred)
    return standardised
