"""Change points of the local learning coefficient against births of features."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.llc_and_births import births_at_llc_changes
from dvis.kinds.llc.analysis.settling import are_coarse
from dvis.kinds.llc.pictures.traces import BAD_COLOR, LLC_COLOR
from dvis.kinds.llc.words import SHOWN_ERRORS
from dvis.plots.canvas import headline, layer_colors, saved, subplots, without_box
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, TimeAxis, XAxis, cell_edges, show_axis, time_axis
from dvis.plots.trajectories import show_depth
from dvis.schema import CHECKPOINT, LAYER, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_LEGEND = 12
_LEVEL = 0.05  # of the test, above which a title claims nothing


@documented
def llc_and_births(
    dataset: xr.Dataset,
    *,
    llc: str | xr.DataArray = "llc",
    variable: str | xr.DataArray | None = None,
    births: xr.Dataset | None = None,
    changes: xr.Dataset | None = None,
    tolerance: float = 1,
    window: int | None = None,
    n_permutations: int = 9_999,
    seed: int = 0,
    x: XAxis = "step",
    xscale: Scale = "auto",
    path: str | Path | None = None,
) -> "Figure":
    """The LLC with its change points, above how many features are born at each checkpoint.

    A red line is the first checkpoint after an abrupt change of the LLC; the change lies between
    it and the checkpoint before, which is shaded. Bars are births, a colour a layer, the darker the
    earlier. How many births are together with a change, and how often as many are with changes at
    random checkpoints, is in the title and the margin.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, with `llc` and `llc_se` where the store has them.
    llc, variable, births, changes, tolerance, window, n_permutations, seed : optional
        As for `ds.dvis.births_at_llc_changes`, which counts and tests.
    {x}
    {xscale}
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError, SchemaError, KeyError
        As `births_at_llc_changes` does, and when there are no known values on the x axis.
    """
    found = births_at_llc_changes(
        dataset,
        llc=llc,
        variable=variable,
        births=births,
        changes=changes,
        tolerance=tolerance,
        window=window,
        n_permutations=n_permutations,
        seed=seed,
    )
    shown = _with_places(found, dataset)
    axis = time_axis(shown, x, xscale)
    figure, (above, below) = subplots(
        nrows=2,
        figsize=(7.2, 5.0),
        height_ratios=(1.3, 1),
        sharex=True,
        layout="constrained",
    )
    for axes in (above, below):
        show_axis(axes, axis, inches=5.0)
        without_box(axes)
    above.set_xlabel("")
    edges = cell_edges(above, axis.positions)
    _draw_llc(above, axis, shown, dataset, llc)
    _draw_births(below, axis, shown, edges)
    _draw_changes((above, below), axis, shown)
    scale = above.xaxis.get_transform()
    first, last = scale.transform(axis.positions[[0, -1]])
    room = 0.03 * (last - first)
    above.set_xlim(*scale.inverted().transform(np.array([first - room, last + room])))
    is_doubtful = _unsettled(dataset, axis.labels, llc) & np.isfinite(shown["llc"][axis.places])
    doubt = (
        "diamond: chains have not settled, or their steps are coarse" if is_doubtful.any() else ""
    )
    headline(figure, _title(found), origin_of(dataset), axis.note, *_notes(found), doubt)
    return saved(figure, path)


def _with_places(found: xr.Dataset, dataset: xr.Dataset) -> xr.Dataset:
    """Numbers over checkpoints, with whatever the Dataset says of where these stand."""
    series = found[["llc", "is_llc_change", "n_born"]]
    labels = series[CHECKPOINT].values
    places = dataset.drop_vars([str(name) for name in dataset.data_vars])
    if not set(labels.tolist()) <= set(places[CHECKPOINT].values.tolist()):
        return series
    of_checkpoints = {
        name: places[name].sel({CHECKPOINT: labels}).variable
        for name, each in places.coords.items()
        if each.dims == (CHECKPOINT,)
    }
    return series.assign_coords(of_checkpoints)


def _draw_llc(
    axes: "Axes", axis: TimeAxis, shown: xr.Dataset, dataset: xr.Dataset, llc: str | xr.DataArray
) -> None:
    values = shown["llc"].values[axis.places]
    if isinstance(llc, str) and llc == "llc":
        _draw_band(axes, axis, values, dataset)
    is_known = np.isfinite(values)
    at, known = axis.positions[is_known], values[is_known]
    axes.plot(at, known, color=LLC_COLOR, lw=1.8, marker=".", ms=5)
    is_unsettled = _unsettled(dataset, axis.labels, llc)[is_known]
    axes.plot(at[is_unsettled], known[is_unsettled], "D", color=LLC_COLOR, mfc="white", ms=5)
    axes.set_ylabel("LLC")
    if known.min() < 0:
        axes.axhline(0, color="0.6", lw=0.8)


def _unsettled(dataset: xr.Dataset, labels: list[str], llc: str | xr.DataArray) -> np.ndarray:
    """Where the LLC that `dvis.open` joined has not settled, or is of coarse steps."""
    if not (isinstance(llc, str) and llc == "llc") or "llc_is_settled" not in dataset:
        return np.zeros(len(labels), bool)
    own = dataset.sel({CHECKPOINT: labels})
    is_unsettled = ~own["llc_is_settled"].values.astype(bool)
    if "llc_step_bias" in own:
        is_unsettled |= are_coarse(own["llc_step_bias"].values, own["llc_se"].values)
    return is_unsettled


def _draw_band(axes: "Axes", axis: TimeAxis, values: np.ndarray, dataset: xr.Dataset) -> None:
    if "llc_se" not in dataset or dataset["llc_se"].dims != (CHECKPOINT,):
        return
    error = dataset["llc_se"].sel({CHECKPOINT: axis.labels}).values
    is_known = np.isfinite(values)
    known, width = values[is_known], SHOWN_ERRORS * np.nan_to_num(error.astype(float))[is_known]
    at = axis.positions[is_known]
    axes.fill_between(at, known - width, known + width, color=LLC_COLOR, alpha=0.18, lw=0)


def _draw_births(axes: "Axes", axis: TimeAxis, shown: xr.Dataset, edges: np.ndarray) -> None:
    """Bars of births, stacked by layer, as wide as half of the way to the neighbours."""
    from matplotlib.ticker import MaxNLocator

    counts = (
        shown["n_born"] if LAYER in shown["n_born"].dims else shown["n_born"].expand_dims(LAYER)
    )
    counts = counts.transpose(LAYER, CHECKPOINT)
    layers = (
        [str(layer) for layer in counts[LAYER].values] if LAYER in counts.coords else ["births"]
    )
    colors = layer_colors(layers)
    floor = np.zeros(len(axis.positions))
    widths = np.diff(edges)
    for layer, of_layer in zip(layers, counts.values, strict=True):
        height = of_layer[axis.places]
        bars: dict[str, Any] = {"color": colors[layer], "label": plain(layer)}
        axes.bar(edges[:-1], height, widths, floor, align="edge", ec="white", lw=0.4, **bars)
        floor += height
    axes.set_ylabel("births")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    if not floor.any():
        text = "no feature is born at these checkpoints"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color="0.5", fontsize=8)
    elif len(layers) > _MAX_LEGEND:
        show_depth(axes, layers)
    elif len(layers) > 1:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))


def _draw_changes(panels: tuple["Axes", ...], axis: TimeAxis, shown: xr.Dataset) -> None:
    """A line at each change, and shade from the LLC before, in all panels."""
    is_known = np.isfinite(shown["llc"].values[axis.places])
    at = axis.positions[is_known]
    is_change = shown["is_llc_change"].values[axis.places][is_known]
    for place in np.flatnonzero(is_change).tolist():
        for axes in panels:
            axes.axvspan(
                at[max(place - 1, 0)], at[place], color=BAD_COLOR, alpha=0.12, lw=0, zorder=0
            )
            axes.axvline(at[place], color=BAD_COLOR, lw=1.2, zorder=1)


def _title(found: xr.Dataset) -> str:
    n, n_together = int(found["n_changes"]), int(found["n_together"])
    if not found["is_llc_change"].any():
        return "The LLC has no abrupt change"
    if not n:
        return "No birth of a known step"
    counted_births, p_value = f"{n_together} of {n} births", float(found["p_value"])
    if np.isnan(p_value):
        return f"{counted_births} are near a change of the LLC; by chance is not known"
    if p_value > _LEVEL:
        return f"Births are near changes of the LLC no more than by chance ({counted_births})"
    return f"{counted_births} are near a change of the LLC, more than by chance"


def _notes(found: xr.Dataset) -> list[str]:
    tolerance, window = found.attrs["tolerance"], found.attrs["window"]
    near = f"near: at most {counted(tolerance, 'checkpoint')} away"
    if np.isnan(found["p_value"]):
        return [near, *([f"no p: {found.attrs['why_no_p']}"] if found.attrs["why_no_p"] else [])]
    low, high = found["null_n_pairs"].values
    test = (
        f"pairs of a birth and a change that are near: {int(found['n_pairs'])}; "
        f"{low:g} to {high:g} with changes moved by up to {window} checkpoints "
        f"(p = {float(found['p_value']):.3g})"
    )
    return ["red: changes of the LLC", near, test]
