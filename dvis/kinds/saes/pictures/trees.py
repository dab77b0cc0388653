"""What a latent of a level is made of, down to latents of the first autoencoder, as a tree."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.pictures.samples import Samples
from dvis.kinds.saes.chains.words import DEPTH, ON, SEED
from dvis.kinds.saes.dims import CLASS, LATENT, SCORE
from dvis.kinds.saes.pictures.chains import ON_WHAT, chains_at
from dvis.kinds.saes.pictures.chosen import layer_of
from dvis.kinds.saes.pictures.made_of import samples_and_tokens
from dvis.kinds.saes.read import SAE_READER, name_in_layer, weights_told_of
from dvis.kinds.saes.words import KIND, evaluation_name
from dvis.plots.canvas import UNIT_COLORS, headline, require_limit, saved, subplots
from dvis.plots.documentation import documented
from dvis.plots.selection import origin_of
from dvis.plots.ticks import plain
from dvis.plots.time_axis import moment_name
from dvis.schema import CHECKPOINT, Status, counted
from dvis.store.reader import store_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PARENTS = 3
_MAX_LEAVES = 40
_WIDEST = 5.0  # points of the strongest edge at a node
_LEAF_INCHES, _LEVEL_INCHES = 0.62, 2.1
_PLUS, _MINUS = "0.35", UNIT_COLORS[1]


@dataclass(kw_only=True)
class _Node:
    """A latent of a tree: its level and number, how much of it the one above it in the tree has."""

    depth: int
    latent: int
    weight: float = np.nan
    made_of: list["_Node"] = field(default_factory=list)
    place: float = 0.0

    def leaves(self) -> Iterator["_Node"]:
        """The ends of the tree below it, in order."""
        if not self.made_of:
            yield self
        for each in self.made_of:
            yield from each.leaves()

    def all(self) -> Iterator["_Node"]:
        """Itself and all below it."""
        yield self
        for each in self.made_of:
            yield from each.all()


@documented
def chain_tree(
    chains: xr.Dataset,
    latent: int | None = None,
    *,
    depth: int | None = None,
    seed: int | None = None,
    checkpoint: str | int | None = None,
    k: int = MAX_PARENTS,
    path: str | Path | None = None,
) -> "Figure":
    """What a latent of a chain is made of: its parents, theirs, down to the first autoencoder.

    Each latent stands with its number and the class of its highest mean score, and how large that
    class's share is; lines are as wide as the weight that the parent has in it, of the strongest
    parent's; red dashes are negative. Latents of level 0 have the image that drives them most,
    where the store keeps what `dvis sae evaluate` found of the same weights. A latent that is a
    parent of several stands with each.

    Parameters
    ----------
    chains : Dataset
        As `dvis.chains` gives it.
    latent : int, optional
        The latent (default: the most selective one of its level).
    depth : int, optional
        Its level (default: the lowest there is).
    seed : int, optional
        Of which chain (default: the first).
    checkpoint : str or int, optional
        Its label or place (default: the last that is there).
    k : int
        How many parents of each latent are shown, the strongest.
    {path}

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        When there is no such checkpoint, seed, level or latent, or it would have too many leaves.
    SchemaError
        When it is no Dataset of chains.
    """
    require_limit("k", k)
    at = chains_at(chains, checkpoint)
    one = _of_seed(at, seed)
    level = _level(one, depth)
    root = _Node(depth=level, latent=_latent(one, level, latent))
    _grow(root, one, k)
    leaves = list(root.leaves())
    if len(leaves) > _MAX_LEAVES:
        raise ValueError(
            f"the tree would have {len(leaves)} leaves, at most {_MAX_LEAVES} can be read; give a "
            "lower k, or a level of less depth"
        )
    _put_in_place(root, leaves)
    tops, samples = _top_images(chains, str(at[CHECKPOINT].item()), leaves)
    height = max(2.6, _LEAF_INCHES * len(leaves) + 1.1)
    width = _LEVEL_INCHES * (level + 1) + 0.6
    figure, axes = subplots(figsize=(max(5.4, width), height), layout="constrained")
    _draw(axes, root, one)
    _draw_images(axes, level, leaves, tops, samples)
    _finish(axes, level, len(leaves), bool(tops))
    title = f"Latent {root.latent} of level {level}, and what it is made of: {layer_of(chains)}, "
    title += f"{name_in_layer(chains)}, {moment_name(at)}"
    chosen = "" if latent is not None else f"the most selective of level {level}"
    what = {"decoder": "its code on the parent's row", "codes": "the parent's in its decoder row"}
    headline(
        figure,
        title,
        f"on {ON_WHAT[chains.attrs[ON]]}, seed {int(one[SEED])}; other seeds may differ",
        chosen,
        f"the {counted(k, 'strongest parent')} of each; a weight is {what[chains.attrs[ON]]}"
        + ("; dashes: below 0" if any(each.weight < 0 for each in root.all()) else ""),
        samples.note if tops else "no images: run `dvis sae evaluate` of these autoencoders",
        origin_of(chains),
    )
    return saved(figure, path)


def _of_seed(at: xr.Dataset, seed: int | None) -> xr.Dataset:
    seeds = at[SEED].values.tolist()
    if seed is not None and seed not in seeds:
        raise ValueError(f"No chain of seed {seed}; there are {', '.join(map(str, seeds))}")
    return at.sel({SEED: seeds[0] if seed is None else seed})


def _level(one: xr.Dataset, depth: int | None) -> int:
    """The level that is asked for, or the lowest."""
    there = [int(d) for d in one[DEPTH].values[one["n_latents"].values > 0] if d > 0]
    if not there:
        raise ValueError(f"this chain has no level below the first: {one['stopped'].item()}")
    if depth is not None and depth not in there:
        raise ValueError(f"No level {depth} in this chain; levels are {there[0]} to {there[-1]}")
    return there[-1] if depth is None else depth


def _latent(one: xr.Dataset, level: int, latent: int | None) -> int:
    """The latent that is asked for, or the most selective of those that are made of some."""
    at = one.sel({DEPTH: level})
    n_latents = int(at["n_latents"])
    if latent is None:
        scores = at["latent_selectivity"].values[:n_latents]
        is_made = at["n_parents"].values[:n_latents] > 0
        return int(np.where(is_made & np.isfinite(scores), scores, -np.inf).argmax())
    if not 0 <= latent < n_latents:
        raise ValueError(f"No latent {latent} in level {level}; there are 0 to {n_latents - 1}")
    return latent


def _grow(node: _Node, one: xr.Dataset, k: int) -> None:
    """Put under a latent the ones that it is made of, and theirs."""
    if node.depth == 0:
        return
    at = one[["parent", "parent_weight"]].sel({DEPTH: node.depth, LATENT: node.latent})
    at = at.isel({RANK: slice(k)})
    for parent, weight in zip(at["parent"].values, at["parent_weight"].values, strict=True):
        if parent >= 0:
            below = _Node(depth=node.depth - 1, latent=int(parent), weight=float(weight))
            _grow(below, one, k)
            node.made_of.append(below)


def _put_in_place(node: _Node, leaves: list[_Node]) -> None:
    """Leaves stand in a column, the others in the middle of what they are made of."""
    for place, leaf in enumerate(leaves):
        leaf.place = float(place)
    for each in reversed([*node.all()]):
        if each.made_of:
            each.place = float(np.mean([below.place for below in each.made_of]))


def _class_text(one: xr.Dataset, node: _Node) -> str:
    """The class of a latent's highest mean score, and its share."""
    if node.depth:
        at = one.sel({DEPTH: node.depth, LATENT: node.latent})
        best, share = int(at["best_class"]), float(at["latent_best_share"])
    else:
        best = int(one["leaf_best_class"][node.latent])
        share = float(one["leaf_best_share"][node.latent])
    if best < 0 or np.isnan(share):
        return f"fires in none of {one.attrs['n_samples']}"
    return f"{one[CLASS].values[best]}: {share:.0%}".replace("%", " %")


