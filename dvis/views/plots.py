"""Timelines, trajectories and grids: what a unit looks like and does over training.

A Dataset of `dvis.open` in, a matplotlib figure out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from dvis.schema import CHANNEL, CHECKPOINT, LAYER, SchemaError, Status, did_you_mean
from dvis.ticks import short_name, show_names_readably

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
    layer: str | Sequence[str] | None = None,
    channel: int | Sequence[int] | None = None,
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
    layer, channel : str and int, or sequences of them, optional
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
    _require(dataset, variable)
    units = _units(dataset, _listed(layer), _listed(channel))
    values, names = _curves(dataset, variable, units)
    figure, axes = _subplots(figsize=(6.4, 3.8), layout="constrained")
    positions = _x_values(dataset, x)
    many = len(units) > _MAX_LEGEND
    style: dict[str, Any] = {"lw": 0.6, "alpha": 0.5} if many else {"lw": 1.6, "marker": "."}
    layers = list(dict.fromkeys(layer for layer, _ in units))
    for curve, name, (of_layer, _) in zip(values, names, units, strict=True):
        color = {"color": f"C{layers.index(of_layer) % 10}"} if many else {}
        axes.plot(positions, curve, label=name, **style, **color)
    if many:
        _draw_medians(axes, positions, values, units, layers)
    if len(units) > 1:
        axes.legend(frameon=False, fontsize="small", ncols=1 + len(axes.get_lines()[:11]) // 6)
    if x == "time":
        _show_dates(axes)
    axes.set_xlabel("training step" if x == "step" else x)
    axes.set_ylabel(dataset[variable].attrs.get("long_name", variable))
    axes.set_title(
        names[0] if len(units) == 1 else f"{len(units)} units", loc="left", fontsize="medium"
    )
    axes.set_title(_origin(dataset), loc="right", fontsize="small", color="0.4")
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
    _require(dataset, "image", "activation", "status")
    unit = _one_unit(dataset, layer, channel)
    chosen = _evenly(unit.sizes[CHECKPOINT], max_images)
    shown = unit.isel({CHECKPOINT: chosen})
    titles = [short_name(str(label)) for label in shown[CHECKPOINT].values]
    figure = _sheet(shown, titles, columns=min(len(chosen), 8))
    left_out = unit.sizes[CHECKPOINT] - len(chosen)
    note = f"   {len(chosen)} of {len(chosen) + left_out} checkpoints" if left_out else ""
    _headline(figure, _unit_name(unit), _origin(dataset) + note)
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
    _require(dataset, "image", "activation", "status")
    at_checkpoint = _at_checkpoint(dataset, checkpoint)
    of_layer = _at_layer(at_checkpoint, layer)
    known = np.arange(int(of_layer["n_channels"])) if CHANNEL in of_layer.dims else None
    if known is None:
        of_layer = of_layer.expand_dims(CHANNEL)
        known = of_layer[CHANNEL].values
    wanted = known if channels is None else _known_channels(of_layer, channels)
    wanted = wanted[np.isin(wanted, of_layer[CHANNEL].values)]
    chosen = wanted[_evenly(len(wanted), max_images)]
    shown = of_layer.sel({CHANNEL: chosen})
    columns = min(len(chosen), 8 if len(chosen) <= 40 else 12)
    figure = _sheet(shown, [f"channel {c}" for c in chosen], columns=columns)
    note = f"   {len(chosen)} of {len(wanted)} channels" if len(chosen) < len(wanted) else ""
    name = short_name(str(at_checkpoint[CHECKPOINT].values))
    _headline(figure, f"{of_layer[LAYER].item()}, {name}", _origin(dataset) + note)
    return _saved(figure, path)


def _require(dataset: xr.Dataset, *variables: str) -> None:
    missing = [name for name in (*variables, CHECKPOINT, LAYER, CHANNEL) if name not in dataset]
    if missing:
        there = ", ".join(map(str, dataset.variables)) or "nothing"
        raise SchemaError(
            f"This Dataset has no {', '.join(missing)}, only {there}. Open one with dvis.open"
        )


def _listed(labels: Any) -> list[Any] | None:
    if labels is None or isinstance(labels, slice):
        return None
    return [labels] if np.ndim(labels) == 0 else list(labels)


def _units(
    dataset: xr.Dataset, layers: list[str] | None, channels: list[int] | None
) -> list[tuple[str, int]]:
    """Units of the layers and channels that are asked for and that the layers have."""
    of_layers = [_at_layer(dataset, layer) for layer in layers or _labels(dataset, LAYER)]
    units = []
    for each in of_layers:
        there = np.atleast_1d(each[CHANNEL].values)
        there = there[there < int(each["n_channels"])]
        wanted = there if channels is None else _known_channels(each, channels, strict=False)
        units += [(str(each[LAYER].item()), int(channel)) for channel in wanted]
    if not units:
        raise ValueError(_no_channel(of_layers[0], channels or []))
    return units


def _labels(dataset: xr.Dataset, dim: str) -> list[str]:
    return [str(label) for label in np.atleast_1d(dataset[dim].values)]


def _curves(
    dataset: xr.Dataset, variable: str, units: list[tuple[str, int]]
) -> tuple[list[np.ndarray], list[str]]:
    data = dataset[variable]
    for dim in (CHECKPOINT, LAYER, CHANNEL):
        if dim not in data.dims:
            data = data.expand_dims(dim)
    layers = list(dict.fromkeys(layer for layer, _ in units))
    channels = sorted({channel for _, channel in units})
    block = data.sel({LAYER: layers, CHANNEL: channels}).transpose(LAYER, CHANNEL, CHECKPOINT)
    values = block.values
    curves = [values[layers.index(layer), channels.index(c)] for layer, c in units]
    return curves, [f"{layer}, channel {channel}" for layer, channel in units]


def _x_values(dataset: xr.Dataset, x: str) -> np.ndarray:
    if x not in dataset.coords or dataset[x].dims not in ((CHECKPOINT,), ()):
        raise ValueError(f"x is {x!r}; it can be 'checkpoint', 'step', 'time' or 'epoch'")
    values = np.atleast_1d(dataset[x].values)
    if x == CHECKPOINT:
        show_names_readably(values.tolist())
    elif bool(np.all(np.isnat(values) if values.dtype.kind == "M" else np.isnan(values))):
        raise ValueError(f"{x} is not known for any of these checkpoints; take x='checkpoint'")
    return values


def _show_dates(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


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
        label = f"{layer}, median of {len(of_layer)}"
        axes.plot(positions, median, color=f"C{i % 10}", lw=2.4, label=label)


def _one_unit(dataset: xr.Dataset, layer: str | None, channel: int | None) -> xr.Dataset:
    of_layer = _at_layer(dataset, layer)
    if CHANNEL not in of_layer.dims:
        if channel is not None and channel != of_layer[CHANNEL].item():
            raise ValueError(_no_channel(of_layer, [channel]))
        return of_layer
    if channel is None:
        if of_layer.sizes[CHANNEL] > 1:
            raise ValueError(f"Which channel? {_channels_there(of_layer)}")
        return of_layer.isel({CHANNEL: 0})
    _known_channels(of_layer, [channel])
    return of_layer.sel({CHANNEL: channel})


def _at_layer(dataset: xr.Dataset, layer: str | None) -> xr.Dataset:
    there = _labels(dataset, LAYER)
    if layer is None:
        if len(there) > 1:
            raise ValueError(f"Which layer? There are {', '.join(there[:10])}")
        layer = there[0]
    if layer not in there:
        raise ValueError(did_you_mean("layer", str(layer), there, _origin(dataset)))
    return dataset.sel({LAYER: layer}) if LAYER in dataset.dims else dataset


def _at_checkpoint(dataset: xr.Dataset, checkpoint: str | int | None) -> xr.Dataset:
    there = _labels(dataset, CHECKPOINT)
    if CHECKPOINT not in dataset.dims:
        dataset = dataset.expand_dims(CHECKPOINT)
    if checkpoint is None or isinstance(checkpoint, int):
        place = -1 if checkpoint is None else checkpoint
        if not -len(there) <= place < len(there):
            raise ValueError(
                f"No checkpoint number {place} in {_origin(dataset)}; there are {len(there)}"
            )
        return dataset.isel({CHECKPOINT: place})
    if checkpoint not in there:
        raise ValueError(did_you_mean("checkpoint", checkpoint, there, _origin(dataset)))
    return dataset.sel({CHECKPOINT: checkpoint})


def _known_channels(
    of_layer: xr.Dataset, channels: Sequence[int], *, strict: bool = True
) -> np.ndarray:
    there = set(np.atleast_1d(of_layer[CHANNEL].values).tolist())
    known = [c for c in channels if c in there and c < int(of_layer["n_channels"])]
    if strict and len(known) < len(list(channels)):
        raise ValueError(_no_channel(of_layer, channels))
    return np.array(known, int)


def _no_channel(of_layer: xr.Dataset, channels: Sequence[int]) -> str:
    asked = ", ".join(map(str, channels))
    return f"No channel {asked} in {of_layer[LAYER].item()}. {_channels_there(of_layer)}"


def _channels_there(of_layer: xr.Dataset) -> str:
    there = np.atleast_1d(of_layer[CHANNEL].values)
    there = there[there < int(of_layer["n_channels"])]
    return f"Its channels: {there.min()} to {there.max()}" if len(there) else "It has none here"


def _evenly(n: int, limit: int) -> np.ndarray:
    if limit < 1:
        raise ValueError(f"max_images is {limit}; it must be at least 1")
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
    figure.suptitle(f"{name}      ", fontsize=9, x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(origin, fontsize=7, color="0.4", x=0.01, ha="left")


def _unit_name(unit: xr.Dataset) -> str:
    return f"{unit[LAYER].item()}, channel {unit[CHANNEL].item()}"


def _origin(dataset: xr.Dataset) -> str:
    attrs = dataset.attrs
    return ", ".join(str(attrs[key]) for key in ("model", "run", "variant") if attrs.get(key))


def _saved(figure: "Figure", path: str | Path | None) -> "Figure":
    if path is not None:
        Path(path).expanduser().parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200)
    return figure
