"""Which chains of autoencoders of a store are trained: the options, free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import tyro
from tyro.conf import Positional

from dvis.kinds.activations.words import Split
from dvis.kinds.saes.options import (
    ChainOn,
    ChainRecipe,
    steps_of,
    widths_divided,
)
from dvis.kinds.saes.store_options import rows_of
from dvis.models.option_numbers import at_least, bounded
from dvis.schema import did_you_mean

_DEPTH = 3


@dataclass(frozen=True, kw_only=True)
class ChainOptions:
    """Train autoencoders on what autoencoders have learned, level below level.

    Parameters
    ----------
    store
        A store's folder, with autoencoders of the layer and the activations that they are of.
    layer
        Whose activations they are of.
    name
        Their name, where the layer has several.
    run
        Their run (default: the store's).
    checkpoints
        At which checkpoints: labels, all, or last.
    on
        What of the level above a level is trained on: decoder, its rows at unit length, or codes,
        those of the activations.
    depth
        Levels below the autoencoder (default: 3, or one for each of --widths).
    widths
        Latents of each level, such as 64 16 4.
    divide_by
        Without widths, how many times fewer latents a level has than the one above.
    k
        Active latents a row of every level.
    seeds
        Of the levels; one chain for each.
    tokens
        Rows that each level is trained on, such as 1M; they come again and again.
    batch_size
        Rows of a step; all, where there are fewer.
    split
        Samples of which statistics are: held_out, one in ten, train, or all.
    read_with
        Name of other activations of the layer, of other images: statistics that depend on images
        are of those, with their own labels.
    n_shuffles
        Shuffles of the labels, beside which class statistics stand.
    n_parents
        Latents above, of those that a latent is made of, that are kept: the strongest.
    device
        Where levels are trained: cpu, or an accelerator such as cuda.
    overwrite
        Train again what is there of other options, or of other autoencoders.
    """

    store: Positional[Path]
    layer: str
    name: str | None = None
    run: str | None = None
    checkpoints: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--checkpoint"])] = ("last",)
    on: ChainOn = "decoder"
    depth: int | None = None
    widths: tuple[int, ...] = ()
    divide_by: float = 4.0
    k: int = 4
    seeds: tuple[int, ...] = (0, 1, 2)
    tokens: str = "384k"
    batch_size: int = 256
    split: Split = "held_out"
    read_with: str | None = None
    n_shuffles: int = 20
    n_parents: int = 16
    device: str = "cpu"
    overwrite: bool = False

    def __post_init__(self) -> None:
        bounded(self)
        if self.on not in get_args(ChainOn):
            raise ValueError(did_you_mean("on", self.on, get_args(ChainOn), "chains"))
        for name in ("depth", "k", "batch_size", "n_shuffles", "n_parents"):
            at_least(name, getattr(self, name), 1)
        for name in ("seeds", "checkpoints"):
            if not getattr(self, name):
                raise ValueError(f"no {name} given; give one or more")
        for seed in self.seeds:
            at_least("seeds", seed, 0)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are {self.seeds}; give each once")
        if self.widths and self.depth not in (None, len(self.widths)):
            raise ValueError(
                f"depth is {self.depth}, but there are {len(self.widths)} widths; leave --depth "
                "out, or give a width for each level"
            )
        if not 1 < self.divide_by < float("inf"):
            raise ValueError(f"divide_by is {self.divide_by:g}; give a number above 1, such as 4")
        rows_of(self.tokens)

    def recipe(self, n_latents: int) -> ChainRecipe:
        """The levels below an autoencoder of so many latents.

        Raises
        ------
        ValueError
            When one would be narrower than k, or not narrower than the level above where it is
            trained on its decoder.
        """
        widths = self.widths or widths_divided(n_latents, self.depth or _DEPTH, self.divide_by)
        recipe = ChainRecipe(
            on=self.on,
            widths=widths,
            k=self.k,
            n_steps=steps_of(rows_of(self.tokens), self.batch_size),
            batch_size=self.batch_size,
        )
        recipe.check_width(n_latents)
        return recipe
