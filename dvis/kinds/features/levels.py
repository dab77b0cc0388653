"""What the 8-bit levels of stored images stand for.

Levels in, values and model inputs out, all as numpy arrays with colours last:
v = min + level / 255 * (max - min), model input = (v - input_mean) / input_std.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dvis.schema import LEVELS

INPUT_MEAN, INPUT_STD = "input_mean", "input_std"


def values_of(levels: np.ndarray, value_min: Any, value_max: Any) -> np.ndarray:
    """Values (..., y, x, rgb), float32, of levels, by the values (...) of levels 0 and 255."""
    low, high = (np.asarray(v, np.float32)[..., None, None, None] for v in (value_min, value_max))
    values: np.ndarray = low + levels.astype(np.float32) / np.float32(LEVELS) * (high - low)
    return values


def model_input(
    levels: np.ndarray, value_min: Any, value_max: Any, parameters: Mapping[str, Any]
) -> np.ndarray:
    """Model input (..., y, x, rgb), float32, of levels, by the parameters of how they were made."""
    mean = np.asarray(parameters.get(INPUT_MEAN, 0.0), np.float32)
    std = np.asarray(parameters.get(INPUT_STD, 1.0), np.float32)
    given: np.ndarray = (values_of(levels, value_min, value_max) - mean) / std
    return given


def coloured_input(
    levels: np.ndarray, value_min: Any, value_max: Any, parameters: Mapping[str, Any]
) -> np.ndarray:
    """The same with as many colours as the model takes, colours first: (..., colour, y, x).

    An image of one colour is stored three times over.
    """
    n_colours = len(parameters.get(INPUT_MEAN, (0.0,) * 3))
    given = model_input(levels[..., :n_colours], value_min, value_max, parameters)
    # In plain order, for models that take a view of what their convolutions give.
    return np.array(np.moveaxis(given, -1, -3), order="C")
