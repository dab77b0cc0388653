"""What layers tell of attributes, what the output uses of it, and the dates of both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.baselines import IN_WORDS, SHUFFLED
from dvis.kinds.attributes.analysis import (
    ALWAYS,
    DATED,
    NEVER,
    QUESTION,
    AttributeBaseline,
    attribute_dates,
)
from dvis.kinds.attributes.pictures.selected import null_band, selected
from dvis.kinds.attributes.words import ATTRIBUTE, EXCHANGED, QUESTIONS, TELLS, USES
from dvis.plots.canvas import evenly, headline, layer_colors, saved, subplots, without_box
from dvis.plots.documentation import documented
from dvis.plots.null_band import draw_null, null_note
from dvis.plots.selection import labels_of, origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, TimeAxis, XAxis, show_axis, time_axis
from dvis.schema import LAYER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = (2.3, 1.75)  # of a panel
_DATE_INCHES, _LEAST_DATE_INCHES = 0.24, 0.7  # of a layer's dates, and of all
_CALLED = {TELLS: "told right, one image at a time", USES: "of the output's response"}
_MARKS: Mapping[str, dict[str, Any]] = {
    TELLS: {"marker": "o", "markersize": 4.5},
    USES: {"marker": "s", "markersize": 4.5, "markerfacecolor": "white"},
}
_APART = {TELLS: -0.17, USES: 0.17}  # of a layer's two dates, in rows
_ABOVE = {**IN_WORDS, SHUFFLED: "each layer's own null"}
_PIXELS: dict[str, Any] = {"color": "black", "linestyle": ":", "lw": 1.2}
_SIZE: dict[str, Any] = {"color": "black", "linestyle": "--", "lw": 1.0}


@documented
def attributes_over_training(
    dataset: xr.Dataset,
    attribute: str | Sequence[str] | None = None,
    layer: str | Sequence[str] | slice | None = None,
    *,
    x: XAxis = "checkpoint",
    xscale: Scale = "auto",
    above: AttributeBaseline = "shuffled",
    max_layers: int = 6,
    path: str | Path | None = None,
) -> "Figure":
    """What layers tell of attributes, what the output uses of it, and the dates of both.

    A column is an attribute. Lines are `tells`, above, and `uses`, below, of a layer each over plus
    and minus a standard error; grey is where their nulls lie, of any of the layers, dots what
    pixels tell, and dashes how large the output's response is, of that to another scene: where it
    is small, a large share of it is little. At the bottom are the dates: a disc from when on a
    layer tells, a square from when on the output uses it, over their intervals; a cross at the end
    where that is never.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.attributes` gave.
    attribute : str, or a sequence of them, optional
        Attributes; all by default.
    layer : str, or a sequence or slice of them, optional
        Layers; by default all, or `max_layers` of them.
    {x}
    {xscale}
    above : {"shuffled", "first", "untrained"}
        What dates are to be above, as `ds.dvis.attribute_dates` takes it.
    {max_layers}
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such attribute, layer or baseline; when x has no known values.
    SchemaError
        When the Dataset has no attributes.
    """
    shown = selected(dataset, attribute, layer)
    layers = labels_of(shown, LAYER)
    layers = [layers[place] for place in evenly(len(layers), max_layers, "max_layers")]
    shown = shown.sel({LAYER: layers})
    axis, colors = time_axis(shown, x, xscale), layer_colors(layers)
    dates = attribute_dates(shown, above=above)
    names = labels_of(shown, ATTRIBUTE)
    figure, grid = _grid(names, axis, len(layers))
    for name, column in zip(names, grid.T, strict=True):
        of_attribute = shown.sel({ATTRIBUTE: name})
        for axes, question in zip(column, QUESTIONS, strict=False):
            _draw_question(axes, of_attribute, question, axis, colors)
        _draw_dates(column[-1], dates.sel({ATTRIBUTE: name}), axis, colors)
    for axes, text in zip(
        grid[:, 0], (*(f"{q}\n{_CALLED[q]}" for q in QUESTIONS), ""), strict=True
    ):
        axes.set_ylabel(text, fontsize=7)
    _legend(figure, grid[0, 0])
    headline(
        figure,
        "What layers tell of attributes, and what the output uses of it",
        origin_of(dataset),
        axis.note,
        f"± standard error over pairs; dates with 95 % intervals, above {_ABOVE[above]}",
        null_note(
            f"{EXCHANGED[TELLS]} exchanged{_counted(dataset, 'n_shuffles')}, random "
            f"{EXCHANGED[USES]}{_counted(dataset, 'n_random')}",
            "95 %",
        )
        + ", of any layer",
    )
    return saved(figure, path)


def _counted(dataset: xr.Dataset, name: str) -> str:
    """How many draws a null is known by, where that is said."""
    return f" ({dataset.attrs[name]} draws)" if name in dataset.attrs else ""


def _grid(names: Sequence[str], axis: TimeAxis, n_layers: int) -> "tuple[Figure, np.ndarray]":
    width, height = _INCHES
    of_dates = max(_LEAST_DATE_INCHES, _DATE_INCHES * n_layers)
    figure, grid = subplots(
        nrows=len(QUESTIONS) + 1,
        ncols=len(names),
        figsize=(max(width * len(names) + 1.4, 5.0), 2 * height + of_dates + 1.0),
        height_ratios=(height, height, of_dates),
        squeeze=False,
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    for column, name in zip(grid.T, names, strict=True):
        column[0].set_title(plain(name), loc="left", fontsize=8)
        for axes in column:
            show_axis(axes, axis, inches=width - 0.4)
            axes.tick_params(labelsize=7)
            axes.set_xlabel("")
            without_box(axes)
    grid[-1, -1].set_xlabel(axis.label, fontsize=8)
    return figure, grid


def _draw_question(
    axes: "Axes",
    of_attribute: xr.Dataset,
    question: str,
    axis: TimeAxis,
    colors: Mapping[str, Any],
) -> None:
    low, high = null_band(of_attribute, question)
    draw_null(axes, axis.positions, low[axis.places], high[axis.places])
    for name, color in colors.items():
        of_layer = of_attribute.sel({LAYER: name})
        values, error = (
            of_layer[each].values[axis.places] for each in (question, f"{question}_se")
        )
        axes.fill_between(
            axis.positions, values - error, values + error, color=color, alpha=0.2, lw=0
        )
        axes.plot(axis.positions, values, color=color, lw=1.5, marker=".", label=plain(name))
    if question == TELLS:
        axes.axhline(float(of_attribute["pixel_tells"].item()), **_PIXELS)
    else:
        size = of_attribute["response"].max(LAYER).values  # the same of all layers
        axes.plot(axis.positions, size[axis.places], **_SIZE)


def _draw_dates(axes: "Axes", dates: xr.Dataset, axis: TimeAxis, colors: Mapping[str, Any]) -> None:
    """A layer's two dates in a row, the first layer on top."""
    places = dict(zip(axis.labels, axis.positions.tolist(), strict=True))
    last = float(axis.positions[-1])
    for row, (name, color) in enumerate(colors.items()):
        for question in QUESTIONS:
            at = dates.sel({LAYER: name, QUESTION: question})
            height, state = row + _APART[question], at["state"].item()
            if state == NEVER:
                axes.plot(last, height, "x", color=color, markersize=4)
            if state not in (DATED, ALWAYS):
                continue
            ends = [places.get(at[f"{end}_checkpoint"].item()) for end in ("earliest", "latest")]
            low, high = (last if end is None else end for end in ends)
            axes.plot([low, high], [height, height], color=color, lw=1.2)
            position = places.get(at["from_checkpoint"].item())
            if position is not None:
                axes.plot(position, height, color=color, **_MARKS[question])
    axes.set_ylim(len(colors) - 0.4, -0.6)
    axes.set_yticks(range(len(colors)), [plain(name) for name in colors], fontsize=6)


def _legend(figure: "Figure", axes: "Axes") -> None:
    from matplotlib.lines import Line2D

    handles, names = axes.get_legend_handles_labels()
    marks: list[dict[str, Any]] = [{**_MARKS[name], "color": "0.3"} for name in QUESTIONS]
    handles += [Line2D([], [], **style) for style in (_PIXELS, _SIZE)]
    handles += [Line2D([], [], **mark, lw=1.2) for mark in marks]
    handles.append(Line2D([], [], color="0.3", marker="x", markersize=4, linestyle="none"))
    names += ["pixels", "response", "tells from", "uses from", "never"]
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=7)
