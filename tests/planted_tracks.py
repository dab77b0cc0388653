"""Rows made of directions that are born, turn and die at known checkpoints, and tracks of them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from planted_rows import N_ACTIVE, N_CHANNELS

FOUND = 0.9  # cosine from which a direction is found


def planted_over(
    n_rows: int,
    alive: Sequence[Sequence[int]],
    *,
    n_channels: int = N_CHANNELS,
    k: int = N_ACTIVE,
    turn: float = 0.03,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Unit atoms (checkpoint, atom, channel), and rows (checkpoint, row, channel) of k alive ones.

    A row prefers the same atoms at all checkpoints, and has the first k of those that are alive.
    """
    rng = np.random.default_rng(seed)
    n_atoms = 1 + max(max(each) for each in alive)
    of_first = rng.normal(size=(n_atoms, n_channels))
    atoms = [of_first / np.linalg.norm(of_first, axis=1, keepdims=True)]
    for _ in alive[1:]:
        turned = atoms[-1] + turn * rng.normal(size=of_first.shape)
        atoms.append(turned / np.linalg.norm(turned, axis=1, keepdims=True))
    preference = rng.random((n_rows, n_atoms))
    sizes = rng.uniform(0.75, 1.25, (n_rows, n_atoms))
    rows = []
    for directions, there in zip(atoms, alive, strict=True):
        order = np.full(n_atoms, np.inf)
        order[list(there)] = 0
        active = (preference + order).argsort(1)[:, :k]
        codes = np.zeros((n_rows, n_atoms))
        np.put_along_axis(codes, active, np.take_along_axis(sizes, active, 1), 1)
        noise = 0.01 * rng.normal(size=(n_rows, n_channels))
        rows.append((codes @ directions + noise).astype(np.float32))
    return np.stack(atoms), np.stack(rows)


def atom_of(tracks: xr.Dataset, decoders: Sequence[Any], atoms: NDArray[np.float64]) -> Any:
    """Which atom each track is at each checkpoint, (checkpoint, track), -1 where it is none."""
    found = np.full(tracks.latent.shape, -1)
    for place, (decoder, directions) in enumerate(zip(decoders, atoms, strict=True)):
        rows = decoder / np.linalg.norm(decoder, axis=1, keepdims=True).clip(1e-9)
        likeness = rows @ directions.T
        nearest = np.where(likeness.max(1) > FOUND, likeness.argmax(1), -1)
        there = tracks.latent.values[place] >= 0
        found[place, there] = nearest[tracks.latent.values[place, there]]
    return found


def right_links(atom: NDArray[Any], alive: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Of atoms that are found at both ends of a step: how many links are right, and how many are.

    Right is a track that is of the atom at both.
    """
    counts = []
    for place, (before, after) in enumerate(pairwise(alive)):
        both = set(before) & set(after) & set(atom[place]) & set(atom[place + 1])
        right = {a for a, b in zip(atom[place], atom[place + 1], strict=True) if a == b}
        counts.append((len(both & right), len(both)))
    return counts


def false_births(
    tracks: xr.Dataset, atom: NDArray[Any], alive: Sequence[Sequence[int]]
) -> tuple[int, int]:
    """How many births are of atoms that an earlier latent was already, and how many births are."""
    n_false = n_births = 0
    latent = tracks.latent.values
    for place in range(1, len(alive)):
        born = (latent[place] >= 0) & (latent[:place] < 0).all(0)
        known = set(atom[place - 1][atom[place - 1] >= 0])
        n_births += int(born.sum())
        n_false += sum(each in known for each in atom[place][born] if each >= 0)
    return n_false, n_births
