"""The text of a figure as it is drawn: what is seen of it, and what cannot be read."""

import itertools

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def texts_of(axes: Axes, which: str) -> list:
    """Tick labels that are seen, of a figure that is laid out."""
    labels = axes.get_xticklabels() if which == "x" else axes.get_yticklabels()
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    ticks = axes.get_xticks() if which == "x" else axes.get_yticks()
    pairs = zip(labels, ticks, strict=True)
    return [label for label, tick in pairs if label.get_text() and low <= tick <= high]


def unreadable(figure: Figure) -> list[str]:
    """What overlaps its neighbour or reaches over the figure's edge."""
    figure.draw_without_rendering()
    sides = [(axes, which) for axes in figure.axes if axes.axison for which in "xy"]
    rows = [texts_of(*side) for side in sides]
    boxes = {text: text.get_window_extent() for row in rows for text in row}
    pairs = [pair for row in rows for pair in itertools.pairwise(row)]
    found = [f"{a.get_text()} on {b.get_text()}" for a, b in pairs if boxes[a].overlaps(boxes[b])]
    boxes |= {text: text.get_window_extent() for text in (figure._suptitle, figure._supxlabel)}
    for text, box in boxes.items():
        if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
            found.append(f"{text.get_text()} over the edge")
    return found
