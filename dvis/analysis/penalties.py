"""Penalties of a change point at which white noise seldom has one.

A number of checkpoints in, a penalty out.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

Shape = Literal["level", "line"]

FALSE_ALARMS = (
    "5 % of trajectories of white noise; of AR(1) noise of 0.5, 26 % of 12 checkpoints, 50 % of "
    "25, 93 % of 100 (17, 30, 60 % with the noise known)"
)
# Penalties at which 5 % of series of white noise have some change, by their number of checkpoints:
# `scripts/bench/levels.py --penalties` simulates them. Below 2 segments there can be none.
_PENALTIES: dict[tuple[Shape, bool], Mapping[int, float]] = {
    ("level", False): {
        **{4: 273.2, 5: 30.3, 6: 37.9, 7: 21.2, 8: 23.2, 9: 19.5, 10: 18.5, 12: 16.7, 15: 13.5},
        **{20: 13.2, 25: 12.5, 30: 11.8, 40: 11.6, 60: 11.4, 100: 11.1, 200: 11.6, 400: 11.3},
    },
    ("level", True): {
        **{4: 3.9, 5: 4.8, 6: 5.4, 7: 5.9, 8: 6.1, 10: 6.5, 12: 6.9, 15: 7.3, 20: 7.7, 25: 8.1},
        **{30: 8.3, 40: 8.6, 60: 9.1, 100: 9.7, 200: 10.8, 400: 10.8},
    },
    ("line", False): {
        **{8: 22.3, 10: 21.2, 12: 21.0, 15: 19.6, 20: 17.6, 25: 17.7, 30: 16.4, 40: 16.4},
        **{60: 15.4, 100: 14.9, 200: 15.8, 400: 15.2},
    },
    ("line", True): {
        **{8: 5.9, 10: 7.7, 12: 8.3, 15: 9.2, 20: 9.7, 25: 10.4, 30: 10.7, 40: 11.4, 60: 11.6},
        **{100: 12.7, 200: 13.9, 400: 14.1},
    },
}


def calibrated_penalty(n: np.ndarray, shape: Shape, is_known: np.ndarray) -> np.ndarray:
    """Penalty of a change for series of so many checkpoints, (series,).

    Parameters
    ----------
    n : ndarray, (series,), int
        Counted checkpoints.
    shape : {"level", "line"}
        What lies between two changes, of the shortest length by default.
    is_known : ndarray, (series,), bool
        Whether the noise is known, or estimated of the series itself.
    """
    penalty = np.zeros(len(n))
    for known in (True, False):
        table = _PENALTIES[shape, known]
        at = np.log(np.maximum(n, 1))
        simulated = np.interp(at, np.log([*table]), np.log([*table.values()]))
        penalty = np.where(is_known == known, np.exp(simulated), penalty)
    return penalty
