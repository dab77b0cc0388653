"""Pictures over training: curves, images, heat maps and births.

A Dataset in, a matplotlib figure out.
"""

from dvis.views.plots.birth_order import births_by_layer
from dvis.views.plots.cross import cross_response
from dvis.views.plots.development import development
from dvis.views.plots.heatmaps import heatmap
from dvis.views.plots.sheets import grid, timeline
from dvis.views.plots.time_axis import Scale, XAxis
from dvis.views.plots.trajectories import trajectories_by_layer, trajectory

__all__ = [
    "Scale",
    "XAxis",
    "births_by_layer",
    "cross_response",
    "development",
    "grid",
    "heatmap",
    "timeline",
    "trajectories_by_layer",
    "trajectory",
]
