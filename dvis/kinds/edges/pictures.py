"""Kernels between a channel and its inputs over training, beside their feature images."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.kinds.edges.words import INPUT_CHANNEL
from dvis.plots.canvas import evenly, headline, require_limit, saved, subplots
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_names
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, RGB, Status, X, Y

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL, _LEFT, _RIGHT, _TOP, _BOTTOM = 0.85, 0.95, 0.85, 0.6, 0.35
_KERNELS = "Give what dvis.measure.kernels gave"


def kernels_film(
    dataset: xr.Dataset,
    channel: int | None = None,
    *,
    k: int = 5,
    unit_images: xr.Dataset | None = None,
    max_images: int = 8,
    path: str | Path | None = None,
) -> "Figure":
    """Kernels from a channel's first inputs to it: a row an input, a column a checkpoint.

    Rows are the inputs with the largest share at the last checkpoint, by its size, or with the
    largest kernel where the Dataset has no shares. All kernels are on one scale, red where they
    excite. At the left stand the inputs' feature images at the last checkpoint, below the
    channel's own over training, where there are some.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.measure.kernels` gives it.
    channel : int, optional
        The channel; needed where there are several.
    k : int
        How many inputs to show at most.
    unit_images : Dataset, optional
        Feature images of the same run, as `dvis.open` gives them.
    max_images : int
        How many checkpoints to show at most.
    path : str or Path, optional
        File for the picture.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    KeyError, ValueError
        When the Dataset has no such channel, or has several and none is named; when k or
        max_images is less than one.
    SchemaError
        When it is no Dataset of kernels.
    """
    labels = (CHECKPOINT, CHANNEL, INPUT_CHANNEL)
    require(dataset, "kernel", labels=labels, advice=_KERNELS)
    require_limit("k", k)
    of_channel = dataset.sel({CHANNEL: _one_channel(dataset, channel)})
    inputs = first_inputs(of_channel, k)
    shown = of_channel.sel({INPUT_CHANNEL: inputs})
    shown = shown.isel({CHECKPOINT: evenly(dataset.sizes[CHECKPOINT], max_images)})
    names = [str(name) for name in dataset.attrs.get("input_layers", ())]
    left = [_image_of(unit_images, names, number) for number in inputs]
    own = _over_training(unit_images, shown)
    figure, axes = _grid(len(inputs), shown.sizes[CHECKPOINT], _some(left), _some(own))
    first = int(_some(left))
    reach = float(np.nanmax(np.abs(shown["kernel"].values), initial=0)) or 1.0
    for row, number in enumerate(inputs):
        if first:
            _show_image(axes[row, 0], left[row])
        of_input = shown["kernel"].sel({INPUT_CHANNEL: number}).transpose(CHECKPOINT, Y, X).values
        for column, kernel in enumerate(of_input, first):
            drawn = _show_kernel(axes[row, column], kernel, reach)
        axes[row, 0].set_ylabel(f"input {number}", fontsize=8)
    if _some(own):
        for column, image in enumerate(own, first):
            _show_image(axes[-1, column], image)
        axes[-1, first].set_ylabel("the channel", fontsize=8)
        if first:
            axes[-1, 0].set_axis_off()
    for column, name in enumerate(moment_names(shown), first):
        axes[0, column].set_title(plain(name), fontsize=7)
    _colour_bar(figure, drawn)
    n_all, n_shown = dataset.sizes[CHECKPOINT], shown.sizes[CHECKPOINT]
    how_many = f"{n_shown} of {n_all} checkpoints" if n_shown < n_all else ""
    headline(figure, _title(of_channel), *_notes(dataset, names, bool(first), how_many))
    return saved(figure, path)


def first_inputs(of_channel: xr.Dataset, k: int) -> list[int]:
    """Inputs of a channel with the largest share at the last checkpoint, or the largest kernel.

    Parameters
    ----------
    of_channel : Dataset, (checkpoint, input_channel, y, x)
        Kernels of one channel.
    k : int
        How many at most.
    """
    last = of_channel.isel({CHECKPOINT: -1})
    kernels = last["kernel"].transpose(INPUT_CHANNEL, Y, X).values
    size = np.sqrt((kernels.astype(float) ** 2).sum((1, 2)))
    if "share" in last and np.isfinite(last["share"]).any():
        size = np.nan_to_num(np.abs(last["share"].values))
    order = np.argsort(-size, kind="stable")[:k]
    chosen: list[int] = of_channel[INPUT_CHANNEL].values[order].tolist()
    return chosen


def _one_channel(dataset: xr.Dataset, channel: int | None) -> int:
    there = np.atleast_1d(dataset[CHANNEL].values).tolist()
    if channel is None and len(there) == 1:
        return int(there[0])
    if channel is None or channel not in there:
        shown = ", ".join(map(str, there[:10])) + (", ..." if len(there) > 10 else "")
        asked = "Which channel?" if channel is None else f"No channel {channel}."
        raise ValueError(f"{asked} The kernels are of {shown}; name one of them")
    return channel


def _image_of(
    unit_images: xr.Dataset | None, layers: Iterable[str], channel: int, label: str | None = None
) -> np.ndarray | None:
    """The feature image of a channel of the first layer that has one, at the last checkpoint."""
    if unit_images is None:
        return None
    for layer in layers:
        if layer not in unit_images[LAYER] or channel not in unit_images[CHANNEL]:
            continue
        if label is not None and label not in unit_images[CHECKPOINT]:
            continue
        unit = unit_images[["image", "status"]].sel({LAYER: layer, CHANNEL: channel})
        if label is None:
            there = np.flatnonzero(unit["status"].values == Status.COMPLETE)
            if not len(there):
                continue
            unit = unit.isel({CHECKPOINT: there[-1]})
        else:
            unit = unit.sel({CHECKPOINT: label})
        if int(unit["status"]) == Status.COMPLETE:
            return np.asarray(unit["image"].transpose(Y, X, RGB).values)
    return None


def _over_training(unit_images: xr.Dataset | None, shown: xr.Dataset) -> list[np.ndarray | None]:
    """The channel's own feature images at the checkpoints that are shown."""
    layer, channel = str(shown.attrs.get("layer", "")), int(shown[CHANNEL])
    labels = shown[CHECKPOINT].values.tolist()
    return [_image_of(unit_images, [layer], channel, str(label)) for label in labels]


