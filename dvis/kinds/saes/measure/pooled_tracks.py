"""Tracks by one dictionary for all checkpoints: a shared autoencoder, or a crosscoder.

Rows of each checkpoint in; weights that are trained on all of them, and tracks, out.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dvis.kinds.saes.dims import LATENT, quantity
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.codes import encoded
from dvis.kinds.saes.measure.likeness import Coder, codes_of
from dvis.kinds.saes.measure.links import (
    LEAST_ROWS,
    LEVEL,
    Links,
    Match,
    first_links,
    links,
    second_seed,
)
from dvis.kinds.saes.measure.pooled import JoinedRows, PooledRows, ScaledRows, Units
from dvis.kinds.saes.measure.rows import Rows
from dvis.kinds.saes.measure.tracking import Step, null_of, tracks_of
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions
from dvis.kinds.saes.tracks.words import STRENGTHS, TRACK
from dvis.schema import CHECKPOINT

THERE = 0.25  # of its highest frequency, from which a latent of a shared autoencoder is there
PRESENT = 0.3  # of its highest strength, from which a code of a crosscoder is there
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """One dictionary for all checkpoints.

    Attributes
    ----------
    units : tuple of Units
        Of the rows of each checkpoint.
    autoencoders : tuple of Autoencoder
        The dictionary, in those units; after it, where it was asked for, one of another seed.
    """

    units: tuple[Units, ...]
    autoencoders: tuple[Autoencoder, ...]

    def scaled(self, rows: Sequence[Rows]) -> list[ScaledRows]:
        """Rows of each checkpoint in units of their own."""
        return [ScaledRows(each, of) for each, of in zip(rows, self.units, strict=True)]


def train_shared(
    rows: Sequence[Rows],
    options: SaeOptions,
    steps: PassOptions,
    *,
    with_second: bool = False,
    state: Path | None = None,
) -> Pooled:
    """One autoencoder of the rows of all checkpoints, each in units of its own.

    Parameters
    ----------
    rows : sequence of Rows
        Those of each checkpoint, of the same samples; a batch has as many of each.
    options : SaeOptions
        What it is.
    steps : PassOptions
        Length of its training.
    with_second : bool
        Train one of another seed beside it.
    state : Path, optional
        Folder of the training state, from which a training that was killed goes on.
    """
    units = tuple(Units.of(each) for each in rows)
    scaled = [ScaledRows(each, of) for each, of in zip(rows, units, strict=True)]
    trained = train(PooledRows(scaled), _seeds(options, with_second), steps, state=state)
    return Pooled(units=units, autoencoders=tuple(each.autoencoder for each in trained))


def train_cross(
    rows: Sequence[Rows],
    options: SaeOptions,
    steps: PassOptions,
    *,
    with_second: bool = False,
    state: Path | None = None,
) -> Pooled:
    r"""A crosscoder: one code for a row at all checkpoints, an encoder and a decoder of each.

    .. math:: z = s\Big(\sum_c E_c (x_c - b_c) + b_e\Big), \quad \hat x_c = D_c^T z + b_c

    which is an autoencoder of rows that stand side by side. A latent's decoders have length 1
    together, so that BatchTopK chooses by code alone; there is no penalty that would shrink one.

    Parameters
    ----------
    rows, options, steps, with_second, state
        As `train_shared` takes them; the number of latents must be told.

    Raises
    ------
    ValueError
        When the options are of a kind that shrinks codes.

    References
    ----------
    Lindsey et al. (2024), Sparse crosscoders for cross-layer features and model diffing,
    transformer-circuits.pub. Bayazit et al. (2025), Crosscoding through time, arXiv:2509.05291.
    Ge et al. (2025), Evolution of concepts in language model pre-training, arXiv:2509.17196.
    Minder et al. (2025), Overcoming sparsity artifacts in crosscoders to interpret chat-tuning,
    arXiv:2504.02922 (BatchTopK).
    """
    if options.kind not in ("batchtopk", "topk"):
        raise ValueError(
            f"a crosscoder of kind {options.kind} shrinks what is weak, which invents births; "
            "track autoencoders of kind batchtopk or topk"
        )
    units = tuple(Units.of(each) for each in rows)
    scaled = [ScaledRows(each, of) for each, of in zip(rows, units, strict=True)]
    with warnings.catch_warnings():
        # Of all checkpoints together the channels may well be more.
        warnings.filterwarnings("ignore", message=r"\d+ latents for \d+ channels")
        trained = train(JoinedRows(scaled), _seeds(options, with_second), steps, state=state)
    return Pooled(units=units, autoencoders=tuple(each.autoencoder for each in trained))


def shared_tracks(pooled: Pooled, rows: Sequence[Rows], *, level: float = LEVEL) -> xr.Dataset:
    """Tracks of a shared autoencoder's latents: where each fires.

    A latent is there where it fires a quarter as often as where it fires most; it is the one of the
    checkpoint before where codes on the same samples agree more than those of other latents do.

    Parameters
    ----------
    pooled : Pooled
        As `train_shared` gives it.
    rows : sequence of Rows
        Those of each checkpoint on which it is looked at.
    level : float
        As of `links`.

    Returns
    -------
    Dataset
        As `tracked` gives it.
    """
    scaled, (one, *seconds) = pooled.scaled(rows), pooled.autoencoders
    coders = [Coder(autoencoder=one, rows=each) for each in scaled]
    beside = [Coder(autoencoder=seconds[0], rows=each) if seconds else None for each in scaled]
    found = [first_links(coders[0])]
    for before, here in pairwise(coders):
        found.append(links(here, before, found[-1], "shared", level))
    nulls = [null_of(*pair) for pair in zip(coders, beside, strict=True)]
    return tracks_of(steps_of_shared(found, nulls), lambda _place: one.decoder, "shared")


def steps_of_shared(
    found: Sequence[Links], nulls: Sequence[tuple[Floats, Floats] | None]
) -> list[Step]:
    """Checkpoints of a shared autoencoder, whose latents are there where they fire often enough."""
    highest = np.max([each.frequency for each in found], axis=0)
    steps = [Step.of(each, null) for each, null in zip(found, nulls, strict=True)]
    return [
        replace(each, is_alive=each.is_alive & (each.frequency >= THERE * highest))
        for each in steps
    ]


def cross_tracks(pooled: Pooled, rows: Sequence[Rows], *, seed: int = 0) -> xr.Dataset:
    """Tracks of a crosscoder's codes: where the decoder of each is long.

    A code is there where its strength is three tenths of its highest.

    Parameters
    ----------
    pooled : Pooled
        As `train_cross` gives it.
    rows : sequence of Rows
        Those of each checkpoint on which it is looked at.
    seed : int
        Of the rows that are exchanged.

    Returns
    -------
    Dataset
        As `tracked` gives it, without `similarity`, with strength and null_strength (checkpoint,
        track).
    """
    joined, (one, *seconds) = JoinedRows(pooled.scaled(rows)), pooled.autoencoders
    n_checkpoints = len(pooled.units)
    strengths, nulls, n_fired = strength_of(one, joined, n_checkpoints, seed=seed)
    decoders = [each.decoder for each in apart(one, n_checkpoints)]
    match = None
    if seconds:
        here, second = (Coder(autoencoder=each, rows=joined) for each in (one, seconds[0]))
        match = second_seed(here, second), apart(seconds[0], n_checkpoints)
    is_there = (strengths >= PRESENT * strengths.max(0)) & (n_fired >= LEAST_ROWS)
    steps = [
        _step_of_cross(is_there[place], n_fired / joined_rows(joined), place, decoders, match)
        for place in range(n_checkpoints)
    ]
    found = tracks_of(steps, lambda place: decoders[place], "cross")
    latents = found[LATENT].values.max(0)
    values = (strengths[:, latents], nulls[:, latents])
    return found.assign(
        {
            name: quantity((CHECKPOINT, TRACK), each, what)
            for (name, what), each in zip(STRENGTHS.items(), values, strict=True)
        }
    )


def joined_rows(rows: JoinedRows) -> int:
    """Rows that are encoded in one ordered pass."""
    return rows.n_samples * rows.n_tokens


def strength_of(
    one: Autoencoder, rows: JoinedRows, n_checkpoints: int, *, seed: int = 0
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    r"""How strong each code is at each checkpoint, whatever length training gave its decoders.

    The row that reconstructs a checkpoint best, all other codes as they are, is

    .. math:: v_{jc} = d_{jc} + \frac{\sum z_j (x_c - \hat x_c)}{\sum z_j^2}

    and its length is the strength. Where a decoder is short because it was shrunk, or trained too
    little, what it lacks is left in the residual, and v has it.

    Parameters
    ----------
    one : Autoencoder
        Of rows that stand side by side.
    rows : JoinedRows
        On which it is measured.
    n_checkpoints : int
        How many stand side by side.
    seed : int
        Of the rows that are exchanged.

    Returns
    -------
    strength, null_strength : array, (checkpoint, latent)
        The second with the last term alone, of codes exchanged between rows of a block: the length
        that noise has.
    n_fired : array of int64, (latent,)
        Rows in which each code is active.

    References
    ----------
    Minder et al. (2025), Overcoming sparsity artifacts in crosscoders to interpret chat-tuning,
    arXiv:2504.02922 (latent scaling; there one factor a model along the decoder of the other, here
    the whole row).
    """
    width, rng = one.n_latents, np.random.default_rng(seed)
    squares, n_fired = np.zeros(width), np.zeros(width, np.int64)
    sums = np.zeros((2, width, one.n_channels))
    for block in encoded(one, rows):
        codes = codes_of(block)
        residual = block.rows.double().numpy() - (codes @ one.decoder + one.decoder_bias)
        exchanged = residual[rng.permutation(len(residual))]
        for total, each in zip(sums, (residual, exchanged), strict=True):
            total += codes.T @ each
        squares += np.bincount(codes.indices, codes.data**2, width)
        n_fired += np.bincount(codes.indices, minlength=width)
    missing = sums / np.where(squares > 0, squares, 1.0)[:, None]
    best = np.stack([one.decoder + missing[0], missing[1]])
    parts = best.reshape(2, width, n_checkpoints, -1)
    strength, null = np.linalg.norm(parts, axis=3).transpose(0, 2, 1)
    return strength, null, n_fired


def apart(one: Autoencoder, n_checkpoints: int) -> list[Autoencoder]:
    """The parts of a crosscoder that are each checkpoint's, with the bias of codes in each."""
    parts = [
        np.split(each, n_checkpoints, axis=-1)
        for each in (one.encoder, one.decoder, one.decoder_bias)
    ]
    return [
        replace(one, encoder=encoder, decoder=decoder, decoder_bias=bias)
        for encoder, decoder, bias in zip(*parts, strict=True)
    ]


def _step_of_cross(
    is_there: NDArray[np.bool_],
    frequency: Floats,
    place: int,
    decoders: Sequence[NDArray[np.float32]],
    match: tuple[Match, list[Autoencoder]] | None,
) -> Step:
    null = None
    if match is not None:
        found, second = match
        null = found.similarity, found.cosine(decoders[place], second[place].decoder)
    return Step(
        is_alive=is_there,
        previous=np.arange(len(is_there)),
        similarity=np.full(len(is_there), np.nan),
        frequency=frequency,
        least=np.nan,
        null=null,
    )


def _seeds(options: SaeOptions, with_second: bool) -> list[SaeOptions]:
    return [options, replace(options, seed=options.seed + 1)] if with_second else [options]
