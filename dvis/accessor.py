"""`ds.dvis`: the short way from a Dataset to analysis and pictures of it."""

import xarray as xr

from dvis import plots
from dvis.analysis import births as _births
from dvis.analysis import change_points as _change_points
from dvis.analysis import comparison, nearest, order, ranking, units
from dvis.analysis import drift as _drift
from dvis.analysis import selectivity as _selectivity
from dvis.kinds.activations.methods import ActivationMethods
from dvis.kinds.attributes.methods import AttributeMethods
from dvis.kinds.chimera.methods import ChimeraMethods
from dvis.kinds.edges.methods import EdgesMethods
from dvis.kinds.features.methods import FeatureMethods
from dvis.kinds.influence.methods import InfluenceMethods
from dvis.kinds.llc.methods import LLCMethods
from dvis.kinds.methods import method_of
from dvis.kinds.probes.methods import ProbeMethods
from dvis.kinds.responses.methods import ResponseMethods
from dvis.kinds.saes.methods import SaeMethods


@xr.register_dataset_accessor("dvis")  # type: ignore[no-untyped-call]  # xarray gives no types
class DvisAccessor(
    FeatureMethods,
    ResponseMethods,
    LLCMethods,
    ActivationMethods,
    SaeMethods,
    InfluenceMethods,
    EdgesMethods,
    ChimeraMethods,
    ProbeMethods,
    AttributeMethods,
):
    """Methods for a Dataset that `dvis.open` gave; each says on what it works when it is called."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    at = method_of(nearest.at)
    map_units = method_of(units.map_units)
    drift = method_of(_drift.drift)
    births = method_of(_births.births)
    birth_order = method_of(order.birth_order)
    change_points = method_of(_change_points.change_points)
    rank = method_of(ranking.rank)
    summary = method_of(ranking.summary)
    compare = method_of(comparison.compare)
    selectivity_births = method_of(_selectivity.selectivity_births)

    trajectory = method_of(plots.trajectory)
    trajectories_by_layer = method_of(plots.trajectories_by_layer)
    heatmap = method_of(plots.heatmap)
    births_by_layer = method_of(plots.births_by_layer)
    selectivity_map = method_of(plots.selectivity_map)
    unit_scatter = method_of(plots.unit_scatter)
