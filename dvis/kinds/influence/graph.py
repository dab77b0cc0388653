"""The circuit about a unit: its strongest inputs, theirs, and its strongest outputs, as a graph.

A Dataset of influence in, nodes and edges over checkpoints out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import xarray as xr

from dvis.kinds.influence.ends import strongest
from dvis.kinds.influence.read import halves, reliability
from dvis.kinds.influence.words import CHANNEL_FROM, CHANNEL_TO, LAYER_FROM, LAYER_TO
from dvis.schema import CHECKPOINT

NODE: Final = "node"
EDGE: Final = "edge"
_READ = ("strength", "direction", "half_difference")
_Unit: TypeAlias = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What acts on some targets of a layer, and the edges (source, target, rank) chosen of it."""

    layer_from: str
    layer_to: str
    numbers: xr.Dataset
    edges: Sequence[tuple[int, int, int]]


def unit_graph(
    influence: xr.Dataset, layer: str, channel: int, *, depth: int = 2, k: int = 5
) -> xr.Dataset | None:
    """The strongest inputs of a unit, their strongest inputs, and the unit's strongest outputs.

    Which they are is read off the last checkpoint at which a target is measured; an input comes
    from the nearest earlier layer that was measured onto the target's, so that no influence that
    passes through a layer of the graph is drawn beside it.

    Parameters
    ----------
    influence : Dataset
        As `dvis.influence` gives it. Of each pair of layers only the columns of the targets are
        read.
    layer, channel : str, int
        The unit.
    depth : int
        How many layers back.
    k : int
        How many inputs of each target, and outputs of the unit.

    Returns
    -------
    Dataset, or None where nothing acts on the unit and it acts on nothing
        `layer`, `channel`, `null` (node, ...): in the order of execution, within a layer by where
        their targets are; the null is the median strength of all measured channels of the layer
        from which a node's edges come, (node, checkpoint), NaN where these are its inputs here and
        there are no others. `is_root` (node) is true of the unit.
        `source`, `target`, `rank` (edge): places of nodes, and how many edges of that end are
        stronger at the last checkpoint. `strength`, `spread`, `direction` (edge, checkpoint);
        `spread` is half the difference of strength between even and odd images. `reliability`
        (checkpoint): as `ds.dvis.reliability()` has it, of the unit.
    """
    steps = [*_inputs(influence, layer, channel, depth, k)][::-1]
    outputs = _outputs(influence, layer, channel, k)
    if not steps and outputs is None:
        return None
    columns = _columns(steps, (layer, channel), outputs)
    nodes = [unit for column in columns for unit in column]
    places = {unit: place for place, unit in enumerate(nodes)}
    drawn = [*steps, *([] if outputs is None else [outputs])]
    agreement = (
        reliability(steps[-1].numbers).squeeze(CHANNEL_TO, drop=True)
        if steps
        else xr.full_like(influence[CHECKPOINT], np.nan, np.float32)
    )
    return xr.Dataset(
        {
            "is_root": (NODE, [unit == (layer, channel) for unit in nodes]),
            "null": ((NODE, CHECKPOINT), _nulls(drawn, places, influence.sizes[CHECKPOINT])),
            **_edges(drawn, places),
            "reliability": (CHECKPOINT, agreement.values),
        },
        {
            CHECKPOINT: influence[CHECKPOINT],
            "layer": (NODE, np.array([name for name, _ in nodes], object)),
            "channel": (NODE, [number for _, number in nodes]),
        },
    )


def _inputs(influence: xr.Dataset, layer: str, channel: int, depth: int, k: int) -> Iterator[_Step]:
    """Steps back from a unit, the one onto the unit first."""
    targets = [channel]
    for _ in range(depth):
        found = _onto(influence, layer, targets)
        if found is None:
            return
        layer_from, numbers = found
        edges = [
            (source, target, rank)
            for place, target in enumerate(targets)
            for rank, source in enumerate(
                _strongest(numbers["strength"].isel({CHANNEL_TO: place}), CHANNEL_FROM, k)
            )
        ]
        if not edges:
            return
        yield _Step(layer_from=layer_from, layer_to=layer, numbers=numbers, edges=edges)
        layer, targets = layer_from, list(dict.fromkeys(source for source, *_ in edges))


def _onto(
    influence: xr.Dataset, layer: str, targets: Sequence[int]
) -> tuple[str, xr.Dataset] | None:
    """The nearest earlier layer that was measured onto some targets, and its numbers."""
    if layer not in influence[LAYER_TO] or not np.isin(targets, influence[CHANNEL_TO]).all():
        return None
    depth = int(influence["depth_to"].sel({LAYER_TO: layer}))
    names = influence[LAYER_FROM].values[influence["depth_from"].values < depth]
    for layer_from in names[::-1].tolist():
        numbers = _columns_of(influence, layer_from, layer, targets)
        if numbers["strength"].notnull().any():
            return layer_from, numbers
    return None


