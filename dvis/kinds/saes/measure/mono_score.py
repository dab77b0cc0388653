"""Whether the images that drive a latent look alike to another model, beside shuffled images."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dvis.analysis.control import EXCHANGEABLE
from dvis.kinds.saes.dims import LATENT, SHUFFLE, quantity

Floats = NDArray[np.float64]
_ROUNDING = 1e-9


def mono_score(
    scores: sparse.csr_array, embeddings: ArrayLike, *, n_shuffles: int = 20, seed: int = 0
) -> xr.Dataset:
    r"""Mean cosine of pairs of images, weighted by how strongly both drive a latent.

    With a latent's scores :math:`a_n` less their smallest, and unit embeddings :math:`p_n`,

    .. math:: \frac{\sum_{n < m} a_n a_m \, p_n \cdot p_m}{\sum_{n < m} a_n a_m}
        = \frac{|\sum_n a_n p_n|^2 - \sum_n a_n^2}{(\sum_n a_n)^2 - \sum_n a_n^2}

    The right side takes time in proportion to the number of images. Scores need not be divided by
    their range, as the definition has it, for that cancels.

    Parameters
    ----------
    scores : csr_array, (sample, latent)
        Of `image_scores`, none below 0.
    embeddings : array, (sample, feature)
        Of the same images by another model, such as DINOv2; its sense of what is alike is measured.
    n_shuffles : int
        Of embeddings over images, for the null; 0 for none.
    seed : int
        Of the shuffles.

    Returns
    -------
    Dataset
        mono_score (latent), from -1 to 1, NaN where fewer than two images drive the latent;
        null_mono_score (shuffle, latent), of the same scores on other images; mean_cosine, of all
        pairs, where a latent that has nothing to do with the embeddings is.

    Raises
    ------
    ValueError
        When the embeddings do not fit the scores, are not finite, or one is zero.

    References
    ----------
    Pach et al. (2025), Sparse autoencoders learn monosemantic features in vision-language models,
    arXiv:2504.02821 (the score, here divided by the sum of the weights as in its code);
    MonoLoss: a training objective for interpretable monosemantic representations (2026),
    arXiv:2602.12403 (in linear time).

    Examples
    --------
    >>> scores = sparse.csr_array(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    >>> mono_score(scores, [[1, 0], [2, 0], [0, 1]]).mono_score.values
    array([1., 0.])
    """
    if n_shuffles < 0:
        raise ValueError(f"n_shuffles is {n_shuffles}; give 0 or more")
    unit = _unit(embeddings, scores.shape[0])
    weights = _Weights(scores)
    generator = np.random.default_rng(seed)
    total = np.square(unit.sum(0)).sum()
    n_pairs = len(unit) * (len(unit) - 1)
    mean_cosine = (total - len(unit)) / n_pairs if n_pairs else np.nan
    said = {EXCHANGEABLE: "embeddings of images"}
    variables = {
        "mono_score": quantity(LATENT, weights.mean_cosine(unit), "weighted mean cosine", **said),
        "mean_cosine": quantity((), mean_cosine, "mean cosine of all pairs of images"),
    }
    if n_shuffles:
        null = [weights.mean_cosine(generator.permutation(unit)) for _ in range(n_shuffles)]
        text = "weighted mean cosine, images shuffled"
        variables["null_mono_score"] = quantity((SHUFFLE, LATENT), np.stack(null), text, **said)
    return xr.Dataset(variables, {LATENT: np.arange(scores.shape[1])})


class _Weights:
    """Each latent's scores less their smallest, and what the score needs of their sums."""

    def __init__(self, scores: sparse.csr_array) -> None:
        n_samples, n_latents = scores.shape
        self._by_latent = scores.T.tocsr()
        counts = np.diff(self._by_latent.indptr)
        columns = scores.indices
        smallest, largest = np.full(n_latents, np.inf), np.zeros(n_latents)
        np.minimum.at(smallest, columns, scores.data)
        np.maximum.at(largest, columns, scores.data)
        self._smallest = np.where(counts == n_samples, smallest, 0.0)
        sums = np.bincount(columns, scores.data, minlength=n_latents)
        squares = np.bincount(columns, np.square(scores.data), minlength=n_latents)
        # The smallest is above 0 only where no score is left out for being 0.
        shift = self._smallest
        self._squares = squares - 2 * shift * sums + n_samples * np.square(shift)
        self._pairs = np.square(sums - n_samples * shift) - self._squares
        self._is_known = self._pairs > _ROUNDING * np.square(largest)

    def mean_cosine(self, unit: Floats) -> Floats:
        """Mean over pairs of images, (latent,), of unit embeddings (sample, feature)."""
        sums = self._by_latent @ unit - self._smallest[:, None] * unit.sum(0)
        cosines = np.square(sums).sum(1) - self._squares
        out: Floats = np.full(len(cosines), np.nan)
        np.divide(cosines, self._pairs, out=out, where=self._is_known)
        return out


def _unit(embeddings: ArrayLike, n_samples: int) -> Floats:
    array = np.asarray(embeddings, np.float64)
    if array.ndim != 2 or len(array) != n_samples:
        raise ValueError(
            f"embeddings of shape {array.shape} for {n_samples} samples; give (sample, feature), "
            "one of each in the order of the scores"
        )
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    is_bad = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
    if is_bad.any():
        raise ValueError(
            f"{is_bad.sum()} embeddings are zero or not finite, such as that of sample "
            f"{int(is_bad.argmax())}; leave those samples out"
        )
    unit: Floats = array / lengths
    return unit
