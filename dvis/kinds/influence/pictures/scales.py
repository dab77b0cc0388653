"""How pictures of circuits show influence: colour is direction, width is strength, one scale each.

Numbers in, colours, widths and their legends out.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from dvis.plots.canvas import Color

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Moreland's, from blue over light grey to red: told apart with any colour vision, and seen on white
# where it is 0.
DIRECTION_MAP = "coolwarm"
UNKNOWN_COLOR: Color = (0.75, 0.75, 0.75, 1.0)
SCALES_INCHES = 1.15
_TOP_INCHES, _BAR_INCHES = 0.3, (0.13, 1.0)
_THINNEST, _WIDEST = 0.6, 5.0  # points


def direction_color(direction: float) -> Color:
    """Colour of a direction from -1, inhibits, to 1, excites; grey where it is not known."""
    import matplotlib as mpl

    if not np.isfinite(direction):
        return UNKNOWN_COLOR
    red, green, blue, alpha = mpl.colormaps[DIRECTION_MAP]((float(direction) + 1) / 2)
    return (red, green, blue, alpha)


def line_width(strength: float, largest: float) -> float:
    """Width in points of a strength, on a scale that ends at the largest that is shown."""
    if not np.isfinite(strength) or not largest > 0:
        return _THINNEST
    return _THINNEST + (_WIDEST - _THINNEST) * float(np.clip(strength / largest, 0, 1))


def largest_of(strength: np.ndarray) -> float:
    """The largest strength that is known; 0 where none is."""
    return float(np.nanmax(strength, initial=0.0))


def show_scales(figure: "Figure", largest: float, *others: "Line2D") -> None:
    """What width and colour mean, and other marks, in a margin at the right of a figure."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    left = 1 - SCALES_INCHES / width
    engine: Any = figure.get_layout_engine()  # constrained
    engine.set(rect=(0, 0, left, 1))
    widths = [
        Line2D(
            *([], []),
            color="0.35",
            lw=line_width(each, largest),
            label=f"{each:g}",
            solid_capstyle="butt",
        )
        for each in _round_strengths(largest)
    ]
    figure.legend(
        handles=[*widths, *others],
        title="strength, in SD\nof the target",
        loc="upper left",
        bbox_to_anchor=(left + 0.02 / width, 1 - _TOP_INCHES / height),
        alignment="left",
        frameon=False,
        fontsize=7,
        title_fontsize=7,
    )
    below = _TOP_INCHES + 0.75 + 0.16 * len(others) + _BAR_INCHES[1]
    place = left + 0.12 / width, 1 - (below + 0.3) / height
    axes = figure.add_axes((*place, _BAR_INCHES[0] / width, _BAR_INCHES[1] / height))
    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), DIRECTION_MAP), cax=axes)
    bar.set_ticks([-1, 0, 1], labels=["-1, inhibits", "0", "1, excites"])
    axes.tick_params(labelsize=7)
    axes.set_title("direction", fontsize=7, loc="left")


def _round_strengths(largest: float) -> list[float]:
    """Up to three round strengths, the largest near the end of the scale.

    Examples
    --------
    >>> _round_strengths(0.87), _round_strengths(0.0)
    ([0.8, 0.4, 0.1], [0.0])
    """
    if not largest > 0:
        return [0.0]
    unit = 10.0 ** np.floor(np.log10(largest))
    top = float(np.floor(largest / unit))
    return [float(f"{share * unit:.3g}") for share in (top, top / 2, top / 8)]
