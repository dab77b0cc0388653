"""Rows of an autoencoder's codes, for one that is trained on them, and the same without effect."""

from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.rows import DEFAULT_ORDERED_SAMPLES, Floats, Rows

_BLOCK_VALUES = 2**25  # that are in memory at a time: 128 MB


class _Changed:
    """Rows of the same samples with other values."""

    def __init__(self, rows: Rows, n_channels: int, told: bytes) -> None:
        self._rows, self.n_channels = rows, n_channels
        self.n_rows, self.n_samples, self.n_tokens = rows.n_rows, rows.n_samples, rows.n_tokens
        self.sample_ids: NDArray[Any] = rows.sample_ids
        self.labels, self.classes = rows.labels, rows.classes
        self.fingerprint = blake2b(rows.fingerprint.encode() + told, digest_size=16).hexdigest()

    def _blocks(self, n_samples: int) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Blocks of the rows as they are, of so few samples that the changed ones fit."""
        widest = max(self.n_channels, self._rows.n_channels)
        n_most = max(1, _BLOCK_VALUES // (self.n_tokens * widest))
        yield from self._rows.ordered(min(n_samples, n_most))


class CodedRows(_Changed):
    """Codes of rows, a value a latent.

    Parameters
    ----------
    rows : Rows
        Activations, or codes of them.
    autoencoder : Autoencoder
        What encodes them.
    """

    def __init__(self, rows: Rows, autoencoder: Autoencoder) -> None:
        weights = ("encoder", "encoder_bias", "decoder_bias", "threshold")
        told = b"".join(getattr(autoencoder, name).tobytes() for name in weights)
        super().__init__(rows, autoencoder.n_latents, told)
        self._autoencoder = autoencoder

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean over all rows, (latent,); the first look encodes them all."""
        total = np.zeros(self.n_channels)
        for _, values in self.ordered():
            total += values.sum((0, 1), dtype=np.float64)
        return total / self.n_rows

    def batch(self, step: int) -> Floats:
        """Codes of one training step, (row, latent)."""
        return self._autoencoder.encode(self._rows.batch(step))

    def ordered(
        self, n_samples: int = DEFAULT_ORDERED_SAMPLES
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Positions of samples, and their codes (sample, token, latent), each sample once."""
        for positions, values in self._blocks(n_samples):
            yield positions, self._autoencoder.encode(values)

    def taken(self, samples: NDArray[np.int64]) -> "CodedRows":
        """The codes of some samples alone, by their positions."""
        return CodedRows(self._rows.taken(samples), self._autoencoder)


class PermutedRows(_Changed):
    """Rows whose values are exchanged between rows, of each channel by itself.

    Each channel has the values that it had, in the rows of a batch or of a block; which channels
    are high in the same row is chance.

    Parameters
    ----------
    rows : Rows
        As they are.
    seed : int
        Of the exchanges.
    """

    def __init__(self, rows: Rows, seed: int = 0) -> None:
        super().__init__(rows, rows.n_channels, b"permuted %d" % seed)
        self._seed, self.mean = seed, rows.mean

    def batch(self, step: int) -> Floats:
        """Rows of one training step, (row, channel)."""
        return self._exchanged(self._rows.batch(step), 0, step)

    def ordered(
        self, n_samples: int = DEFAULT_ORDERED_SAMPLES
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Positions of samples, and values (sample, token, channel) exchanged among them."""
        for number, (positions, values) in enumerate(self._blocks(n_samples)):
            flat = values.reshape(-1, self.n_channels)
            yield positions, self._exchanged(flat, 1, number).reshape(values.shape)

    def taken(self, samples: NDArray[np.int64]) -> "PermutedRows":
        """The rows of some samples alone, exchanged among them."""
        return PermutedRows(self._rows.taken(samples), self._seed)

    def _exchanged(self, values: Floats, stream: int, number: int) -> Floats:
        generator = np.random.default_rng((self._seed, stream, number))
        out: Floats = generator.permuted(values, axis=0)
        return out