def _some(images: list[np.ndarray | None]) -> bool:
    return any(image is not None for image in images)


def _grid(n_inputs: int, n_checkpoints: int, has_left: bool, has_own: bool) -> tuple[Any, Any]:
    rows, columns = n_inputs + has_own, n_checkpoints + has_left
    width = _LEFT + columns * _CELL + _RIGHT
    height = _TOP + rows * _CELL + _BOTTOM
    figure, axes = subplots(nrows=rows, ncols=columns, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - _RIGHT / width,
        top=1 - _TOP / height,
        bottom=_BOTTOM / height,
        wspace=0.08,
        hspace=0.08,
    )
    return figure, axes


def _show_kernel(cell: "Axes", kernel: np.ndarray, reach: float) -> Any:
    drawn = cell.imshow(kernel, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
    cell.set(xticks=[], yticks=[])
    return drawn


def _show_image(cell: "Axes", image: np.ndarray | None) -> None:
    cell.set(xticks=[], yticks=[])
    if image is None:
        cell.set_facecolor("0.94")
        cell.set_box_aspect(1)
        cell.text(0.5, 0.5, "no image", ha="center", va="center", fontsize=6, color="0.4")
    else:
        cell.imshow(image, interpolation="nearest")


def _colour_bar(figure: "Figure", drawn: Any) -> None:
    width, height = figure.get_size_inches()
    place = (1 - (_RIGHT - 0.12) / width, 0.5 - 0.6 / height, 0.1 / width, 1.2 / height)
    bar = figure.colorbar(drawn, cax=figure.add_axes(place))
    bar.ax.tick_params(labelsize=6)
    bar.set_label("kernel", fontsize=7)


def _title(of_channel: xr.Dataset) -> str:
    return f"Kernels to {of_channel.attrs.get('layer', '')}, channel {int(of_channel[CHANNEL])}"


def _notes(dataset: xr.Dataset, names: list[str], has_left: bool, how_many: str) -> list[str]:
    norm = str(dataset.attrs.get("norm", ""))
    statistics = "recalibrated" if dataset.attrs.get("batch_norm") == "recalibrate" else "running"
    ranked = "share" if "share" in dataset else "kernel"
    return [
        " ".join(str(dataset.attrs[key]) for key in ("model", "run") if key in dataset.attrs),
        how_many,
        f"{norm} folded in ({statistics} statistics)" if norm else "no batch norm behind",
        f"inputs with the largest {ranked} at the last checkpoint",
        f"left: their feature images of {' or '.join(names)}" if has_left else "",
    ]
