"""Whether big features are born late, and are built of big ones.

Sizes of units, births and influence in; correlations with their nulls out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.births import BORN
from dvis.analysis.requirements import require_births, require_some, require_whole_numbers
from dvis.analysis.resampling import BOUND
from dvis.kinds.influence.analysis.exchange import Draws, Scores, along, between, drawn, pooled
from dvis.kinds.influence.analysis.layer_pairs import (
    LayerPair,
    centred_logs,
    pairs_of,
    require_influence,
    strengths,
    whole,
)
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.schema import CHANNEL, CHECKPOINT, LAYER

_CANNOT_TELL = (
    "Within a layer, a unit's size and its birth may both follow from a third thing, such as how "
    "strongly it answers; births that come late also leave less time for a size to grow. Strong "
    "influence between large units may be that of what both see"
)
_LONG_NAMES = {
    "birth_effect": "rank correlation of size and birth within the layer",
    "input_effect": "correlation of centred log strength with the product of sizes",
}


def sizes_and_births(
    size: xr.DataArray,
    births: xr.Dataset,
    influence: xr.Dataset | None = None,
    *,
    n_permutations: int = 999,
    n_bootstrap: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    r"""Whether larger units are born later within their layer, and whether they have larger inputs.

    Layers differ in size by their architecture, so all is within layers. The first is Spearman's
    rank correlation of size and birth. The second holds double-centred log strength
    :math:`\tilde I_{cd}` against sizes,

    .. math:: \sum_{cd} \tilde I_{cd} \, (s_c - \bar s_\cdot) (s_d - \bar s_\cdot),

    as a correlation: above 0 where strong inputs of large units are the large ones, hubs and
    fan-in taken away. Births, or sizes of sources, are permuted within their layer; layers, or
    pairs of them, are pooled by standardised scores. p is two-sided. It is computed at once.

    Parameters
    ----------
    size : DataArray, (layer, channel) or (checkpoint, layer, channel)
        Log sizes of units, such as the log area of effective receptive fields; of several
        checkpoints each unit's last one that is known. NaN where there is none.
    births : Dataset, (layer, channel)
        What `births` gave.
    influence : Dataset, optional
        What `dvis.influence` gave; without it only the first is told. Its last checkpoint counts.
    n_permutations : int, optional
        Permutations.
    n_bootstrap : int, optional
        Samples of units, drawn with replacement, that intervals are of.
    seed : int, optional
        Seed of both.

    Returns
    -------
    Dataset, (layer), with influence (layer_from, layer_to)
        - `birth_effect`, `birth_p_value` (layer), float64: NaN of fewer than three units, or where
          births or sizes are all alike;
        - `input_effect`, `input_p_value` (layer_from, layer_to), float64;
        - of each effect `_interval` and `null_` (..., bound), float64: 95 %; `n_units` (layer);
        - `pooled_birth_effect` and `pooled_input_effect` with the same, of all.

        `attrs["cannot_tell"]` says what they leave open.

    Raises
    ------
    TypeError, SchemaError
        When a number is none, or births or influence are something else.
    ValueError
        When sizes lack a dim, no layer has both, or a number is less than 1.

    Examples
    --------
    >>> size = xr.DataArray([[1.0, 2, 3, 4, 5, 6]], {"layer": ["layer1"], "channel": range(6)})
    >>> found = xr.Dataset({"birth": size.astype(int), "state": xr.full_like(size, "born", "U8")})
    >>> sizes_and_births(size, found).birth_effect.values.round(3).tolist()
    [1.0]
    """
    counts = {"n_permutations": n_permutations, "n_bootstrap": n_bootstrap}
    require_whole_numbers(**counts, seed=seed)
    for name, number in counts.items():
        if number < 1:
            raise ValueError(f"{name}={number}: give 1 or more")
    require_births(births, "birth", "state", LAYER, CHANNEL)
    units = _units(size, births)
    there = {layer: np.isfinite(each).all(0) for layer, each in units.items()}
    n_units = {layer: int(each.sum()) for layer, each in there.items()}
    draws = drawn(n_units, n_permutations, n_bootstrap, seed)
    of_layers = {
        layer: along(
            each[0, there[layer]],
            each[1, there[layer]],
            draws.orders[layer],
            draws.weights[layer],
        )
        for layer, each in units.items()
        if n_units[layer]
    }
    coordinates = {LAYER: list(units)}
    found = _labelled("birth", {(layer,): each for layer, each in of_layers.items()}, coordinates)
    found["n_units"] = LAYER, [*n_units.values()], {"long_name": "units", "units": "1"}
    if influence is not None:
        found = found.merge(_of_inputs(influence, units, there, draws))
    return found.assign_attrs(
        **{**counts, "seed": seed, "cannot_tell": _CANNOT_TELL},
        exchangeable="units within their layer",
    )


def _units(size: xr.DataArray, births: xr.Dataset) -> dict[str, np.ndarray]:
    """Size and place of birth of each layer's channels, (2, channel), NaN where not known."""
    lacking = [dim for dim in (LAYER, CHANNEL) if dim not in size.dims]
    if lacking:
        raise ValueError(
            f"size has dims {size.dims}, without {', '.join(lacking)}; give one of (layer, "
            "channel), or of (checkpoint, layer, channel)"
        )
    require_some(size, LAYER, CHANNEL)
    if CHECKPOINT in size.dims:
        size = _last_known(size)
    layers = [str(layer) for layer in np.atleast_1d(births[LAYER].values)]
    common = [layer for layer in size[LAYER].values.tolist() if str(layer) in layers]
    if not common:
        raise ValueError(
            f"Sizes are of {', '.join(map(str, size[LAYER].values[:10]))}, births of "
            f"{', '.join(layers[:10])}; both need a layer in common"
        )
    when = births["birth"].where(births["state"] == BORN)
    lost = [dim for dim in (LAYER, CHANNEL) if dim not in when.dims]
    both = xr.align(size.transpose(LAYER, CHANNEL), when.expand_dims(lost), join="outer")
    first, second = (each.sel({LAYER: common}).transpose(LAYER, CHANNEL) for each in both)
    pairs = zip(first.values.astype(float), second.values.astype(float), strict=True)
    return dict(zip(map(str, common), map(np.array, pairs), strict=True))


