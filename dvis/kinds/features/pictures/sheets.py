"""Sheets of feature images: of a unit over training, of a layer's channels at one checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.plots.canvas import evenly, headline, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.selection import (
    at_checkpoint,
    at_layer,
    known_channels,
    measured,
    name_of,
    one_unit,
    origin_of,
)
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_name, moment_names
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, RGB, UNIT, Status, X, Y

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL_INCHES = 1.15
_TITLE_INCHES = 0.36
_MOST_COLUMNS, _MOST_ROWS = 12, 32  # of a timeline of several channels
_BELOW = "below each name its activation"
FRAMES = {Status.INCOMPLETE: "tab:orange", Status.FAILED: "tab:red"}


@documented
def timeline(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | Sequence[int] | None = None,
    *,
    max_images: int = 24,
    path: str | Path | None = None,
) -> "Figure":
    """Feature images of a unit over training, each titled with its checkpoint and activation.

    Of several channels, each has a row, and the columns are checkpoints, at most twelve.

    An absent unit is an empty, hatched frame, and so is a dead one, which says so; an incomplete
    one has an orange frame and says what it lacks; a failed one is empty, with a red frame.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it.
    layer : str, optional
        The layer; needed where the Dataset has several.
    channel : int or sequence of int, optional
        The channel, or several; needed where the Dataset has more than one.
    max_images : int
        How many checkpoints to show at most, evenly chosen, the first and the last among them.
    {path}

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
    units = [one_unit(dataset, layer, each) for each in _asked_for(channel)]
    name = name_of(units[0]) if len(units) == 1 else str(units[0][LAYER].item())
    n_there = units[0].sizes[CHECKPOINT]
    chosen = evenly(n_there, max_images if len(units) == 1 else min(max_images, _MOST_COLUMNS))
    shown = [unit.isel({CHECKPOINT: chosen}) for unit in units]
    titles = [plain(moment) for moment in moment_names(shown[0])]
    if len(shown) == 1:
        figure = _sheet(shown[0], titles, columns=min(len(chosen), 8))
    else:
        figure = _rows(shown, titles, dataset.attrs.get(UNIT, CHANNEL))
    note = f"   {len(chosen)} of {n_there} checkpoints" if len(chosen) < n_there else ""
    headline(figure, name, origin_of(dataset) + note, _BELOW)
    return saved(figure, path)


def _asked_for(channel: int | Sequence[int] | None) -> list[int | None]:
    if channel is None:
        return [None]
    channels: list[int | None] = np.atleast_1d(channel).tolist()
    if not 0 < len(channels) <= _MOST_ROWS:
        raise ValueError(f"{len(channels)} channels; a timeline shows 1 to {_MOST_ROWS}")
    return channels


@documented
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
        The checkpoint's name, or its place in the Dataset's order; the last one by default.
    layer : str, optional
        The layer; needed where the Dataset has several.
    channels : sequence of int, optional
        Channels to show; by default all that the layer has.
    max_images : int
        How many channels to show at most, evenly chosen.
    {path}

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
    chosen = wanted[evenly(len(wanted), max_images)]
    shown = of_layer.sel({CHANNEL: chosen})
    columns = min(len(chosen), 8 if len(chosen) <= 40 else 12)
    unit = dataset.attrs.get(UNIT, CHANNEL)
    figure = _sheet(shown, [f"{unit} {c}" for c in chosen], columns=columns)
    note = f"   {len(chosen)} of {len(wanted)} {unit}s" if len(chosen) < len(wanted) else ""
    name = moment_name(there)
    headline(figure, f"{of_layer[LAYER].item()}, {name}", origin_of(dataset) + note, _BELOW)
    return saved(figure, path)


def _sheet(shown: xr.Dataset, titles: list[str], *, columns: int) -> "Figure":
    """Images of a Dataset with one dimension of units, in rows, titled."""
    unit_dim = shown["status"].dims[0]
    images = shown["image"].transpose(unit_dim, Y, X, RGB).values
    activations = shown["activation"].values
    status = shown["status"].values
    rows = -(-len(titles) // columns)
    figure: Figure
    figure, axes = subplots(
        nrows=rows,
        ncols=columns,
        figsize=(columns * _CELL_INCHES + 0.1, rows * (_CELL_INCHES + _TITLE_INCHES) + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for i, cell in enumerate(axes.flat):
        if i < len(titles):
            draw_unit(cell, images[i], Status(status[i]), float(activations[i]), titles[i])
        else:
            cell.set_axis_off()
    return figure


def _rows(units: list[xr.Dataset], titles: list[str], unit_word: str) -> "Figure":
    """A row of images for each unit, a column for each checkpoint."""
    figure: Figure
    figure, axes = subplots(
        nrows=len(units),
        ncols=len(titles),
        figsize=(
            len(titles) * _CELL_INCHES + 0.4,
            len(units) * (_CELL_INCHES + _TITLE_INCHES) + 0.4,
        ),
        squeeze=False,
        layout="constrained",
    )
    for cells, unit in zip(axes, units, strict=True):
        images = unit["image"].transpose(CHECKPOINT, Y, X, RGB).values
        status, activations = unit["status"].values, unit["activation"].values
        for place, (cell, title) in enumerate(zip(cells, titles, strict=True)):
            state = Status(status[place])
            draw_unit(cell, images[place], state, float(activations[place]), title)
        cells[0].set_ylabel(f"{unit_word} {int(unit[CHANNEL])}", fontsize=7.5)
    return figure


def draw_unit(
    cell: "Axes", image: np.ndarray, status: Status, activation: float, title: str
) -> None:
    """Draw a feature image, or a hatched frame where there is none, titled with its activation."""
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
    if status in (Status.FAILED, Status.DEAD):
        activation = np.nan
    color = FRAMES.get(status, "0.7")
    for spine in cell.spines.values():
        spine.set_color(color)
        spine.set_linewidth(2 if status in FRAMES else 0.5)
    value = f"{activation:.4g}" if not np.isnan(activation) else ""
    if not value and status is Status.COMPLETE:
        value = "NaN"
    if not value and status is Status.INCOMPLETE:
        value = "no activation"
    value = value or " "  # keeps the line, and so the titles of a row level
    cell.set_title(f"{title}\n{value}", fontsize=6.5, pad=3, linespacing=1.15)
