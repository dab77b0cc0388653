"""What every picture shares: its figure, the colours of layers, the margin's note, its file."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvis.analysis.requirements import require_whole_numbers
from dvis.plots.ticks import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Color = tuple[float, float, float, float]

# Okabe and Ito's colours, told apart with any colour vision, less the yellow that white swallows.
UNIT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
UNKNOWN_COLOR = "0.9"
_NOTE_LETTER_INCHES = 0.051
# From early to late layers: dark to bright, in grey too; the palest yellow is left out.
_DEPTH_MAP, _BRIGHTEST = "viridis", 0.88


def subplots(**arguments: Any) -> Any:
    """A figure and its axes; matplotlib is imported no sooner, for it takes longer than dvis."""
    import matplotlib.pyplot as plt

    return plt.subplots(**arguments)


def layer_colors(layers: Sequence[str]) -> dict[str, Color]:
    """Colour of each layer: the later, the brighter."""
    import matplotlib as mpl

    shades = np.linspace(0.0, _BRIGHTEST, len(layers)) if len(layers) > 1 else np.array([0.25])
    colors = mpl.colormaps[_DEPTH_MAP](shades)
    return {layer: tuple(color) for layer, color in zip(layers, colors.tolist(), strict=True)}


def unit_style(number: int) -> dict[str, Any]:
    """Colour and line style of a curve that the legend names."""
    round_, place = divmod(number, len(UNIT_COLORS))
    return {"color": UNIT_COLORS[place], "linestyle": ("-", "--", ":")[round_ % 3]}


def value_scale(values: np.ndarray) -> dict[str, Any]:
    """Colour map and its ends: from 0, or white at 0 where a tenth of the reach is negative."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if low < -0.1 * abs(high):
        reach = max(-low, high)
        return {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
    return {"cmap": "cividis", "vmin": min(low, 0.0), "vmax": high if high > 0 else 1.0}


def without_box(axes: "Axes") -> None:
    """Keep only the spines that carry ticks."""
    axes.spines[["top", "right"]].set_visible(False)


def headline(figure: "Figure", title: str, *notes: str) -> None:
    """The title, and in the bottom margin where the picture comes from and how to read it."""
    figure.suptitle(plain(title), fontsize=10, x=0.01, ha="left", fontweight="bold")
    text = "; ".join(note for note in notes if note)
    lines = textwrap.wrap(text, int(figure.get_figwidth() / _NOTE_LETTER_INCHES))
    figure.supxlabel(plain("\n".join(lines)), fontsize=7, color="0.4", x=0.01, ha="left")


def evenly(n: int, limit: int, name: str = "max_images") -> np.ndarray:
    """Numbers from 0 to n - 1, at most `limit` of them, the first and the last among them.

    Raises
    ------
    ValueError
        When there is nothing to choose from, or nothing may be chosen.
    """
    require_limit(name, limit)
    if n < 1:
        raise ValueError("Nothing to show: no checkpoint or channel is chosen")
    return np.unique(np.linspace(0, n - 1, min(n, limit)).round().astype(int))


def require_limit(name: str, limit: int) -> None:
    """Raise where the most of something that a picture shows is no number of it.

    Raises
    ------
    TypeError
        When it is no whole number.
    ValueError
        When it is less than one.
    """
    require_whole_numbers(**{name: limit})
    if limit < 1:
        raise ValueError(f"{name} is {limit}; it must be at least 1")


def apart(wanted: np.ndarray, least: float, low: float, high: float) -> np.ndarray:
    """Places nearest to those wanted, increasing, that lie at least this far apart.

    Pool adjacent violators: those that would overlap share the mean of their places.

    Examples
    --------
    >>> apart(np.array([0.0, 1.0, 1.2, 5.0]), 1.0, 0.0, 5.0).tolist()
    [0.0, 1.0, 2.0, 5.0]
    """
    offsets = np.arange(len(wanted)) * least
    pools: list[list[float]] = []
    for place in wanted - offsets:
        pools.append([float(place)])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    means = np.repeat([np.mean(pool) for pool in pools], [len(pool) for pool in pools])
    return np.asarray(np.clip(means, low, max(low, high - offsets[-1])) + offsets)


def saved(figure: "Figure", path: str | Path | None) -> "Figure":
    """The figure, written to a file where one is named, and forgotten by pyplot."""
    if path is not None:
        Path(path).expanduser().parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(path).expanduser(), dpi=200)
    if not _opens_windows():
        # A notebook draws what a cell returns, and would draw it twice if pyplot had it too.
        import matplotlib.pyplot as plt

        plt.close(figure)
    return figure


def _opens_windows() -> bool:
    import matplotlib as mpl
    from matplotlib.backends.registry import BackendFilter, backend_registry

    interactive = backend_registry.list_builtin(BackendFilter.INTERACTIVE)  # type: ignore[no-untyped-call]
    return mpl.get_backend().lower() in map(str.lower, interactive)
