"""What pictures run over: checkpoints in training order, training steps, real time or epochs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from dvis.plots.ticks import name_ticks, short_name
from dvis.schema import CHECKPOINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

XAxis = Literal["checkpoint", "step", "time", "epoch"]
Scale = Literal["auto", "linear", "log"]
X_AXES: tuple[XAxis, ...] = get_args(XAxis)

_TICK_INCHES = 0.6
_DIGIT_INCHES = 0.09
_MOST_TICKS = 9
# In up to two minutes, hours, days or years matplotlib's longest step is half of one: where that
# makes too many ticks, as five do of fewer, it warns.
_LEAST_DATE_TICKS, _MOST_DATE_TICKS = 5, 8
# Decades that the stretch from 0 to the first positive step takes on a logarithmic axis.
_ZERO_DECADES = 0.5


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """Where checkpoints stand on an axis, in the axis' order; those of unknown place are not on it.

    Attributes
    ----------
    name : {"checkpoint", "step", "time", "epoch"}
        What the axis shows.
    label : str
        Its label.
    is_log : bool
        Whether it is logarithmic; from 0 to the first positive position it is linear.
    places : ndarray of int
        Places of the checkpoints along the Dataset's dimension.
    positions : ndarray of float
        Where they stand, increasing; times as matplotlib's days.
    labels : list of str
        Their labels.
    names : list of str
        What to call each above an image.
    all_names : list of str
        What all the Dataset's checkpoints are called.
    note : str
        What a reader has to know of checkpoints that are left out or lie on one another.
    """

    name: XAxis
    label: str
    is_log: bool
    places: np.ndarray
    positions: np.ndarray
    labels: list[str]
    names: list[str]
    all_names: list[str]
    note: str


def time_axis(dataset: xr.Dataset, x: XAxis, xscale: Scale = "auto") -> TimeAxis:
    """Places of a Dataset's checkpoints on an axis.

    Parameters
    ----------
    dataset : Dataset
        With the coordinate `checkpoint`, and `step`, `time` or `epoch` where that is asked for.
    x : {"checkpoint", "step", "time", "epoch"}
        What the axis shows. Epochs have fractions where the checkpoints' steps tell the batches
        in an epoch.
    xscale : {"auto", "linear", "log"}
        With "auto", steps are logarithmic where on a linear axis half of the checkpoints would lie
        in its first tenth.

    Raises
    ------
    ValueError
        When there is no such axis, no checkpoint has a known place on it, or all have the same;
        or when real time or the checkpoints' order are to be logarithmic.
    """
    if x not in X_AXES or (x != CHECKPOINT and x not in dataset.coords):
        there = [repr(name) for name in X_AXES if name in dataset.coords]
        raise ValueError(f"x is {x!r}; it can be {', '.join(there[:-1])} or {there[-1]}")
    require_scale("xscale", xscale)
    if xscale == "log" and x in (CHECKPOINT, "time"):
        raise ValueError(f"{x} has no logarithmic scale; take x='step' or x='epoch' for one")
    labels = _labels_of(dataset)
    positions = _positions(dataset, x)
    known = np.flatnonzero(~np.isnan(positions))
    if not len(known):
        raise ValueError(f"{x} is not known for any of these checkpoints; take x='checkpoint'")
    places = known[np.argsort(positions[known], kind="stable")]
    positions = positions[places]
    if len(labels) > 1 and positions[0] == positions[-1]:
        raise ValueError(
            f"All checkpoints with a known {x} have the same; take x='checkpoint' or x='step'"
        )
    moments = moment_names(dataset)
    return TimeAxis(
        name=x,
        label=str(dataset[x].attrs.get("long_name", x)),
        is_log=xscale == "log" or (xscale == "auto" and x == "step" and _is_dense_early(positions)),
        places=places,
        positions=positions,
        labels=[labels[place] for place in places],
        names=_names(x, positions, [moments[place] for place in places]),
        all_names=moments,
        note=_note(x, positions, len(labels)),
    )


def moment_names(dataset: xr.Dataset) -> list[str]:
    """What every picture calls the checkpoints: by their steps, else by their short names.

    Steps tell them apart where all are known and no two are the same; "~" marks estimated ones.
    """
    labels = _labels_of(dataset)
    if "step" in dataset.coords and dataset["step"].shape in ((), (len(labels),)):
        steps = np.atleast_1d(dataset["step"].values).astype(float)
        if np.isfinite(steps).all() and len(np.unique(steps)) == len(labels):
            is_estimated = "estimated" in str(dataset["step"].attrs.get("long_name", ""))
            return [f"step {'~' if is_estimated else ''}{step:,.0f}" for step in steps]
    return [short_name(label) for label in labels]


def moment_name(dataset: xr.Dataset, label: str | None = None) -> str:
    """What pictures call one of a Dataset's checkpoints; without a label, the only one."""
    names = dict(zip(_labels_of(dataset), moment_names(dataset), strict=True))
    if label is None:
        (name,) = names.values()
        return name
    return names.get(label, short_name(label))


