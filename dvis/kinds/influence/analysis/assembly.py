"""Whether features are built out of others: statistics of influence and births, with their nulls.

Influence and births in; effects, intervals, nulls and what each cannot tell, of each pair of layers
and of all, out.
"""

from collections.abc import Iterator, Mapping
from typing import get_args

import numpy as np
import xarray as xr

from dvis.analysis.resampling import BOUND
from dvis.kinds.influence.analysis.asked import Asked
from dvis.kinds.influence.analysis.association import Null, closeness, is_before, with_births
from dvis.kinds.influence.analysis.claims import (
    BEFORE,
    CLAIMS,
    MRQAP,
    RISE,
    TOGETHER,
    TOGETHER_AT_FIRST,
)
from dvis.kinds.influence.analysis.edge_order import edge_orders
from dvis.kinds.influence.analysis.events import Aligned, aligned, curves
from dvis.kinds.influence.analysis.exchange import Scores, along, pooled
from dvis.kinds.influence.analysis.layer_pairs import LayerPair
from dvis.kinds.influence.analysis.top_edges import TopEdges, born_at, top_edges
from dvis.kinds.influence.words import LAYER_FROM, LAYER_TO
from dvis.schema import did_you_mean

STATISTIC = "statistic"
MOST_ZEROS = 0.1  # of strengths; with more, what is centred depends on hubs, by simulation
_PAIRED = (STATISTIC, LAYER_FROM, LAYER_TO)


