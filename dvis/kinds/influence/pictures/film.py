"""Circuit film: what a unit's strongest inputs look like, and how they act on it, over training."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.kinds.activations.pictures.cells import draw_unit_image, say
from dvis.kinds.influence.circuits import INPUT, top_inputs
from dvis.kinds.influence.pictures.nodes import (
    BIRTH_STYLE,
    Births,
    agreement_note,
    birth_handles,
    images_of_node,
    measured_note,
    moment_name,
    node_name,
)
from dvis.kinds.influence.pictures.scales import (
    SCALES_INCHES,
    direction_color,
    largest_of,
    line_width,
    show_scales,
)
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.plots.canvas import evenly, headline, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_names
from dvis.schema import CHECKPOINT, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL_INCHES, _LABEL_INCHES = 0.84, 0.95
_HOW = "frame: how the input acts on the unit then"


@documented
def circuit_film(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    k: int = 8,
    checkpoint: str | int | None = None,
    layer_from: str | None = None,
    unit_images: xr.Dataset | None = None,
    births: xr.Dataset | None = None,
    max_checkpoints: int = 12,
    path: str | Path | None = None,
) -> "Figure":
    """A unit's strongest inputs over training: a row an input, and below them the unit itself.

    A cell is the input's feature image at that checkpoint, hatched where it has none at all. The
    colour of its frame is the direction of its influence on the unit then, the width its strength,
    on one scale for the picture. What is not measured, and the unit itself, has a thin grey frame.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.influence` gives it.
    {unit}
    k : int
        How many inputs to show.
    checkpoint : str or int, optional
        At which checkpoint they are the strongest: its name or its place; by default the last.
    layer_from : str, optional
        Of which layer they are; by default the nearest before the unit's.
    unit_images : Dataset, optional
        As `dvis.open` gives it of the same run: the feature images.
    births : Dataset, optional
        As `ds.dvis.births` gives it of units: a triangle stands before the first cell at which a
        unit is born.
    max_checkpoints : int
        How many checkpoints to show at most, evenly chosen, the first and the last among them; and
        that at which the inputs are the strongest.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such layer, channel or checkpoint, or nothing is measured of the unit.
    SchemaError
        When it is no Dataset of influence.
    """
    found = top_inputs(dataset, layer, channel, k=k, checkpoint=checkpoint, layer_from=layer_from)
    columns = _columns(found, max_checkpoints)
    shown = found.isel({CHECKPOINT: columns})
    unit = str(found[LAYER_TO].item()), int(found[CHANNEL_TO].item())
    names = found[LAYER_FROM].values.tolist(), found[CHANNEL_FROM].values.tolist()
    inputs = [(str(source), int(number)) for source, number in zip(*names, strict=True)]
    figure, axes = _grid(len(inputs) + 1, shown.sizes[CHECKPOINT])
    largest = largest_of(shown["strength"].values)
    born = Births.of(births)
    at_choice = found["strength"].sel({CHECKPOINT: found.attrs["strongest_at"]})
    for row, node in enumerate((*inputs, unit)):
        cells = list(axes[row])
        _draw_images(cells, images_of_node(unit_images, *node), shown)
        _mark_birth(cells, columns, born.place(node, found))
        if row == len(inputs):
            _label(cells[0], f"{node_name(*node)}\nthe unit", is_unit=True)
        else:
            _frame(cells, shown.isel({INPUT: row}), largest)
            _label(cells[0], f"{node_name(*node)}\n{float(at_choice[row]):.2g}")
    for cell, name in zip(axes[0], moment_names(shown), strict=True):
        cell.set_title(plain(name.replace(", ", ",\n")), fontsize=7)
    show_scales(figure, largest, *birth_handles(born))
    partly = measured_note(dataset, [(inputs[0][0], unit[0])], found.attrs["strongest_at"])
    which = counted(len(inputs), "strongest measured input" if partly else "strongest input")
    title = f"{node_name(*unit)} and its {which}, over training"
    headline(figure, title, *_notes(dataset, found, shown, born, partly, unit_images))
    return saved(figure, path)


def _columns(found: xr.Dataset, limit: int) -> np.ndarray:
    """Checkpoints to show: evenly chosen, and that at which the inputs are the strongest."""
    labels = found[CHECKPOINT].values.tolist()
    chosen = evenly(len(labels), limit, "max_checkpoints")
    return np.union1d(chosen, [labels.index(found.attrs["strongest_at"])])


def _grid(n_rows: int, n_columns: int) -> tuple["Figure", np.ndarray]:
    width = _LABEL_INCHES + n_columns * _CELL_INCHES + SCALES_INCHES
    figure, axes = subplots(
        nrows=n_rows,
        ncols=n_columns,
        figsize=(max(width, 5.2), max(n_rows * _CELL_INCHES + 0.85, 3.2)),
        squeeze=False,
        layout="constrained",
    )
    # Room for the widest frames, and marks of births.
    figure.get_layout_engine().set(w_pad=0.065, h_pad=0.055, wspace=0, hspace=0)
    return figure, axes


def _draw_images(cells: "list[Axes]", images: xr.Dataset | None, shown: xr.Dataset) -> None:
    """A unit's feature images, each at its checkpoint."""
    for cell, label in zip(cells, shown[CHECKPOINT].values.tolist(), strict=True):
        if images is not None:
            draw_unit_image(cell, images, str(label))
            continue
        cell.set(xticks=[], yticks=[])
        say(cell, "")
        cell.patch.set(hatch="////", edgecolor="0.8", linewidth=0)
        cell.spines[:].set(color="0.7", linewidth=0.5)


def _frame(cells: "list[Axes]", of_input: xr.Dataset, largest: float) -> None:
    """Frames that show an input's influence at each checkpoint."""
    pairs = zip(of_input["strength"].values, of_input["direction"].values, strict=True)
    for cell, (strength, direction) in zip(cells, pairs, strict=True):
        color, width = direction_color(direction), line_width(strength, largest)
        cell.spines[:].set(color=color, linewidth=width, zorder=3, capstyle="projecting")


def _mark_birth(cells: "list[Axes]", columns: np.ndarray, place: int) -> None:
    """A triangle before the first cell that is shown at which a unit is born."""
    if place < 0:
        return
    cell = cells[int(np.searchsorted(columns, place))]  # the last checkpoint is always shown
    style = {**BIRTH_STYLE, "transform": cell.transAxes, "clip_on": False, "zorder": 4}
    (mark,) = cell.plot(-0.11, 0.5, **style, gid="birth")
    mark.set_in_layout(False)  # which would set its column apart


def _label(cell: "Axes", text: str, *, is_unit: bool = False) -> None:
    """What a row of cells is of, at its left."""
    cell.annotate(
        plain(text),
        (0, 0.5),
        xycoords="axes fraction",
        xytext=(-12, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=7,
        fontweight="bold" if is_unit else "normal",
        annotation_clip=False,
    )


def _notes(
    dataset: xr.Dataset,
    found: xr.Dataset,
    shown: xr.Dataset,
    born: Births,
    partly: str,
    unit_images: xr.Dataset | None,
) -> list[str]:
    """Where it is from, what was chosen, and what the other inputs have."""
    label = found.attrs["strongest_at"]
    name, at = moment_name(found, label), found.sel({CHECKPOINT: label})
    n_all, n_shown = found.sizes[CHECKPOINT], shown.sizes[CHECKPOINT]
    low, middle, high = at["null_strength"].values.tolist()
    weakest = float(at["strength"][-1])
    others = (
        f"the weakest of them has {weakest:.2g}, the others {'' if partly else 'of the layer '}"
        f"{middle:.2g} "
        f"(90 %: {low:.2g} to {high:.2g})"
    )
    return [
        origin_of(dataset),
        f"{n_shown} of {n_all} checkpoints" if n_shown < n_all else "",
        _HOW,
        f"inputs: the strongest at {name}, with their strength then",
        partly,
        others if np.isfinite(middle) else "",
        agreement_note(at["reliability"], is_of_all=not partly),
        born.criterion,
        "" if unit_images is not None else "no feature images are given",
    ]