def _last_known(size: xr.DataArray) -> xr.DataArray:
    """Each unit's size at the last checkpoint at which it is known."""
    values = size.transpose(CHECKPOINT, LAYER, CHANNEL)
    last = values[0].astype(float)
    for now in values[1:]:
        last = now.where(now.notnull(), last)
    return last.drop_vars(CHECKPOINT, errors="ignore")


def _of_inputs(
    influence: xr.Dataset,
    units: Mapping[str, np.ndarray],
    there: Mapping[str, np.ndarray],
    draws: Draws,
) -> xr.Dataset:
    """Sizes of units against those of their inputs, of each pair of layers and of all."""
    require_influence(influence)
    strength = whole(influence)
    n_channels = 1 + int(max(strength[CHANNEL_FROM].max(), strength[CHANNEL_TO].max()))
    sizes = {}
    for layer, each in units.items():
        sizes[layer] = np.full(max(n_channels, each.shape[1]), np.nan)
        sizes[layer][: each.shape[1]][there[layer]] = each[0, there[layer]]
    found: dict[tuple[str, ...], Scores] = {
        (pair.source, pair.target): _of_pair(strength, pair, sizes, draws)
        for pair in pairs_of(strength, sizes)
    }
    layers = {dim: strength[dim].values.tolist() for dim in (LAYER_FROM, LAYER_TO)}
    return _labelled("input", found, layers)


def _of_pair(
    strength: xr.DataArray, pair: LayerPair, sizes: Mapping[str, np.ndarray], draws: Draws
) -> Scores:
    logs = centred_logs(strengths(pair, pair.last))
    of_sources = sizes[pair.source][strength[CHANNEL_FROM].values[pair.rows].astype(int)]
    of_targets = sizes[pair.target][strength[CHANNEL_TO].values[pair.columns].astype(int)]
    products = np.outer(of_sources - of_sources.mean(), of_targets - of_targets.mean())
    ends = (pair.source, pair.row_units), (pair.target, pair.column_units)
    weights = [draws.weights[layer][:, at] for layer, at in ends]
    order = draws.order_of(pair.source, pair.row_units)
    return between(logs, products, order, (weights[0], weights[1]))


def _labelled(
    what: str, found: Mapping[tuple[str, ...], Scores], layers: Mapping[str, list[str]]
) -> xr.Dataset:
    """Scores of layers, or of pairs of them, as labelled arrays, with those of all."""
    shape = tuple(len(each) for each in layers.values())
    arrays = {
        f"{what}_effect": np.full(shape, np.nan),
        f"{what}_effect_interval": np.full((*shape, 2), np.nan),
        f"null_{what}_effect": np.full((*shape, 2), np.nan),
        f"{what}_p_value": np.full(shape, np.nan),
    }
    for names, scores in found.items():
        at = tuple(each.index(name) for each, name in zip(layers.values(), names, strict=True))
        for array, number in zip(arrays.values(), _numbers(scores), strict=True):
            array[at] = number
    of_all = pooled([*found.values()])
    nothing = (np.nan, np.full(2, np.nan), np.full(2, np.nan), np.nan)
    numbers = nothing if of_all is None else _numbers(of_all)
    variables: dict[str, Any] = {}
    for (name, array), number in zip(arrays.items(), numbers, strict=True):
        bound = (BOUND,) if array.ndim > len(shape) else ()
        attrs = {"long_name": _long_name(what, name), "units": "1"}
        variables[name] = ((*layers, *bound), array, attrs)
        beside = "null_pooled_" + name.removeprefix("null_")
        pooled_name = beside if name.startswith("null_") else f"pooled_{name}"
        pooled_attrs = {**attrs, "long_name": f"all layers: {attrs['long_name']}"}
        variables[pooled_name] = (bound, number, pooled_attrs)
    return xr.Dataset(variables, {**layers, BOUND: ["lower", "upper"]})


def _numbers(scores: Scores) -> tuple[float, np.ndarray, np.ndarray, float]:
    return scores.value, scores.interval, scores.null, scores.p_value


def _long_name(what: str, name: str) -> str:
    if name.endswith("_interval"):
        return "95 % interval, units resampled"
    if name.startswith("null_"):
        return "95 % where units are exchanged within their layer"
    if name.endswith("p_value"):
        return "p, two-sided, units exchanged within their layer"
    return _LONG_NAMES[f"{what}_effect"]
