"""How much autoencoders explain by how few latents, and how many of theirs are dead."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvis.analysis.control import CONTROL, VALUE
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.pictures.chosen import Compared, OneOrSeveral, compared
from dvis.plots.canvas import (
    UNIT_COLORS,
    evenly,
    headline,
    layer_colors,
    saved,
    subplots,
    without_box,
)
from dvis.plots.documentation import documented
from dvis.plots.ticks import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTROL_EV, CONTROL_L0 = "control_ev", "control_l0"
_CONTROL_COLOR = "0.55"
_CONTROL_MARKERS = ("X", "P", "v", "*", "d")
_MARKERS = ("o", "s", "^", "D")
_LOG_SPAN = 4  # of L0, from which on its axis is logarithmic
_MOST_NAMED = 12
_MARGIN = 0.08  # of dead ones, above and below the marks


@documented
def sae_frontier(
    evaluated: OneOrSeveral,
    *,
    checkpoint: str | int | None = None,
    path: str | Path | None = None,
) -> "Figure":
    """Explained variance against active latents a row, a point an autoencoder; below, dead ones.

    Of one Dataset it is its checkpoints, joined in training order, early dark and late bright; of
    several, each of them at one checkpoint. Grey marks are controls, which were trained or made
    alike of what holds no structure, or without learning; their rims have the colour of the
    autoencoder that they are of, to which a thin line leads.

    Parameters
    ----------
    evaluated : Dataset or mapping of str to Dataset
        As `dvis.latents` gives it: `ev`, `l0`, `n_dead` (checkpoint) and, where there, `control_ev`
        and `control_l0` (checkpoint, control).
    checkpoint : str or int, optional
        Its name or place. By default all of one Dataset; of several the last that most have.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there are no autoencoders, or none at the checkpoint.
    SchemaError
        When one is no Dataset of what was found of autoencoders.
    """
    found = compared(evaluated, checkpoint, "ev", "l0", "n_dead")
    figure, (above, below) = subplots(
        nrows=2, figsize=(7.2, 5.0), height_ratios=(2.4, 1), sharex=True, layout="constrained"
    )
    styles = _styles(found)
    for name, row in found.rows.items():
        l0, style = float(row["l0"]), {**styles[name], "ls": "", "ms": 6, "zorder": 4}
        above.plot(l0, float(row["ev"]), **style)
        below.plot(l0, 100 * float(row["n_dead"]) / row.sizes[LATENT], **style)
    if found.is_over_training and len(found.rows) > 1:
        _join(above, below, found)
    exchanged = _draw_controls(above, found, {name: each["color"] for name, each in styles.items()})
    _show_axes(above, below, found)
    above.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1.01, 1))
    control = f"grey: controls, {exchanged}, with a line to what they are of" if exchanged else ""
    splits = {str(row.attrs.get("split", "")) for row in found.rows.values()} - {""}
    split = f"on the split {', '.join(sorted(splits))}" if splits else ""
    headline(figure, f"Explained variance by L0: {found.title}", *found.notes, split, control)
    return saved(figure, path)


def _styles(found: Compared) -> Mapping[str, dict[str, Any]]:
    """Colour, marker and name in the legend of each."""
    names = list(found.rows)
    if found.is_over_training:
        named = {names[i] for i in evenly(len(names), _MOST_NAMED)}
        shades = layer_colors(names)
        return {
            name: {
                "color": shades[name],
                "marker": "o",
                "label": plain(name) if name in named else "_",
            }
            for name in names
        }
    return {
        name: {
            "color": UNIT_COLORS[i % len(UNIT_COLORS)],
            "marker": _MARKERS[i // len(UNIT_COLORS) % len(_MARKERS)],
            "label": plain(name),
        }
        for i, name in enumerate(names)
    }


def _join(above: "Axes", below: "Axes", found: Compared) -> None:
    """A thin line through the points, in training order."""
    rows = found.rows.values()
    l0 = [float(row["l0"]) for row in rows]
    dead = [100 * float(row["n_dead"]) / row.sizes[LATENT] for row in rows]
    for axes, values in ((above, [float(row["ev"]) for row in rows]), (below, dead)):
        axes.plot(l0, values, color="0.7", lw=0.8, zorder=2, label="_")


def _draw_controls(axes: "Axes", found: Compared, colors: Mapping[str, Any]) -> str:
    """Draw the controls that are known, each tied to its own; return what was exchanged in them."""
    drawn: dict[str, list[tuple[float, float, str]]] = {}
    for of_row, row in found.rows.items():
        if not {CONTROL_EV, CONTROL_L0} <= set(row.data_vars):
            continue
        for name in row[CONTROL].values.tolist():
            l0, ev = (float(row[each].sel({CONTROL: name})) for each in (CONTROL_L0, CONTROL_EV))
            if name != VALUE and np.isfinite([l0, ev]).all():
                drawn.setdefault(str(name), []).append((l0, ev, of_row))
    for number, (name, places) in enumerate(drawn.items()):
        marker = _CONTROL_MARKERS[number % len(_CONTROL_MARKERS)]
        style: dict[str, Any] = {"color": _CONTROL_COLOR, "marker": marker, "ls": "", "zorder": 3}
        for l0, ev, of_row in places:
            own = found.rows[of_row]
            ends = (l0, float(own["l0"])), (ev, float(own["ev"]))
            axes.plot(*ends, color="0.8", lw=0.6, zorder=1, label="_")
            axes.plot(l0, ev, **style, ms=7, mec=colors[of_row], mew=1.0, label="_")
        axes.plot([], [], **style, ms=6, mec="white", mew=0.5, label=plain(name))
    return ", ".join(drawn)


def _show_axes(above: "Axes", below: "Axes", found: Compared) -> None:
    from matplotlib import ticker

    values = np.array([float(row["l0"]) for row in found.rows.values()])
    if values.min() > 0 and values.max() > _LOG_SPAN * values.min():
        below.set_xscale("log", base=2)
        below.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        below.xaxis.set_minor_locator(ticker.NullLocator())
    above.set_ylabel("explained variance")
    below.set_ylabel("dead latents, %")
    below.set_xlabel("active latents a row (L0)")
    low, high = below.get_ylim()
    # A mark at the highest or at zero is seen whole.
    below.set_ylim(min(-_MARGIN * high, low), max((1 + _MARGIN) * high, 1.0))
    for axes in (above, below):
        without_box(axes)
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
