"""Event-aligned curves: the strength of inputs around the births of the units that they act on."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.kinds.influence.words import LAG, MATCHED, SET, TOP
from dvis.plots.canvas import UNIT_COLORS, headline, saved, subplots, without_box
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null
from dvis.plots.selection import origin_of
from dvis.schema import SchemaError, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NEEDS = ("strength", "strength_low", "strength_high")
_ADVICE = "Give the alignment of events that was made of influence and births"


@documented
def event_curves(aligned: xr.Dataset, *, path: str | Path | None = None) -> "Figure":
    """Strength of the units' top inputs around their births, over that of matched inputs in grey.

    Parameters
    ----------
    aligned : Dataset
        `strength`, `strength_low` and `strength_high` (lag, set), with `lag` in checkpoints from
        the birth of each target and `set` of "top" and "matched".
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    SchemaError
        When it is no alignment of events.
    ValueError
        When it runs over something else too, or no lag has a value.
    """
    require(aligned, *_NEEDS, labels=(LAG, SET), advice=_ADVICE)
    others = [str(dim) for dim in aligned["strength"].dims if dim not in (LAG, SET)]
    if others:
        raise ValueError(
            f"strength runs over {', '.join(others)} too; choose one of each, such as "
            f"aligned.isel({others[0]}=0)"
        )
    there = [str(each) for each in np.atleast_1d(aligned[SET].values)]
    missing = [each for each in (TOP, MATCHED) if each not in there]
    if missing:
        raise SchemaError(f"No set {missing[0]!r} is there, only {', '.join(there)}. {_ADVICE}")
    if not np.isfinite(aligned["strength"]).any():
        raise ValueError("No lag has a strength; nothing to draw")
    figure, axes = subplots(figsize=(6.4, 3.8), layout="constrained")
    _draw(axes, aligned.sortby(LAG))
    headline(
        figure,
        "Influence around births",
        origin_of(aligned),
        _targets(aligned),
        "grey: inputs matched to the top ones, as their null",
        str(aligned.attrs.get("cannot_tell", "")),
    )
    return saved(figure, path)


def _draw(axes: "Axes", aligned: xr.Dataset) -> None:
    """Both sets with their bands, and a line at the birth."""
    from matplotlib.ticker import MaxNLocator

    lags = aligned[LAG].values.astype(float)
    top, matched = (aligned.sel({SET: each}) for each in (TOP, MATCHED))
    low, high = (matched[name].values.astype(float) for name in _NEEDS[1:])
    draw_null(axes, lags, low, high)
    low, high = (top[name].values.astype(float) for name in _NEEDS[1:])
    color = UNIT_COLORS[0]
    axes.fill_between(lags, low, high, color=color, alpha=0.25, lw=0)
    axes.plot(
        lags, top["strength"].values, color=color, lw=2.0, marker=".", label="top inputs", zorder=3
    )
    axes.plot(lags, matched["strength"].values, color="0.45", lw=1.4, label="matched inputs")
    axes.axvline(0, color="black", lw=0.9, ls="--")
    axes.annotate(
        "unit born",
        (0, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
    )
    axes.set_xlabel("checkpoints from the birth of the unit")
    axes.set_ylabel("log strength of inputs, centred")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    without_box(axes)


def _targets(aligned: xr.Dataset) -> str:
    n = aligned.attrs.get("n_targets", aligned.get("n_targets"))
    return "" if n is None or np.ndim(n) else counted(int(n), "unit")
