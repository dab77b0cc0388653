"""Order of births: whether earlier layers settle before later ones.

Births in, a correlation with its interval and its test, and the births of each layer out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN, NEVER, UNSTABLE
from dvis.analysis.measures import STANDARDISED
from dvis.analysis.requirements import require_births, require_whole_numbers
from dvis.analysis.resampling import BOUND, MIDDLE, jackknife_intervals, orders_within
from dvis.analysis.trajectories import RAW, quantiles
from dvis.schema import DEPTH, LAYER, counted, did_you_mean

_LEAST_ORDERS = 40  # with fewer no two-sided p is as low as 0.05; five layers have 120
_MOST_AT_FIRST = 0.25  # of the final level, in a layer's median unit
_QUARTILES = np.array([0.25, 0.5, 0.75])


def birth_order(
    births: xr.Dataset,
    *,
    layers: list[str] | None = None,
    stages: Mapping[str, str] | None = None,
    n_permutations: int = 9_999,
    seed: int = 0,
) -> xr.Dataset:
    r"""How the births of layers follow their depth, with an interval and a test.

    Spearman's rank correlation between the depth of a unit's layer and the place of its birth along
    checkpoints, over all units that were born; ties have their mean rank. Units without a birth are
    left out, and counted: training ended before it, or there was none. It is computed at once, for
    ranks need all units.

    Units of a layer share their inputs, their optimiser's state and their depth, so layers are what
    is left out and what is moved. The intervals are those of a jackknife that leaves each layer out
    once, with Student's t for as few layers as there are (`jackknife_intervals`). The p-value is
    two-sided: the share of orders of whole layers whose correlation is at least as far from the
    mean of all orders. All orders are gone through where there are at most `n_permutations`.
    `docs/levels.md` has the rates at which either finds an order where there is none.

    **No p-value** is given, and `why_no_p` in the attributes says why,

    - with fewer than five layers with births: they can stand in 24 orders at most, so no order can
      be shown, and there is no interval either;
    - of births of raw activations or responses: an activation is a product of the gains of all
      layers below it, so that gains which all grow at once put deep layers last. Births have no
      scale by default where there are reference images or responses; or give them something
      without: `ds.dvis.births(variable=1 - ds.dvis.drift().to_last)`;
    - of standardised activations where the median unit of some layer stands above a quarter of its
      final level at the first checkpoint: layers that answer strongly before they learn would be
      taken for ones that learn first.

    Parameters
    ----------
    births : Dataset, (layer, ...)
        What `births` gave: `birth_order(births(ds))`, or `ds.dvis.births().dvis.birth_order()`.
    layers : list of str, optional
        Layers from the first to the last, and only these; by default all, in the order in which
        the model executes them where their `depth` is known, else in the Dataset's.
    stages : mapping of str to str, optional
        Stage of each layer. Then layers are moved within their stages only: is there an order
        beyond that of the stages?
    n_permutations : int, optional
        Orders of the layers that the test goes through at most.
    seed : int, optional
        Seed of random orders.

    Returns
    -------
    Dataset, (layer, quantile, bound)
        - `correlation`, float64: between -1 and 1, 1 where every layer follows the one before; NaN
          where all births, or all born units' layers, are the same;
        - `slope`, float64: checkpoints from the births of one layer to those of the next, by least
          squares over units;
        - `correlation_interval`, `slope_interval` (bound), float64: 95 %, lower and upper;
        - `null_correlation` (bound), float64: where 95 % of the orders' correlations lie;
        - `p_value`, float64;
        - `birth_step` (layer, quantile), float64: quartiles of the born units' steps, NaN where a
          layer has none;
        - `n_born`, `n_never`, `n_unstable` (layer), int64: units.

        The attributes name what is exchanged (`exchangeable`), the null, whose order of layers it
        is (`order_of_layers`: "execution", "names" or "given"), and how many units were left out.

    Raises
    ------
    KeyError
        When there is no such layer, or a layer has no stage.
    SchemaError
        When these are no births.
    ValueError
        When there are fewer than two layers, or no permutations.

    References
    ----------
    Phipson and Smyth (2010), Permutation p-values should never be zero,
    doi:10.2202/1544-6115.1585. Winkler et al. (2015), Multi-level block permutation,
    doi:10.1016/j.neuroimage.2015.05.092.

    Examples
    --------
    >>> birth = xr.DataArray([[1, 2], [3, 4]], {"layer": ["layer1", "layer2"], "channel": [0, 1]})
    >>> state = xr.full_like(birth, "born", dtype="U8")
    >>> found = xr.Dataset({"birth": birth, "birth_step": 10.0 * birth, "state": state})
    >>> order = birth_order(found)
    >>> order.correlation.round(2).item(), order.slope.item(), order.attrs["why_no_p"]
    (0.89, 2.0, 'no order can be shown with 2 layers that have births; it takes five')
    """
    require_births(births, "birth", "birth_step", "state", LAYER)
    require_whole_numbers(n_permutations=n_permutations)
    if n_permutations < 1:
        raise ValueError(f"n_permutations={n_permutations}: a test needs some; 9999 are usual")
    of_layers, whose = _in_order(births, layers)
    others = [dim for dim in of_layers["birth"].dims if dim != LAYER]
    chosen = of_layers[["birth", "birth_step", "state"]].transpose(LAYER, *others).compute()
    table = {name: each.values.reshape(chosen.sizes[LAYER], -1) for name, each in chosen.items()}
    is_born = table["state"] == BORN
    born = [of_layer[there] for of_layer, there in zip(table["birth"], is_born, strict=True)]
    found, why_no_p, n_orders = _found(
        born,
        _stages(chosen[LAYER].values.tolist(), stages),
        _cannot_tell(of_layers),
        (n_permutations, seed),
    )
    steps = np.where(is_born, table["birth_step"], np.nan)
    found["birth_step"] = (LAYER, "quantile"), quantiles(steps, _QUARTILES)
    for name in (BORN, NEVER, UNSTABLE):
        found[f"n_{name}"] = LAYER, (table["state"] == name).sum(axis=1)
    n_out = int((table["state"] == NEVER).sum() + (table["state"] == UNSTABLE).sum())
    result = xr.Dataset(
        {name: (*each, _described(name)) for name, each in found.items()},
        {LAYER: chosen[LAYER], "quantile": _QUARTILES, BOUND: ["lower", "upper"]},
        {
            **births.attrs,
            "exchangeable": "whole layers" + ("" if stages is None else " within their stages"),
            "null": "births of a layer have nothing to do with its depth",
            "order_of_layers": whose,
            "left_out": f"{counted(n_out, 'unit')} without a birth",
            "why_no_p": why_no_p,
            "n_orders": n_orders,
            "seed": seed,
        },
    )
    return result


def _described(name: str) -> dict[str, str]:
    """Attributes of a variable of the result."""
    long_names = {
        "correlation": "rank correlation of birth and depth",
        "correlation_interval": "95 % interval of the correlation, layers left out in turn",
        "slope": "from the births of a layer to those of the next",
        "slope_interval": "95 % interval of the slope, layers left out in turn",
        "null_correlation": "95 % of correlations, whole layers permuted",
        "p_value": "p, whole layers permuted",
        "birth_step": "training step of birth",
    }
    units = "checkpoint" if name.startswith("slope") else "1"
    return {"long_name": long_names.get(name, f"units {name[2:]}"), "units": units}


def _in_order(births: xr.Dataset, layers: list[str] | None) -> tuple[xr.Dataset, str]:
    """Births of the layers that are asked for, in order, and whose order that is."""
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
    if layers is not None:
        return births.sel({LAYER: asked}), "given"
    depth = births.coords.get(DEPTH)
    if depth is not None and (depth >= 0).all():
        return births.isel({LAYER: np.argsort(depth.values, kind="stable")}), "execution"
    return births, "names" if "order" in births[LAYER].attrs else "given"


def _stages(layers: list[str], stages: Mapping[str, str] | None) -> list[list[int]]:
    """Places of the layers of each stage; of all where none are named."""
    if stages is None:
        return [[*range(len(layers))]]
    without = [layer for layer in layers if layer not in stages]
    if without:
        raise KeyError(
            f"No stage of {', '.join(without)}: `stages` names one for each of the layers, "
            f"such as {{{layers[0]!r}: 'stem'}}"
        )
    places: dict[str, list[int]] = {}
    for place, layer in enumerate(layers):
        places.setdefault(stages[layer], []).append(place)
    return [*places.values()]


def _found(
    born: list[np.ndarray], stages: list[list[int]], cannot_tell: str, given: tuple[int, int]
) -> tuple[dict[str, tuple[Any, ...]], str, int]:
    """Effect, intervals, null and p of births by layer; why there is no p; number of orders."""
    n_permutations, seed = given
    nothing = np.full(2, np.nan)
    has_births = np.array([len(of_layer) > 0 for of_layer in born])
    effect, interval, null, p_value = nothing, np.full((2, 2), np.nan), nothing, np.nan
    orders = np.zeros((0, len(born)), int)
    if has_births.sum() >= 2:
        numbers = _numbers(born)
        whole = np.concatenate(numbers)[None, None]
        effect = _slopes(whole, np.ones(whole.shape[:3], bool))[0]
        generator = np.random.default_rng(seed)
        kept = {place: i for i, place in enumerate(np.flatnonzero(has_births).tolist())}
        within = [[kept[place] for place in stage if place in kept] for stage in stages]
        orders = orders_within([stage for stage in within if stage], n_permutations, generator)
    n_layers = int(has_births.sum())
    why_no_p = _why_no_p(n_layers, len(stages) > 1, len(orders), effect[0]) or cannot_tell
    if np.isfinite(effect[0]) and len(orders) >= _LEAST_ORDERS:
        interval = jackknife_intervals(numbers, _slopes)
        interval[0] = interval[0].clip(-1, 1)  # of a correlation
    if not why_no_p:
        moved = _correlations(numbers, orders)
        null = quantiles(moved[None], MIDDLE)[0]
        far = np.abs(moved - moved.mean())
        # An order that changes nothing is a hit, whatever rounding makes of it.
        p_value = float((far >= far[0] - 1e-9).mean())
    found = {
        "correlation": ((), effect[0]),
        "correlation_interval": (BOUND, interval[0]),
        "slope": ((), effect[1]),
        "slope_interval": (BOUND, interval[1]),
        "null_correlation": (BOUND, null),
        "p_value": ((), p_value),
    }
    return found, why_no_p, len(orders)


def _cannot_tell(births: xr.Dataset) -> str:
    """Why births as these hold no evidence of an order, in words; "" where they may."""
    variable = str(births.attrs.get("variable", ""))
    if variable in RAW:
        return (
            f"births of the raw {variable} cannot tell an order from gains that grow in all "
            "layers at once; births against reference images, or of responses, can"
        )
    if "first_level" not in births or births.attrs.get("measure") != STANDARDISED:
        return ""
    share = (births["first_level"] / births["final_level"]).where(births["state"] == BORN)
    of_layers = share.median([dim for dim in share.dims if dim != LAYER]).compute()
    if not (of_layers > _MOST_AT_FIRST).any():
        return ""
    place = int(of_layers.fillna(-np.inf).argmax(LAYER))
    layer, most = of_layers[LAYER].values[place], float(of_layers[place])
    return (
        f"the median unit of {layer} stands at {most:.0%} of its final level at the first "
        "checkpoint already, and layers that stand out before they learn look as if they were born "
        "first; births of responses do not mind"
    )


def _why_no_p(n_layers: int, is_in_stages: bool, n_orders: int, correlation: float) -> str:
    """Why there can be no p-value, in words; "" where there can."""
    if n_orders < _LEAST_ORDERS:
        if is_in_stages:
            return (
                f"no order can be shown within these stages, where the layers that have births "
                f"can stand in {n_orders} orders; it takes {_LEAST_ORDERS}"
            )
        return (
            f"no order can be shown with {counted(n_layers, 'layer')} that "
            f"{'has' if n_layers == 1 else 'have'} births; it takes five"
        )
    if np.isnan(correlation):
        return "all births are at the same checkpoint"
    return ""


def _numbers(born: list[np.ndarray]) -> list[np.ndarray]:
    """Of each layer's units standard ranks of birth and depth, birth and depth, (unit, number)."""
    births = np.concatenate(born).astype(float)
    depth = np.repeat(np.arange(len(born)), [len(of_layer) for of_layer in born])
    ranks = _standard(_ranks(births)), _standard(_ranks(depth))
    columns = np.column_stack([*ranks, births, depth])
    return [columns[depth == place] for place in range(len(born)) if len(born[place])]


