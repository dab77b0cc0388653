"""Pictures of any trajectory: curves, heat maps, births.

A Dataset in, a matplotlib figure out. Pictures of one kind of measurement lie in its folder.
"""

from dvis.plots.birth_order import births_by_layer
from dvis.plots.heatmaps import heatmap
from dvis.plots.selectivity import selectivity_map
from dvis.plots.time_axis import Scale, XAxis
from dvis.plots.trajectories import trajectories_by_layer, trajectory
from dvis.plots.unit_scatter import unit_scatter

__all__ = [
    "Scale",
    "XAxis",
    "births_by_layer",
    "heatmap",
    "selectivity_map",
    "trajectories_by_layer",
    "trajectory",
    "unit_scatter",
]
