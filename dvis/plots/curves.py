"""Scalars over training as arrays of curves: which units, which values, how they are drawn."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from dvis.analysis.measures import RAW_MEASURE, development, usual_measure
from dvis.analysis.requirements import require, require_dataset, require_same_units
from dvis.analysis.trajectories import is_of_model, of_complete_units, usual_variable
from dvis.plots.canvas import Color
from dvis.plots.selection import labels_of, listed, unit_name, units_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, TimeAxis, require_scale
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_DIMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dvis.plots.selection import Chosen

# From this many units on, quantiles say more than curves.
BAND_UNITS = 10
BANDS = ((0.05, 0.95, 0.14), (0.25, 0.75, 0.30))  # lower and upper quantile, opacity
_LOG_SPAN = 100


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Values of a scalar, (curve, checkpoint), NaN where a unit is not complete.

    Attributes
    ----------
    values : ndarray of float
        One row a curve.
    layers : list of str
        The layer of each curve; "" for a scalar of the whole model.
    channels : list of int
        The channel of each curve; -1 for a scalar of a layer or of the model.
    names : list of str
        What to call each curve.
    variable : str
        The scalar.
    label : str
        What it is called.
    """

    values: np.ndarray
    layers: list[str]
    channels: list[int]
    names: list[str]
    variable: str
    label: str

    @property
    def layer_names(self) -> list[str]:
        """Layers in order, each once."""
        return list(dict.fromkeys(self.layers))

    @property
    def units(self) -> list[tuple[str, int]]:
        """Layer and channel of each curve."""
        return list(zip(self.layers, self.channels, strict=True))

    def of_layer(self, layer: str) -> np.ndarray:
        """Values of a layer's curves."""
        return self.values[[i for i, each in enumerate(self.layers) if each == layer]]


def read_curves(
    dataset: xr.Dataset,
    variable: str | None,
    layer: "Chosen[str]" = None,
    channel: "Chosen[int]" = None,
) -> Curves:
    """Read a scalar of units, of layers or of the whole model over training.

    Raises
    ------
    SchemaError
        When the Dataset has no such variable.
    ValueError
        When there is no such layer or channel, no checkpoint is left, or the variable has other
        dimensions.
    """
    if variable is None:
        dataset, variable = _by_usual_measure(dataset, layer)
    require(dataset, variable, labels=(CHECKPOINT,))
    data = dataset[variable]
    others = [str(dim) for dim in data.dims if dim not in (CHECKPOINT, LAYER, CHANNEL)]
    if others:
        raise ValueError(
            f"{variable} runs over {', '.join(others)} too; choose one of each, or average: "
            f"ds.mean({others[0]!r})"
        )
    called = {"variable": variable, "label": str(data.attrs.get("long_name", variable))}
    if is_of_model(dataset, data):
        if layer is not None or channel is not None:
            raise ValueError(
                f"{variable} is of the whole model (dims {data.dims}); leave out layer and channel"
            )
        values = np.atleast_1d(data.values).astype(float)[np.newaxis]
        return Curves(values=values, layers=[""], channels=[-1], names=[called["label"]], **called)
    require(dataset, variable)
    layers = listed(dataset, LAYER, layer)
    if CHANNEL in dataset.dims and CHANNEL not in data.dims:
        chosen = layers or labels_of(dataset, LAYER)
        of_layers = _block(data).sel({LAYER: chosen}).transpose(LAYER, CHECKPOINT)
        return Curves(
            values=of_layers.values.astype(float),
            layers=chosen,
            channels=[-1] * len(chosen),
            names=chosen,
            **called,
        )
    require_same_units(dataset)
    units = units_of(dataset, layers, listed(dataset, CHANNEL, channel))
    return Curves(
        values=_unit_values(of_complete_units(dataset, data), units),
        layers=[layer for layer, _ in units],
        channels=[channel for _, channel in units],
        names=[unit_name(dataset, layer, channel) for layer, channel in units],
        **called,
    )


def _by_usual_measure(dataset: xr.Dataset, layer: "Chosen[str]") -> tuple[xr.Dataset, str]:
    """The Dataset with what a unit's development is read off, and what that is called."""
    require_dataset(dataset)
    if usual_measure(dataset) == RAW_MEASURE:
        return dataset, usual_variable(dataset)
    if LAYER in dataset.dims and layer is not None:
        dataset = dataset.sel({LAYER: listed(dataset, LAYER, layer)})
    found = development(dataset)
    return dataset.assign({str(found.name): found}), str(found.name)


