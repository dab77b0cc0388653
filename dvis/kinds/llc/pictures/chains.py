"""The chains of one local learning coefficient: whether they agree and are long enough."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.calibration import cells_of, with_error
from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.analysis.settling import MAX_RHAT, are_coarse
from dvis.kinds.llc.pictures.traces import (
    BAD_COLOR,
    LLC_COLOR,
    burn_in_of,
    finite_range,
    place_of,
    running_of,
    settled,
    show_draws,
)
from dvis.kinds.llc.words import CHAIN, DRAW, EPSILON, GAMMA, SHOWN_ERRORS, ChainStatus
from dvis.plots.canvas import UNIT_COLORS, headline, saved, subplots, without_box
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMOOTHED = 25  # draws, of the dark line through a chain's losses
_ROOM_BELOW = 0.1  # of the losses' axis, for what is written below a line
# Diverged chains are red, and no others.
_COLORS = tuple(color for color in UNIT_COLORS if color != BAD_COLOR)


@documented
def llc_chains(
    traces: xr.Dataset, *, burn_in: int | None = None, path: str | Path | None = None
) -> "Figure":
    """The chains of one epsilon and gamma: losses, running LLC, distance, and how they agree.

    A colour is a chain in all panels. Losses are those of minibatches, thin, with their mean over
    25 draws, or an eighth of a shorter chain; the dashed line is the loss at the checkpoint. The
    running LLC is that of the draws after the burn-in, which is grey, so far. The distance is that
    of the sampled weights from the checkpoint's. At the right stand the chains' LLCs, and their
    mean with 2 standard errors. R-hat and effective sample size are in the title; diverged chains
    are red, and do not count.

    Parameters
    ----------
    traces : Dataset, (chain, draw)
        What `dvis.llc_traces` gave, of one checkpoint, choice of parameters, epsilon and gamma.
    burn_in : int, optional
        Draws at the start that do not count; by default what the traces name.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the traces are of several of these.
    SchemaError
        When the Dataset holds no traces.
    """
    cells = _of_one_cell(cells_of(traces)).load()
    n_burnt = burn_in_of(cells, burn_in)
    cell, found = (
        each.squeeze([EPSILON, GAMMA]) for each in (cells, llc_of(cells, burn_in=n_burnt))
    )
    figure, panels = subplots(
        nrows=2,
        ncols=2,
        figsize=(9.2, 5.6),
        width_ratios=(3, 1.35),
        layout="constrained",
    )
    _draw_losses(panels[0, 0], cell)
    _draw_running(panels[1, 0], cell, found, n_burnt)
    _draw_distances(panels[0, 1], cell)
    _draw_estimates(panels[1, 1], cell, found)
    for axes in (*panels[:, 0], panels[0, 1]):
        if axes.lines:
            show_draws(axes, cell, n_burnt)
            axes.set_xlabel("draw", fontsize=8)
    for axes in panels.flat:
        axes.tick_params(labelsize=7.5)
        without_box(axes)
    how = f"thick: mean over {_smoothing(cell.sizes[DRAW])} draws; grey: burn-in"
    headline(figure, _title(cell, found), origin_of(traces), place_of(cell), how, _state(found))
    return saved(figure, path)


def _of_one_cell(cells: xr.Dataset) -> xr.Dataset:
    """The traces, where they are of one epsilon and gamma."""
    several = [dim for dim in (EPSILON, GAMMA) if cells.sizes[dim] != 1]
    if several:
        asked = ", ".join(f"{dim}={cells[dim].values[0]:g}" for dim in several)
        raise ValueError(
            f"These traces are of {cells.sizes[several[0]]} values of {several[0]}; choose one of "
            f"each: traces.sel({asked})"
        )
    return cells


def _draw_losses(axes: "Axes", cell: xr.Dataset) -> None:
    losses, draws = cell["loss"].values, cell[DRAW].values
    init_loss = float(cell["init_loss"])
    is_done = cell["status"].values == ChainStatus.DONE
    for chain, loss in enumerate(losses):
        style = _style(chain, is_done[chain])
        axes.plot(draws, loss, lw=0.4, alpha=0.35, **style)
        axes.plot(draws, _smoothed(loss), lw=1.6, label=_name(cell, chain), **style)
    axes.axhline(init_loss, color="0.3", lw=0.9, ls=(0, (4, 3)))
    shown = losses[is_done] if is_done.any() else losses
    low, high = finite_range(shown, init_loss)
    axes.set_ylim(min(low, init_loss - _ROOM_BELOW * (high - low)), high)
    axes.annotate(
        "loss at the checkpoint",
        (1, init_loss),
        (-3, -3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=7,
        color="0.3",
    )
    axes.set_title("Minibatch loss", loc="left", fontsize=9, fontweight="bold")


def _draw_running(axes: "Axes", cell: xr.Dataset, found: xr.Dataset, n_burnt: int) -> None:
    running = running_of(cell, n_burnt).transpose(CHAIN, DRAW)
    draws = running[DRAW].values
    for chain, values in enumerate(running.values):
        axes.plot(draws, values, lw=1.0, alpha=0.85, **_style(chain, is_done=True))
    axes.plot(draws, running.mean(CHAIN).values, color=LLC_COLOR, lw=2.6)
    llc, error = float(found["llc"]), float(found["llc_se"])
    low, high = ([llc + width] * 2 for width in (-SHOWN_ERRORS * error, SHOWN_ERRORS * error))
    axes.fill_between(draws[[0, -1]], low, high, color=LLC_COLOR, alpha=0.12, lw=0)
    axes.axhline(0, color="0.75", lw=0.8)
    axes.set_ylim(
        finite_range(settled(running), llc - SHOWN_ERRORS * error, llc + SHOWN_ERRORS * error)
    )
    axes.set_title(
        "Running LLC of each chain and of all", loc="left", fontsize=9, fontweight="bold"
    )
    if not np.isfinite(running.values).any():
        _say(axes, _why_none(cell))


def _draw_distances(axes: "Axes", cell: xr.Dataset) -> None:
    axes.set_title("Distance from the checkpoint", loc="left", fontsize=9, fontweight="bold")
    if "distance" not in cell or not np.isfinite(cell["distance"]).any():
        _say(axes, "not kept: these chains ran\nwithout diagnostics")
        return
    kept = cell["distance"].dropna(DRAW, how="all")
    distances = kept.values
    is_done = cell["status"].values == ChainStatus.DONE
    for chain, distance in enumerate(distances):
        axes.plot(kept[DRAW].values, distance, lw=1.2, **_style(chain, is_done[chain]))
    shown = distances[is_done] if is_done.any() else distances
    axes.set_ylim(0, finite_range(shown, 0.0)[1])


def _draw_estimates(axes: "Axes", cell: xr.Dataset, found: xr.Dataset) -> None:
    """The LLC of each chain, and of all with two standard errors."""
    each = found["llc_of_chain"].values
    n_chains = len(each)
    for chain, value in enumerate(each):
        if np.isfinite(value):
            axes.plot(chain, value, "o", ms=6, **_style(chain, is_done=True) | {"linestyle": ""})
        else:
            status = ChainStatus(int(cell["status"].values[chain])).name.lower().replace("_", " ")
            axes.annotate(
                status,
                (chain, 0.04),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="center",
                va="bottom",
                fontsize=7,
                color=BAD_COLOR if status == "diverged" else "0.5",
            )
    llc, error = float(found["llc"]), float(found["llc_se"])
    axes.errorbar(
        n_chains + 0.5, llc, SHOWN_ERRORS * error, fmt="D", color=LLC_COLOR, capsize=4, ms=6
    )
    axes.axhspan(
        llc - SHOWN_ERRORS * error, llc + SHOWN_ERRORS * error, color=LLC_COLOR, alpha=0.1, lw=0
    )
    every = -(-n_chains // 8)
    names = [_name(cell, chain).removeprefix("chain ") for chain in range(0, n_chains, every)]
    axes.set_xticks([*range(0, n_chains, every), n_chains + 0.5], [*names, "all"])
    axes.set_xlim(-0.7, n_chains + 1.2)
    axes.set_xlabel("chain", fontsize=8)
    axes.set_title("LLC ± 2 SE", loc="left", fontsize=9, fontweight="bold")
    if not np.isfinite(llc):
        axes.set_yticks([])


def _style(chain: int, is_done: bool) -> dict[str, Any]:
    round_, place = divmod(chain, len(_COLORS))
    style = ("-", "--", ":")[round_ % 3]
    return {"color": _COLORS[place] if is_done else BAD_COLOR, "linestyle": style}


def _name(cell: xr.Dataset, chain: int) -> str:
    return f"chain {cell['chain'].values[chain] if 'chain' in cell.coords else chain}"


def _smoothing(n_draws: int) -> int:
    """Draws of which the thick line is the mean: an eighth of a short chain."""
    return min(_SMOOTHED, max(1, n_draws // 8))


def _smoothed(loss: np.ndarray) -> np.ndarray:
    """Mean over some draws around each, NaN at both ends and where a loss is not finite."""
    width = _smoothing(len(loss))
    smooth = np.full(len(loss), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(loss, width).mean(axis=1)
    start = (width - 1) // 2
    smooth[start : start + len(windows)] = windows
    return smooth


def _say(axes: "Axes", text: str) -> None:
    """Why a panel is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.5")
    axes.set_xticks([])
    axes.set_yticks([])


