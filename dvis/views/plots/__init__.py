"""Pictures over training: curves, images, heat maps, births and local learning coefficients.

A Dataset in, a matplotlib figure out.
"""

from dvis.views.plots.birth_order import births_by_layer
from dvis.views.plots.cross import cross_response
from dvis.views.plots.development import development
from dvis.views.plots.heatmaps import heatmap
from dvis.views.plots.llc_births import llc_and_births
from dvis.views.plots.llc_calibration import llc_calibration
from dvis.views.plots.llc_chains import llc_chains
from dvis.views.plots.llc_parameters import llc_by_parameters
from dvis.views.plots.llc_training import llc_over_training
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
    "llc_and_births",
    "llc_by_parameters",
    "llc_calibration",
    "llc_chains",
    "llc_over_training",
    "timeline",
    "trajectories_by_layer",
    "trajectory",
]
