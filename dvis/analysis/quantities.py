"""Dims of what is found by class and by shuffles, and variables that say what they are."""

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

CLASS: Final = "class"
SHUFFLE: Final = "shuffle"  # of what a null exchanges


def quantity(
    dims: str | tuple[str, ...],
    values: ArrayLike,
    long_name: str,
    *,
    units: str = "1",
    **attrs: Any,
) -> xr.Variable:
    """A variable of some dims that says what it is, in which units."""
    array = np.asarray(values)
    return xr.Variable(dims, array, {"long_name": long_name, "units": units, **attrs})
