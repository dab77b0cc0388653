"""A circuit as a layered graph: units with their feature images, and their influence as lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.kinds.influence.circuits import circuit
from dvis.kinds.influence.pictures.nodes import (
    agreement_note,
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
from dvis.plots.canvas import headline, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.schema import CHANNEL, CHECKPOINT, DEPTH, LAYER, RGB, Status, X, Y, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE, _ROW, _COLUMN = 0.5, 0.7, 2.2  # inches of a node, and between the middles of nodes
_FAN = 0.4  # of a side, up and down from its middle, where lines end


@documented
def circuit_graph(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    depth: int = 2,
    k: int = 5,
    checkpoint: str | int | None = None,
    unit_images: xr.Dataset | None = None,
    path: str | Path | None = None,
) -> "Figure":
    """What a unit is built of at a checkpoint: a column a layer, a line from each input.

    A line's colour is the direction of the influence, its width the strength, on one scale. A node
    is the unit's feature image at that checkpoint, grey where there is none. Strength is in
    standard deviations of each target's response, so that lines to one target compare best.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.influence` gives it.
    {unit}
    depth : int
        How many layers to go back.
    k : int
        How many inputs of each unit to show.
    checkpoint : str or int, optional
        Its name or its place; by default the last that is measured.
    unit_images : Dataset, optional
        As `dvis.open` gives it of the same run: the feature images.
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
    found = circuit(dataset, layer, channel, depth=depth, k=k, checkpoint=checkpoint)
    places = _places(found)
    figure, axes = _canvas(places)
    largest = largest_of(found["strength"].values)
    _draw_edges(axes, found, places, largest)
    label = str(found[CHECKPOINT].item())
    nodes = list(zip(found[LAYER].values.tolist(), found[CHANNEL].values.tolist(), strict=True))
    images = [_image(images_of_node(unit_images, *node), label) for node in nodes]
    for (x, y), image, node in zip(places, images, nodes, strict=True):
        _draw_node(axes, x, y, image, node_name(*node))
    _name_layers(axes, found, places)
    show_scales(figure, largest)
    unit = node_name(str(found[LAYER][0].item()), int(found[CHANNEL][0].item()))
    back = counted(int(found[DEPTH].max()), "layer")
    title = f"What {unit} is built of, {back} back, {moment_name(found, label)}"
    headline(figure, title, *_notes(dataset, found, k, images))
    return saved(figure, path)


def _places(found: xr.Dataset) -> np.ndarray:
    """Where nodes stand, (node, 2), in inches: earlier layers to the left, near what they act on.

    A unit's wanted height is the mean of its targets', weighted by squared strength: fewer lines
    cross so than in the order of strength.
    """
    depth = found[DEPTH].values
    places = np.zeros((len(depth), 2))
    places[:, 0] = -_COLUMN * depth
    sources, targets = found["node_from"].values, found["node_to"].values
    weights = found["strength"].values.astype(float) ** 2 + 1e-12
    for level in range(1, int(depth.max()) + 1):
        nodes = np.flatnonzero(depth == level)
        of_nodes = [sources == node for node in nodes]
        wanted = [np.average(places[targets[each], 1], weights=weights[each]) for each in of_nodes]
        order = np.argsort(-np.array(wanted), kind="stable")
        heights = _ROW * ((len(nodes) - 1) / 2 - np.arange(len(nodes)))
        places[nodes[order], 1] = heights
    return places


def _canvas(places: np.ndarray) -> tuple["Figure", "Axes"]:
    """A figure whose one axes have inches for units."""
    low, high = places.min(0), places.max(0)
    margin = np.array([0.6, 0.45])
    low, high = low - margin, high + margin
    width, height = high - low
    size = (max(width, 3.6) + SCALES_INCHES, max(height + 0.75, 3.2))
    figure, axes = subplots(figsize=size, layout="constrained")
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
    return figure, axes