def _draw(axes: "Axes", root: _Node, one: xr.Dataset) -> None:
    """Lines and names of a tree whose root stands at the left."""
    for node in root.all():
        x = root.depth - node.depth
        largest = max((abs(each.weight) for each in node.made_of), default=1.0)
        for below in node.made_of:
            is_minus = below.weight < 0
            axes.plot(
                [x + 0.44, x + 0.94],
                [node.place, below.place],
                color=_MINUS if is_minus else _PLUS,
                ls="--" if is_minus else "-",
                lw=max(0.5, _WIDEST * abs(below.weight) / largest),
                alpha=0.55,
                solid_capstyle="round",
                zorder=1,
            )
        name = f"{node.latent}"
        axes.text(x + 0.2, node.place - 0.08, name, ha="center", fontsize=8.5, fontweight="bold")
        text = plain(_class_text(one, node))
        axes.text(x + 0.2, node.place + 0.2, text, ha="center", va="center", fontsize=6.5)
        if np.isfinite(node.weight):
            weight = f"{node.weight:.2g}"
            axes.text(x, node.place - 0.12, weight, ha="center", fontsize=5.5, color="0.4")


def _draw_images(
    axes: "Axes", level: int, leaves: list[_Node], tops: dict[int, str], samples: Samples
) -> None:
    """The image that drives each leaf most, beside it."""
    for leaf in leaves:
        picture = samples.thumbnails.get(tops.get(leaf.latent, ""))
        if picture is None or leaf.depth:
            continue
        inset = axes.inset_axes(
            (level + 0.46, leaf.place - 0.42, 0.34, 0.84), transform=axes.transData
        )
        inset.imshow(picture, interpolation="nearest", aspect="equal")
        inset.set_xticks([])
        inset.set_yticks([])


