"""How far sides of pairs are apart, what a line tells of them, and what of a response is lost.

Numbers of images in, the sides of a pair following each other; scores, and the same of exchanged
sides, out.
"""

import numpy as np
from numpy.typing import NDArray

from dvis.analysis.linear_probes import Splits, Standardised, thread_pools
from dvis.analysis.resampling import resamples

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

N_RESAMPLES = 1000
_ROUNDING = 1e-9  # of a length: less is what rounding leaves


def exchanges(n_pairs: int, n_shuffles: int, seed: int) -> Flags:
    """Which pairs have their sides exchanged, (1 + shuffle, pair): none, then each by lot."""
    drawn = np.random.default_rng((seed, n_pairs)).random((n_shuffles, n_pairs)) < 0.5
    return np.concatenate([np.zeros((1, n_pairs), bool), drawn])


def folds_of(n_pairs: int, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Number of each pair's fold, (pair,), all of one size or one more."""
    folds = np.empty(n_pairs, np.int64)
    folds[np.random.default_rng((seed, n_folds)).permutation(n_pairs)] = (
        np.arange(n_pairs) % n_folds
    )
    return folds


def separations(values: NDArray[np.floating], is_exchanged: Flags) -> Floats:
    r"""How far the second sides lie above the first, of each channel: Cliff's delta.

    .. math:: \delta = P(x_2 > x_1) - P(x_2 < x_1)

    over all first and second sides, of whichever pairs. It is twice the area under the ROC curve,
    less 1: 1 of a unit that answers more to every second side than to any first one, -1 of the
    reverse, about 0 of one that does not tell them apart, and has no scale.

    Parameters
    ----------
    values : ndarray, (2 pair, channel)
        Responses.
    is_exchanged : ndarray, (draw, pair), bool
        Pairs whose sides are exchanged.

    Returns
    -------
    ndarray, (draw, channel)

    References
    ----------
    Cliff 1993, Dominance statistics, doi:10.1037/0033-2909.114.3.494.
    """
    from scipy.stats import rankdata

    n_pairs = len(values) // 2
    ranks = rankdata(values, axis=0).reshape(n_pairs, 2, -1)
    sums = ranks[:, 1].sum(0) + is_exchanged.astype(float) @ (ranks[:, 0] - ranks[:, 1])
    found: Floats = 2 * (sums - n_pairs * (n_pairs + 1) / 2) / n_pairs**2 - 1
    return found


def told_right(
    values: NDArray[np.floating], is_exchanged: Flags, folds: NDArray[np.int64]
) -> Floats:
    """Share of each pair's two images whose side a line tells, (draw, pair), learnt on others.

    The line is a ridge regression of the side, -1 or 1, for each image by itself: it does not see
    the other side. Of five folds three are learnt on, the next chooses the penalty, one is told.
    Where it says neither, as of a layer that gives the same of all, half counts as right.

    Parameters
    ----------
    values : ndarray, (2 pair, input)
        What is read of images.
    is_exchanged : ndarray, (draw, pair), bool
        Pairs whose sides are exchanged.
    folds : ndarray, (pair,), int64
        Fold of each pair.
    """
    n_draws, n_pairs = is_exchanged.shape
    sides = np.where(np.repeat(is_exchanged, 2, axis=1), -1.0, 1.0) * np.tile([-1.0, 1.0], n_pairs)
    of_images, n_folds = np.repeat(folds, 2), int(folds.max()) + 1
    told = np.empty((n_draws, 2 * n_pairs))
    for fold in range(n_folds):
        after = (fold + 1) % n_folds
        splits = Splits(
            train=np.flatnonzero((of_images != fold) & (of_images != after)),
            validation=np.flatnonzero(of_images == after),
            held_out=np.flatnonzero(of_images == fold),
        )
        with thread_pools().limit(limits=1):  # of fits this short more would only wait
            probes = Standardised.of(values, splits).told_numbers(sides[:, :, None])
        for draw, probe in enumerate(probes):
            said = probe.predicted[splits.held_out, 0]
            told[draw, splits.held_out] = (1 + np.sign(said * sides[draw, splits.held_out])) / 2
    return np.asarray(told.reshape(n_draws, n_pairs, 2).mean(-1))


def directions_of(values: NDArray[np.floating], folds: NDArray[np.int64]) -> Floats:
    """Unit vectors from the mean of first sides to that of second, (fold, channel), of other folds.

    Where a fold's is taken out of all the others, no line tells their sides by their means.

    References
    ----------
    Belrose et al. 2023, LEACE: Perfect linear concept erasure in closed form, arXiv:2306.03819.
    """
    pairs = np.asarray(values, np.float64).reshape(len(folds), 2, -1)
    steps = pairs[:, 1] - pairs[:, 0]
    found = np.stack([steps[folds != fold].mean(0) for fold in range(int(folds.max()) + 1)])
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.where(lengths > 0, lengths, 1)


def with_random(
    values: NDArray[np.floating], folds: NDArray[np.int64], n_random: int, seed: tuple[int, ...]
) -> Floats:
    """The attribute's direction and random others, unit vectors (fold, draw, channel).

    The others lie as images do, (2 pair, channel), less the attribute's direction of the fold, and
    so along what else differs between images. They are zero where nothing else does.
    """
    directions = directions_of(values, folds)
    generator = np.random.default_rng((*seed, len(values)))
    drawn = generator.standard_normal((n_random, len(values))) @ (values - values.mean(0))
    along = np.einsum("dc,fc->fd", drawn, directions)
    others = drawn - along[..., None] * directions[:, None]
    lengths = np.linalg.norm(others, axis=-1, keepdims=True)
    is_none = lengths <= _ROUNDING * np.linalg.norm(drawn, axis=-1, keepdims=True)
    others = np.where(is_none, 0, others / np.where(is_none, 1, lengths))
    return np.concatenate([directions[:, None], others], axis=1)


def error_of_mean(of_pairs: Floats, seed: int) -> float:
    """Standard error of the mean of pairs, (pair,): spread over bootstrap samples of them."""
    counts = resamples(len(of_pairs), N_RESAMPLES, seed)
    return float((counts @ of_pairs / len(of_pairs)).std(ddof=1))


def error_of_share(lost: Floats, squared: Floats, seed: int) -> float:
    """Standard error of a ratio of sums over pairs: spread over bootstrap samples of them."""
    counts = resamples(len(lost), N_RESAMPLES, seed)
    below = counts @ squared
    shares = (counts @ lost)[below > 0] / below[below > 0]
    return float(shares.std(ddof=1)) if len(shares) > 1 else 0.0
