"""Levels of a chain: an autoencoder in, those that are trained on it one after the other out."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.chain_rows import CodedRows, PermutedRows
from dvis.kinds.saes.measure.evaluation import reconstruction
from dvis.kinds.saes.measure.rows import ArrayRows, Floats, Rows
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import ChainRecipe, PassOptions, SaeOptions
from dvis.schema import counted

_OWN = 30_111_426


@dataclass(frozen=True, kw_only=True)
class Level:
    """An autoencoder of a chain, and what it was trained on.

    Attributes
    ----------
    depth : int
        Levels above it.
    autoencoder : Autoencoder
        Its weights: over the layer's channels, or over the latents of the level above.
    rows : Rows
        What it was trained on: of the first, activations.
    above : array of int64, (row,)
        Latents of the level above that the rows are of, where they are decoder rows.
    is_live : array of bool, (latent,)
        Latents that fire in the rows.
    """

    depth: int
    autoencoder: Autoencoder
    rows: Rows
    above: NDArray[np.int64]
    is_live: NDArray[np.bool_]

    @classmethod
    def of(
        cls, autoencoder: Autoencoder, rows: Rows, depth: int = 0, above: ArrayLike = ()
    ) -> "Level":
        """A level, whose latents are looked at in its rows."""
        return cls(
            depth=depth,
            autoencoder=autoencoder,
            rows=rows,
            above=np.asarray(above, np.int64),
            is_live=reconstruction(autoencoder, rows)["frequency"].values > 0,
        )


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Levels below an autoencoder, each with its controls.

    Attributes
    ----------
    levels : list of Level
        From the one below the autoencoder.
    others : list of Level
        The same, trained on what holds no effect in place of the level's rows.
    beside : list of Autoencoder
        As wide, trained on activations.
    stopped : str
        Why there are fewer levels than were asked for, "" where there are not.
    """

    levels: list[Level]
    others: list[Level]
    beside: list[Autoencoder]
    stopped: str


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains what chains need.

    Attributes
    ----------
    recipe : ChainRecipe
        What levels are.
    state : Path, optional
        Folder of the states of trainings, from which one that was killed goes on.
    device : str
        Where steps are taken.
    """

    recipe: ChainRecipe
    state: Path | None = None
    device: str = "cpu"

    def trained(self, rows: Rows, wanted: Sequence[SaeOptions], name: str) -> list[Autoencoder]:
        """Autoencoders of rows, by one pass over them."""
        steps = PassOptions(n_steps=self.recipe.n_steps, device=self.device)
        state = None if self.state is None else self.state / name
        with warnings.catch_warnings():
            # A level is narrower than what it is made of, on purpose.
            warnings.filterwarnings("ignore", message=r"\d+ latents for \d+ channels")
            return [each.autoencoder for each in train(rows, wanted, steps, state=state)]

    def chain(self, first: Level, seed: int) -> "Chain":
        """All levels below the first, and their controls."""
        above, levels, others, stopped = first, [], [], ""
        for _ in self.recipe.widths:
            if stopped := self.why_not(above):
                break
            rows = self.rows(above, seed)
            nothing = self.without_effect(above, rows, seed)
            others.append(self.level(above, nothing, seed, "control"))
            above = self.level(above, rows, seed)
            levels.append(above)
        beside = (
            self.trained(
                first.rows,
                [
                    SaeOptions(k=self.recipe.k, n_latents=each.autoencoder.n_latents, seed=seed)
                    for each in levels
                ],
                f"activations-{seed}",
            )
            if levels
            else []
        )
        return Chain(levels=levels, others=others, beside=beside, stopped=stopped)

    def level(self, above: Level, rows: Rows, seed: int, what: str = "level") -> Level:
        """The level below one, trained on rows that are made of it."""
        depth = above.depth + 1
        name = f"{what}-{depth}-{seed}"
        (found,) = self.trained(rows, [self.recipe.options(depth, seed)], name)
        of_rows = decoder_rows(above) if self.recipe.on == "decoder" else ()
        return Level.of(found, rows, depth, of_rows)

    def rows(self, above: Level, seed: int) -> Rows:
        """What the level below one is trained on.

        Unit rows of the decoder, of latents that fire; or codes of the rows.
        """
        if self.recipe.on == "codes":
            return CodedRows(above.rows, above.autoencoder)
        return self._array(unit_rows(above.autoencoder.decoder[decoder_rows(above)]), seed)

    def without_effect(self, above: Level, rows: Rows, seed: int) -> Rows:
        """The same of what holds no effect: random directions, or codes exchanged between rows."""
        if self.recipe.on == "codes":
            return PermutedRows(rows, seed)
        generator = np.random.default_rng((seed, above.depth, _OWN))
        directions = generator.normal(size=(rows.n_samples, rows.n_channels))
        return self._array(unit_rows(directions.astype(np.float32)), seed)

    def why_not(self, above: Level) -> str:
        """Why there is no level below one, "" where there can be."""
        n_live, width = len(decoder_rows(above)), self.recipe.widths[above.depth]
        least = width if self.recipe.on == "decoder" else self.recipe.k
        if n_live > least:
            return ""
        reason = (
            f"so that each of {counted(width, 'latent')} could be one of them"
            if self.recipe.on == "decoder"
            else f"of which all may fire in a row at k {self.recipe.k}"
        )
        return (
            f"there is no level {above.depth + 1}: level {above.depth} has "
            f"{counted(n_live, 'latent')} that fire, {reason}"
        )

    def _array(self, values: Floats, seed: int) -> ArrayRows:
        n_rows = min(self.recipe.batch_size, len(values))
        return ArrayRows(values, batch_size=n_rows, seed=seed)


def decoder_rows(level: Level) -> NDArray[np.int64]:
    """Latents of a level that fire and have a direction."""
    return np.flatnonzero(level.is_live & level.autoencoder.decoder.any(1))


def unit_rows(rows: Floats) -> Floats:
    """Rows of length 1; those of length 0 as they are."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    out: Floats = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return out


def in_own_order(autoencoder: Autoencoder) -> tuple[Autoencoder, NDArray[np.int64]]:
    """An autoencoder whose latents stand in the order of their weights, and what each was before.

    What is trained on it does not depend on how its latents are numbered.
    """
    order = np.lexsort(np.hstack([autoencoder.encoder, autoencoder.decoder]).T[::-1])
    names = ("encoder", "decoder", "encoder_bias", "threshold")
    return replace(autoencoder, **{n: getattr(autoencoder, n)[order] for n in names}), order
