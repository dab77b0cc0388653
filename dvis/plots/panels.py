"""Small pictures over one time axis, a panel for each of some layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dvis.plots.canvas import subplots, without_box
from dvis.plots.ticks import plain
from dvis.plots.time_axis import TimeAxis, show_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = (2.6, 1.9)  # of a panel
_MOST_COLUMNS = 4
_PAD_INCHES = 0.1  # at either side of a panel


def panels(
    titles: Sequence[str], axis: TimeAxis, *, share_y: bool = True, beside: float = 0
) -> tuple["Figure", "list[Axes]"]:
    """A figure of titled, empty panels, at most four a row, whose lowest name the ticks.

    It is so many inches wider as what stands beside them takes.
    """
    columns = min(len(titles), _MOST_COLUMNS)
    rows = -(-len(titles) // columns)
    width, height = _INCHES
    figure, grid = subplots(
        nrows=rows,
        ncols=columns,
        figsize=(max(columns * width + 0.5 + beside, 4.8), rows * height + 0.7),
        squeeze=False,
        sharex=True,
        sharey=share_y,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=_PAD_INCHES)  # else names at neighbours' ends touch
    made = list(grid.flat)
    for axes, title in zip(made, titles, strict=False):
        show_axis(axes, axis, inches=width - 0.6)
        axes.set_title(plain(title), loc="left", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("")
        without_box(axes)
    for axes in made[len(titles) :]:
        axes.set_axis_off()
    for axes in made[max(len(titles) - columns, 0) : len(titles)]:
        axes.tick_params(labelbottom=True)
    return figure, made[: len(titles)]
