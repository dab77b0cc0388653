"""What a unit was made of: the files of a tree, or the weights of a checkpoint.

The array `source/fingerprint` holds a hash of the one or the other, 0 where it is not known. Which
of them is told by the unit's parameters: only what was measured has an input's mean among them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dvis.kinds.features.levels import INPUT_MEAN

FILES, WEIGHTS = "files", "weights"


def fingerprint_of(params: np.ndarray, parameters: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """What each unit's fingerprint is a hash of, `files` or `weights`.

    Parameters
    ----------
    params : ndarray of int
        The units' array `params`.
    parameters : sequence of mapping
        The group's attribute `parameters`, into which that points.

    Examples
    --------
    >>> fingerprint_of(np.array([0, 1, -1]), [{}, {"input_mean": [0.5]}]).tolist()
    ['files', 'weights', 'files']
    """
    measured = [i for i, table in enumerate(parameters) if INPUT_MEAN in table]
    return np.where(np.isin(params, measured), WEIGHTS, FILES)


def with_directions(weights: int, directions: np.ndarray) -> np.ndarray:
    """Fingerprints of units that are directions of a layer, (unit,), uint64.

    Parameters
    ----------
    weights : int
        Fingerprint of the checkpoint's weights, 0 where it is not known.
    directions : ndarray, (unit,), uint64
        Those of the directions.
    """
    both = directions ^ np.uint64(weights)
    found: np.ndarray = np.where(both == 0, np.uint64(1), both)
    return found
