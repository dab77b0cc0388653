"""Pictures of sampling chains and of the local learning coefficient.

A Dataset in, a matplotlib figure out.
"""

from dvis.kinds.llc.pictures.births import llc_and_births
from dvis.kinds.llc.pictures.calibration import llc_calibration
from dvis.kinds.llc.pictures.chains import llc_chains
from dvis.kinds.llc.pictures.parameters import llc_by_parameters
from dvis.kinds.llc.pictures.training import llc_over_training

__all__ = [
    "llc_and_births",
    "llc_by_parameters",
    "llc_calibration",
    "llc_chains",
    "llc_over_training",
]