def read_unit_curves(
    dataset: xr.Dataset,
    variable: str | None,
    layer: "Chosen[str]" = None,
    channel: "Chosen[int]" = None,
) -> Curves:
    """Read a scalar of units over training.

    Raises
    ------
    SchemaError
        When the Dataset has no such variable.
    ValueError
        As `read_curves` does, and when the variable is not of units.
    """
    curves = read_curves(dataset, variable, layer, channel)
    if min(curves.channels) < 0:
        raise ValueError(
            f"{curves.variable} is not of units; take a scalar with {', '.join(UNIT_DIMS)}"
        )
    return curves


def log_y(values: np.ndarray, yscale: Scale) -> bool:
    """Whether an axis of values is to be logarithmic: as asked; by default over two decades.

    Raises
    ------
    ValueError
        When no value is positive and a logarithmic axis is asked for, or no such scale is known.
    """
    require_scale("yscale", yscale)
    known = values[np.isfinite(values)]
    if yscale == "log" and not (known > 0).any():
        raise ValueError("None of these values is positive; take yscale='linear'")
    if yscale != "auto":
        return yscale == "log"
    return bool(len(known)) and known.min() > 0 and bool(known.max() > _LOG_SPAN * known.min())


def show_values_axis(axes: "Axes", values: np.ndarray, yscale: Scale) -> None:
    """Give the axis of values its scale, with plain numbers for ticks."""
    from matplotlib import ticker

    if log_y(values, yscale):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def draw_layer(
    axes: "Axes",
    axis: TimeAxis,
    values: np.ndarray,
    color: Color,
    label: str,
    *,
    bands: Literal["all", "inner", "none"],
) -> None:
    """Draw a layer's units: their median, over bands of quantiles or over thin curves if few."""
    shown = values[:, axis.places]
    known = ~np.isnan(shown).all(0)
    if len(shown) < BAND_UNITS and bands != "none":
        axes.plot(axis.positions, shown.T, color=color, lw=0.7, alpha=0.6, label="_")
    for low, high, opacity in _bands(len(shown), bands):
        edges = np.full((2, shown.shape[1]), np.nan)
        edges[:, known] = np.nanquantile(shown[:, known], (low, high), axis=0)
        axes.fill_between(axis.positions, *edges, color=color, alpha=opacity, lw=0)
    median = np.full(shown.shape[1], np.nan)
    median[known] = np.nanmedian(shown[:, known], axis=0)
    axes.plot(
        axis.positions, median, color=color, lw=2.2, label=plain(label), **points(median, most=0)
    )


def points(curve: np.ndarray, most: int = 30) -> dict[str, Any]:
    """Markers of a curve: on every point of few; else where a line would leave a point out."""
    if len(curve) <= most:
        return {"marker": "."}
    known = np.isfinite(np.concatenate([[np.nan], curve, [np.nan]]))
    alone = np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])
    return {"marker": ".", "markevery": alone.tolist()} if len(alone) else {}


def bands_note(n_units: int, bands: Literal["all", "inner", "none"]) -> str:
    """What thick lines and shades mean."""
    if bands == "none":
        return "lines: medians of units"
    if n_units < BAND_UNITS:
        return "thick: median; thin: single units"
    shades = [f"{low * 100:.0f} to {high * 100:.0f} %" for low, high, _ in _bands(n_units, bands)]
    return f"line: median; shaded: {' and '.join(reversed(shades))} of units"


def _bands(
    n_units: int, bands: Literal["all", "inner", "none"]
) -> tuple[tuple[float, float, float], ...]:
    if n_units < BAND_UNITS or bands == "none":
        return ()
    return BANDS if bands == "all" else BANDS[1:]


def _block(data: xr.DataArray, *dims: str) -> xr.DataArray:
    """The array with these dimensions too, of length 1 where they were selected away."""
    for dim in (CHECKPOINT, LAYER, *dims):
        if dim not in data.dims:
            data = data.expand_dims(dim)
    return data


def _unit_values(data: xr.DataArray, units: list[tuple[str, int]]) -> np.ndarray:
    layers = list(dict.fromkeys(layer for layer, _ in units))
    channels = sorted({channel for _, channel in units})
    chosen = _block(data, CHANNEL).sel({LAYER: layers, CHANNEL: channels})
    values = chosen.transpose(LAYER, CHANNEL, CHECKPOINT).values
    rows = {layer: row for row, layer in enumerate(layers)}
    columns = {channel: column for column, channel in enumerate(channels)}
    places = np.array([(rows[layer], columns[channel]) for layer, channel in units])
    curves: np.ndarray = values[places[:, 0], places[:, 1]].astype(float)
    return curves
