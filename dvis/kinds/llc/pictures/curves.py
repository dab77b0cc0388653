"""Curves of the local learning coefficient over checkpoints: read, and drawn with their band."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.kinds.llc.analysis.settling import MAX_RHAT, are_coarse
from dvis.kinds.llc.pictures.traces import BAD_COLOR
from dvis.kinds.llc.words import (
    ALL_PARAMETERS,
    CELL_DIMS,
    EPSILON,
    GAMMA,
    PARAMETERS,
    SHOWN_ERRORS,
)
from dvis.plots.canvas import Color
from dvis.plots.time_axis import TimeAxis
from dvis.schema import CHECKPOINT, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FOOT = 0.035  # of the panel's height
_ESTIMATE = "Estimate it with `dvis llc estimate`, and open it with dvis.llc"


@dataclass(frozen=True, kw_only=True)
class LlcCurve:
    """An LLC over checkpoints, in the Dataset's order.

    Attributes
    ----------
    parameters : str
        Whose; "" where the Dataset does not say.
    epsilon, gamma : float
        Step size and localisation; NaN where the Dataset does not say.
    llc, error : ndarray of float, (checkpoint,)
        The LLC and its standard error; NaN where there is none.
    n_diverged : ndarray of int, (checkpoint,)
        Diverged chains.
    is_unsettled : ndarray of bool, (checkpoint,)
        Whether chains have not settled, or disagree; false where the Dataset does not say.
    """

    parameters: str
    epsilon: float
    gamma: float
    llc: np.ndarray
    error: np.ndarray
    n_diverged: np.ndarray
    is_unsettled: np.ndarray

    @property
    def has_error(self) -> bool:
        """Whether some standard error is known."""
        return bool(np.isfinite(self.error).any())


def read_llc(dataset: xr.Dataset) -> list[LlcCurve]:
    """Curves of all parameters, epsilons and gammas, in the Dataset's order.

    Raises
    ------
    SchemaError
        When the Dataset has no LLC.
    ValueError
        When the LLC has other dimensions, or there is none to draw.
    """
    require(dataset, "llc", labels=(CHECKPOINT,), advice=_ESTIMATE)
    others = [str(dim) for dim in dataset["llc"].dims if dim not in CELL_DIMS]
    if others:
        raise ValueError(f"llc runs over {', '.join(others)} too; choose one of each")
    dataset = _with_plain_names(dataset)
    names = ("llc", "llc_se", "rhat", "n_diverged", "is_settled", "step_bias")
    table = dataset[[name for name in names if name in dataset]]
    for dim in CELL_DIMS:
        if dim not in table.dims:
            table = table.expand_dims(dim)
    table = table.transpose(PARAMETERS, EPSILON, GAMMA, CHECKPOINT).load()
    missing = np.full(table["llc"].shape, np.nan)
    columns = {name: table[name].values if name in table else missing for name in names}
    curves = [
        LlcCurve(
            parameters=str(_label(table, PARAMETERS, place[0], "")),
            epsilon=float(_label(table, EPSILON, place[1], np.nan)),
            gamma=float(_label(table, GAMMA, place[2], np.nan)),
            llc=columns["llc"][place].astype(float),
            error=columns["llc_se"][place].astype(float),
            n_diverged=np.nan_to_num(columns["n_diverged"][place]).astype(int),
            is_unsettled=_is_unsettled({name: of[place] for name, of in columns.items()}),
        )
        for place in np.ndindex(missing.shape[:-1])
    ]
    known = [curve for curve in curves if np.isfinite(curve.llc).any() or curve.n_diverged.any()]
    if not known:
        raise ValueError("No checkpoint has an LLC yet; estimate it with `dvis llc estimate`")
    return known


def _is_unsettled(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where chains have not settled, disagree whatever else is said, or took coarse steps."""
    is_doubtful = (columns["is_settled"] == 0) | (columns["rhat"] > MAX_RHAT)
    is_doubtful |= are_coarse(columns["step_bias"].astype(float), columns["llc_se"].astype(float))
    return np.asarray(is_doubtful & np.isfinite(columns["llc"]))


def _with_plain_names(dataset: xr.Dataset) -> xr.Dataset:
    """With `is_settled` and `step_bias` where `dvis.open` joined them under longer names."""
    names = ("is_settled", "step_bias")
    joined = {name: f"llc_{name}" for name in names if name not in dataset}
    return dataset.assign({name: dataset[long] for name, long in joined.items() if long in dataset})


