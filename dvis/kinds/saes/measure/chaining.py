"""Chains of sparse autoencoders, each on the one above it, and what is found of every level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dvis.analysis.control import CONTROL, EXCHANGEABLE, VALUE
from dvis.analysis.ranking import RANK
from dvis.kinds.saes.chains.words import (
    BIASES,
    DEPTH,
    EXCHANGED,
    INPUT,
    LEAF,
    OF_CLASSES,
    OF_LATENT,
    OF_LEAF,
    ON,
    SEED,
    STATISTICS,
    WEIGHTS,
    chain_words,
)
from dvis.kinds.saes.dims import CLASS, LATENT, SHUFFLE
from dvis.kinds.saes.measure.agreement import RANDOM_DIRECTIONS, summarized
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.chain_levels import Chain, Level, Trainer, in_own_order
from dvis.kinds.saes.measure.chain_statistics import Found, Looker
from dvis.kinds.saes.measure.rows import Floats, Rows
from dvis.kinds.saes.options import ChainOn, ChainRecipe
from dvis.models.option_numbers import at_least
from dvis.schema import CHECKPOINT

CODES_EXCHANGED = "codes exchanged"
ON_ACTIVATIONS = "activations"
WITHOUT_EFFECT: Mapping[ChainOn, str] = {"decoder": RANDOM_DIRECTIONS, "codes": CODES_EXCHANGED}
CANNOT_TELL: Mapping[ChainOn, str] = {
    "decoder": (
        "depth from width, where each level is narrower than the one above: hold a level against "
        "an autoencoder of its width on activations; nor whether a latent is a part of those above "
        "or a direction that they merely share"
    ),
    "codes": (
        "depth from width, where each level is narrower than the one above: hold a level against "
        "an autoencoder of its width on activations; nor whether latents that fire together are "
        "one thing or of the same images"
    ),
}
N_PARENTS = 16
_LEAST_WEIGHT = 0.1  # of the largest, below which a latent of codes is not said to be a parent


def chained(
    autoencoder: Autoencoder,
    rows: Rows,
    recipe: ChainRecipe,
    *,
    seeds: Sequence[int] = (0,),
    read: Rows | None = None,
    n_shuffles: int = 20,
    n_parents: int = N_PARENTS,
    state: Path | None = None,
    device: str = "cpu",
) -> xr.Dataset:
    """Autoencoders trained on what an autoencoder has learned, level below level, with controls.

    Level 0 is the autoencoder itself. Each level below is trained on the one above: on the rows of
    its decoder, at unit length and of latents that fire alone, or on its codes of the rows. A level
    ends a chain where no more latents fire than the next one would have. How the latents of the
    first are numbered makes no difference.

    Parameters
    ----------
    autoencoder : Autoencoder
        What the chain begins with.
    rows : Rows
        Activations that it was trained on: of their samples come which latents fire, codes, and
        the rows of the control that is trained on activations.
    recipe : ChainRecipe
        The levels.
    seeds : sequence of int
        One chain for each.
    read : Rows, optional
        Samples, with their labels, of which statistics are that depend on images (default: `rows`).
    n_shuffles : int
        Of labels, for the null of class statistics.
    n_parents : int
        Latents above, of those that a latent is made of, that are kept: the strongest.
    state : Path, optional
        Folder of the states of trainings, from which those that were killed go on.
    device : str
        Where levels are trained.

    Returns
    -------
    Dataset
        As `dvis.chains` has it, without checkpoints.

    Raises
    ------
    ValueError
        When a level would have as many latents as there are rows, there is no seed, an option is
        out of range, or the rows do not fit the autoencoder.

    Notes
    -----
    Of 768 planted unit rows that are sums of 3 of 48 directions a level of 48 latents finds 0.9 of
    these at cosine 0.9, and explains 0.95 to 0.98 of the variance; with a decoder bias it explains
    0.96 to 0.99 and finds 0.2 to 0.35, for directions are then free up to a common shift. Of random
    directions it explains 0.35 (256 rows: 0.50).

    References
    ----------
    Bussmann et al. (2024), Showing SAE latents are not atomic using meta-SAEs (on decoder rows).
    Leask et al. (2025), Sparse autoencoders do not find canonical units of analysis,
    arXiv:2502.04878.
    """
    for name, number in (("n_shuffles", n_shuffles), ("n_parents", n_parents)):
        at_least(name, number, 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {tuple(seeds)}; give one or more, each once")
    recipe.check_width(autoencoder.n_latents)
    own, order = in_own_order(autoencoder)
    first = Level.of(own, rows)
    looker = Looker(first=first, read=rows if read is None else read, n_shuffles=n_shuffles)
    trainer = Trainer(recipe=recipe, state=state, device=device)
    shape = ChainShape(
        recipe=recipe,
        n_latents=own.n_latents,
        n_channels=own.n_channels,
        seeds=tuple(seeds),
        classes=looker.read.classes,
        n_shuffles=n_shuffles,
        n_parents=n_parents,
    )
    top = looker.at(own)
    chains = [
        _of_chain(trainer.chain(first, seed), seed, looker, top, shape, order) for seed in seeds
    ]
    stacked = {name: np.stack([each[name] for each in chains], -1) for name in chains[0]}
    return _labelled({**stacked, **_leaves(top, order)}, shape)


@dataclass(frozen=True, kw_only=True)
class ChainShape:
    """What chains have along each dim.

    Attributes
    ----------
    recipe : ChainRecipe
        Their levels.
    n_latents, n_channels : int
        Of the autoencoder that they begin with.
    seeds : tuple of int
        Of each chain.
    classes : tuple of str
        Of the samples.
    n_shuffles, n_parents : int
        As of `chained`.
    """

    recipe: ChainRecipe
    n_latents: int
    n_channels: int
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    n_shuffles: int
    n_parents: int

    @property
    def labels(self) -> dict[str, Sequence[Any]]:
        """Labels of dims."""
        on, widths = self.recipe.on, self.recipe.widths
        above = max((self.n_latents, *widths[:-1]))
        return {
            CONTROL: (VALUE, WITHOUT_EFFECT[on], ON_ACTIVATIONS),
            SEED: self.seeds,
            DEPTH: range(len(widths) + 1),
            LATENT: range(max(widths)),
            INPUT: range(above if on == "codes" else self.n_channels),
            LEAF: range(self.n_latents),
            RANK: range(min(self.n_parents, above)),
            CLASS: self.classes,
            SHUFFLE: range(self.n_shuffles),
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of dims."""
        return {dim: len(labels) for dim, labels in self.labels.items()}

    def empty(self, dtype: Any, *dims: str) -> NDArray[Any]:
        """An array of what is not there: NaN, or -1."""
        fill = np.nan if np.issubdtype(dtype, np.floating) else -1
        return np.full([self.sizes[dim] for dim in dims], fill, dtype)