def _finish(axes: "Axes", level: int, n_leaves: int, has_images: bool) -> None:
    axes.set_xlim(0, level + (0.85 if has_images else 0.5))
    axes.set_ylim(n_leaves - 0.4, -0.7)
    names = [f"level {level - x}" for x in range(level + 1)]
    axes.set_xticks([x + 0.2 for x in range(level + 1)], names, fontsize=7.5)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _top_images(
    chains: xr.Dataset, label: str, leaves: list[_Node]
) -> tuple[dict[int, str], Samples]:
    """Id of the image that drives each leaf most, and its picture, as far as the store has them."""
    found = _evaluated(chains, label)
    if found is None:
        return {}, Samples()
    wanted = sorted({leaf.latent for leaf in leaves if leaf.depth == 0})
    at = found[["top_sample", "top_value"]].sel({CHECKPOINT: label, LATENT: wanted})
    at = at.isel({SCORE: 0, RANK: 0}).load()
    fires = at["top_value"].values > 0
    ids = [str(each) for each in at["top_sample"].values]
    tops = {n: each for n, each, is_on in zip(wanted, ids, fires, strict=True) if is_on}
    return tops, samples_and_tokens(found, tops.values())[0]


def _evaluated(chains: xr.Dataset, label: str) -> xr.Dataset | None:
    """What was found of the latents of level 0, where it is of the same weights."""
    try:
        store, found = store_of(chains, "what dvis.chains gave")
    except ValueError:
        return None
    run, name = str(chains.attrs["run"]), name_in_layer(chains)
    by_name = {each.name: each for each in found.of(KIND, run)}
    own, other = (
        by_name.get(str(chains.attrs["name"])),
        by_name.get(evaluation_name(layer_of(chains), name)),
    )
    if own is None or other is None:
        return None
    dataset = SAE_READER.open_entry(store, found, other)
    is_there = dataset["status"].values == Status.COMPLETE
    if label not in dataset[CHECKPOINT].values[is_there].tolist():
        return None
    is_same = weights_told_of(store, own)[label] == weights_told_of(store, other)[label]
    return dataset if is_same else None