def settings_name(curve: LlcCurve, others: list[LlcCurve]) -> str:
    """Gamma of a curve, and its epsilon where curves differ in it."""
    names = [f"γ = {curve.gamma:g}"] if np.isfinite(curve.gamma) else []
    if len({other.epsilon for other in others}) > 1:
        names.append(f"ε = {curve.epsilon:g}")
    return ", ".join(names) or "LLC"


def of_parameters(curves: list[LlcCurve], parameters: str | None) -> list[LlcCurve]:
    """The curves of one choice of parameters: by default of all, else of the first.

    Raises
    ------
    ValueError
        When there are no such parameters.
    """
    there = list(dict.fromkeys(curve.parameters for curve in curves))
    if parameters is None:
        parameters = ALL_PARAMETERS if ALL_PARAMETERS in there else there[0]
    if parameters not in there:
        raise ValueError(did_you_mean("parameters", parameters, there, "this Dataset"))
    return [curve for curve in curves if curve.parameters == parameters]


def draw_curve(
    axes: "Axes", axis: TimeAxis, curve: LlcCurve, color: Color, label: str, size: float = 14
) -> None:
    """Draw an LLC with its band and what is not to be trusted of it.

    Points whose chains have not settled are hollow diamonds, a red cross is where chains diverged:
    at the foot, in the curve's colour, where none is left, and there the line is broken.
    """
    n_diverged, llc, error, is_unsettled = (
        each[axis.places] for each in (curve.n_diverged, curve.llc, curve.error, curve.is_unsettled)
    )
    across, known = axis.positions, np.isfinite(llc)
    shown = known | (n_diverged > 0)
    width = SHOWN_ERRORS * np.nan_to_num(error)
    low, high = llc - width, llc + width
    axes.fill_between(across[shown], low[shown], high[shown], color=color, alpha=0.2, lw=0)
    axes.plot(across[shown], llc[shown], color=color, lw=1.6, label=label)
    points: dict[str, Any] = {"s": size, "edgecolor": color, "lw": 1.0, "zorder": 3}
    for chosen, face, marker in (
        (known & ~is_unsettled, color, "o"),
        (known & is_unsettled, "white", "D"),
    ):
        if chosen.any():
            axes.scatter(across[chosen], llc[chosen], facecolor=face, marker=marker, **points)
    cross: dict[str, Any] = {"lw": 0, "ms": 7, "mec": BAD_COLOR, "label": "_", "zorder": 5}
    some, none = known & (n_diverged > 0), ~known & (n_diverged > 0)
    if some.any():
        axes.plot(across[some], llc[some], "x", mew=1.8, **cross)
    if none.any():
        feet = np.full(none.sum(), _FOOT)
        foot = axes.get_xaxis_transform()
        axes.plot(across[none], feet, "X", mfc=color, transform=foot, **cross)


def say_if_none(axes: "Axes", axis: TimeAxis, curves: list[LlcCurve]) -> None:
    """Say in a panel without an LLC that it has none, and whether that is for divergence."""
    if any(np.isfinite(curve.llc[axis.places]).any() for curve in curves):
        return
    is_lost = any(curve.n_diverged[axis.places].any() for curve in curves)
    text = f"no LLC: {'all chains diverged' if is_lost else 'no chain is done'}"
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.5")
    axes.set_yticks([])


def doubts(panels: list["Axes"], axis: TimeAxis, curves: list[LlcCurve]) -> list[str]:
    """Show where 0 is, and what is below it, in panels of curves; return what their marks mean."""
    llc, n_diverged, is_unsettled = (
        np.concatenate([getattr(curve, name)[axis.places] for curve in curves])
        for name in ("llc", "n_diverged", "is_unsettled")
    )
    n_below, n_lost = int((llc < 0).sum()), int(n_diverged.sum())
    for axes in panels:
        if axes.get_yscale() == "linear":
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, 0.0), high)
            axes.axhline(0, color="0.6", lw=0.8, zorder=1)
            if n_below:
                axes.axhspan(min(low, 0.0), 0, color=BAD_COLOR, alpha=0.07, lw=0, zorder=0)
    return [
        note
        for note, is_needed in (
            (
                "diamond: chains have not settled, or their steps are coarse",
                is_unsettled.any(),
            ),
            (f"red ground: {_several(n_below, 'LLC')} below 0, no minimum there", n_below),
            (f"red cross: {_several(n_lost, 'diverged chain')}, left out", n_lost),
        )
        if is_needed
    ]


def _several(n: int, name: str) -> str:
    return f"{n} {name}" if n == 1 else f"{n} {name}s"


def _label(table: xr.Dataset, dim: str, place: int, missing: Any) -> Any:
    return table[dim].values[place] if dim in table.coords else missing
