"""How alike latents fire on the same samples: correlations of codes, block by block.

Autoencoders and rows in; for each pair of latents a number out. What is in memory grows with the
latents, not with the samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.codes import Block, encoded
from dvis.kinds.saes.measure.rows import Rows

Floats = NDArray[np.float64]
_TINY = 1e-12  # share of the mean square below which a variance is rounding


@dataclass(frozen=True, kw_only=True)
class Coder:
    """An autoencoder, and the rows that it encodes."""

    autoencoder: Autoencoder
    rows: Rows


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How latents of an autoencoder fire, and how like latents of another.

    Attributes
    ----------
    n_rows : int
        Rows that were encoded.
    n_fired : array of int64, (latent,)
        Rows in which each latent fires.
    nearest : array, (latent,)
        Largest correlation of a latent's codes with another latent's of the same autoencoder.
    correlation : array, (latent before, latent), optional
        Correlation of codes with each latent's of the other autoencoder, 0 of latents that do not
        vary.
    """

    n_rows: int
    n_fired: NDArray[np.int64]
    nearest: Floats
    correlation: Floats | None = None


def likeness(here: Coder, before: Coder | None = None) -> Likeness:
    """How latents fire, and correlations of their codes with another autoencoder's on equal rows.

    Parameters
    ----------
    here : Coder
        An autoencoder and its rows.
    before : Coder, optional
        Another, of as many latents, and the same samples and tokens as it sees them.

    Raises
    ------
    ValueError
        When the autoencoders have different numbers of latents, or the samples are not the same.
    """
    own, own_products = _Sums(here.autoencoder.n_latents), 0.0
    if before is None:
        for codes in map(codes_of, encoded(here.autoencoder, here.rows)):
            own.add(codes)
            own_products = own_products + (codes.T @ codes).toarray()
        return Likeness(
            n_rows=own.n_rows,
            n_fired=own.n_fired,
            nearest=_nearest(_correlation(own_products, own, own), own.n_fired),
        )
    _check(here, before)
    other, products = _Sums(own.width), 0.0
    for codes_before, codes in _together(before, here):
        own.add(codes)
        other.add(codes_before)
        own_products = own_products + (codes.T @ codes).toarray()
        products = products + (codes_before.T @ codes).toarray()
    return Likeness(
        n_rows=own.n_rows,
        n_fired=own.n_fired,
        nearest=_nearest(_correlation(own_products, own, own), own.n_fired),
        correlation=_correlation(products, other, own),
    )


class _Sums:
    """Sums of the codes of an autoencoder's latents."""

    def __init__(self, width: int) -> None:
        self.width, self.n_rows = width, 0
        self.total, self.squares = np.zeros(width), np.zeros(width)
        self.n_fired = np.zeros(width, np.int64)

    def add(self, codes: sparse.csr_array) -> None:
        self.n_rows += codes.shape[0]
        self.total += np.bincount(codes.indices, codes.data, self.width)
        self.squares += np.bincount(codes.indices, codes.data**2, self.width)
        self.n_fired += np.bincount(codes.indices, minlength=self.width)

    @property
    def spread(self) -> Floats:
        """Standard deviation of each latent's codes, 0 where they do not vary."""
        mean, square = self.total / self.n_rows, self.squares / self.n_rows
        variance = square - mean**2
        out: Floats = np.sqrt(np.where(variance > _TINY * square, variance, 0.0))
        return out


def codes_of(block: Block) -> sparse.csr_array:
    """Codes of a block's rows, (row, latent)."""
    pattern = block.pattern
    parts = block.values.double().numpy(), pattern.latents.numpy(), pattern.offsets.numpy()
    return sparse.csr_array(parts, shape=(pattern.n_rows, pattern.n_latents))


def _together(first: Coder, second: Coder) -> Iterator[tuple[sparse.csr_array, sparse.csr_array]]:
    """Codes of the same rows by two autoencoders, block by block."""
    blocks = (encoded(each.autoencoder, each.rows) for each in (first, second))
    for one, other in zip(*blocks, strict=True):
        yield codes_of(one), codes_of(other)


def _correlation(products: Floats | float, first: _Sums, second: _Sums) -> Floats:
    n = first.n_rows
    covariance = products / n - np.outer(first.total / n, second.total / n)
    spread = np.outer(first.spread, second.spread)
    out: Floats = np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0)
    return np.clip(out, -1.0, 1.0)


def _nearest(correlation: Floats, n_fired: NDArray[np.int64]) -> Floats:
    """Largest correlation with another latent that fires, 0 where there is none."""
    others = correlation.copy()
    np.fill_diagonal(others, -np.inf)
    others[:, n_fired == 0] = -np.inf
    largest: Floats = others.max(1)
    return np.where(np.isfinite(largest), largest, 0.0)


def _check(here: Coder, before: Coder) -> None:
    widths = before.autoencoder.n_latents, here.autoencoder.n_latents
    if widths[0] != widths[1]:
        raise ValueError(
            f"the autoencoders have {widths[0]} and {widths[1]} latents; give two of the same width"
        )
    shapes = [(each.rows.n_tokens, each.rows.sample_ids.tolist()) for each in (before, here)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the rows are of {before.rows.n_samples} and {here.rows.n_samples} samples of "
            f"{before.rows.n_tokens} and {here.rows.n_tokens} tokens, which are not the same; give "
            "activations of the same samples at both"
        )
