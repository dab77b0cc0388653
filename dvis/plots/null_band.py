"""The null of a result as a grey band behind its value: drawn alike in every picture."""

from typing import TYPE_CHECKING

import numpy as np

from dvis.plots.ticks import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NULL_COLOR = "0.78"


def draw_null(
    axes: "Axes", positions: np.ndarray, low: np.ndarray, high: np.ndarray, label: str = "_"
) -> None:
    """Draw between which values the null lies, (position,); where it is not known nothing.

    A null that is known at a single position, or between unknown ones, is a bar.
    """
    known = np.isfinite(low) & np.isfinite(high)
    axes.fill_between(
        positions,
        np.where(known, low, np.nan),
        np.where(known, high, np.nan),
        color=NULL_COLOR,
        lw=0,
        zorder=0.5,
        label=plain(label),
    )
    padded = np.concatenate([[False], known, [False]])
    alone = known & ~padded[:-2] & ~padded[2:]
    if alone.any():
        axes.vlines(positions[alone], low[alone], high[alone], color=NULL_COLOR, lw=4, zorder=0.5)


def null_note(exchanged: str, share: str = "90 %") -> str:
    """What the grey band is, for the margin."""
    return f"grey: {share} of the null, {exchanged}" if exchanged else ""
