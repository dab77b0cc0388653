"""Tracks of latents over checkpoints, from links of each checkpoint with the one before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dvis.analysis.control import EXCHANGEABLE
from dvis.kinds.saes.dims import LATENT, quantity
from dvis.kinds.saes.measure.likeness import Coder
from dvis.kinds.saes.measure.links import (
    LEVEL,
    NONE,
    Links,
    cosines,
    first_links,
    links,
    second_seed,
)
from dvis.kinds.saes.options import TrackMethod
from dvis.kinds.saes.tracks.words import METHOD, NULLS, OF_TRACK, SEEDS, TRACK
from dvis.schema import CHECKPOINT

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

EXCHANGED: Mapping[TrackMethod, str] = {
    "warm": "latents, of which pairs of different numbers give the threshold",
    "match": "latents of the same autoencoder, whose largest correlations give the threshold",
    "shared": "latents, of which pairs of different numbers give the threshold",
    "cross": "rows, whose codes give null_strength",
}
CANNOT_TELL: Mapping[TrackMethod, str] = {
    "warm": (
        "whether a latent stays because its feature does, or because training began from the "
        "checkpoint before; features that are born are found late"
    ),
    "match": (
        "whether a track that ends has split, turned far at once, or was not found again: "
        "autoencoders of two seeds differ too, as null_similarity says"
    ),
    "shared": (
        "how a feature turns, for a direction is one for all checkpoints: one that turns far is "
        "several tracks, and what is rare in all rows together has none"
    ),
    "cross": (
        "whether a feature fires on other images at another checkpoint, for a code is one for all "
        "of them, and so is its frequency; nor similarity"
    ),
}


def tracked(
    coders: Sequence[Coder],
    method: TrackMethod = "match",
    *,
    seconds: Sequence[Coder | None] = (),
    level: float = LEVEL,
) -> xr.Dataset:
    """Tracks of the latents of autoencoders at checkpoints, each an autoencoder of its own.

    Parameters
    ----------
    coders : sequence of Coder
        The autoencoder of each checkpoint, and rows of the same samples as it sees them.
    method : {"warm", "match"}
        Whether latents keep their numbers, or are matched; see `links`.
    seconds : sequence of Coder or None, optional
        At each checkpoint one that was trained alike from another seed.
    level : float
        Of the threshold of links.

    Returns
    -------
    Dataset
        As `dvis.tracks` has it, with places of checkpoints for labels.

    Raises
    ------
    ValueError
        When there are fewer than two checkpoints, or they have other samples or widths.

    Notes
    -----
    Of planted directions of which 14 are born at each of four checkpoints, 40 to 96, and all turn
    (cosine 0.97 a checkpoint), autoencoders that were trained apart and matched had 0 false births
    among 56, and those of a warm start 0 to 2 among 54 to 64: births of a direction that an earlier
    latent was already. A shared autoencoder had 0 among 56, crosscoders 3 to 16 among 48 to 105.
    Of directions that have nothing in common fewer are linked than `level` says: at 0.05 a share of
    0.03 of those with the same number, and none of 2,400 that were matched.
    """
    if len(coders) < 2:
        raise ValueError(
            f"there are autoencoders of {len(coders)} checkpoint, and a track has two or more; "
            "give those of more checkpoints"
        )
    steps = [first_links(coders[0])]
    for before, here in pairwise(coders):
        steps.append(links(here, before, steps[-1], method, level))
    beside = [*seconds, *[None] * (len(coders) - len(seconds))]
    nulls = [null_of(here, second) for here, second in zip(coders, beside, strict=True)]
    return tracks_of(
        [Step.of(*each) for each in zip(steps, nulls, strict=True)],
        lambda place: coders[place].autoencoder.decoder,
        method,
    )


def null_of(here: Coder, second: Coder | None) -> tuple[Floats, Floats] | None:
    """Similarity and cosine of each latent with its match in a second seed, (latent,)."""
    if second is None:
        return None
    match = second_seed(here, second)
    return match.similarity, match.cosine(here.autoencoder.decoder, second.autoencoder.decoder)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is known of a checkpoint's latents, (latent,), for tracks of them.

    Attributes
    ----------
    is_alive : array of bool
        Whether a latent is there.
    previous : array of int64
        Which of the checkpoint before it is, -1 for none.
    similarity, frequency : array
        As of `Links`.
    least : float
        Similarity that links exceed.
    null : tuple of array, optional
        Similarity and cosine with the match of a second seed.
    """

    is_alive: NDArray[np.bool_]
    previous: Ints
    similarity: Floats
    frequency: Floats
    least: float
    null: tuple[Floats, Floats] | None = None

    @classmethod
    def of(cls, found: Links, null: tuple[Floats, Floats] | None = None) -> "Step":
        """That of links."""
        return cls(
            is_alive=found.is_alive,
            previous=found.previous,
            similarity=found.similarity,
            frequency=found.frequency,
            least=float(found.least),
            null=null,
        )


