"""What a measurement gave of parts: texts about them, and values without those that failed."""

import numpy as np
import xarray as xr


def texts_of(result: xr.Dataset, name: str, n_parts: int) -> np.ndarray:
    """A variable of text of parts, "" where the result has none."""
    if name not in result:
        return np.full(n_parts, "", object)
    return np.atleast_1d(result[name].values).astype(object)


def without_failed(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Values of parts, NaN where a part failed: nothing of it is shown."""
    is_failed = errors != ""
    if values.dtype.kind != "f" or not values.ndim or not is_failed.any():
        return values
    values = values.copy()
    values[is_failed] = np.nan
    return values
