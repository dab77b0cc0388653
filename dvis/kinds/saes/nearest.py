"""Latents whose directions are most alike: cosines of an autoencoder's decoder rows.

The decoder is read in blocks of latents, and never as a whole matrix of cosines.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from dvis.kinds.listed import Nearest
from dvis.kinds.saes.dims import LATENT
from dvis.schema import CHANNEL, CHECKPOINT
from dvis.store.recent import Recent

N_NEAREST = 10
_BLOCK_ITEMS = 2**23  # of float32 read at a time: 32 MB, a chunk of the store
_ROWS = 256  # latents whose cosines with a block are in memory together
_MAX_KEPT = 4


@dataclass(frozen=True)
class Directions:
    """Directions of latents over checkpoints, (checkpoint, latent, channel)."""

    decoder: xr.DataArray
    _kept: Recent[Nearest] = field(default_factory=lambda: Recent(_MAX_KEPT))

    def nearest(self, checkpoint: int, latents: Sequence[int], n: int = N_NEAREST) -> Nearest:
        """The latents of highest cosine with each of some at a checkpoint, the nearest first.

        Parameters
        ----------
        checkpoint : int
            Place of the checkpoint.
        latents : sequence of int
            Numbers of the latents.
        n : int
            How many neighbours of each, at most.

        Returns
        -------
        Nearest
            Numbers, and cosines, float32.
        """
        key = checkpoint, tuple(latents), n
        return self._kept.get(key, "", lambda: self._found(checkpoint, latents, n))

    def _found(self, checkpoint: int, latents: Sequence[int], n: int) -> Nearest:
        of_checkpoint = self.decoder.isel({CHECKPOINT: checkpoint}).transpose(LATENT, CHANNEL)
        numbers = of_checkpoint[LATENT].values
        asked = np.searchsorted(numbers, latents)
        n = max(0, min(n, len(numbers) - 1))
        if of_checkpoint.size <= _BLOCK_ITEMS:
            of_checkpoint = of_checkpoint.load()
        parts = [
            _of_rows(of_checkpoint, asked[first : first + _ROWS], n)
            for first in range(0, len(asked), _ROWS)
        ]
        places = np.concatenate([place for place, _ in parts]) if parts else np.empty((0, n), int)
        cosines = [cosine for _, cosine in parts]
        return Nearest(
            units=numbers[places],
            likeness=np.concatenate(cosines) if cosines else np.empty((0, n), np.float32),
        )


def _of_rows(directions: xr.DataArray, asked: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and cosines of the best of all, of some rows: the best so far, block by block."""
    rows = _unit_rows(directions.isel({LATENT: asked}).values)
    place = np.empty((len(asked), 0), int)
    cosine = np.empty((len(asked), 0), np.float32)
    n_latents, n_channels = directions.shape
    step = max(1, _BLOCK_ITEMS // max(1, n_channels))
    for first in range(0, n_latents, step):
        block = _unit_rows(directions.isel({LATENT: slice(first, first + step)}).values)
        here = np.arange(first, first + len(block))
        likeness = rows @ block.T
        likeness[asked[:, None] == here] = -np.inf  # itself
        best = _highest(likeness, n)
        place = np.concatenate([place, here[best]], 1)
        cosine = np.concatenate([cosine, np.take_along_axis(likeness, best, 1)], 1)
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :n]
        place = np.take_along_axis(place, order, 1)
        cosine = np.take_along_axis(cosine, order, 1)
    return place, cosine


def _highest(likeness: np.ndarray, n: int) -> np.ndarray:
    """Columns of the n highest numbers of each row, in the order of the columns."""
    if likeness.shape[1] <= n:
        return np.broadcast_to(np.arange(likeness.shape[1]), likeness.shape)
    best = np.argpartition(-likeness, n - 1, axis=1)[:, :n] if n else likeness[:, :0].astype(int)
    return np.sort(best, axis=1)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; one of zeros stays."""
    given = np.asarray(rows, np.float32)
    length = np.linalg.norm(given, axis=1, keepdims=True)
    return np.asarray(given / np.where(length > 0, length, 1), np.float32)
