"""What the pictures of chains share: colours, names, axes of losses and of their running LLC."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.learning_coefficient import running_llc
from dvis.kinds.llc.words import ALL_PARAMETERS, DRAW, PARAMETERS, ChainStatus
from dvis.plots.time_axis import moment_name
from dvis.schema import CHECKPOINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS_COLOR = "#8FA8BF"
LLC_COLOR = "#0B3C5D"
GOOD_COLOR = "#009E73"
BAD_COLOR = "#D55E00"
_BURN_IN_COLOR = "0.94"
_SETTLING = 20  # the first twentieth of the draws
_WIDEST_PEAK = 0.005  # share of draws that may lie beyond the axis, at either end


def power(value: float) -> str:
    r"""A step size as papers write it.

    Examples
    --------
    >>> power(1e-4), power(3e-5), power(100)
    ('$10^{-4}$', '$3 \\times 10^{-5}$', '100')
    """
    exponent = int(np.floor(np.log10(value))) if value > 0 else 0
    if 0 <= exponent < 4:
        return f"{value:g}"
    digits = f"{value / 10.0**exponent:.3g}"
    tens = f"10^{{{exponent}}}"
    return f"${tens}$" if digits == "1" else rf"${digits} \times {tens}$"


def burn_in_of(traces: xr.Dataset, burn_in: int | None) -> int:
    """Draws that do not count: as asked, else as the traces name them."""
    return int(traces.attrs.get("burn_in", 0)) if burn_in is None else burn_in


def finite_range(values: np.ndarray, *others: float) -> tuple[float, float]:
    """Ends of an axis that shows all but the rarest of these values, and the others."""
    known = values[np.isfinite(values)]
    ends = np.quantile(known, (_WIDEST_PEAK, 1 - _WIDEST_PEAK)).tolist() if len(known) else []
    seen = [*ends, *(other for other in others if np.isfinite(other))] or [0.0, 1.0]
    low, high = min(seen), max(seen)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def running_of(cells: xr.Dataset, burn_in: int) -> xr.DataArray:
    """Running LLC of the chains that are done, (..., chain, draw), from the burn-in on."""
    with_draws = cells.assign_coords({DRAW: cells[DRAW]})
    running = running_llc(with_draws, burn_in=burn_in)
    return running.where(cells["status"] == ChainStatus.DONE)


def settled(running: xr.DataArray) -> np.ndarray:
    """Running LLCs less the first draws, which are no mean yet."""
    return running.isel({DRAW: slice(running.sizes[DRAW] // _SETTLING, None)}).values


def show_draws(axes: "Axes", cells: xr.Dataset, burn_in: int) -> None:
    """Grey the draws that do not count, and end the axis with the last."""
    first, last = cells[DRAW].values[[0, -1]]
    if burn_in > first:
        axes.axvspan(first, burn_in, color=_BURN_IN_COLOR, lw=0, zorder=0)
    axes.set_xlim(first, max(last, first + 1))


def place_of(cells: xr.Dataset) -> str:
    """Checkpoint and parameters of the traces, for the margin."""
    names = []
    if CHECKPOINT in cells.coords:
        names.append(moment_name(cells))
    if PARAMETERS in cells.coords:
        parameters = str(cells[PARAMETERS].item())
        names.append(
            "all parameters" if parameters == ALL_PARAMETERS else f"parameters {parameters}"
        )
    return ", ".join(names)
