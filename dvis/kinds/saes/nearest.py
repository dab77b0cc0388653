"""Latents whose directions are most alike: cosines of an autoencoder's decoder rows.

A decoder is read in blocks of latents, and the last that is one block is kept; cosines are those of
the latents that are asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from dvis.kinds.listed import Nearest
from dvis.kinds.saes.dims import LATENT
from dvis.schema import CHANNEL, CHECKPOINT
from dvis.store.recent import Recent

N_NEAREST = 10
_BLOCK_ITEMS = 2**23  # of float32 read at a time: 32 MB, a chunk of the store
_MAX_KEPT = 4


@dataclass(frozen=True)
class Directions:
    """Directions of latents over checkpoints, (checkpoint, latent, channel)."""

    decoder: xr.DataArray
    _kept: Recent[Nearest] = field(default_factory=lambda: Recent(_MAX_KEPT))
    _whole: Recent[np.ndarray] = field(default_factory=lambda: Recent(1))

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
        numbers = self.decoder[LATENT].values
        asked = np.searchsorted(numbers, latents)
        rows = self._rows(checkpoint, asked)
        n = max(0, min(n, len(numbers) - 1))
        place = np.empty((len(asked), 0), int)
        cosine = np.empty((len(asked), 0), np.float32)
        for first, block in self._blocks(checkpoint):
            here = np.arange(first, first + len(block))
            likeness = rows @ block.T
            likeness[asked[:, None] == here] = -np.inf  # itself
            best = _highest(likeness, n)
            place = np.concatenate([place, here[best]], 1)
            cosine = np.concatenate([cosine, np.take_along_axis(likeness, best, 1)], 1)
            order = np.argsort(-cosine, axis=1, kind="stable")[:, :n]
            place = np.take_along_axis(place, order, 1)
            cosine = np.take_along_axis(cosine, order, 1)
        return Nearest(units=numbers[place], likeness=cosine)

    def _blocks(self, checkpoint: int) -> Iterator[tuple[int, np.ndarray]]:
        """Directions of length 1 in blocks of latents, each with the place of its first."""
        n_latents, step = self.decoder.sizes[LATENT], self._step
        if n_latents <= step:
            yield 0, self._all(checkpoint)
            return
        for first in range(0, n_latents, step):
            yield first, self._read(checkpoint, slice(first, first + step))

    @property
    def _step(self) -> int:
        return max(1, _BLOCK_ITEMS // max(1, self.decoder.sizes[CHANNEL]))

    def _all(self, checkpoint: int) -> np.ndarray:
        return self._whole.get("", checkpoint, lambda: self._read(checkpoint, slice(None)))

    def _rows(self, checkpoint: int, places: np.ndarray) -> np.ndarray:
        is_one = self.decoder.sizes[LATENT] <= self._step
        return self._all(checkpoint)[places] if is_one else self._read(checkpoint, places)

    def _read(self, checkpoint: int, places: np.ndarray | slice) -> np.ndarray:
        """Directions of some latents, of length 1; one of zeros stays."""
        some = self.decoder.isel({CHECKPOINT: checkpoint, LATENT: places})
        rows = some.transpose(LATENT, CHANNEL).values
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.where(length > 0, length, 1), np.float32)


def _highest(likeness: np.ndarray, n: int) -> np.ndarray:
    """Columns of the n highest numbers of each row, in the order of the columns."""
    if likeness.shape[1] <= n:
        return np.broadcast_to(np.arange(likeness.shape[1]), likeness.shape)
    best = np.argpartition(-likeness, n - 1, axis=1)[:, :n] if n else likeness[:, :0].astype(int)
    return np.sort(best, axis=1)