def assembly(
    influence: xr.Dataset,
    births: xr.Dataset,
    *,
    k: int = 8,
    null: Null = "births",
    reach: int = 6,
    n_permutations: int = 999,
    n_bootstrap: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    r"""Whether units are born together with what influences them, and when edges between them are.

    Log strength :math:`I_{cd}` is double-centred within each pair of layers,

    .. math:: \tilde I_{cd} = I_{cd} - \bar I_{c \cdot} - \bar I_{\cdot d} + \bar I,

    for hubs are born early, and so are the units that many inputs lead to: without it, a share of
    top inputs that are born before their target is high in any network. A strength of 0 counts as
    half the smallest positive one of the pair of layers. Units that were never born, or have no
    influence at all there, are left out, and so is a channel's influence on its namesake in a layer
    of as many channels, which a skip connection may carry. Births are places along influence's
    checkpoints.

    - **born together** is the correlation of :math:`\tilde I_{cd}` at the last checkpoint with
      :math:`-|b_c - b_d|`, centred likewise. Its null permutes births within the layer of sources;
      with `null="mrqap"` it is partial, beyond strength at the first checkpoint, and residuals are
      permuted by sources and by targets (Dekker et al. 2007). At the first checkpoint the same is
      a control. Where more than 10 % of strengths are 0, centring does not take hubs away: a pair
      of layers has no null and no p, and no part in what is pooled.
    - **source before target** takes :math:`1[b_c < b_d]` instead: a weak hint, without a p.
    - **edge between, edge first, target first** are shares of the k strongest inputs of all
      targets (by :math:`\tilde I`), by when strength came to stay above half of its final level.
      Their null exchanges edges of like hubs and final strength. They have no p.
    - **influence rises at birth** is the rank correlation of a target's birth with the checkpoint
      at which the mean :math:`\tilde I` of its k strongest inputs came to stay above half of its
      rise. Its null permutes births within the layer of targets.

    Pairs of layers are pooled by standardised scores: one permutation of a layer serves all of its
    pairs. p is two-sided, :math:`(1 + hits) / (1 + n)`. Intervals are those of units of both layers
    drawn with replacement (Owen 2007), which are wider than the null where there is no effect.
    `docs/levels.md` has the rates at which each finds something where there is nothing. It is
    computed at once, of lazy influence one pair of layers at one checkpoint at a time.

    Parameters
    ----------
    influence : Dataset
        What `dvis.influence` gave.
    births : Dataset, (layer, channel)
        What `births` gave of responses to other images than those of influence:
        `dvis.responses(store).dvis.births()`.
    k : int, optional
        Top inputs of each target, half of the sources at most.
    null : {"births", "mrqap"}, optional
        What the null of "born together" and "source before target" exchanges.
    reach : int, optional
        Checkpoints before and after births, of `strength`.
    n_permutations : int, optional
        Exchanges.
    n_bootstrap : int, optional
        Samples of units that intervals are of.
    seed : int, optional
        Seed of both.

    Returns
    -------
    Dataset, (statistic, layer_from, layer_to, bound)
        - `effect` (statistic, layer_from, layer_to), float64: correlation, or share of edges; NaN
          where a pair has fewer than three sources or targets, or births are all alike;
        - `effect_interval` (..., bound), `null_effect` (..., bound), float64: 95 %;
        - `p_value` (statistic, layer_from, layer_to), float64: NaN where `why_no_p` says why;
        - `pooled_effect`, `pooled_p_value` (statistic), `pooled_effect_interval`,
          `null_pooled_effect` (statistic, bound), float64: of all pairs of layers;
        - `n_sources`, `n_targets` (layer_from, layer_to), int64: units that count;
        - `share_zero` (layer_from, layer_to), float64: of strengths at the last checkpoint;
        - `strength` and more (lag, set): as `event_alignment` has it.

        Coordinates of `statistic` are `what`, `exchanged`, `cannot_tell` and `why_no_p`, in words.

    Raises
    ------
    TypeError
        When either is no Dataset, or a number is none.
    SchemaError
        When they are no influence or no births.
    ValueError
        When both have no layers in common or no pair of them has units that were born, both are of
        the same images, a birth has no place among the checkpoints, or a parameter is out of its
        range.

    References
    ----------
    Dekker, Krackhardt and Snijders (2007), Sensitivity of MRQAP tests to collinearity and
    autocorrelation conditions, doi:10.1007/s11336-007-9016-1. Owen (2007), The pigeonhole
    bootstrap, doi:10.1214/07-AOAS122.
    """
    if null not in get_args(Null):
        raise ValueError(did_you_mean("null", null, get_args(Null), "assembly"))
    asked = Asked.of(
        influence,
        births,
        n_permutations=n_permutations,
        n_bootstrap=n_bootstrap,
        seed=seed,
        k=k,
        reach=reach,
    )
    found: dict[tuple[str, str], Mapping[str, Scores]] = {}
    events: list[Aligned] = []
    zeros: dict[tuple[str, str], float] = {}
    for pair in asked.pairs:
        top = top_edges(pair, k)
        found[pair.source, pair.target] = dict(scores_of(asked, pair, top, null))
        zeros[pair.source, pair.target] = top.zeros[0]
        events.append(aligned(top, *asked.of_targets(pair), reach=reach))
    told = _told(asked, found, null).assign(_sizes(asked, zeros))
    result = told.assign(curves(events, reach).variables)
    return result.assign_attrs({**asked.attrs, "k": k, "reach": reach, "null": null})


def scores_of(
    asked: Asked, pair: LayerPair, top: TopEdges, null: Null
) -> Iterator[tuple[str, Scores]]:
    """Scores of a pair of layers by their names."""
    births, orders, weights = asked.births_of(pair), asked.orders_of(pair), asked.weights_of(pair)
    close, beyond = closeness(*births), top.first_logs if null == "mrqap" else None
    before = is_before(*births)
    for name, logs, other, given, zeros in (
        (TOGETHER, top.logs, close, beyond, top.zeros[0]),
        (TOGETHER_AT_FIRST, top.first_logs, close, None, top.zeros[1]),
        (BEFORE, top.logs, before, beyond, top.zeros[0]),
    ):
        scores = with_births(logs, other, orders, weights, given)
        yield name, scores if zeros <= MOST_ZEROS else scores.untested
    yield from edge_orders(
        born_at(top.strength, "zero"),
        (births[0][top.inputs], births[1]),
        (top.hubs[top.inputs], top.strength[pair.last]),
        weights[1],
        len(orders[0]) - 1,
        asked.generator,
    ).items()
    # Targets whose influence never rises are left out; births of the others are permuted.
    there = np.flatnonzero(np.isfinite(top.rise))
    order = asked.draws.order_of(pair.target, pair.column_units[there])
    yield RISE, along(top.rise[there], births[1][there], order, weights[1][:, there])


def _told(
    asked: Asked, found: Mapping[tuple[str, str], Mapping[str, Scores]], null: Null
) -> xr.Dataset:
    """Scores as labelled arrays, of pairs and pooled."""
    names = list(CLAIMS)
    layers = {dim: asked.strength[dim].values for dim in (LAYER_FROM, LAYER_TO)}
    shape = (len(names), *(len(each) for each in layers.values()))
    effect, p_value = np.full(shape, np.nan), np.full(shape, np.nan)
    interval, band = np.full((*shape, 2), np.nan), np.full((*shape, 2), np.nan)
    of_all = np.full((len(names), 6), np.nan)
    for row, name in enumerate(names):
        for (source, target), scores in found.items():
            at = (
                row,
                *(
                    list(layers[dim]).index(layer)
                    for dim, layer in ((LAYER_FROM, source), (LAYER_TO, target))
                ),
            )
            effect[at], p_value[at] = scores[name].value, _p_value(name, scores[name])
            interval[at], band[at] = scores[name].interval, scores[name].null
        together = pooled([scores[name] for scores in found.values()])
        if together is not None:
            numbers = together.value, _p_value(name, together)
            of_all[row] = [*numbers, *together.interval, *together.null]
    variables = {
        "effect": (_PAIRED, effect),
        "effect_interval": ((*_PAIRED, BOUND), interval),
        "null_effect": ((*_PAIRED, BOUND), band),
        "p_value": (_PAIRED, p_value),
        "pooled_effect": (STATISTIC, of_all[:, 0]),
        "pooled_effect_interval": ((STATISTIC, BOUND), of_all[:, 2:4]),
        "null_pooled_effect": ((STATISTIC, BOUND), of_all[:, 4:]),
        "pooled_p_value": (STATISTIC, of_all[:, 1]),
    }
    return xr.Dataset(
        {name: (*each, _described(name)) for name, each in variables.items()},
        {STATISTIC: names, **layers, BOUND: ["lower", "upper"], **_in_words(null)},
    )


def _p_value(name: str, scores: Scores) -> float:
    return np.nan if CLAIMS[name].why_no_p else scores.p_value


def _described(name: str) -> dict[str, str]:
    """Attributes of a variable."""
    whose = "all pairs of layers: " if "pooled" in name else ""
    ending = next(end for end in ("interval", "p_value", "effect") if name.endswith(end))
    what = {"interval": "95 % interval, units resampled", "p_value": "p, two-sided"}
    told = "95 % where units are exchanged" if name.startswith("null") else "effect"
    return {"long_name": whose + what.get(ending, told), "units": "1"}


def _in_words(null: Null) -> dict[str, tuple[str, list[str]]]:
    """Coordinates of the statistics: what each is, and leaves open, in words."""
    what = {name: claim.effect for name, claim in CLAIMS.items()}
    exchanged = {name: claim.exchanged for name, claim in CLAIMS.items()}
    if null == "mrqap":
        for name in (TOGETHER, BEFORE):
            what[name] += MRQAP["effect"]
            exchanged[name] = MRQAP["exchanged"]
    return {
        "what": (STATISTIC, [*what.values()]),
        "exchanged": (STATISTIC, [*exchanged.values()]),
        "cannot_tell": (STATISTIC, [claim.cannot_tell for claim in CLAIMS.values()]),
        "why_no_p": (STATISTIC, [claim.why_no_p for claim in CLAIMS.values()]),
    }


def _sizes(asked: Asked, zeros: Mapping[tuple[str, str], float]) -> dict[str, xr.DataArray]:
    """Units of each pair of layers that count, and the share of their strengths that is 0."""
    layers = {dim: asked.strength[dim].values for dim in (LAYER_FROM, LAYER_TO)}
    shape = tuple(len(each) for each in layers.values())
    arrays = {
        name: xr.DataArray(np.full(shape, fill), layers, attrs={"long_name": told, "units": "1"})
        for name, told, fill in (
            ("n_sources", "sources that count", 0),
            ("n_targets", "targets that count", 0),
            ("share_zero", "share of strengths that is 0", np.nan),
        )
    }
    for pair in asked.pairs:
        at = {LAYER_FROM: pair.source, LAYER_TO: pair.target}
        numbers = *pair.shape, zeros[pair.source, pair.target]
        for array, number in zip(arrays.values(), numbers, strict=True):
            array.loc[at] = number
    return arrays
