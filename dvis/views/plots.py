"""Timelines, trajectories and grids: what a unit looks like and does over training.

A Dataset of `dvis.open` in, a matplotlib figure out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from dvis.schema import CHANNEL, CHECKPOINT, LAYER, Status
from dvis.ticks import plain, short_name, show_names_readably
from dvis.views.selection import (
    at_checkpoint,
    at_layer,
    known_channels,
    listed,
    measured,
    one_unit,
    origin_of,
    require,
    units_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

XAxis = Literal["checkpoint", "step", "time", "epoch"]
_MAX_LEGEND = 10
_CELL_INCHES = 1.15
_TITLE_INCHES = 0.36
_FRAMES = {Status.INCOMPLETE: "tab:orange", Status.FAILED: "tab:red"}


def trajectory(
    dataset: xr.Dataset,
    layer: str | Sequence[str] | slice | None = None,
    channel: int | Sequence[int] | slice | None = None,
    *,
    x: XAxis = "checkpoint",
    variable: str = "activation",
    path: str | Path | None = None,
) -> "Figure":
    """Curves of a scalar over training, one for each of one or many units.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it.
    layer, channel : str and int, or sequences or slices of them, optional
        Units to draw: every channel named of every layer named; all where none is.
    x : {"checkpoint", "step", "time", "epoch"}
        What the curves run over.
    variable : str
        Scalar with dims (checkpoint, layer, channel).
    path : str or Path, optional
        File to save the figure in; its ending tells the format.

    Returns
    -------
    matplotlib Figure
        With more than 10 units the curves are thin and their median is drawn over them.

    Raises
    ------
    ValueError
        When the Dataset has no such layer, channel, variable or x axis with known values.
    SchemaError
        When it is no Dataset of feature images.
    """
    require(dataset, variable, "status")
    units = units_of(dataset, listed(dataset, LAYER, layer), listed(dataset, CHANNEL, channel))
    values, names = _curves(dataset, variable, units)
    figure, axes = _subplots(figsize=(6.4, 3.8), layout="constrained")
    positions = _x_values(dataset, x)
    _draw_curves(axes, positions, values, names, units)
    if len(units) > 1:
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    if x == "time":
        _show_dates(axes)
    axes.set_xlabel(dataset[x].attrs.get("long_name", x))
    axes.set_ylabel(dataset[variable].attrs.get("long_name", variable))
    n_known = int((~_missing(positions)).sum())
    note = f"{n_known} of {len(positions)} checkpoints have a known {x}"
    origin = origin_of(dataset) + (f"; {note}" if n_known < len(positions) else "")
    axes.set_title(_title(units, names), loc="left", fontsize="medium")
    figure.supxlabel(origin, fontsize=7, color="0.4", x=0.01, ha="left")
    axes.spines[["top", "right"]].set_visible(False)
    return _saved(figure, path)


def timeline(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    max_images: int = 24,
    path: str | Path | None = None,
) -> "Figure":
    """Feature images of a unit in training order, each titled with its checkpoint and activation.

    An absent unit is an empty, hatched frame; an incomplete one has an orange frame and says what
    it lacks; a failed one is empty, with a red frame.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it.
    layer : str, optional
        The unit's layer; needed where the Dataset has several.
    channel : int, optional
        The unit's channel; needed where the Dataset has several.
    max_images : int
        How many checkpoints to show at most, evenly chosen, the first and the last among them.
    path : str or Path, optional
        File to save the figure in; its ending tells the format.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the Dataset has no such unit, or has several and none is named.
    SchemaError
        When it is no Dataset of feature images.
    """
    require(dataset, "image", "activation", "status")
    unit = one_unit(dataset, layer, channel)
    chosen = _evenly(unit.sizes[CHECKPOINT], max_images)
    shown = unit.isel({CHECKPOINT: chosen})
    titles = [plain(short_name(str(label))) for label in shown[CHECKPOINT].values]
    figure = _sheet(shown, titles, columns=min(len(chosen), 8))
    left_out = unit.sizes[CHECKPOINT] - len(chosen)
    note = f"   {len(chosen)} of {len(chosen) + left_out} checkpoints" if left_out else ""
    _headline(figure, _unit_name(unit), origin_of(dataset) + note)
    return _saved(figure, path)


def grid(
    dataset: xr.Dataset,
    checkpoint: str | int | None = None,
    layer: str | None = None,
    *,
    channels: Sequence[int] | None = None,
    max_images: int = 64,
    path: str | Path | None = None,
) -> "Figure":
    """Feature images of a layer's channels at one checkpoint, each titled with its activation.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it.
    checkpoint : str or int, optional
        The checkpoint's name, or its place in training order; the last one by default.
    layer : str, optional
        The layer; needed where the Dataset has several.
    channels : sequence of int, optional
        Channels to show; by default all that the layer has.
    max_images : int
        How many channels to show at most, evenly chosen.
    path : str or Path, optional
        File to save the figure in; its ending tells the format.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the Dataset has no such checkpoint, layer or channel.
    SchemaError
        When it is no Dataset of feature images.
    """
    require(dataset, "image", "activation", "status")
    there = at_checkpoint(dataset, checkpoint)
    of_layer = at_layer(there, layer)
    known = np.arange(int(of_layer["n_channels"])) if CHANNEL in of_layer.dims else None
    if known is None:
        of_layer = of_layer.expand_dims(CHANNEL)
        known = of_layer[CHANNEL].values
    if channels is None:
        wanted = measured(at_layer(dataset, layer), known)
    else:
        wanted = known_channels(of_layer, channels)
    wanted = wanted[np.isin(wanted, of_layer[CHANNEL].values)]
    chosen = wanted[_evenly(len(wanted), max_images)]
    shown = of_layer.sel({CHANNEL: chosen})
    columns = min(len(chosen), 8 if len(chosen) <= 40 else 12)
    figure = _sheet(shown, [f"channel {c}" for c in chosen], columns=columns)
    note = f"   {len(chosen)} of {len(wanted)} channels" if len(chosen) < len(wanted) else ""
    name = short_name(str(there[CHECKPOINT].values))
    _headline(figure, f"{of_layer[LAYER].item()}, {name}", origin_of(dataset) + note)
    return _saved(figure, path)


def _curves(
    dataset: xr.Dataset, variable: str, units: list[tuple[str, int]]
) -> tuple[list[np.ndarray], list[str]]:
    # A failed unit is not to be trusted, whatever is there of it.
    data = dataset[variable].where(dataset["status"] != Status.FAILED)
    for dim in (CHECKPOINT, LAYER, CHANNEL):
        if dim not in data.dims:
            data = data.expand_dims(dim)
    layers = list(dict.fromkeys(layer for layer, _ in units))
    channels = sorted({channel for _, channel in units})
    block = data.sel({LAYER: layers, CHANNEL: channels}).transpose(LAYER, CHANNEL, CHECKPOINT)
    values = block.values
    curves = [values[layers.index(layer), channels.index(c)] for layer, c in units]
    return curves, [f"{layer}, channel {channel}" for layer, channel in units]


def _title(units: list[tuple[str, int]], names: list[str]) -> str:
    if len(units) == 1:
        return plain(names[0])
    layers = {layer for layer, _ in units}
    if len(layers) == 1:
        return plain(f"{units[0][0]}, {len(units)} channels")
    return f"{len(units)} units of {len(layers)} layers"


def _missing(values: np.ndarray) -> np.ndarray:
    """Where positions on an axis are not known."""
    if values.dtype.kind == "M":
        return np.array(np.isnat(values))
    if values.dtype.kind != "f":
        return np.zeros(len(values), bool)
    return np.array(np.isnan(values))


def _x_values(dataset: xr.Dataset, x: str) -> np.ndarray:
    if x not in dataset.coords or dataset[x].dims not in ((CHECKPOINT,), ()):
        raise ValueError(f"x is {x!r}; it can be 'checkpoint', 'step', 'time' or 'epoch'")
    values = np.atleast_1d(dataset[x].values)
    if x == CHECKPOINT:
        show_names_readably(values.tolist())
    elif bool(_missing(values).all()):
        raise ValueError(f"{x} is not known for any of these checkpoints; take x='checkpoint'")
    return values


def _show_dates(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _draw_curves(
    axes: "Axes",
    positions: np.ndarray,
    values: list[np.ndarray],
    names: list[str],
    units: list[tuple[str, int]],
) -> None:
    many = len(units) > _MAX_LEGEND
    style: dict[str, Any] = {"lw": 0.6, "alpha": 0.5} if many else {"lw": 1.6, "marker": "."}
    layers = list(dict.fromkeys(layer for layer, _ in units))
    for curve, name, (of_layer, _) in zip(values, names, units, strict=True):
        color: dict[str, Any] = {"color": f"C{layers.index(of_layer) % 10}"} if many else {}
        axes.plot(positions, curve, label=plain(name), **style, **color)
    if many:
        _draw_medians(axes, positions, values, units, layers)


def _draw_medians(
    axes: "Axes",
    positions: np.ndarray,
    values: list[np.ndarray],
    units: list[tuple[str, int]],
    layers: list[str],
) -> None:
    for line in axes.get_lines():
        line.set_label("_")
    for i, layer in enumerate(layers):
        of_layer = np.array([v for v, unit in zip(values, units, strict=True) if unit[0] == layer])
        known = ~np.isnan(of_layer).all(0)
        median = np.full(of_layer.shape[1], np.nan)
        median[known] = np.nanmedian(of_layer[:, known], axis=0)
        label = plain(f"{layer}, median of {len(of_layer)}")
        axes.plot(positions, median, color=f"C{i % 10}", lw=2.4, label=label)


def _evenly(n: int, limit: int) -> np.ndarray:
    if limit < 1:
        raise ValueError(f"max_images is {limit}; it must be at least 1")
    if n < 1:
        raise ValueError("Nothing to show: no checkpoint or channel is chosen")
    return np.unique(np.linspace(0, n - 1, min(n, limit)).round().astype(int))


def _sheet(shown: xr.Dataset, titles: list[str], *, columns: int) -> "Figure":
    """Images of a Dataset with one dimension of units, in rows, titled."""
    unit_dim = shown["status"].dims[0]
    images = shown["image"].transpose(unit_dim, "y", "x", "rgb").values
    activations = shown["activation"].values
    status = shown["status"].values
    rows = -(-len(titles) // columns)
    figure: Figure
    figure, axes = _subplots(
        nrows=rows,
        ncols=columns,
        figsize=(columns * _CELL_INCHES + 0.1, rows * (_CELL_INCHES + _TITLE_INCHES) + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for i, cell in enumerate(axes.flat):
        if i < len(titles):
            _draw_unit(cell, images[i], Status(status[i]), float(activations[i]), titles[i])
        else:
            cell.set_axis_off()
    return figure


def _subplots(**arguments: Any) -> Any:
    import matplotlib.pyplot as plt  # takes longer to import than dvis

    return plt.subplots(**arguments)


def _draw_unit(
    cell: "Axes", image: np.ndarray, status: Status, activation: float, title: str
) -> None:
    # An incomplete unit lacks its image or its info; the fill value of an image is black.
    has_image = status is Status.COMPLETE or (status is Status.INCOMPLETE and bool(image.any()))
    cell.set_xticks([])
    cell.set_yticks([])
    if has_image:
        cell.imshow(image, interpolation="nearest")
    else:
        cell.set_xlim(0, 1)
        cell.set_ylim(0, 1)
        cell.set_box_aspect(1)
        cell.set_facecolor("0.94")
        cell.patch.set_hatch("////")
        cell.patch.set_edgecolor("0.8")
        text = "no image" if status is Status.INCOMPLETE else status.name.lower()
        cell.text(
            0.5,
            0.5,
            text,
            ha="center",
            va="center",
            fontsize=7,
            bbox={"fc": "white", "ec": "none", "pad": 1.5},
        )
    if status is Status.FAILED:
        activation = np.nan
    color = _FRAMES.get(status, "0.7")
    for spine in cell.spines.values():
        spine.set_color(color)
        spine.set_linewidth(2 if status in _FRAMES else 0.5)
    value = f"{activation:.4g}" if not np.isnan(activation) else ""
    if not value and status is Status.COMPLETE:
        value = "NaN"
    if not value and status is Status.INCOMPLETE:
        value = "no activation"
    value = value or " "  # keeps the line, and so the titles of a row level
    cell.set_title(f"{title}\n{value}", fontsize=6.5, pad=3, linespacing=1.15)


def _headline(figure: "Figure", name: str, origin: str) -> None:
    figure.suptitle(plain(name), fontsize=9, x=0.01, ha="left", fontweight="bold")
    text = plain(f"{origin}; below each name its activation")
    figure.supxlabel(text, fontsize=7, color="0.4", x=0.01, ha="left")


def _unit_name(unit: xr.Dataset) -> str:
    return f"{unit[LAYER].item()}, channel {unit[CHANNEL].item()}"


def _saved(figure: "Figure", path: str | Path | None) -> "Figure":
    if path is not None:
        Path(path).expanduser().parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200)
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
