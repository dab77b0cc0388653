"""Rows of activations that an autoencoder trains on: what is asked of them; those of an array."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
DEFAULT_ORDERED_SAMPLES = 256


class Rows(Protocol):
    """Activations of samples, one row a token, in a seeded order or in their own."""

    @property
    def n_rows(self) -> int:
        """Rows of one epoch."""

    @property
    def n_channels(self) -> int:
        """Values of a row."""

    @property
    def n_samples(self) -> int:
        """Samples, such as images."""

    @property
    def n_tokens(self) -> int:
        """Rows of one sample."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over all rows, (channel,)."""

    @property
    def fingerprint(self) -> str:
        """Text that differs where the rows do."""

    @property
    def sample_ids(self) -> NDArray[Any]:
        """Id of each sample, (sample,), text."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each sample, (sample,)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    def batch(self, step: int) -> Floats:
        """Rows of one training step, (row, channel): a function of the seed and the step alone."""

    def ordered(
        self, n_samples: int = DEFAULT_ORDERED_SAMPLES
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Positions of samples, and their values (sample, token, channel), each sample once."""

    def taken(self, samples: NDArray[np.int64]) -> "Rows":
        """The rows of some samples alone, by their positions."""


class ArrayRows:
    """Rows of an array that is in memory.

    Parameters
    ----------
    values : array, (sample, token, channel) or (row, channel)
        Activations; of two dims, each row is a sample of one token.
    batch_size : int
        Rows of a training step; several epochs where there are fewer.
    labels : array of int, (sample,), optional
        Class of each sample (default: all of class 0).
    classes : tuple of str
        Names of the classes (default: their numbers).
    sample_ids : sequence of str, optional
        Id of each sample (default: its number).
    seed : int
        Of the order of rows.

    Raises
    ------
    ValueError
        When the array has other dims, is empty, or the labels or ids do not fit it.
    """

    def __init__(
        self,
        values: ArrayLike,
        *,
        batch_size: int = 4096,
        labels: ArrayLike | None = None,
        classes: tuple[str, ...] = (),
        sample_ids: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        array = np.ascontiguousarray(values, dtype=np.float32)
        if array.ndim not in (2, 3) or not array.size:
            raise ValueError(
                f"activations of shape {array.shape}; give (row, channel) or (sample, token, "
                "channel), none of them 0"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 or more")
        self._values = array[:, None, :] if array.ndim == 2 else array
        self._batch_size, self._seed = batch_size, seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        ids = list(map(str, range(self.n_samples))) if sample_ids is None else list(sample_ids)
        if len(set(ids)) != self.n_samples or len(ids) != self.n_samples:
            raise ValueError(
                f"{len(ids)} ids, {len(set(ids))} of them different, for {self.n_samples} samples; "
                "give each its own"
            )
        self.sample_ids = np.array(ids)
        self.labels = self._checked_labels(labels)
        self.classes = classes or tuple(map(str, range(int(self.labels.max()) + 1)))
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise ValueError(
                f"labels run from {self.labels.min()} to {self.labels.max()}, but there are "
                f"{len(self.classes)} classes; give labels from 0 to {len(self.classes) - 1}"
            )

    @property
    def n_samples(self) -> int:
        """Samples."""
        return int(self._values.shape[0])

    @property
    def n_tokens(self) -> int:
        """Rows of one sample."""
        return int(self._values.shape[1])

    @property
    def n_channels(self) -> int:
        """Values of a row."""
        return int(self._values.shape[2])

    @property
    def n_rows(self) -> int:
        """Rows of one epoch."""
        return self.n_samples * self.n_tokens

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean over all rows, (channel,)."""
        total: Any = self._values.mean(axis=(0, 1), dtype=np.float64)
        return np.asarray(total, dtype=np.float64)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the values, their shape, and the order in which they come."""
        digest = hashlib.sha256(repr((self._values.shape, self._batch_size, self._seed)).encode())
        digest.update(self._values.data)
        return digest.hexdigest()

    def batch(self, step: int) -> Floats:
        """Rows of one training step, (row, channel): a function of the seed and the step alone."""
        flat = self._values.reshape(self.n_rows, self.n_channels)
        start = step * self._batch_size
        places = np.arange(start, start + self._batch_size)
        epochs, within = np.divmod(places, self.n_rows)
        chosen = [self._epoch(e)[within[epochs == e]] for e in range(epochs[0], epochs[-1] + 1)]
        batch: Floats = flat[np.concatenate(chosen)]
        return batch

    def ordered(
        self, n_samples: int = DEFAULT_ORDERED_SAMPLES
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Positions of samples, and their values (sample, token, channel), each sample once."""
        for start in range(0, self.n_samples, n_samples):
            values = self._values[start : start + n_samples]
            yield np.arange(start, start + len(values)), values

    def taken(self, samples: NDArray[np.int64]) -> "ArrayRows":
        """The rows of some samples alone, by their positions."""
        return type(self)(
            self._values[samples],
            batch_size=self._batch_size,
            labels=self.labels[samples],
            classes=self.classes,
            sample_ids=self.sample_ids[samples].tolist(),
            seed=self._seed,
        )

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            generator = np.random.default_rng((self._seed, epoch))
            self._order = (epoch, generator.permutation(self.n_rows))
        return self._order[1]

    def _checked_labels(self, labels: ArrayLike | None) -> NDArray[np.int64]:
        if labels is None:
            return np.zeros(self.n_samples, np.int64)
        array = np.asarray(labels)
        if array.shape != (self.n_samples,) or array.dtype.kind not in "iu":
            raise ValueError(
                f"labels of shape {array.shape} and type {array.dtype} for {self.n_samples} "
                "samples; give one whole number a sample"
            )
        return array.astype(np.int64)
