"""Parts of the page of chains: what a latent is made of and what is made of it, as a graph."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from dvis.analysis.ranking import RANK
from dvis.kinds.parts import Column, Graph
from dvis.kinds.saes.chains.words import DEPTH, ON
from dvis.kinds.saes.dims import LATENT
from dvis.schema import CHECKPOINT

MAX_EDGES = 5  # at an end, of a checkpoint
_ON = {
    "decoder": (
        "on decoder rows",
        "code of the latent at the right on the decoder row of the one at the left",
    ),
    "codes": (
        "on codes",
        "weight of the latent at the left in the decoder row of the one at the right",
    ),
}
_Node = tuple[int, int]  # depth and number


@dataclass(frozen=True)
class Parents:
    """Which latents those of a chain are made of, of one seed, at each checkpoint.

    Parameters
    ----------
    chain : Dataset
        As `dvis.chains` gives it, of one seed, with `parent` and `parent_weight` in memory.
    """

    chain: xr.Dataset

    @property
    def labels(self) -> list[str]:
        """Checkpoints, in training order."""
        return [str(label) for label in self.chain[CHECKPOINT].values]

    @property
    def n_depths(self) -> int:
        """Levels, the first included."""
        return self.chain.sizes[DEPTH]

    def above(self, row: int, node: _Node) -> Iterator[tuple[_Node, float]]:
        """Latents that one is made of at a checkpoint, the strongest first, with their weights."""
        depth, latent = node
        if depth == 0:
            return
        parents, weights = (each[row, depth, latent] for each in self._arrays)
        for parent, weight in zip(parents[:MAX_EDGES], weights[:MAX_EDGES], strict=True):
            if parent >= 0:
                yield (depth - 1, int(parent)), float(weight)

    def below(self, row: int, node: _Node) -> Iterator[tuple[_Node, float]]:
        """Latents that are made of one at a checkpoint, those with most of it first."""
        depth, latent = node
        if depth + 1 >= self.n_depths:
            return
        parents, weights = (each[row, depth + 1] for each in self._arrays)
        children, ranks = np.nonzero(parents == latent)
        found = weights[children, ranks]
        for place in np.argsort(-np.abs(found), kind="stable")[:MAX_EDGES]:
            yield (depth + 1, int(children[place])), float(found[place])

    def usual(self, row: int, depth: int) -> float:
        """Median size of the weights of a level at a checkpoint, NaN where there are none."""
        known = np.abs(self._arrays[1][row, depth])
        known = known[np.isfinite(known)]
        return float(np.median(known)) if len(known) else np.nan

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        order = (CHECKPOINT, DEPTH, LATENT, RANK)
        return (
            self.chain["parent"].transpose(*order).values,
            self.chain["parent_weight"].transpose(*order).values,
        )


def chain_graph(
    parents: Parents, depth: int, latent: int, list_of: Callable[[int], str]
) -> Graph | None:
    """What a latent is made of and what is made of it; None where there is neither.

    Parameters
    ----------
    parents : Parents
        Of its chain.
    depth, latent : int
        Its level and number.
    list_of : callable
        What the page's list of a level's latents is called.
    """
    root = (depth, latent)
    edges: dict[tuple[_Node, _Node], np.ndarray] = {}
    ranks: dict[tuple[_Node, _Node], int] = {}
    for row in range(len(parents.labels)):
        for rank, source, target, weight in _edges(parents, row, root):
            key = source, target
            edges.setdefault(key, np.full(len(parents.labels), np.nan))[row] = weight
            ranks[key] = min(rank, ranks.get(key, rank))
    if not edges:
        return None
    nodes = sorted({root, *(node for ends in edges for node in ends)})
    depths = sorted({node[0] for node in nodes})
    place = {node: number for number, node in enumerate(nodes)}
    layer, attrs = str(parents.chain.attrs["layer"]), parents.chain.attrs
    called, what = _ON[str(attrs[ON])]
    weights = np.array([*edges.values()])
    usual = [[parents.usual(row, d) for row in range(len(parents.labels))] for d, _ in nodes]
    return Graph(
        title=f"Chain {called}",
        note=_note(parents, depth),
        checkpoints=parents.labels,
        columns=[Column(label=f"level {d}", layer=layer, list_name=list_of(d)) for d in depths],
        column=[depths.index(d) for d, _ in nodes],
        channel=[number for _, number in nodes],
        root=place[root],
        source=[place[source] for source, _ in edges],
        target=[place[target] for _, target in edges],
        rank=[*ranks.values()],
        strength=np.abs(weights),
        spread=np.full(weights.shape, np.nan),
        direction=np.sign(weights),
        null=usual,
        strength_text=what,
        spread_text="no error is known",
        null_text="median weight in latents of that level",
        low_text="less of it",
        high_text="part of it",
    )


def _edges(parents: Parents, row: int, root: _Node) -> Iterator[tuple[int, _Node, _Node, float]]:
    """Rank, ends and weight of each edge about a latent at a checkpoint."""
    for rank, (above, weight) in enumerate(parents.above(row, root)):
        yield rank, above, root, weight
        for further, (farther, of_above) in enumerate(parents.above(row, above)):
            yield further, farther, above, of_above
    for rank, (below, weight) in enumerate(parents.below(row, root)):
        yield rank, root, below, weight


def _note(parents: Parents, depth: int) -> str:
    """Of which chain it is, and what it cannot tell."""
    said = [
        "Latents at the left are what those at the right are made of"
        + (": follow one to the right, and back to its other parts." if depth == 0 else "."),
        f"One seed of {parents.chain.attrs['n_seeds']}; other seeds may part it otherwise.",
    ]
    if len(parents.labels) > 1:
        said.append("A level's number is another latent at another checkpoint.")
    return " ".join(said)
