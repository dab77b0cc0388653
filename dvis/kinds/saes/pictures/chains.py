"""Numbers of chains over depth: a line for each seed, beside controls and shuffled labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL
from dvis.analysis.requirements import require
from dvis.kinds.saes.chains.analysis import STATISTIC, chain_trends
from dvis.kinds.saes.chains.words import DEPTH, ON, READ_WITH, SEED, WEIGHTS
from dvis.kinds.saes.dims import SHUFFLE
from dvis.kinds.saes.pictures.chosen import layer_of
from dvis.kinds.saes.read import name_in_layer
from dvis.plots.canvas import UNIT_COLORS, headline, saved, subplots, without_box
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null, null_note
from dvis.plots.selection import at_checkpoint, origin_of
from dvis.plots.time_axis import moment_name
from dvis.schema import CHECKPOINT, Status, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ADVICE = "Open one with dvis.chains, of what `dvis sae chain` trained"
ON_WHAT = {"decoder": "decoder rows", "codes": "codes"}
_VALUE, _BESIDE = UNIT_COLORS[0], UNIT_COLORS[1]
_BAND = np.array([0.05, 0.95])


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """A number, what it is called, and what stands beside it."""

    name: str
    title: str
    has_beside: bool = False
    trend: str = ""


_PANELS = (
    _Panel(name="ev", title="explained variance"),
    _Panel(name="l0", title="active latents of a row"),
    _Panel(name="dead_share", title="share of dead latents", trend="n_dead"),
    _Panel(
        name="selectivity",
        title="class selectivity",
        has_beside=True,
        trend="selectivity beyond null",
    ),
    _Panel(
        name="best_share",
        title="share of the best class",
        has_beside=True,
        trend="best_share beyond null",
    ),
    _Panel(name="mean_max_cosine", title="cosine with an autoencoder as wide"),
)


@documented
def chain_curves(
    chains: xr.Dataset, *, checkpoint: str | int | None = None, path: str | Path | None = None
) -> "Figure":
    """Numbers of each level over depth: seeds as thin lines, their mean, and what it would be else.

    Grey is the null: of class statistics 90 % of shuffles of the labels, of the other numbers the
    range over seeds of a level that was trained on what holds no effect. Red dashes are, of class
    statistics, autoencoders as wide that were trained on activations, dots those trained on what
    holds no effect. Above each panel stands its trend over the levels from the first that was
    trained; that of class statistics is of what they are beyond the mean of shuffled labels.

    Parameters
    ----------
    chains : Dataset
        As `dvis.chains` gives it.
    checkpoint : str or int, optional
        Its label or place (default: the last that is there).
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such checkpoint, or no chain at it.
    SchemaError
        When it is no Dataset of chains.
    """
    at = chains_at(chains, checkpoint)
    at = at.assign(dead_share=at["n_dead"] / at["n_latents"].where(at["n_latents"] > 0))
    trends = chain_trends(at)
    figure, grid = subplots(ncols=3, nrows=2, figsize=(9.6, 5.4), layout="constrained")
    for axes, panel in zip(grid.ravel(), _PANELS, strict=True):
        _draw_panel(axes, at, panel)
        trend = trends.sel({STATISTIC: panel.trend or panel.name})
        axes.set_title(f"{panel.title}\n{_trend_text(trend)}", loc="left", fontsize=7.5)
    numbers = at["n_latents"].max(SEED).values
    ticks = [
        f"{depth}\n{n if n >= 0 else 'none'}"
        for depth, n in zip(at[DEPTH].values.tolist(), numbers.tolist(), strict=True)
    ]
    for axes in grid.ravel():
        axes.set_xticks(at[DEPTH].values, ticks)
        axes.set_xlim(-0.3, at.sizes[DEPTH] - 0.7)
        axes.tick_params(labelsize=7)
        without_box(axes)
    for axes in grid[-1]:
        axes.set_xlabel("depth, and its latents", fontsize=7.5)
    on, other = chains.attrs[ON], str(at[CONTROL].values[1])
    title = f"{counted(at.sizes[SEED], 'chain')} on {ON_WHAT[on]}: {layer_of(chains)}, "
    title += f"{name_in_layer(chains)}, {moment_name(at)}"
    read = chains.attrs.get(READ_WITH)
    headline(
        figure,
        title,
        f"thin: seeds, which share level 0; {null_note('labels shuffled')} (class statistics), or "
        f"the range over seeds of {other}; dots: {other}; dashes: an autoencoder as wide on "
        "activations",
        _rows_note(on),
        f"images of {read}" if read else "",
        f"cannot tell {chains.attrs.get('cannot_tell', '')}",
        *dict.fromkeys(filter(None, map(str, at["stopped"].values.tolist()))),
        origin_of(chains),
    )
    return saved(figure, path)


def chains_at(chains: xr.Dataset, checkpoint: str | int | None) -> xr.Dataset:
    """Chains at a checkpoint, in memory but for their weights; by default at the last there is.

    Raises
    ------
    ValueError
        When there is no such checkpoint, or no chain at it.
    SchemaError
        When it is no Dataset of chains.
    """
    require(chains, "n_latents", "parent", "status", labels=(SEED, DEPTH), advice=ADVICE)
    some = chains.drop_vars(WEIGHTS, errors="ignore")
    some = some if CHECKPOINT in chains.dims else some.expand_dims(CHECKPOINT)
    is_there = some["status"].values == Status.COMPLETE
    if not is_there.any():
        raise ValueError(
            f"No chain of {layer_of(chains)}, {name_in_layer(chains)} is there; run the same "
            "`dvis sae chain` again"
        )
    there = some.isel({CHECKPOINT: is_there})
    at = there.isel({CHECKPOINT: -1}) if checkpoint is None else at_checkpoint(there, checkpoint)
    return at.load()


def _draw_panel(axes: "Axes", at: xr.Dataset, panel: _Panel) -> None:
    """A number over depth."""
    values, depths = at[panel.name].transpose(CONTROL, SEED, DEPTH), at[DEPTH].values
    value, other, beside = (values.values[row] for row in range(3))
    null = at.get(f"null_{panel.name}")
    if null is not None:
        low, high = _quantiles(null.mean(SEED).transpose(SHUFFLE, DEPTH).values)
        draw_null(axes, depths, low, high)
        axes.plot(depths, _mean(other), color="0.35", lw=1, ls=":", marker=".", ms=3)
    else:
        draw_null(axes, depths, *_range(other))
    if panel.has_beside:
        axes.plot(depths, _mean(beside), color=_BESIDE, lw=1, ls="--", marker=".", ms=3)
    for row in value:
        axes.plot(depths, row, color=_VALUE, lw=0.6, alpha=0.6)
    axes.plot(depths, _mean(value), color=_VALUE, lw=1.6, marker="o", ms=3.5)
    known = value[np.isfinite(value)]
    if len(known) and known.min() >= 0:
        axes.set_ylim(0, None)


def _trend_text(trend: xr.Dataset) -> str:
    """Correlation with depth and its p, or why there is none."""
    correlation, p_value = float(trend["correlation"]), float(trend["p_value"])
    if np.isnan(correlation):
        return "from level 1 on the same at all depths"
    if np.isnan(p_value):
        return f"from level 1 on ρ {correlation:+.2f}; no p: it could not be below 0.05"
    return f"from level 1 on ρ {correlation:+.2f}, p {p_value:.2g}"


def _rows_note(on: str) -> str:
    if on == "codes":
        return ""
    return "level 0 explains activations, levels below it decoder rows"


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over seeds of those that are known, (depth,)."""
    known = np.isfinite(values)
    count = known.sum(0)
    mean: np.ndarray = np.where(known, values, 0).sum(0) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def _range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest of seeds, (depth,), NaN where none is known."""
    known = np.isfinite(values)
    low, high = (np.where(known, values, end) for end in (np.inf, -np.inf))
    is_known = known.any(0)
    return np.where(is_known, low.min(0), np.nan), np.where(is_known, high.max(0), np.nan)


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Ends of 90 % of shuffles, (bound, depth), NaN where they are not known."""
    out = np.full((2, values.shape[1]), np.nan)
    is_known = np.isfinite(values).all(0)
    if is_known.any():
        out[:, is_known] = np.quantile(values[:, is_known], _BAND, axis=0)
    return out
