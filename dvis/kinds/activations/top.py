"""The images that drive each channel most, with maps, and histograms: found block by block.

Values of a block in, the best of it out; two such together are the best of both, in whatever order
and however often they are put together, so that a block that is measured again changes nothing.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from dvis.schema import LEVELS

N_BINS = 64
_SMALLEST = -16  # exponent of two at which bins begin, on either side of zero


@dataclass(frozen=True)
class Top:
    """The samples with the highest maxima over tokens, of each channel.

    Parameters
    ----------
    sample : ndarray, (channel, rank), int32
        Places in the image set, the highest first, ties by place; -1 where there are no more.
    value : ndarray, (channel, rank), float32
        Their maxima; NaN where there are no more.
    map : ndarray, (channel, rank, token), uint8
        Where in the image: 255 is the maximum, 0 is zero and below.
    """

    sample: np.ndarray
    value: np.ndarray
    map: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, first: int, n_top: int) -> Self:
        """The best of a block.

        Parameters
        ----------
        values : ndarray, (sample, token, channel)
            The block, of finite numbers.
        first : int
            Place of its first sample.
        n_top : int
            How many to keep.
        """
        highest = values.max(1).astype(np.float32)
        order = np.argsort(-highest, axis=0, kind="stable")[:n_top]
        value = np.take_along_axis(highest, order, 0)
        of_best = np.take_along_axis(values, order[:, None], 0).astype(np.float32)
        scale = np.where(value > 0, value, np.inf)[:, None]
        levels = np.rint(LEVELS * np.clip(of_best, 0, None) / scale).astype(np.uint8)
        n_lacking = n_top - len(order)
        return cls(
            sample=_padded((first + order).T.astype(np.int32), n_lacking, -1),
            value=_padded(value.T, n_lacking, np.nan),
            map=_padded(levels.transpose(2, 0, 1), n_lacking, 0),
        )

    def merged(self, other: "Top") -> "Top":
        """The best of both, as many as either has ranks; a sample that both have counts once."""
        n_top = self.sample.shape[1]
        is_again = (other.sample[:, :, None] == self.sample[:, None, :]).any(2)
        theirs = np.where(is_again, np.nan, other.value)
        sample = np.concatenate([self.sample, other.sample], 1)
        value = np.concatenate([self.value, theirs], 1)
        # NaN is last, of numbers the highest is first.
        order = np.lexsort((sample, -value), axis=1)[:, :n_top]
        maps = np.concatenate([self.map, other.map], 1)
        best = np.take_along_axis(value, order, 1).astype(np.float32)
        is_there = ~np.isnan(best)
        return Top(
            sample=np.where(is_there, np.take_along_axis(sample, order, 1), -1).astype(np.int32),
            value=best,
            map=np.take_along_axis(maps, order[:, :, None], 1) * is_there[:, :, None],
        )


def histogram_of(values: np.ndarray) -> np.ndarray:
    """How many values of each channel lie in which bin, (channel, bin) int32.

    Bins are powers of two from 2^-16 on, 32 on either side of zero (see `lower_edges`), the same
    whatever the values: counts of blocks add up. What is smaller is in the innermost bin, zero in
    that above it; what is larger, in the outermost. A power of two is in the bin farther from zero.

    Parameters
    ----------
    values : ndarray, (sample, token, channel)
        Finite numbers.
    """
    n_channels, half = values.shape[2], N_BINS // 2
    counts = np.zeros(n_channels * N_BINS, np.int64)
    offset = np.arange(n_channels, dtype=np.int32) * N_BINS
    for of_sample in values:
        _, exponent = np.frexp(of_sample.astype(np.float32))
        exponent = np.where(of_sample == 0, _SMALLEST, exponent - 1)
        size = np.clip(exponent - _SMALLEST, 0, half - 1)
        bins = np.where(of_sample < 0, half - 1 - size, half + size) + offset
        counts += np.bincount(bins.ravel(), minlength=len(counts))
    return counts.reshape(n_channels, N_BINS).astype(np.int32)


def lower_edges() -> np.ndarray:
    """Where each bin of a histogram begins, (bin,) float64; the first has no beginning.

    Examples
    --------
    >>> lower_edges()[[0, 1, 31, 32, 33, 63]].tolist()
    [-inf, -32768.0, -3.0517578125e-05, 0.0, 3.0517578125e-05, 32768.0]
    """
    half = N_BINS // 2
    positive = 2.0 ** np.arange(_SMALLEST + 1, _SMALLEST + half)
    return np.concatenate([[-np.inf], -positive[::-1], [0.0], positive])


def _padded(values: np.ndarray, n_lacking: int, fill: float) -> np.ndarray:
    """Values (channel, rank, ...), with a fill value at the ranks that they lack."""
    filling = np.full((len(values), n_lacking, *values.shape[2:]), fill, values.dtype)
    return np.concatenate([values, filling], 1)