def _of_chain(
    chain: Chain,
    seed: int,
    looker: Looker,
    top: Found,
    shape: ChainShape,
    order: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """All that is found of a chain, by names of a group, without its seed."""
    found: dict[str, Any] = {name: shape.empty(float, CONTROL, DEPTH) for name in STATISTICS}
    for name in OF_CLASSES:
        found[f"null_{name}"] = shape.empty(float, SHUFFLE, DEPTH)
    found["n_latents"] = shape.empty(np.int64, DEPTH)
    found |= _no_latents(shape)
    found["stopped"] = np.array(chain.stopped)
    values, others = (
        looker.of_decoders(chain) if shape.recipe.on == "decoder" else looker.of_codes(chain, seed)
    )
    beside = [looker.at(each) for each in chain.beside]
    for depth, value in enumerate([top, *values]):
        found["n_latents"][depth] = len(value.frequency)
        for name, of_shuffles in value.null_medians().items():
            found[f"null_{name}"][:, depth] = of_shuffles
        of_level = [value, others[depth - 1], beside[depth - 1]] if depth else [value]
        for control, each in enumerate(of_level):
            for name, number in {**each.numbers, **each.medians()}.items():
                found[name][control, depth] = number
        for control, each in enumerate(of_level[:2] if depth else ()):
            alike = summarized(each.live_directions, beside[depth - 1].live_directions)
            found["mean_max_cosine"][control, depth] = alike["mean_max_cosine"]
    for level, value in zip(chain.levels, values, strict=True):
        _put_latents(found, level, value, shape, order)
    return found


def _no_latents(shape: ChainShape) -> dict[str, NDArray[Any]]:
    """What is found of latents, with nothing in it."""
    per_latent = (DEPTH, LATENT)
    return {
        **{name: shape.empty(np.float64, *per_latent) for name in OF_LATENT},
        **{name: shape.empty(np.float32, *per_latent) for name in BIASES},
        **{name: shape.empty(np.int64, *per_latent) for name in ("best_class", "n_parents")},
        "parent": shape.empty(np.int32, *per_latent, RANK),
        "parent_weight": shape.empty(np.float32, *per_latent, RANK),
        **{name: shape.empty(np.float32, *per_latent, INPUT) for name in WEIGHTS},
    }


def _put_latents(
    found: dict[str, Any],
    level: Level,
    value: Found,
    shape: ChainShape,
    order: NDArray[np.int64],
) -> None:
    """Put what is found of a level's latents in its place."""
    one, depth, back = level.autoencoder, level.depth, np.argsort(order)
    at = depth, slice(one.n_latents)
    of_latent = (value.frequency, value.classes["selectivity"], value.classes["best_share"])
    for name, values in zip(OF_LATENT, of_latent, strict=True):
        found[name][at] = values
    found["best_class"][at] = value.classes["best_class"]
    for name in BIASES:
        found[name][at] = getattr(one, name)
    for name in WEIGHTS:
        weights = getattr(one, name)
        if shape.recipe.on == "codes" and depth == 1:
            weights = weights[:, back]
        found[name][(*at, slice(weights.shape[1]))] = weights
    of_above = value.weights[:, back] if depth == 1 else value.weights
    parent, weight, counts = _parents(of_above, shape.sizes[RANK])
    found["parent"][(*at, slice(parent.shape[1]))] = parent
    found["parent_weight"][(*at, slice(parent.shape[1]))] = weight
    found["n_parents"][at] = counts


def _parents(weights: Floats, n_most: int) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Latents above that each is made of, strongest first, their weights, and how many there are.

    Those are meant that have a tenth of the weight of the strongest.
    """
    size = np.abs(weights)
    is_parent = (size > 0) & (size >= _LEAST_WEIGHT * size.max(1, keepdims=True))
    order = np.argsort(-size, axis=1, kind="stable")[:, :n_most]
    is_shown = np.take_along_axis(is_parent, order, 1)
    ordered = np.take_along_axis(weights, order, 1)
    return np.where(is_shown, order, -1), np.where(is_shown, ordered, np.nan), is_parent.sum(1)


def _leaves(top: Found, order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """What is found of the latents of level 0, as they were numbered."""
    back = np.argsort(order)
    values = (top.frequency, top.classes["selectivity"], top.classes["best_share"])
    found = {name: np.asarray(each)[back] for name, each in zip(OF_LEAF, values, strict=True)}
    return {**found, "leaf_best_class": top.classes["best_class"].values[back]}


def _labelled(found: Mapping[str, NDArray[Any]], shape: ChainShape) -> xr.Dataset:
    """Arrays, of which seeds are the last dim, with their dims and labels."""
    specs, on = chain_words().arrays, shape.recipe.on
    variables = {}
    for name, values in found.items():
        dims = [dim for dim in specs[name].dims if dim != CHECKPOINT]
        as_found = sorted(dims, key=lambda dim: dim == SEED)
        variables[name] = xr.Variable(as_found, values, dict(specs[name].attrs)).transpose(*dims)
    coordinates = {dim: np.array(labels) for dim, labels in shape.labels.items()}
    told = {ON: on, EXCHANGEABLE: EXCHANGED, "cannot_tell": CANNOT_TELL[on]}
    return xr.Dataset(variables, coordinates, told)
