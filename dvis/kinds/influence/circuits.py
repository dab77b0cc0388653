"""Circuits: the strongest inputs and outputs of a unit, and what it is built of some layers back.

A Dataset of influence in, small Datasets in memory out, which pictures draw.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dvis.analysis.control import EXCHANGEABLE
from dvis.analysis.ranking import QUANTILE
from dvis.analysis.trajectories import origin, quantiles
from dvis.kinds.influence.ends import (
    FROM,
    TO,
    End,
    checkpoint_of,
    influence_of,
    known_unit,
    nearest,
    other_layer,
    prepared,
    strongest,
    why_nothing,
)
from dvis.kinds.influence.read import agreement
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.plots.canvas import require_limit
from dvis.schema import CHANNEL, CHECKPOINT, DEPTH, LAYER

INPUT, OUTPUT, NODE, EDGE = "input", "output", "node", "edge"
NULL_QUANTILES = (0.05, 0.5, 0.95)
_OF_EDGES = ("strength", "share", "direction", "strength_even", "strength_odd")
_DESCRIBED = {
    "strength": "strength of influence",
    "share": "share of the target's variance",
    "direction": "direction of influence",
    "strength_even": "strength over even images",
    "strength_odd": "strength over odd images",
    "null_strength": "strength of the units that were not chosen",
    "reliability": "rank correlation of even with odd images",
}
_OF_TARGETS = {"null_strength": (EDGE, QUANTILE), "reliability": (EDGE,)}
_CHOSEN = (
    "The strongest at {label} are stronger there than the others because they were chosen so, on "
    "the same images; how much of it is noise, strength_even and strength_odd tell."
)


def top_inputs(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    k: int = 8,
    checkpoint: str | int | None = None,
    layer_from: str | None = None,
) -> xr.Dataset:
    """The units that influence a unit most at a checkpoint, with their influence at all of them.

    Reads the influence of one layer on the unit.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.influence` gives it.
    layer : str, optional
        The unit's layer; needed where several are targets.
    channel : int, optional
        The unit's channel; needed where several are targets.
    k : int, optional
        How many inputs; all where the layer has fewer.
    checkpoint : str or int, optional
        At which checkpoint they are the strongest: its name, or its place in the Dataset's order;
        by default the last that is measured.
    layer_from : str, optional
        Of which layer; by default the nearest before the unit's that is measured. Within a stage of
        a network with skip connections, the channel of the same number is among them.

    Returns
    -------
    Dataset, (checkpoint, input)
        Strongest first, with coordinates `layer_from`, `channel_from` (input), and

        - `strength`, float32: RMS of the change over images, in standard deviations of the unit's
          response at that checkpoint;
        - `share`, `direction`, float32, as `dvis.influence` has them;
        - `strength_even`, `strength_odd`, float32: the same over half of the images each;
        - `null_strength` (checkpoint, quantile), float32: quantiles 0.05, 0.5 and 0.95 of the
          strength of the layer's other units, NaN where there is none: what an input has that was
          drawn at random from them;
        - `reliability` (checkpoint), float32: rank correlation of `strength_even` with
          `strength_odd` over all units of the layer, NaN with fewer than three.

    Raises
    ------
    ValueError
        When there is no such layer, channel or checkpoint, no layer before it, or nothing measured
        of the unit at the checkpoint.
    SchemaError
        When it is no Dataset of influence.
    """
    return _top(dataset, TO, (layer, channel), k, checkpoint, layer_from)


def top_outputs(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    k: int = 8,
    checkpoint: str | int | None = None,
    layer_to: str | None = None,
) -> xr.Dataset:
    """The units that a unit influences most at a checkpoint, with that influence at all of them.

    Reads the influence of the unit on one layer. Each target's strength is in standard deviations
    of its own response.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.influence` gives it.
    layer : str, optional
        The unit's layer; needed where several are sources.
    channel : int, optional
        The unit's channel; needed where several are sources.
    k : int, optional
        How many outputs; all where the layer has fewer.
    checkpoint : str or int, optional
        As `top_inputs` takes it.
    layer_to : str, optional
        Of which layer; by default the nearest after the unit's that is measured.

    Returns
    -------
    Dataset, (checkpoint, output)
        As `top_inputs` gives it, with coordinates `layer_to`, `channel_to` (output).

    Raises
    ------
    ValueError, SchemaError
        As `top_inputs` does.
    """
    return _top(dataset, FROM, (layer, channel), k, checkpoint, layer_to)


def circuit(
    dataset: xr.Dataset,
    layer: str | None = None,
    channel: int | None = None,
    *,
    depth: int = 2,
    k: int = 5,
    checkpoint: str | int | None = None,
) -> xr.Dataset:
    """What a unit is built of at a checkpoint: its strongest inputs, theirs, and so on back.

    Reads the influence between adjacent layers of the group on the units that it shows.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.influence` gives it.
    layer : str, optional
        The unit's layer; needed where several are targets.
    channel : int, optional
        The unit's channel; needed where several are targets.
    depth : int, optional
        How many layers to go back; fewer where the group has fewer.
    k : int, optional
        How many inputs of each unit.
    checkpoint : str or int, optional
        As `top_inputs` takes it.

    Returns
    -------
    Dataset, (node), (edge)
        Nodes are units, each once, from the unit on and the strongest of a layer first:
        coordinates `layer`, `channel` and `depth` (node), layers back from the unit. Edges have
        `node_from` and `node_to` (edge), int64, places along `node`; `strength`, `share`,
        `direction`, `strength_even`, `strength_odd`, `reliability` (edge) and `null_strength`
        (edge, quantile) of all and of the other sources of the same target, as `top_inputs` has
        them.

    Raises
    ------
    ValueError, SchemaError
        As `top_inputs` does.
    """
    whole = prepared(dataset)
    require_limit("depth", depth)
    require_limit("k", k)
    unit = known_unit(whole, TO, layer, channel)
    source = other_layer(whole, TO, unit[0])
    at = whole.sel({CHECKPOINT: checkpoint_of(whole, checkpoint, source, unit[0])})
    levels = [_Level(unit[0], [unit[1]])]
    edges: list[xr.Dataset] = []
    while len(levels) <= depth and (layer_from := nearest(at, TO, levels[-1].layer)) is not None:
        found = _inputs_of(at, levels[-1], layer_from, k)
        if not found:
            break
        edges += found
        levels.append(_Level(layer_from, _by_strength(found)))
    if not edges:
        raise ValueError(why_nothing(at, TO, unit, (source, unit[0])))
    return _graph(at, levels, edges)


def _top(
    dataset: xr.Dataset,
    end: End,
    unit: tuple[str | None, int | None],
    k: int,
    checkpoint: str | int | None,
    asked: str | None,
) -> xr.Dataset:
    """The strongest at the other end of a unit, over all checkpoints."""
    whole = prepared(dataset)
    require_limit("k", k)
    known, other = known_unit(whole, end, *unit), end.other
    layer = other_layer(whole, end, known[0], asked)
    layers = (layer, known[0]) if end is TO else (known[0], layer)
    label = checkpoint_of(whole, checkpoint, *layers)
    table = influence_of(whole, end, *known, layer)
    order = strongest(table["strength"].sel({CHECKPOINT: label}).values, k)
    if not len(order):
        raise ValueError(why_nothing(whole.sel({CHECKPOINT: label}), end, known, layers))
    table["null_strength"] = _null(table["strength"], other.channel, order)
    table["reliability"] = _reliability(table, other.channel)
    dim = INPUT if end is TO else OUTPUT
    chosen = table.isel({other.channel: order}).swap_dims({other.channel: dim})
    names = dim, np.full(len(order), layer, object)
    return _described(chosen.assign_coords({other.layer: names}), whole, label)


def _null(strength: xr.DataArray, dim: str, chosen: np.ndarray) -> xr.DataArray:
    """Quantiles of the strength of all but the chosen."""
    others = strength.drop_isel({dim: chosen}).transpose(..., dim)
    found = quantiles(others.values, np.array(NULL_QUANTILES)).astype(np.float32)
    dims = (*others.dims[:-1], QUANTILE)
    return xr.DataArray(found, dims=dims, coords={QUANTILE: [*NULL_QUANTILES]})


def _reliability(table: xr.Dataset, dim: str) -> xr.DataArray:
    """How far both halves of the images agree on the order of all that stand along a dim."""
    return agreement(table["strength_even"], table["strength_odd"], dim)


class _Level(NamedTuple):
    """Units of a circuit in one layer, the strongest first."""

    layer: str
    channels: list[int]


def _inputs_of(at: xr.Dataset, level: _Level, layer_from: str, k: int) -> list[xr.Dataset]:
    """The strongest inputs, (channel_from), of each unit of a level that is not dead."""
    block = influence_of(at, TO, level.layer, level.channels, layer_from)
    found = []
    for place in range(len(level.channels)):
        table = block.isel({CHANNEL_TO: place})
        order = strongest(table["strength"].values, k)
        table["null_strength"] = _null(table["strength"], CHANNEL_FROM, order)
        table["reliability"] = _reliability(table, CHANNEL_FROM)
        if len(order):
            found.append(table.isel({CHANNEL_FROM: order}))
    return found


def _by_strength(found: Sequence[xr.Dataset]) -> list[int]:
    """Sources of several targets, each once, by their largest strength."""
    largest: dict[int, float] = {}
    for each in found:
        channels, strengths = each[CHANNEL_FROM].values.tolist(), each["strength"].values.tolist()
        for channel, strength in zip(channels, strengths, strict=True):
            largest[channel] = max(strength, largest.get(channel, 0.0))
    return sorted(largest, key=lambda channel: -largest[channel])


def _graph(at: xr.Dataset, levels: Sequence[_Level], edges: Sequence[xr.Dataset]) -> xr.Dataset:
    """Units of levels as nodes, and what is between them as edges."""
    nodes = [(level.layer, channel) for level in levels for channel in level.channels]
    places = {node: place for place, node in enumerate(nodes)}
    ends, described = [], {"node_from": "place of the source", "node_to": "place of the target"}
    for each in edges:
        layer_from, layer_to, to = (
            each[name].item() for name in (LAYER_FROM, LAYER_TO, CHANNEL_TO)
        )
        channels = each[CHANNEL_FROM].values.tolist()
        ends += [(places[layer_from, channel], places[layer_to, to]) for channel in channels]
    sizes = [each.sizes[CHANNEL_FROM] for each in edges]
    found: dict[str, Any] = {
        name: (EDGE, place, {"long_name": described[name], "units": "1"})
        for name, place in zip(described, np.array(ends, np.int64).T, strict=True)
    }
    for name in _OF_EDGES:
        found[name] = EDGE, np.concatenate([each[name].values for each in edges])
    back = np.repeat(np.arange(len(levels)), [len(level.channels) for level in levels])
    coordinates: dict[Any, Any] = {
        LAYER: (NODE, np.array([layer for layer, _ in nodes], object)),
        CHANNEL: (NODE, np.array([channel for _, channel in nodes], np.int32)),
        DEPTH: (NODE, back.astype(np.int32), {"long_name": "layers back", "units": "1"}),
        QUANTILE: [*NULL_QUANTILES],
    }
    moment = {name: each for name, each in at.coords.items() if not each.dims}
    graph = xr.Dataset(found, {**moment, **coordinates})
    for name, dims in _OF_TARGETS.items():
        graph[name] = dims, np.repeat([each[name].values for each in edges], sizes, axis=0)
    return _described(graph, at, str(at[CHECKPOINT].item()))


def _described(found: xr.Dataset, dataset: xr.Dataset, label: str) -> xr.Dataset:
    """With what each variable is called, of what it is made, and what it cannot tell."""
    for name, long_name in _DESCRIBED.items():
        found[name].attrs = {"long_name": long_name, "units": "1"}
    found["null_strength"].attrs[EXCHANGEABLE] = "units of the layer that were not chosen"
    said = {name: dataset.attrs[name] for name in ("name", "method") if name in dataset.attrs}
    comment = _CHOSEN.format(label=label)
    return found.assign_attrs(
        {**origin(dataset), **said, "strongest_at": label, "comment": comment}
    )