def _why_none(cell: xr.Dataset) -> str:
    is_lost = (cell["status"] == ChainStatus.DIVERGED).all()
    return f"no LLC: {'all chains diverged' if is_lost else 'no chain is done'}"


def _title(cell: xr.Dataset, found: xr.Dataset) -> str:
    where = f"epsilon {float(cell[EPSILON]):g}, gamma {float(cell[GAMMA]):g}"
    if not np.isfinite(found["llc"]):
        return f"{_why_none(cell)} at {where}".replace("no", "No", 1)
    llc = with_error(float(found["llc"]), float(found["llc_se"]))
    rhat, ess = float(found["rhat"]), float(found["ess"])
    return f"LLC {llc} at {where}: R-hat {rhat:.3f}, effective sample size {ess:,.0f}"


def _state(found: xr.Dataset) -> str:
    """How many chains there are, and what is wrong with them."""
    n, n_diverged = int(found["n_chains"]), int(found["n_diverged"])
    notes = [f"{n} {'chain' if n == 1 else 'chains'} done"]
    if n_diverged:
        notes.append(f"{n_diverged} diverged, which do not count")
    if np.isfinite(found["llc"]) and not found["is_settled"]:
        notes.append("not settled: longer ones may differ")
    if are_coarse(float(found["step_bias"]), float(found["llc_se"])):
        notes.append(f"coarse steps may add up to {float(found['step_bias']):.3g}")
    if float(found["rhat"]) > MAX_RHAT:
        notes.append(f"R-hat above {MAX_RHAT:g}: take more draws")
    if np.isfinite(found["mala"]):
        notes.append(f"MALA acceptance {float(found['mala']):.2f}")
    return "; ".join(notes)
