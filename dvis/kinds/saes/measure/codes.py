"""Codes of samples in their own order, block by block, and each latent's score of each sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.rows import Rows
from dvis.kinds.saes.measure.sparse import Pattern
from dvis.kinds.saes.options import Score
from dvis.schema import did_you_mean

_BLOCK_CODES = 2**25  # codes with their zeros that are in memory at a time: 128 MB


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some samples and their active codes.

    Parameters
    ----------
    positions : array of int64, (sample,)
        Of the samples among all.
    rows : Tensor, (row, channel), float32
        Their activations, sample after sample.
    pattern : Pattern
        Active codes, by the rule that a code depends on its row alone.
    values : Tensor, (active,)
        Their values, above 0.
    n_tokens : int
        Rows of a sample.
    """

    positions: NDArray[np.int64]
    rows: Tensor
    pattern: Pattern
    values: Tensor
    n_tokens: int

    @cached_property
    def places(self) -> Tensor:
        """Where each active code lies among the block's (sample, latent), flat: (active,)."""
        samples = self.pattern.rows // self.n_tokens
        return samples * self.pattern.n_latents + self.pattern.latents

    def scores(self, score: Score, class_token: int | None = None) -> Tensor:
        """Each latent's code of each sample, its tokens reduced to one: (sample, latent)."""
        shape = len(self.positions), self.pattern.n_latents
        found = torch.zeros(shape[0] * shape[1])
        if score == "max":
            found.scatter_reduce_(0, self.places, self.values, "amax")
        elif score == "cls":
            is_there = self.pattern.rows % self.n_tokens == class_token
            found[self.places[is_there]] = self.values[is_there]
        else:
            found.index_add_(0, self.places, self.values)
            if score == "mean":
                found /= self.n_tokens
        return found.reshape(shape)


def encoded(
    autoencoder: Autoencoder, rows: Rows, *, only: NDArray[np.int64] | None = None
) -> Iterator[Block]:
    """Samples with their codes, block by block.

    Parameters
    ----------
    autoencoder : Autoencoder
        What encodes.
    rows : Rows
        Samples.
    only : array of int64, optional
        Positions of the samples that are wanted (default: all).

    Raises
    ------
    ValueError
        When the rows have another number of channels or are not finite, or a batchtopk
        autoencoder has no threshold, so that codes would depend on the block that they are in.
    """
    _check(autoencoder, rows)
    n_samples = max(1, _BLOCK_CODES // (rows.n_tokens * autoencoder.n_latents))
    for positions, values in rows.ordered(min(n_samples, rows.n_samples)):
        is_wanted = np.ones(len(positions), bool) if only is None else np.isin(positions, only)
        if not is_wanted.any():
            continue
        array = np.require(values[is_wanted], np.float32, ["C", "W"])
        is_finite = np.isfinite(array).all(axis=(1, 2))
        if not is_finite.all():
            where = rows.sample_ids[positions[is_wanted][~is_finite]].tolist()
            raise ValueError(
                f"activations of {len(where)} samples are not finite, such as {where[0]!r}; "
                "collect them again, or leave those samples out"
            )
        flat = torch.from_numpy(array).reshape(-1, rows.n_channels)
        pattern, active = autoencoder.active(flat)
        yield Block(
            positions=positions[is_wanted],
            rows=flat,
            pattern=pattern,
            values=active,
            n_tokens=rows.n_tokens,
        )


class ScoreTable:
    """Scores of all samples that are not zero, gathered block by block.

    Parameters
    ----------
    n_samples, n_latents : int
        Shape of the table.
    score : Score
        How tokens become one number.
    class_token : int, optional
        Place of the class token, for `cls`.
    """

    def __init__(
        self, n_samples: int, n_latents: int, score: Score, class_token: int | None
    ) -> None:
        self._shape, self._score, self._class_token = (n_samples, n_latents), score, class_token
        self._parts: list[tuple[NDArray[np.float32], tuple[NDArray[Any], NDArray[Any]]]] = []

    def add(self, block: Block) -> None:
        """Take up a block."""
        scores = block.scores(self._score, self._class_token).numpy()
        samples, latents = scores.nonzero()
        places = (block.positions[samples], latents)
        self._parts.append((scores[samples, latents], places))

    def table(self) -> sparse.csr_array:
        """The scores, (sample, latent)."""
        values = np.concatenate([part[0] for part in self._parts]).astype(np.float64)
        samples = np.concatenate([part[1][0] for part in self._parts])
        latents = np.concatenate([part[1][1] for part in self._parts])
        return sparse.csr_array((values, (samples, latents)), shape=self._shape)


def image_scores(
    autoencoder: Autoencoder, rows: Rows, score: Score = "max", *, class_token: int | None = None
) -> sparse.csr_array:
    """Each latent's code of each sample, the sample's tokens reduced to one number.

    Parameters
    ----------
    autoencoder : Autoencoder
        What encodes.
    rows : Rows
        Samples.
    score : {"max", "mean", "sum", "cls"}
        How tokens become one number; "cls" takes the class token's.
    class_token : int, optional
        Place of the class token among a sample's tokens.

    Returns
    -------
    csr_array, (sample, latent), float64
        Zeros are not stored.

    Raises
    ------
    ValueError
        As of `encoded`, or when the score is unknown, or "cls" without a class token.
    """
    check_scores((score,), class_token, rows.n_tokens)
    table = ScoreTable(rows.n_samples, autoencoder.n_latents, score, class_token)
    for block in encoded(autoencoder, rows):
        table.add(block)
    return table.table()


def check_scores(scores: tuple[str, ...], class_token: int | None, n_tokens: int) -> None:
    """Refuse scores that are unknown, or need a class token that is not told.

    Raises
    ------
    ValueError
        For those, and where there is no score, or one twice.
    """
    for score in scores:
        if score not in get_args(Score):
            raise ValueError(did_you_mean("score", score, get_args(Score), "top images"))
    if not scores or len(set(scores)) < len(scores):
        raise ValueError(f"scores are {scores}; give one or more, each once")
    if "cls" in scores and class_token is None:
        raise ValueError("the score 'cls' is that of a class token; give its place, class_token")
    if class_token is not None and not 0 <= class_token < n_tokens:
        raise ValueError(
            f"class_token is {class_token}, but a sample has {n_tokens} tokens; give 0 to "
            f"{n_tokens - 1}"
        )


def _check(autoencoder: Autoencoder, rows: Rows) -> None:
    if rows.n_channels != autoencoder.n_channels:
        raise ValueError(
            f"rows have {rows.n_channels} channels, but the autoencoder was trained on "
            f"{autoencoder.n_channels}; give activations of its layer"
        )
    if autoencoder.kind == "batchtopk" and (autoencoder.threshold < 0).any():
        raise ValueError(
            "this batchtopk autoencoder has no threshold yet, so that a code would depend on the "
            "rows beside it; train it for a step first"
        )