def _outputs(influence: xr.Dataset, layer: str, channel: int, k: int) -> _Step | None:
    """The step onto what a unit acts on most, in the nearest later layer that was measured."""
    if layer not in influence[LAYER_FROM] or channel not in influence[CHANNEL_FROM]:
        return None
    depth = int(influence["depth_from"].sel({LAYER_FROM: layer}))
    of_unit = influence["strength"].sel({LAYER_FROM: layer, CHANNEL_FROM: channel})
    for after in influence[LAYER_TO].values[influence["depth_to"].values > depth].tolist():
        strength = of_unit.sel({LAYER_TO: after}).load()
        if not strength.notnull().any():
            continue
        targets = _strongest(strength, CHANNEL_TO, k)
        if not targets:
            return None
        return _Step(
            layer_from=layer,
            layer_to=after,
            numbers=_columns_of(influence, layer, after, targets),
            edges=[(channel, target, rank) for rank, target in enumerate(targets)],
        )
    return None


def _columns_of(
    influence: xr.Dataset, layer_from: str, layer_to: str, targets: Sequence[int]
) -> xr.Dataset:
    """Numbers (checkpoint, channel_from, channel_to) of all sources of a layer onto targets."""
    layers = influence[list(_READ)].sel({LAYER_FROM: layer_from, LAYER_TO: layer_to})
    return layers.sel({CHANNEL_TO: list(targets)}).load()


def _strongest(strength: xr.DataArray, dim: str, k: int) -> list[int]:
    """The k strongest at the last checkpoint that has any, of those that do something."""
    is_known = strength.notnull().any(dim).values
    if not is_known.any():
        return []
    last = strength.isel({CHECKPOINT: int(np.flatnonzero(is_known)[-1])})
    values = last.values.astype(np.float32)
    order = strongest(values, k)
    return [int(each) for each in last[dim].values[order[values[order] > 0]]]


def _columns(
    steps: Sequence[_Step], unit: _Unit, outputs: _Step | None
) -> Sequence[Sequence[_Unit]]:
    """Units of each layer from above to below, so that few edges cross."""
    columns: list[list[_Unit]] = [[unit]]
    for step in reversed(steps):
        rows = {number: row for row, (_, number) in enumerate(columns[0])}
        weights: dict[int, list[tuple[float, int]]] = {}
        for source, target, rank in step.edges:
            weights.setdefault(source, []).append((1 / (rank + 1), rows[target]))
        keys = {source: _key(found) for source, found in weights.items()}
        columns.insert(0, [(step.layer_from, each) for each in sorted(keys, key=keys.__getitem__)])
    if outputs is not None:
        columns.append([(outputs.layer_to, target) for _, target, _ in outputs.edges])
    return columns


def _key(weights: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Where a source's targets are on average, and then the strongest first."""
    total = sum(weight for weight, _ in weights)
    return round(sum(weight * row for weight, row in weights) / total, 6), -total


def _nulls(steps: Sequence[_Step], places: Mapping[_Unit, int], n_checkpoints: int) -> np.ndarray:
    """Median strength of all sources onto each target, NaN for nodes that are none."""
    nulls = np.full((len(places), n_checkpoints), np.nan, np.float32)
    for step in steps:
        strength = step.numbers["strength"].astype(np.float32)
        n_measured = strength.notnull().any(CHECKPOINT).sum(CHANNEL_FROM)
        n_drawn = Counter(target for _, target, _ in step.edges)
        median = strength.median(CHANNEL_FROM)
        for target in median[CHANNEL_TO].values.tolist():
            if int(n_measured.sel({CHANNEL_TO: target})) <= n_drawn[target]:
                continue
            nulls[places[step.layer_to, target]] = median.sel({CHANNEL_TO: target})
    return nulls


def _edges(steps: Sequence[_Step], places: Mapping[_Unit, int]) -> dict[str, Any]:
    """Ends and numbers of edges."""
    ends: list[tuple[int, int, int]] = []
    rows: dict[str, list[np.ndarray]] = {"strength": [], "spread": [], "direction": []}
    for step in steps:
        even, odd = halves(step.numbers)
        numbers = step.numbers.assign(spread=np.abs(even - odd) / 2).astype(np.float32)
        sources, targets, ranks = zip(*step.edges, strict=True)
        pairs = {CHANNEL_FROM: xr.DataArray([*sources], dims=EDGE)} | {
            CHANNEL_TO: xr.DataArray([*targets], dims=EDGE)
        }
        of_edges = numbers.sel(pairs).transpose(EDGE, CHECKPOINT)
        for name, found in rows.items():
            found.append(of_edges[name].values)
        ends += [
            (places[step.layer_from, source], places[step.layer_to, target], rank)
            for source, target, rank in zip(sources, targets, ranks, strict=True)
        ]
    of_ends = zip(("source", "target", "rank"), zip(*ends, strict=True), strict=True)
    return {name: (EDGE, np.array(values)) for name, values in of_ends} | {
        name: ((EDGE, CHECKPOINT), np.concatenate(found)) for name, found in rows.items()
    }