def require_scale(name: str, scale: str) -> None:
    """Raise where a scale is none of those that there are.

    Raises
    ------
    ValueError
        When there is no such scale.
    """
    if scale not in get_args(Scale):
        raise ValueError(f"{name} is {scale!r}; it can be 'auto', 'linear' or 'log'")


def show_axis(axes: "Axes", axis: TimeAxis, inches: float, which: Literal["x", "y"] = "x") -> None:
    """Give axes the scale, ticks and label of a time axis that is `inches` long."""
    from matplotlib import ticker

    side: Any = axes.xaxis if which == "x" else axes.yaxis
    side.set_label_text(axis.label)
    if axis.name == CHECKPOINT:
        locator, formatter = name_ticks(axis.all_names, which)
        side.set_major_locator(locator)
        side.set_major_formatter(formatter)
        side.set_tick_params(labelsize=8)
    elif axis.name == "time":
        _show_dates(side, inches)
    elif axis.is_log:
        _show_log(axes, side, axis.positions, inches, which)
    else:
        room = max(2, int(inches / _TICK_INCHES))
        side.set_major_locator(
            ticker.MaxNLocator(
                min(room, _MOST_TICKS), steps=[1, 2, 5, 10], integer=axis.name == "step"
            )
        )
        side.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))


def cell_edges(axes: "Axes", positions: np.ndarray, which: Literal["x", "y"] = "x") -> np.ndarray:
    """Borders halfway between positions, as the axes' scale sees them; one more than positions."""
    side: Any = axes.xaxis if which == "x" else axes.yaxis
    transform = side.get_transform()
    seen = np.asarray(transform.transform(positions), float)
    middles = (seen[1:] + seen[:-1]) / 2
    steps = np.diff(seen) if len(seen) > 1 else np.ones(1)
    first, last = steps[steps > 0][[0, -1]]
    edges = np.concatenate([[seen[0] - first / 2], middles, [seen[-1] + last / 2]])
    return np.asarray(transform.inverted().transform(edges), float)


def _labels_of(dataset: xr.Dataset) -> list[str]:
    return [str(label) for label in np.atleast_1d(dataset[CHECKPOINT].values)]


def _positions(dataset: xr.Dataset, x: XAxis) -> np.ndarray:
    """Place of each checkpoint, NaN where it is not known."""
    n = np.atleast_1d(dataset[CHECKPOINT].values).size
    if x == CHECKPOINT:
        return np.arange(n, dtype=float)
    if dataset[x].dims not in ((CHECKPOINT,), ()):
        raise ValueError(f"{x} has the dimensions {dataset[x].dims}, not one place a checkpoint")
    values = np.atleast_1d(dataset[x].values)
    if x == "time":
        from matplotlib.dates import date2num

        known = ~np.isnat(values)
        days = np.full(n, np.nan)
        days[known] = date2num(values[known])  # type: ignore[no-untyped-call]
        return days
    return _epochs(dataset) if x == "epoch" else values.astype(float)


