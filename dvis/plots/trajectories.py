"""Trajectories: a scalar over training, of one unit, of many, of each layer's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from dvis.plots.canvas import (
    evenly,
    headline,
    layer_colors,
    saved,
    subplots,
    unit_style,
    without_box,
)
from dvis.plots.curves import (
    Curves,
    bands_note,
    draw_layer,
    points,
    read_curves,
    show_values_axis,
)
from dvis.plots.documentation import documented
from dvis.plots.panels import panels
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, TimeAxis, XAxis, show_axis, time_axis
from dvis.schema import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_NAMED = 10
_MAX_LEGEND = 12


@documented
def trajectory(
    dataset: xr.Dataset,
    layer: str | Sequence[str] | slice | None = None,
    channel: int | Sequence[int] | slice | None = None,
    *,
    x: XAxis = "checkpoint",
    variable: str | None = None,
    xscale: Scale = "auto",
    yscale: Scale = "auto",
    path: str | Path | None = None,
) -> "Figure":
    """Curves of a scalar over training: of one or many units, or of the whole model.

    Up to 10 units have a named curve each. Of more, the median of each layer is drawn, the darker
    the earlier the layer; over its units' curves where it has fewer than 10, else over bands of
    quantiles: 25 to 75 %, and with one or two layers 5 to 95 %. Of more than six layers only
    the medians are drawn; `trajectories_by_layer` has room for the rest.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it, or a result with the same dimensions.
    {units}
    {x}
    variable : str, optional
        Scalar with dims (checkpoint, layer, channel); or of the whole model, with dims
        (checkpoint), such as `val_loss`. By default what `births` reads: activations in standard
        deviations of reference images where these were measured, else as they are; the axis says
        which. Units that are not complete do not count.
    {xscale}
    {yscale}
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the Dataset has no such layer, channel or scale, or no known values on the x axis.
    SchemaError
        When it has no such variable.
    """
    curves = read_curves(dataset, variable, layer, channel)
    if np.isnan(curves.values).all():
        raise ValueError(
            f"No unit of {_title(curves)} is complete with {curves.variable}; nothing to draw"
        )
    axis = time_axis(dataset, x, xscale)
    figure, axes = subplots(figsize=(6.4, 3.8), layout="constrained")
    show_axis(axes, axis, inches=4.6)
    note = ""
    if len(curves.names) <= _MAX_NAMED:
        _draw_named(axes, axis, curves)
    else:
        note = _draw_layers(axes, axis, curves)
    show_values_axis(axes, curves.values[:, axis.places], yscale)
    axes.set_ylabel(plain(curves.label))
    without_box(axes)
    headline(figure, _title(curves), origin_of(dataset), axis.note, note)
    return saved(figure, path)


@documented
def trajectories_by_layer(
    dataset: xr.Dataset,
    layer: str | Sequence[str] | slice | None = None,
    channel: int | Sequence[int] | slice | None = None,
    *,
    x: XAxis = "checkpoint",
    variable: str | None = None,
    xscale: Scale = "auto",
    yscale: Scale = "auto",
    share_y: bool = False,
    max_layers: int = 16,
    path: str | Path | None = None,
) -> "Figure":
    """Curves of a scalar over training, one small picture for each layer.

    Each shows the layer's median over its units' curves, or from 10 units on over bands of
    quantiles: 25 to 75 % and 5 to 95 %. Layers without a complete unit are left out.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.open` gives it, or a result with the same dimensions.
    {units}
    {x}
    {variable}
    {xscale}
    {yscale}
    share_y : bool
        One range of values for all layers, to compare levels; else each its own, to compare shapes.
    {max_layers}
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the Dataset has no such layer, channel or scale, or no known values on the x axis.
    SchemaError
        When it has no such variable.
    """
    curves = read_curves(dataset, variable, layer, channel)
    axis = time_axis(dataset, x, xscale)
    there = [name for name in curves.layer_names if not np.isnan(curves.of_layer(name)).all()]
    if not there:
        raise ValueError(f"No layer has a complete unit with {curves.variable}; nothing to draw")
    layers = [there[i] for i in evenly(len(there), max_layers, "max_layers")]
    of_layers = [curves.of_layer(name) for name in layers]
    titles = [
        f"{name}, {counted(len(values), 'unit')}"
        for name, values in zip(layers, of_layers, strict=True)
    ]
    figure, made = panels(titles, axis, share_y=share_y)
    colors = layer_colors(curves.layer_names)
    for name, values, axes in zip(layers, of_layers, made, strict=True):
        draw_layer(axes, axis, values, colors[name], name, bands="all")
        show_values_axis(axes, curves.values if share_y else values, yscale)
    figure.supylabel(plain(curves.label), fontsize=9)
    n_units = min(map(len, of_layers))
    left_out = f"{len(layers)} of {len(there)} layers" if len(layers) < len(there) else ""
    title = f"{curves.label} by layer"
    headline(figure, title, origin_of(dataset), axis.note, left_out, bands_note(n_units, "all"))
    return saved(figure, path)


def _draw_named(axes: "Axes", axis: TimeAxis, curves: Curves) -> None:
    for number, (values, name) in enumerate(zip(curves.values, curves.names, strict=True)):
        shown = values[axis.places]
        style = {**points(shown), **unit_style(number)}
        axes.plot(axis.positions, shown, label=plain(name), lw=1.6, **style)
    if len(curves.names) > 1:
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))


def _draw_layers(axes: "Axes", axis: TimeAxis, curves: Curves) -> str:
    """Draw layers by their quantiles; return what lines and shades mean."""
    layers = curves.layer_names
    bands: Literal["all", "inner", "none"] = "all" if len(layers) <= 2 else "inner"
    if len(layers) > 6:
        bands = "none"
    colors = layer_colors(layers)
    for layer in layers:
        values = curves.of_layer(layer)
        label = f"{layer}, median of {len(values)}"
        draw_layer(axes, axis, values, colors[layer], label, bands=bands)
    if len(layers) <= _MAX_LEGEND:
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    else:
        show_depth(axes, layers)
    return bands_note(max(len(curves.of_layer(layer)) for layer in layers), bands)


def show_depth(axes: "Axes", layers: Sequence[str]) -> None:
    """A bar of the layers' colours, where a legend would be too long."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colors = ListedColormap(list(layer_colors(layers).values()))
    norm = BoundaryNorm(np.arange(len(layers) + 1) - 0.5, len(layers))
    bar = axes.figure.colorbar(ScalarMappable(norm, colors), ax=axes, pad=0.02)
    shown = evenly(len(layers), 12)
    bar.set_ticks(shown.tolist(), labels=[plain(layers[i]) for i in shown])
    bar.ax.tick_params(labelsize=7, length=0)
    bar.ax.minorticks_off()
    bar.ax.invert_yaxis()


def _title(curves: Curves) -> str:
    if len(curves.names) == 1:
        return curves.names[0]
    layers = curves.layer_names
    if len(layers) == 1:
        return f"{layers[0]}, {counted(len(curves.names), 'channel')}"
    if curves.names == layers:
        return f"{len(layers)} layers"
    return f"{len(curves.names)} units of {len(layers)} layers"
