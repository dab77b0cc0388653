"""Dims of what is measured of sparse autoencoders, and how its variables are labelled."""

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from dvis.schema import LATENT as LATENT

CLASS: Final = "class"
SCORE: Final = "score"  # how an image's tokens became one number
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