def _standard(values: np.ndarray) -> np.ndarray:
    """Values of mean 0 and variance 1; NaN where all are the same."""
    centred = values - values.mean()
    spread = centred.std()
    return centred / spread if spread else np.full(len(values), np.nan)


def _slopes(numbers: np.ndarray, is_counted: np.ndarray) -> np.ndarray:
    """Slopes by least squares of ranks and of births, (sample, 2); NaN where depths are alike.

    That of standard ranks of all units is their correlation.
    """
    n = np.maximum(is_counted.sum((1, 2)), 1)[:, None]
    weights = is_counted[..., None]
    centred = (numbers - ((numbers * weights).sum((1, 2)) / n)[:, None, None]) * weights
    rank, place, birth, depth = np.moveaxis(centred, -1, 0)

    def slope(of: np.ndarray, along: np.ndarray) -> np.ndarray:
        return np.asarray((of * along).sum((1, 2)) / (along**2).sum((1, 2)))

    with np.errstate(invalid="ignore", divide="ignore"):
        return np.column_stack([slope(rank, place), slope(birth, depth)])


def _correlations(numbers: list[np.ndarray], orders: np.ndarray) -> np.ndarray:
    """Rank correlation of births with the depth of layers in other orders, (order,)."""
    # Layers move as wholes, so their sizes and the sum of their births are all that is needed.
    sizes = np.array([len(of_layer) for of_layer in numbers])[orders]
    when = np.concatenate([of_layer[:, 0] for of_layer in numbers])
    sums = np.array([(of_layer[:, 0] - when.mean()).sum() for of_layer in numbers])[orders]
    ranks = sizes.cumsum(axis=1) - (sizes + 1) / 2
    centred = ranks - (sizes * ranks).sum(axis=1, keepdims=True) / len(when)
    correlations: np.ndarray = (sums * centred).sum(axis=1) / np.sqrt(
        (sizes * centred**2).sum(axis=1) * ((when - when.mean()) ** 2).sum()
    )
    return correlations


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, the same mean rank for ties."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (counts.cumsum() - (counts + 1) / 2)[which]
    return ranks