def tracks_of(
    steps: Sequence[Step], decoder: Callable[[int], NDArray[np.float32]], method: TrackMethod
) -> xr.Dataset:
    """Tracks of checkpoints' latents.

    Parameters
    ----------
    steps : sequence of Step
        Each checkpoint's latents, in training order.
    decoder : callable
        The decoder, (latent, channel), of the checkpoint at a place.
    method : {"warm", "match", "shared", "cross"}
        How they were found.

    Returns
    -------
    Dataset
        As `dvis.tracks` has it, with places of checkpoints for labels.
    """
    latent = joined([each.is_alive for each in steps], [each.previous for each in steps])
    shape = latent.shape
    found = {name: np.full(shape, np.nan) for name in (*OF_TRACK, *NULLS)}
    starts = np.argmax(latent != NONE, axis=0)
    first: Any = None
    last: Any = None
    for place, step in enumerate(steps):
        tracks = np.flatnonzero(latent[place] != NONE)
        rows, directions = latent[place, tracks], decoder(place)
        if first is None:
            first = np.zeros((shape[1], directions.shape[1]), np.float32)
            last = first.copy()
        is_new = starts[tracks] == place
        first[tracks[is_new]] = directions[rows[is_new]]
        own = directions[rows]
        found["frequency"][place, tracks] = step.frequency[rows]
        found["decoder_norm"][place, tracks] = np.linalg.norm(own.astype(np.float64), axis=1)
        found["drift"][place, tracks] = _drift(own, first[tracks])
        old = tracks[~is_new]
        found["similarity"][place, old] = step.similarity[rows[~is_new]]
        found["cosine"][place, old] = cosines(own[~is_new], last[old])
        last[tracks] = own
        if step.null is not None:
            found["null_similarity"][place, tracks] = step.null[0][rows]
            found["null_cosine"][place, tracks] = step.null[1][rows]
            found["null_drift"][place, tracks] = 1 - step.null[1][rows]
    return _dataset(latent, found, steps, method)


def _drift(directions: NDArray[Any], first: NDArray[Any]) -> Floats:
    """1 - cosine; 0 of a direction that has none, which cannot turn."""
    return np.nan_to_num(1 - cosines(directions, first), nan=0.0)


def joined(is_alive: Sequence[NDArray[np.bool_]], previous: Sequence[Ints]) -> Ints:
    """Which latent each track is at each checkpoint, (checkpoint, track), -1 where it is not there.

    Tracks are sorted by where they begin, then by the latent there.

    Parameters
    ----------
    is_alive : sequence of array of bool, (latent,)
        Latents that are there, at each checkpoint.
    previous : sequence of array of int, (latent,)
        The latent of the checkpoint before that each one is, -1 for none.

    Examples
    --------
    >>> alive = [np.array([True, True]), np.array([True, True])]
    >>> joined(alive, [np.array([-1, -1]), np.array([1, -1])])
    array([[ 0,  1, -1],
           [-1,  0,  1]])
    """
    of_latent: list[Ints] = []
    n_tracks = 0
    for alive, of_before in zip(is_alive, previous, strict=True):
        tracks = np.full(len(alive), NONE)
        if of_latent:
            is_linked = alive & (of_before != NONE)
            tracks[is_linked] = of_latent[-1][of_before[is_linked]]
        is_new = alive & (tracks == NONE)
        n_new = int(is_new.sum())
        tracks[is_new] = n_tracks + np.arange(n_new)
        n_tracks += n_new
        of_latent.append(tracks)
    latent = np.full((len(of_latent), n_tracks), NONE)
    for place, tracks in enumerate(of_latent):
        there = np.flatnonzero(tracks != NONE)
        latent[place, tracks[there]] = there
    return latent


def _dataset(
    latent: Ints, found: Mapping[str, Floats], steps: Sequence[Step], method: TrackMethod
) -> xr.Dataset:
    dims = (CHECKPOINT, TRACK)
    names = {**OF_TRACK, **(NULLS if any(each.null for each in steps) else {})}
    seeds = {EXCHANGEABLE: SEEDS}
    variables = {
        LATENT: quantity(dims, latent.astype(np.int32), "latent"),
        **{
            name: quantity(dims, found[name], what, **(seeds if name in NULLS else {}))
            for name, what in names.items()
        },
        "least_similarity": quantity(
            CHECKPOINT, [each.least for each in steps], "similarity that links exceed"
        ),
        "n_latents": quantity(
            CHECKPOINT, [int(each.is_alive.sum()) for each in steps], "latents that fire"
        ),
    }
    n_checkpoints, n_tracks = latent.shape
    coordinates = {CHECKPOINT: np.arange(n_checkpoints), TRACK: np.arange(n_tracks)}
    told = {
        METHOD: method,
        EXCHANGEABLE: EXCHANGED[method],
        "cannot_tell": CANNOT_TELL[method],
    }
    return with_ends(xr.Dataset(variables, coordinates, told))


def with_ends(tracks: xr.Dataset) -> xr.Dataset:
    """Tracks with the checkpoints at which each one is born and dies, "" where neither is seen."""
    labels = [str(label) for label in tracks[CHECKPOINT].values]
    is_there = tracks[LATENT].values != NONE
    first = np.argmax(is_there, axis=0)
    after = len(labels) - np.argmax(is_there[::-1], axis=0)
    birth = np.array(["", *labels[1:]], str)[first]
    death = np.array([*labels, ""], str)[after]
    return tracks.assign(
        birth=quantity(TRACK, birth, "first checkpoint, none where it was there before"),
        death=quantity(TRACK, death, "checkpoint at which it is no more, none where it stays"),
    )