def _epochs(dataset: xr.Dataset) -> np.ndarray:
    """Epochs, with fractions where steps tell how many batches an epoch has."""
    epochs = np.atleast_1d(dataset["epoch"].values).astype(float)
    if "step" not in dataset.coords or "batch" not in dataset.coords:
        return epochs
    steps, batches = (
        np.atleast_1d(dataset[name].values).astype(float) for name in ("step", "batch")
    )
    telling = (epochs > 0) & ~np.isnan(steps) & ~np.isnan(batches)
    in_an_epoch = np.unique((steps[telling] - batches[telling]) / epochs[telling])
    if len(in_an_epoch) != 1 or in_an_epoch[0] <= 0 or np.isnan(steps[~np.isnan(epochs)]).any():
        return epochs
    return np.array(steps / in_an_epoch[0])


def _is_dense_early(positions: np.ndarray) -> bool:
    span = positions[-1] - positions[0]
    return len(positions) > 3 and bool(np.median(positions) - positions[0] < span / 10)


def _names(x: XAxis, positions: np.ndarray, moments: list[str]) -> list[str]:
    if x == "step":
        return [f"step {position:,.0f}" for position in positions]
    if x == "epoch":
        return [f"epoch {position:.3g}" for position in positions]
    if x == "time":
        from matplotlib.dates import num2date

        return [f"{num2date(position):%Y-%m-%d %H:%M}" for position in positions]  # type: ignore[no-untyped-call]
    return moments


def _note(x: XAxis, positions: np.ndarray, n: int) -> str:
    notes = []
    if len(positions) < n:
        notes.append(f"{len(positions)} of {n} checkpoints have a known {x}")
    shared = len(positions) - len(np.unique(positions))
    if shared:
        notes.append(f"{shared} of {n} checkpoints have the {x} of the one before")
    return "; ".join(notes)


def _show_dates(side: Any, inches: float) -> None:
    from matplotlib.dates import DAILY, AutoDateLocator, ConciseDateFormatter

    side.axis_date()
    room = int(np.clip(inches / _TICK_INCHES, _LEAST_DATE_TICKS, _MOST_DATE_TICKS))
    locator = AutoDateLocator(minticks=2, maxticks=room)  # type: ignore[no-untyped-call]
    # Every second day would be the 31st and then the 1st, on top of one another.
    locator.intervald[DAILY] = [1, 4, 7, 14]
    side.set_major_locator(locator)
    side.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    side.get_offset_text().set_fontsize(8)


def _show_log(
    axes: "Axes", side: Any, positions: np.ndarray, inches: float, which: Literal["x", "y"]
) -> None:
    from matplotlib import ticker

    smallest = positions[positions > 0].min()
    set_scale = axes.set_xscale if which == "x" else axes.set_yscale
    if positions[0] > 0:
        set_scale("log")
    else:
        set_scale("symlog", linthresh=smallest, linscale=_ZERO_DECADES)
    major, minor = _log_ticks(positions[0], smallest, positions[-1], inches)
    side.set_major_locator(ticker.FixedLocator(major))
    side.set_minor_locator(ticker.FixedLocator(minor))
    side.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
    side.set_minor_formatter(ticker.NullFormatter())


def _log_ticks(
    first: float, smallest: float, last: float, inches: float
) -> tuple[list[float], list[float]]:
    """Major and minor ticks: powers of ten, as many as fit; 1, 2 and 5 where those are few.

    Examples
    --------
    >>> _log_ticks(0, 1, 250, 5.0)[0]
    [0.0, 1.0, 10.0, 100.0]
    >>> _log_ticks(20, 20, 700, 5.0)[0]
    [20.0, 50.0, 100.0, 200.0, 500.0]
    """
    exponents = range(int(np.floor(np.log10(smallest))), int(np.ceil(np.log10(last))) + 1)
    all_ticks = [digit * 10.0**exponent for exponent in exponents for digit in range(1, 10)]
    inside = [tick for tick in all_ticks if smallest <= tick <= last]
    powers = [tick for tick in inside if f"{tick:e}"[0] == "1"]
    few = len(powers) < 3
    chosen = [tick for tick in inside if f"{tick:e}"[0] in "125"] if few else powers
    widest = 0.2 + _DIGIT_INCHES * len(f"{last:,.0f}")
    every = int(np.ceil(len(chosen) * widest / inches)) or 1
    zero = [0.0] if first <= 0 else []
    major = zero + chosen[::every]
    return major, [tick for tick in inside if tick not in major]