def _draw_edges(axes: "Axes", found: xr.Dataset, places: np.ndarray, largest: float) -> None:
    """Curves from sources to targets, the strongest on top."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    strength, direction = found["strength"].values, found["direction"].values
    sources, targets = found["node_from"].values, found["node_to"].values
    leaves = _spread(sources, places[targets, 1])
    arrives = _spread(targets, places[sources, 1])
    for edge in np.argsort(strength, kind="stable").tolist():
        start = places[sources[edge]] + np.array([_SIDE / 2, leaves[edge]])
        end = places[targets[edge]] + np.array([-_SIDE / 2, arrives[edge]])
        bend = np.array([(end[0] - start[0]) / 2, 0])
        codes = [Outline.MOVETO, Outline.CURVE4, Outline.CURVE4, Outline.CURVE4]
        axes.add_patch(
            PathPatch(
                Outline(np.array([start, start + bend, end - bend, end]), codes),
                facecolor="none",
                edgecolor=direction_color(float(direction[edge])),
                linewidth=line_width(float(strength[edge]), largest),
                capstyle="butt",
                zorder=1,
                gid=f"edge {edge}",
            )
        )


def _spread(nodes: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Where along a node's side each of its lines ends, (edge,): in the order of the other ends."""
    offsets = np.zeros(len(nodes))
    for node in np.unique(nodes):
        edges = np.flatnonzero(nodes == node)
        order = edges[np.argsort(heights[edges], kind="stable")]
        reach = _FAN * _SIDE * (1 - 1 / len(edges))
        offsets[order] = np.linspace(-reach, reach, len(edges))
    return offsets


def _image(images: xr.Dataset | None, label: str) -> np.ndarray | None:
    """A unit's feature image at a checkpoint, (y, x, rgb); None where it is not complete."""
    if images is None or label not in images[CHECKPOINT].values:
        return None
    at = images.sel({CHECKPOINT: label})
    if int(at["status"]) != Status.COMPLETE:
        return None
    return np.asarray(at["image"].transpose(Y, X, RGB).values)


def _draw_node(axes: "Axes", x: float, y: float, image: np.ndarray | None, name: str) -> None:
    """A unit's feature image, or a grey field, with its name below."""
    from matplotlib.patches import Rectangle

    half = _SIDE / 2
    limits = axes.get_xlim(), axes.get_ylim()
    if image is not None:
        axes.imshow(
            image,
            extent=(x - half, x + half, y - half, y + half),
            interpolation="nearest",
            zorder=2,
        )
    axes.set(xlim=limits[0], ylim=limits[1], aspect="equal")  # imshow moves them
    face = "none" if image is not None else "0.94"
    frame = Rectangle(
        (x - half, y - half), _SIDE, _SIDE, facecolor=face, edgecolor="0.6", lw=0.6, zorder=3
    )
    axes.add_patch(frame)
    axes.text(
        x,
        y - half - 0.03,
        plain(name),
        ha="center",
        va="top",
        fontsize=6.5,
        zorder=4,
        bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.6},
    )


def _name_layers(axes: "Axes", found: xr.Dataset, places: np.ndarray) -> None:
    """Names of the layers above their columns."""
    layers = found[LAYER].values.tolist()
    top = float(places[:, 1].max()) + _SIDE / 2 + 0.12
    for layer in dict.fromkeys(layers):
        x = float(places[layers.index(layer), 0])
        axes.text(x, top, plain(layer), ha="center", va="bottom", fontsize=8, fontweight="bold")


def _notes(
    dataset: xr.Dataset, found: xr.Dataset, k: int, images: Sequence[np.ndarray | None]
) -> list[str]:
    """Where it is from, what was chosen, and what the other sources have."""
    others = found["null_strength"].sel(quantile=0.95)
    n_known, n_beyond = int(others.notnull().sum()), int((found["strength"] > others).sum())
    layers = found[LAYER].values
    ends = (layers[found[end].values].tolist() for end in ("node_from", "node_to"))
    partly = measured_note(dataset, zip(*ends, strict=True), str(found[CHECKPOINT].item()))
    return [
        origin_of(dataset),
        f"the {k} strongest {'measured ' if partly else ''}inputs of each unit at this checkpoint",
        partly,
        f"{n_beyond} of {counted(n_known, 'line')} are stronger than 95 % of the other inputs of "
        "their own target"
        if n_known
        else "",
        agreement_note(found["reliability"], is_of_all=not partly),
        "grey: without a feature image" if any(image is None for image in images) else "",
    ]
