"""Sheets of the images that drive channels most: of a layer, and of one channel over training."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.analysis.ranking import RANK
from dvis.analysis.requirements import require
from dvis.kinds.activations.pictures.cells import (
    MAP_NOTE,
    draw_sample,
    draw_unit_image,
    images_of_unit,
    value_text,
)
from dvis.kinds.activations.pictures.samples import Samples, TokenMap
from dvis.plots.canvas import evenly, headline, require_limit, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.selection import at_checkpoint, known_channels, origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_name
from dvis.schema import CHANNEL, CHECKPOINT, Status, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_IMAGES = 8  # of a channel, or checkpoints
_TOP = ("top_sample", "top_value", "top_map")
_NEEDS = (*_TOP, "status", "row", "column", "is_special")
_ADVICE = "Keep them with `dvis activations --keep top:64`, and open them with dvis.activations"
_CELL_INCHES, _CAPTION_INCHES, _LABEL_INCHES = 0.95, 0.27, 0.75
_SCALE = "its largest value"
_BELOW = "above each image its class and the channel's largest value in it"


@documented
def top_images(
    dataset: xr.Dataset,
    channel: int | Sequence[int] | None = None,
    *,
    checkpoint: str | int | None = None,
    max_images: int = MAX_IMAGES,
    max_channels: int = 12,
    path: str | Path | None = None,
) -> "Figure":
    """The images that drive each channel most at one checkpoint: a row a channel, best first.

    An orange line runs where an image's channel is half of the largest value in it; within it the
    image is as it is, and beyond it fades to grey where the channel is zero or below. The scale is
    each image's own: what it answers with stands above it. A store without thumbnails gives the
    samples' ids in place of pictures.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.activations` gives it, of activations that keep top images.
    channel : int or sequence of int, optional
        Channels to show; by default all, evenly chosen.
    checkpoint : str or int, optional
        The checkpoint's name, or its place in the Dataset's order; by default the last that is
        measured.
    max_images : int
        How many images of a channel to show at most.
    max_channels : int
        How many channels to show at most, evenly chosen.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such checkpoint or channel.
    SchemaError
        When the Dataset has no top images.
    """
    require(dataset, *_NEEDS, labels=(CHECKPOINT, CHANNEL, RANK), advice=_ADVICE)
    require_limit("max_images", max_images)
    there = _rows_of_channels(_measured_checkpoint(dataset, checkpoint))
    channels = _chosen_channels(there, channel)
    kept = channels[evenly(len(channels), max_channels, "max_channels")]
    shown = there.isel({RANK: slice(max_images)}).sel({CHANNEL: kept})[[*_TOP]].load()
    samples = _samples(dataset, shown)
    tokens = TokenMap.of(dataset)
    figure, axes = _grid(len(kept), shown.sizes[RANK])
    for cells, number in zip(axes, kept, strict=True):
        _draw_row(list(cells), shown.sel({CHANNEL: number}), samples, tokens)
        _label(cells[0], f"channel {number}")
    left_out = f"{len(kept)} of {len(channels)} channels" if len(kept) < len(channels) else ""
    name = moment_name(there)
    notes = (left_out, _lacking(there), *_reading_notes(samples, tokens))
    title = f"Top images of {_layer_of(dataset)}, {name}"
    headline(figure, title, _origin(dataset), *notes)
    return saved(figure, path)


@documented
def top_image_timeline(
    dataset: xr.Dataset,
    channel: int | None = None,
    *,
    unit_images: xr.Dataset | None = None,
    max_images: int = MAX_IMAGES,
    n_ranks: int = 5,
    path: str | Path | None = None,
) -> "Figure":
    """The images that drive a channel most over training: a column a checkpoint, best on top.

    Above them is the channel's optimised image of the same checkpoint, where those are given. Maps
    are drawn as `top_images` draws them.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.activations` gives it, of activations that keep top images.
    channel : int, optional
        The channel; needed where the Dataset has several.
    unit_images : Dataset, optional
        As `dvis.open` gives it, of channels: their optimised images.
    max_images : int
        How many checkpoints to show at most, evenly chosen, the first and the last among them.
    n_ranks : int
        How many images of a checkpoint to show at most.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such channel, or there are several and none is named.
    SchemaError
        When the Dataset has no top images.
    """
    require(dataset, *_NEEDS, labels=(CHECKPOINT, CHANNEL, RANK), advice=_ADVICE)
    require_limit("n_ranks", n_ranks)
    of_channel = _one_channel(dataset, channel)
    if CHECKPOINT not in of_channel.dims:
        of_channel = of_channel.expand_dims(CHECKPOINT)
    number, layer = int(of_channel[CHANNEL].item()), _layer_of(dataset)
    chosen = evenly(of_channel.sizes[CHECKPOINT], max_images)
    shown = of_channel.isel({CHECKPOINT: chosen, RANK: slice(n_ranks)})[[*_TOP]].load()
    samples, tokens = _samples(dataset, shown), TokenMap.of(dataset)
    optimised = images_of_unit(unit_images, layer, number)
    n_above = int(optimised is not None)
    figure, axes = _grid(n_above + shown.sizes[RANK], len(chosen), column_titles=True)
    for column, label in enumerate(shown[CHECKPOINT].values.tolist()):
        cells = axes[:, column]
        if optimised is not None:
            draw_unit_image(cells[0], optimised, label)
        _draw_row(list(cells[n_above:]), shown.sel({CHECKPOINT: label}), samples, tokens)
        _head(cells[0], moment_name(shown, label).replace(", ", ",\n"))
    for rank, cell in enumerate(axes[n_above:, 0]):
        _label(cell, f"rank {rank + 1}")
    if optimised is not None:
        _label(axes[0, 0], "optimised\nimage")
    n_all = of_channel.sizes[CHECKPOINT]
    left_out = f"{len(chosen)} of {n_all} checkpoints" if len(chosen) < n_all else ""
    notes = (left_out, _lacking(of_channel), *_reading_notes(samples, tokens))
    title = f"Top images of {layer}, channel {number}, over training"
    headline(figure, title, _origin(dataset), *notes)
    return saved(figure, path)


def _measured_checkpoint(dataset: xr.Dataset, checkpoint: str | int | None) -> xr.Dataset:
    """The Dataset at a checkpoint; by default at the last of which a block is there."""
    if checkpoint is None and CHECKPOINT in dataset.dims:
        dims = [dim for dim in dataset["status"].dims if dim != CHECKPOINT]
        is_there = (dataset["status"] == Status.COMPLETE).any(dims).values
        places = np.flatnonzero(is_there)
        checkpoint = int(places[-1]) if len(places) else None
    return at_checkpoint(dataset, checkpoint)


def _rows_of_channels(dataset: xr.Dataset) -> xr.Dataset:
    return dataset if CHANNEL in dataset.dims else dataset.expand_dims(CHANNEL)


def _chosen_channels(dataset: xr.Dataset, channel: int | Sequence[int] | None) -> np.ndarray:
    if channel is None:
        return np.asarray(dataset[CHANNEL].values)
    asked = [channel] if isinstance(channel, int | np.integer) else list(channel)
    return known_channels(_with_layer(dataset), asked)


def _one_channel(dataset: xr.Dataset, channel: int | None) -> xr.Dataset:
    """The Dataset of one channel, which is named where there are several."""
    rows = _rows_of_channels(dataset)
    if channel is None:
        if rows.sizes[CHANNEL] > 1:
            there = rows[CHANNEL].values
            raise ValueError(f"Which channel? Its channels: {there.min()} to {there.max()}")
        return rows.isel({CHANNEL: 0})
    known_channels(_with_layer(rows), [channel])
    return rows.sel({CHANNEL: channel})


def _with_layer(dataset: xr.Dataset) -> xr.Dataset:
    """With the layer as errors name it."""
    return dataset.assign_coords(layer=_layer_of(dataset))


def _layer_of(dataset: xr.Dataset) -> str:
    return str(dataset.attrs.get("layer", "layer"))


def _origin(dataset: xr.Dataset) -> str:
    """Model, run, and the image set."""
    set_name = str(dataset.attrs.get("dataset", ""))
    return ", ".join(part for part in (origin_of(dataset), set_name) if part)


def _samples(dataset: xr.Dataset, shown: xr.Dataset) -> Samples:
    set_name = dataset.attrs.get("dataset")
    return Samples.of(
        dataset.encoding.get("store"),
        None if set_name is None else str(set_name),
        shown["top_sample"].values.ravel().tolist(),
    )


def _grid(
    n_rows: int, n_columns: int, *, column_titles: bool = False
) -> tuple["Figure", np.ndarray]:
    width = _LABEL_INCHES + n_columns * _CELL_INCHES
    height = n_rows * (_CELL_INCHES + _CAPTION_INCHES) + 0.55 + 0.2 * column_titles
    figure, axes = subplots(
        nrows=n_rows,
        ncols=n_columns,
        figsize=(max(width, 4.5), height),
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    return figure, axes


def _draw_row(
    cells: "Iterable[Axes]", of_unit: xr.Dataset, samples: Samples, tokens: TokenMap
) -> None:
    """Draw the top images of a channel, of the Dataset with the one dimension rank."""
    for cell, rank in zip(cells, range(of_unit.sizes[RANK]), strict=True):
        at = of_unit.isel({RANK: rank})
        value = value_text(float(at["top_value"]))
        levels = at["top_map"].values
        draw_sample(cell, str(at["top_sample"].item()), samples, levels, tokens, value)


def _label(cell: "Axes", text: str) -> None:
    """What a row of cells is of, at its left."""
    cell.annotate(
        plain(text),
        (0, 0.5),
        xycoords="axes fraction",
        xytext=(-5, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=7,
        annotation_clip=False,
    )


def _head(cell: "Axes", text: str) -> None:
    """What a column of cells is of, above the caption of its first."""
    n_lines = len(cell.get_title().splitlines())
    cell.annotate(
        plain(text),
        (0.5, 1),
        xycoords="axes fraction",
        xytext=(0, 4 + 7.5 * n_lines),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=6.5,
        fontweight="bold",
        annotation_clip=False,
    )


def _lacking(dataset: xr.Dataset) -> str:
    """How many blocks of samples are missing of what is shown."""
    is_there = dataset["status"].values == Status.COMPLETE
    n_lacking = int((~is_there).sum())
    if not n_lacking:
        return ""
    return f"{counted(n_lacking, 'block')} of {is_there.size} of the samples are not there"


def _reading_notes(samples: Samples, tokens: TokenMap) -> tuple[str, ...]:
    """How to read the cells."""
    has_maps = bool(samples.thumbnails) and (tokens.row >= 0).any()
    is_partial = has_maps and not tokens.is_whole
    return (
        _BELOW,
        MAP_NOTE.format(scale=_SCALE) if has_maps else "",
        "places that were not kept are faded" if is_partial else "",
        samples.note,
    )
