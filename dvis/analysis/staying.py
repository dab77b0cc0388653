"""From where on numbers stay above what they are held against, to the end.

Margins over checkpoints in, a position of each series out.
"""

import numpy as np


def stays_above(margins: np.ndarray) -> np.ndarray:
    """Position from which margins are above 0 to the end, (...), int64, -1 where at none.

    Parameters
    ----------
    margins : ndarray, (..., checkpoint)
        Numbers less what they are held against; NaN, which is passed over, where one is not known.

    Examples
    --------
    >>> stays_above(np.array([[-1.0, 2.0, np.nan, 1.0], [1.0, 1.0, 1.0, -1.0]])).tolist()
    [1, -1]
    """
    is_known = np.isfinite(margins)
    is_fine = np.flip(~is_known | (margins > 0), -1)
    counts = np.flip(np.logical_and.accumulate(is_fine, axis=-1), -1) & is_known
    return np.where(counts.any(-1), counts.argmax(-1), -1)
