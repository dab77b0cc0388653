"""Calibration: what chains do at each step size and localisation, and which cell to take."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.calibration import (
    GOOD,
    Recommendation,
    cells_of,
    recommend,
    with_error,
)
from dvis.kinds.llc.analysis.settling import MAX_RHAT
from dvis.kinds.llc.pictures.traces import (
    BAD_COLOR,
    GOOD_COLOR,
    LLC_COLOR,
    LOSS_COLOR,
    burn_in_of,
    finite_range,
    place_of,
    power,
    running_of,
    show_draws,
)
from dvis.kinds.llc.words import CHAIN, DRAW, EPSILON, GAMMA, SHOWN_ERRORS, ChainStatus
from dvis.plots.canvas import headline, layer_colors, saved, without_box
from dvis.plots.curves import show_values_axis
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL_INCHES = (2.45, 1.55)
_SUMMARY_INCHES = 2.3
_MAX_CHAINS = 8
_STATUS_COLORS = {int(ChainStatus.DONE): LOSS_COLOR, int(ChainStatus.DIVERGED): BAD_COLOR}


@documented
def llc_calibration(
    traces: xr.Dataset,
    *,
    burn_in: int | None = None,
    target_acceptance: float = 0.9,
    recommendation: Recommendation | None = None,
    path: str | Path | None = None,
) -> "Figure":
    """What chains do at each epsilon and gamma: losses, running LLC, acceptance, and which to take.

    A column is a step size, a row a localisation. Pale: the minibatch losses of each chain, red of
    those that diverged. Dark: the mean of the draws after the burn-in so far, over chains, which on
    the scale at the right is the running LLC; the dashed line is the loss at the checkpoint, at
    which the LLC is 0. Each cell has scales of its own; the recommended one is framed. Below, the
    LLC with 2 standard errors, the MALA acceptance and the split R-hat of all cells: a point is
    hollow where the cell is not good.

    Parameters
    ----------
    traces : Dataset, (epsilon, gamma, chain, draw)
        What `dvis.llc_traces` gave, of one checkpoint and one choice of parameters.
    burn_in : int, optional
        Draws at the start that do not count; by default what the traces name.
    target_acceptance : float, optional
        As for `dvis.kinds.llc.analysis.calibration.recommend`.
    recommendation : Recommendation, optional
        What to frame, and why; by default what `recommend` says of these traces.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the traces are of several checkpoints or choices of parameters.
    SchemaError
        When the Dataset holds no traces.
    """
    import matplotlib.pyplot as plt

    cells = cells_of(traces).load()
    found = recommendation or recommend(cells, burn_in=burn_in, target_acceptance=target_acceptance)
    n_columns, n_rows = cells.sizes[EPSILON], cells.sizes[GAMMA]
    width = max(8.0, 1.4 + n_columns * _CELL_INCHES[0])
    heights = (0.5 + n_rows * _CELL_INCHES[1], _SUMMARY_INCHES)
    figure = plt.figure(figsize=(width, sum(heights) + 0.9), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=heights)
    top, bottom = halves
    grid = top.subplots(n_rows, n_columns, sharex=True, squeeze=False)
    _draw_cells(grid, cells, found, burn_in_of(cells, burn_in))
    top.supylabel("minibatch loss", fontsize=9, color="0.35")
    _draw_summary(bottom.subplots(1, 3), found, target_acceptance)
    how = "hollow: not good"
    if (found.table["n_diverged"] > 0).any():
        how += "; red cross: chains diverged"
    notes = (found.reason.rstrip("."), how, origin_of(traces), place_of(cells))
    headline(figure, _title(found), *notes)
    return saved(figure, path)


def _draw_cells(grid: np.ndarray, cells: xr.Dataset, found: Recommendation, burn_in: int) -> None:
    """Draw the traces of all cells on shared scales."""
    running = running_of(cells, burn_in).mean(CHAIN).transpose(EPSILON, GAMMA, DRAW)
    nbeta = float(cells.attrs["nbeta"])
    has_llc = (found.table["n_chains"] > 0).transpose(GAMMA, EPSILON).values
    pick = {
        name: list(cells[name].values).index(value) if value is not None else -1
        for name, value in ((EPSILON, found.epsilon), (GAMMA, found.gamma))
    }
    for (row, column), axes in np.ndenumerate(grid):
        place = {EPSILON: column, GAMMA: row}
        figures = found.table.isel(place)
        cell = cells.isel(place)
        show_draws(axes, cells, burn_in)
        low, high = _draw_losses(axes, cell)
        twin = axes.twinx()
        twin.set_ylim(*(nbeta * (end - float(cells["init_loss"])) for end in (low, high)))
        twin.plot(running[DRAW].values, running.isel(place).values, color=LLC_COLOR, lw=1.8)
        is_pick = found.is_found and place == pick
        is_last = column == np.flatnonzero(has_llc[row]).max(initial=-1)
        _finish_cell(axes, twin, figures, is_last=is_last, is_pick=is_pick)
        if not figures["n_chains"]:
            _say_why_empty(axes, twin, cell)
        if row == 0:
            axes.annotate(
                f"ε = {power(float(figures[EPSILON]))}",
                (0.5, 1),
                (0, 30),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="center",
                fontsize=12,
            )
        if column == 0:
            axes.set_ylabel(f"γ = {float(figures[GAMMA]):g}", fontsize=12)
        if row == grid.shape[0] - 1:
            axes.set_xlabel("draw", fontsize=8)


def _draw_losses(axes: "Axes", cell: xr.Dataset) -> tuple[float, float]:
    """Draw the losses of the chains; return the ends of their scale."""
    init_loss = float(cell["init_loss"])
    losses, statuses = cell["loss"].transpose(CHAIN, DRAW).values, cell["status"].values
    for loss, status in list(zip(losses, statuses, strict=True))[:_MAX_CHAINS]:
        if status in _STATUS_COLORS:
            axes.plot(cell[DRAW].values, loss, color=_STATUS_COLORS[status], lw=0.6, alpha=0.7)
    is_done = statuses == ChainStatus.DONE
    if is_done.any():
        axes.axhline(init_loss, color="0.3", lw=0.8, ls=(0, (4, 3)))
    low, high = finite_range(losses[is_done], init_loss)
    axes.set_ylim(low, high)
    return low, high


def _finish_cell(
    axes: "Axes", twin: "Axes", figures: xr.Dataset, *, is_last: bool, is_pick: bool
) -> None:
    """Ticks, and above the cell its LLC, its acceptance and what became of it."""
    from matplotlib.ticker import MaxNLocator

    verdict = str(figures["verdict"].item())
    llc, error, acceptance = (float(figures[name]) for name in ("llc", "llc_se", "mala"))
    lines = [f"LLC {with_error(llc, error)}" if np.isfinite(llc) else "no LLC"]
    lines.append(f"acceptance {acceptance:.2f}" if np.isfinite(acceptance) else "")
    n_diverged = int(figures["n_diverged"])
    if n_diverged:
        verdict = f"{n_diverged} of {n_diverged + int(figures['n_chains'])} diverged"
    if is_pick:
        verdict = "recommended"
        _frame(axes)
    axes.set_title("\n".join(lines), loc="left", fontsize=7.5, color="0.2", pad=3)
    color = BAD_COLOR if n_diverged else GOOD_COLOR if figures[f"is_{GOOD}"] else "0.4"
    axes.set_title(verdict, loc="right", fontsize=7.5, color=color, fontweight="bold", pad=3)
    for side, size in ((axes, "0.35"), (twin, LLC_COLOR)):
        side.tick_params(labelsize=6.5, labelcolor=size, length=2, pad=2)
        side.yaxis.set_major_locator(MaxNLocator(4))
        side.spines["top"].set_visible(False)
        side.spines[:].set_color("0.7")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if is_last:
        twin.set_ylabel("running LLC", fontsize=8, color=LLC_COLOR)


def _say_why_empty(axes: "Axes", twin: "Axes", cell: xr.Dataset) -> None:
    """What is to be known of a cell that has no LLC, in place of its scales."""
    for side in (axes, twin):
        side.set_yticks([])
    is_diverged = cell["status"].values == ChainStatus.DIVERGED
    text = "not measured"
    if is_diverged.any():
        lengths = np.isfinite(cell["loss"].transpose(CHAIN, DRAW).values[is_diverged]).sum(axis=1)
        low, high = int(lengths.min()), int(lengths.max())
        n_draws = f"{low}" if low == high else f"{low} to {high}"
        text = f"losses were finite\nfor {n_draws} of {cell.sizes[DRAW]} draws"
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4", fontsize=8
    )


def _frame(axes: "Axes") -> None:
    """Mark the recommended cell."""
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (0, 0),
            1,
            1,
            transform=axes.transAxes,
            fill=False,
            ec=GOOD_COLOR,
            lw=3,
            clip_on=False,
            zorder=10,
        )
    )


def _draw_summary(panels: Any, found: Recommendation, target_acceptance: float) -> None:
    """LLC, acceptance and R-hat of all cells against epsilon, a curve a gamma."""
    table = found.table
    gammas = [f"{gamma:g}" for gamma in table[GAMMA].values]
    colors = layer_colors(gammas)
    lines = {
        "mala": (target_acceptance, f"target {target_acceptance:g}"),
        "rhat": (MAX_RHAT, f"{MAX_RHAT:g}"),
    }
    names = {"llc": "LLC", "mala": "MALA acceptance", "rhat": "split R-hat"}
    for axes, name in zip(panels, names, strict=True):
        for column, gamma in enumerate(gammas):
            # Side by side, where error bars would lie on one another.
            shift = 10 ** (0.06 * (column - (len(gammas) - 1) / 2))
            of_gamma = table.isel({GAMMA: column})
            _draw_curve(axes, of_gamma, name, colors[gamma], shift, f"γ = {gamma}")
        if name in lines:
            value, text = lines[name]
            axes.axhline(value, color="0.4", lw=0.8, ls=(0, (4, 3)))
            axes.annotate(
                text,
                (1, value),
                (-2, 2),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=7,
                color="0.4",
            )
        _show_steps(axes, table[EPSILON].values)
        axes.set_title(names[name], loc="left", fontsize=9, fontweight="bold")
        axes.tick_params(labelsize=7.5)
        without_box(axes)
        if found.epsilon is not None:
            axes.axvline(found.epsilon, color=GOOD_COLOR, lw=12, alpha=0.15, zorder=0)
    show_values_axis(panels[0], table["llc"].values, "auto")
    if panels[0].get_yscale() == "linear":
        panels[0].axhline(0, color="0.8", lw=0.8, zorder=0)
    panels[1].set_ylim(-0.03, 1.05)
    panels[2].set_ylim(0.98, max(1.3, panels[2].get_ylim()[1]))
    if panels[-1].get_legend_handles_labels()[0]:
        panels[-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))


def _draw_curve(
    axes: "Axes", of_gamma: xr.Dataset, name: str, color: Any, shift: float, label: str
) -> None:
    x, y = of_gamma[EPSILON].values * shift, of_gamma[name].values
    is_good = of_gamma[f"is_{GOOD}"].values
    is_diverged = of_gamma["n_diverged"].values > 0
    feet = np.full(is_diverged.sum(), 0.05)
    foot = axes.get_xaxis_transform()
    axes.plot(x[is_diverged], feet, "x", color=BAD_COLOR, ms=5, mew=1.4, transform=foot)
    if not np.isfinite(y).any():
        return
    axes.plot(x, y, color=color, lw=1.2, alpha=0.8, label=label)
    if name == "llc":
        axes.errorbar(
            x, y, SHOWN_ERRORS * of_gamma["llc_se"].values, fmt="none", ecolor=color, lw=1
        )
    for chosen, face in ((is_good, color), (~is_good, "white")):
        axes.scatter(x[chosen], y[chosen], s=26, facecolor=face, edgecolor=color, lw=1.2, zorder=3)


def _show_steps(axes: "Axes", epsilons: np.ndarray) -> None:
    """A logarithmic axis of all step sizes, also of those without an LLC."""
    axes.set_xscale("log")
    axes.set_xlim(epsilons.min() / 1.8, epsilons.max() * 1.8)
    axes.set_xlabel("step size ε", fontsize=8)


def _title(found: Recommendation) -> str:
    if not found.is_found:
        return f"Calibration: no cell {'holds' if found.candidates else 'is good'} yet"
    return f"Calibration: epsilon {found.epsilon:g} and gamma {found.gamma:g} recommended"
