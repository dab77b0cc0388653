"""Cross responses: how the feature image of one checkpoint drives the model of another."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require
from dvis.analysis.trajectories import of_complete_units
from dvis.kinds.responses.words import IMAGE_CHECKPOINT
from dvis.plots.canvas import headline, saved, subplots, value_scale
from dvis.plots.documentation import documented
from dvis.plots.selection import name_of, one_unit, origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import Scale, TimeAxis, XAxis, cell_edges, show_axis, time_axis
from dvis.schema import CHANNEL, CHECKPOINT, LAYER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_WRITTEN = 8


@documented
def cross_response(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    x: XAxis = "checkpoint",
    variable: str = "response",
    xscale: Scale = "auto",
    path: str | Path | None = None,
) -> "Figure":
    """How the feature images of a unit at all checkpoints drive it at all checkpoints.

    A column is the model of a checkpoint, a row the feature image of one; on the diagonal, which
    is outlined, the model sees its own. Below the diagonal it sees images of its past, above
    it images of its future. Cells that have no response are hatched. Where some
    responses are negative, white is 0.

    Parameters
    ----------
    dataset : Dataset
        Cross responses: dims (checkpoint, image_checkpoint, layer, channel).
    {unit}
    {x}
    variable : str
        The response.
    {xscale}
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When the Dataset has no such unit, or has several and none is named; when x has no known
        values; when an image is of a checkpoint that the Dataset has not, and x is not
        "checkpoint".
    SchemaError
        When it holds no cross responses.
    """
    require(dataset, variable, labels=(CHECKPOINT, LAYER, CHANNEL, IMAGE_CHECKPOINT))
    unit = one_unit(dataset, layer, channel)
    axis = time_axis(unit, x, xscale)
    images = time_axis(_as_checkpoints(unit, x), x, xscale)
    response = of_complete_units(unit, unit[variable]).transpose(IMAGE_CHECKPOINT, CHECKPOINT)
    values = response.values[np.ix_(images.places, axis.places)].astype(float)
    figure, axes = subplots(figsize=(6.2, 5.2), layout="constrained")
    show_axis(axes, axis, inches=4.2)
    show_axis(axes, images, inches=3.8, which="y")
    across, along = cell_edges(axes, axis.positions), cell_edges(axes, images.positions, "y")
    mesh = _draw_cells(axes, across, along, values)
    _outline_diagonal(axes, axis, images, across, along)
    if max(values.shape) <= _MAX_WRITTEN and x == CHECKPOINT:
        _write_values(axes, values, mesh)
    axes.set_xlabel(f"model at: {axis.label}")
    axes.set_ylabel(f"feature image of: {images.label}")
    label = str(unit[variable].attrs.get("long_name", variable))
    figure.colorbar(mesh, ax=axes, label=plain(label), pad=0.02, aspect=30)
    note = "outlined: the model and its own image"
    headline(figure, name_of(unit), origin_of(dataset), axis.note, note)
    return saved(figure, path)


def _as_checkpoints(unit: xr.Dataset, x: XAxis) -> xr.Dataset:
    """The checkpoints of images as a Dataset of their own, with the places of those named so."""
    labels = [str(label) for label in np.atleast_1d(unit[IMAGE_CHECKPOINT].values)]
    there = [str(label) for label in np.atleast_1d(unit[CHECKPOINT].values)]
    missing = [label for label in labels if label not in there]
    if x != CHECKPOINT and missing:
        raise ValueError(
            f"The {x} of the images' checkpoint {missing[0]!r} is not known: it is none of the "
            f"{len(there)} checkpoints of this Dataset. Take x='checkpoint'"
        )
    if x == CHECKPOINT:
        return xr.Dataset(
            coords={CHECKPOINT: (CHECKPOINT, np.array(labels), unit[CHECKPOINT].attrs)}
        )
    coordinates = unit.drop_vars([str(name) for name in unit.data_vars])
    rows = [there.index(label) for label in labels]
    return coordinates.isel({CHECKPOINT: rows})


def _draw_cells(axes: "Axes", across: np.ndarray, along: np.ndarray, values: np.ndarray) -> Any:
    axes.set_facecolor("0.94")
    axes.patch.set_hatch("////")
    axes.patch.set_edgecolor("0.8")
    mesh = axes.pcolormesh(across, along, np.ma.masked_invalid(values), **value_scale(values))
    axes.set(xlim=(across[0], across[-1]), ylim=(along[0], along[-1]))
    return mesh


def _outline_diagonal(
    axes: "Axes", axis: TimeAxis, images: TimeAxis, across: np.ndarray, along: np.ndarray
) -> None:
    """Frame the cells of a model and its own image."""
    from matplotlib.collections import PolyCollection

    rows = {label: row for row, label in enumerate(images.labels)}
    frames = []
    for column, label in enumerate(axis.labels):
        if label in rows:
            left, right = across[column : column + 2]
            low, high = along[rows[label] : rows[label] + 2]
            frames.append([(left, low), (right, low), (right, high), (left, high)])
    width = 1.4 if len(axis.labels) <= 40 else 0.5
    for color, share in (("white", 1.0), ("black", 0.5)):  # one of them is seen on any colour
        axes.add_collection(
            PolyCollection(frames, facecolors="none", edgecolors=color, lw=width * share),
            autolim=False,
        )


def _write_values(axes: "Axes", values: np.ndarray, mesh: Any) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = mesh.cmap(mesh.norm(value))
            is_dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            axes.text(
                column,
                row,
                f"{value:.3g}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if is_dark else "black",
            )
