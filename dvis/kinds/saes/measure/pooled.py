"""Rows of several checkpoints as one: pooled, for one autoencoder of all, or side by side.

Rows of each checkpoint are centred and brought to the same spread, so that activations which grow
all at once are no births.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.parameters import input_scale
from dvis.kinds.saes.measure.rows import DEFAULT_ORDERED_SAMPLES, Floats, Rows

_SAMPLED_ROWS = 65_536  # from which the spread is taken


@dataclass(frozen=True, kw_only=True)
class Units:
    """What rows of a checkpoint are brought to: less a mean, times a factor."""

    mean: NDArray[np.float64]
    scale: float

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """Those in which rows have mean 0 and variance 1 a channel, on average."""
        batches = [rows.batch(0)]
        wanted = min(_SAMPLED_ROWS, rows.n_rows)
        while sum(map(len, batches)) < wanted:
            batches.append(rows.batch(len(batches)))
        sample = torch.from_numpy(np.concatenate(batches))
        if not bool(torch.isfinite(sample).all()):
            raise ValueError("some activations are not finite; collect them again")
        return cls(mean=rows.mean, scale=input_scale(sample, torch.from_numpy(rows.mean).float()))

    def undone(self, one: Autoencoder) -> Autoencoder:
        """An autoencoder of rows in these units as one of rows as they are, of the same codes."""
        scale = np.float32(self.scale)
        bias = self.mean + one.decoder_bias / self.scale
        return replace(
            one,
            encoder=one.encoder * scale,
            decoder=one.decoder / scale,
            decoder_bias=bias.astype(np.float32),
        )

    def applied(self, values: Floats) -> Floats:
        """Values, (..., channel), in these units."""
        out: Floats = (values - self.mean.astype(np.float32)) * np.float32(self.scale)
        return out


class ScaledRows:
    """Rows of a checkpoint in units of their own.

    Parameters
    ----------
    rows : Rows
        As they are.
    units : Units
        What they are brought to.
    """

    def __init__(self, rows: Rows, units: Units) -> None:
        self._rows, self._units = rows, units
        self.n_rows, self.n_channels = rows.n_rows, rows.n_channels
        self.n_samples, self.n_tokens = rows.n_samples, rows.n_tokens
        self.sample_ids, self.labels, self.classes = rows.sample_ids, rows.labels, rows.classes
        self.mean = (rows.mean - units.mean) * units.scale
        told = json.dumps([rows.fingerprint, units.scale]).encode() + units.mean.tobytes()
        self.fingerprint = blake2b(told, digest_size=16).hexdigest()

    def batch(self, step: int) -> Floats:
        """Rows of one training step, (row, channel)."""
        return self._units.applied(self._rows.batch(step))

    def ordered(
        self, n_samples: int = DEFAULT_ORDERED_SAMPLES
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Positions of samples, and their values (sample, token, channel), each sample once."""
        for positions, values in self._rows.ordered(n_samples):
            yield positions, self._units.applied(values)

    def taken(self, samples: NDArray[np.int64]) -> "ScaledRows":
        """The rows of some samples alone, by their positions."""
        return ScaledRows(self._rows.taken(samples), self._units)


class _Several:
    """Rows of the same samples at several checkpoints."""

    def __init__(self, rows: Sequence[Rows]) -> None:
        self._rows = [*rows]
        first = self._rows[0]
        self.n_tokens, self.labels, self.classes = first.n_tokens, first.labels, first.classes
        self.sample_ids: NDArray[Any] = first.sample_ids
        self.n_samples = first.n_samples
        for each in self._rows[1:]:
            if each.sample_ids.tolist() != self.sample_ids.tolist():
                raise ValueError(
                    f"checkpoints have activations of {self.n_samples} and {each.n_samples} "
                    "samples, which are not the same; collect those of the same samples at all"
                )
        told = json.dumps([type(self).__name__, *(each.fingerprint for each in self._rows)])
        self.fingerprint = blake2b(told.encode(), digest_size=16).hexdigest()


class PooledRows(_Several):
    """Rows of all checkpoints in each batch, as many of each, one after the other.

    Parameters
    ----------
    rows : sequence of Rows
        Those of each checkpoint, of the same samples, in units of their own.
    """

    def __init__(self, rows: Sequence[Rows]) -> None:
        super().__init__(rows)
        self.n_rows = sum(each.n_rows for each in self._rows)
        self.n_tokens = sum(each.n_tokens for each in self._rows)
        self.n_channels = self._rows[0].n_channels
        self.mean = np.mean([each.mean for each in self._rows], axis=0)

    def batch(self, step: int) -> Floats:
        """Rows of one training step, (row, channel)."""
        return np.concatenate([each.batch(step) for each in self._rows])

    def ordered(
        self, n_samples: int = DEFAULT_ORDERED_SAMPLES
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Positions of samples, and their values, those of all checkpoints as tokens."""
        blocks = [each.ordered(n_samples) for each in self._rows]
        for of_all in zip(*blocks, strict=True):
            yield of_all[0][0], np.concatenate([values for _, values in of_all], axis=1)

    def taken(self, samples: NDArray[np.int64]) -> "PooledRows":
        """The rows of some samples alone, by their positions."""
        return PooledRows([each.taken(samples) for each in self._rows])


class JoinedRows(_Several):
    """Rows of all checkpoints side by side: a row has the channels of each, one after the other.

    Parameters
    ----------
    rows : sequence of Rows
        Those of each checkpoint, of the same samples in the same order.
    """

    def __init__(self, rows: Sequence[Rows]) -> None:
        super().__init__(rows)
        self.n_rows = self._rows[0].n_rows
        self.n_channels = sum(each.n_channels for each in self._rows)
        self.mean = np.concatenate([each.mean for each in self._rows])

    def batch(self, step: int) -> Floats:
        """Rows of one training step, (row, channel)."""
        return np.concatenate([each.batch(step) for each in self._rows], axis=1)

    def ordered(
        self, n_samples: int = DEFAULT_ORDERED_SAMPLES
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Positions of samples, and their values (sample, token, channel), each sample once."""
        blocks = [each.ordered(n_samples) for each in self._rows]
        for of_all in zip(*blocks, strict=True):
            yield of_all[0][0], np.concatenate([values for _, values in of_all], axis=2)

    def taken(self, samples: NDArray[np.int64]) -> "JoinedRows":
        """The rows of some samples alone, by their positions."""
        return JoinedRows([each.taken(samples) for each in self._rows])
