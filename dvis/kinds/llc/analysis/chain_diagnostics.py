r"""Whether chains agree, and how many independent draws they are worth.

Arrays of many sets of chains at once in, one number a set out. For chain :math:`m` of
:math:`M`, each cut into two halves of :math:`N` draws :math:`\theta_{nm}`,

.. math:: W = \frac1M \sum_m s_m^2, \quad
          \widehat{var} = \frac{N-1}{N} W + \mathrm{var}_m(\bar\theta_m)

References
----------
.. [1] A. Vehtari, A. Gelman, D. Simpson, B. Carpenter and P.-C. Bürkner: Rank-normalization,
   folding, and localization: an improved R-hat for assessing convergence of MCMC. Bayesian
   Analysis 16 (2), 2021. https://doi.org/10.1214/20-BA1221
.. [2] C. J. Geyer: Practical Markov chain Monte Carlo. Statistical Science 7 (4), 1992.
   https://doi.org/10.1214/ss/1177011137
"""

from functools import lru_cache
from statistics import NormalDist

import numpy as np

from dvis.analysis.student import t_quantile

LEAST_DRAWS = 4  # of a chain, for its halves to have a variance
# Three such errors are 3.75 of a normal distribution, beyond which lies 1 in 5,600.
_WIDER = 1.25
_THREE_ERRORS = NormalDist().cdf(3)
_BATCH_RELAXATIONS, _MOST_BATCHES = 5, 8


def split_rhat(draws: np.ndarray) -> np.ndarray:
    r"""Split R-hat, rank-normalised and folded: near 1 where chains agree, above 1.01 where not.

    :math:`\hat R = \sqrt{\widehat{var} / W}` of the normal scores of the draws' ranks, or of their
    distances from the median, whichever is larger: eq. 14 and section 4 of [1]_ in this module's
    docstring. Where there is one chain, its two halves are compared.

    Parameters
    ----------
    draws : ndarray, (..., chain, draw), float
        Draws, of which all count.

    Returns
    -------
    ndarray, (...), float64
        NaN where a draw is not finite, all draws are equal, or a chain has fewer than four.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).standard_normal((4, 500))
    >>> split_rhat(draws).round(2), split_rhat(draws + [[0], [0], [0], [1]]).round(2)
    (np.float64(1.0), np.float64(1.09))
    """
    halves, is_known = _halves(draws)
    if halves is None:
        return np.full(draws.shape[:-2], np.nan)
    from_median = np.abs(halves - np.median(halves, axis=(-2, -1), keepdims=True))
    rhat = np.maximum(_rhat(_normal_scores(halves)), _rhat(_normal_scores(from_median)))
    return np.where(is_known, rhat, np.nan)


def effective_sample_size(draws: np.ndarray) -> np.ndarray:
    r"""Number of independent draws whose mean is as exact as that of these.

    .. math:: ESS = \frac{MN}{\tau}, \quad \tau = -1 + 2 \sum_k P_k, \quad
              P_k = \rho_{2k} + \rho_{2k+1}, \quad
              \rho_t = 1 - \frac{W - \mathrm{mean}_m\, c_t}{\widehat{var}}

    with autocovariances :math:`c_t` at lag t, summed while :math:`P_k` is positive and with each
    :math:`P_k` at most the one before ([2]_ in this module's docstring): section 3.2 of [1]_, of
    the draws themselves, for it is their mean that is wanted.

    Parameters
    ----------
    draws : ndarray, (..., chain, draw), float
        Draws, of which all count.

    Returns
    -------
    ndarray, (...), float64
        NaN where a draw is not finite or a chain has fewer than four; the number of draws where all
        are equal.
    """
    halves, is_known = _halves(draws)
    if halves is None:
        return np.full(draws.shape[:-2], np.nan)
    n_draws = halves.shape[-1]
    size = halves.shape[-2] * n_draws
    covariance = _autocovariance(halves).mean(-2)
    within = covariance[..., :1] * n_draws / (n_draws - 1)
    total = covariance[..., :1] + halves.mean(-1).var(-1, ddof=1)[..., np.newaxis]
    is_constant = np.ptp(halves, axis=(-2, -1)) == 0
    total = np.where(is_constant[..., np.newaxis], 1.0, total)
    correlation = 1 - (within - covariance) / total
    correlation[..., 0] = 1
    # A very short memory is as likely luck: at most log10 times the draws, as Stan has it.
    tau = np.maximum(_integrated(correlation), 1 / np.log10(size))
    return np.where(is_known, np.where(is_constant, size, size / tau), np.nan)


def standard_error(
    draws: np.ndarray, ess: np.ndarray, relaxation: np.ndarray | float = np.nan
) -> np.ndarray:
    r"""Standard error of the mean of all draws, so that three times it covers nearly always.

    1.25 x the larger of two: :math:`s / \sqrt{ESS}`, which the few draws of which the
    autocorrelation is known make too small as often as not; and that of the means of batches,
    widened by Student's t over the normal distribution where that is at 3, for they are few ([2]_
    in this module's docstring, section 3.2). Batches are halves of chains, quarters of one alone,
    or as many more, up to eight of a chain, as are five relaxation times long. Widened to cover in
    95 of 100 cases alone, 2 to 10 in 1,000 chains of quadratic losses were off by more than three
    errors, the most where few directions are slow; now it is 0 to 1 in 1,000, for errors 1.6 to
    2 x the spread of four chains' estimates.

    Parameters
    ----------
    draws : ndarray, (..., chain, draw), float
        Draws, of which all count; four or more of a chain.
    ess : ndarray, (...)
        What `effective_sample_size` gives of them.
    relaxation : ndarray, (...), or float
        Of the slowest direction, in draws; NaN where it is not known.
    """
    n_chains, n_draws = draws.shape[-2:]
    least = 4 if n_chains == 1 else 2
    of_mean = draws.std((-2, -1), ddof=1) / np.sqrt(ess)
    with np.errstate(invalid="ignore", divide="ignore"):
        fits = np.nan_to_num(n_draws / (_BATCH_RELAXATIONS * np.asarray(relaxation)))
    n_batches = np.broadcast_to(np.clip(fits, least, _MOST_BATCHES).astype(int), of_mean.shape)
    of_batches = np.full(of_mean.shape, np.nan)
    for n in np.unique(n_batches):
        of_batches[n_batches == n] = _error_of_batches(draws[n_batches == n], int(n))
    return np.asarray(_WIDER * np.fmax(of_mean, of_batches))


def _error_of_batches(draws: np.ndarray, n_batches: int) -> np.ndarray:
    size = draws.shape[-1] // n_batches
    if not size:
        return np.full(draws.shape[:-2], np.nan)
    last = draws[..., draws.shape[-1] - size * n_batches :]
    means = last.reshape(*draws.shape[:-1], n_batches, size).mean(-1)
    means = means.reshape(*draws.shape[:-2], -1)
    n_means = means.shape[-1]
    of_few = t_quantile(_THREE_ERRORS, n_means - 1) / 3
    return np.asarray(of_few * means.std(-1, ddof=1) / np.sqrt(n_means))


def _halves(draws: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """First and last halves of chains, zeros where a draw is not finite; whether all are."""
    is_known = np.isfinite(draws).all((-2, -1))
    n_half = draws.shape[-1] // 2
    if draws.shape[-1] < LEAST_DRAWS or not draws.shape[-2]:
        return None, is_known
    halves = np.concatenate([draws[..., :n_half], draws[..., -n_half:]], axis=-2)
    return np.where(is_known[..., np.newaxis, np.newaxis], halves, 0.0), is_known


def _rhat(draws: np.ndarray) -> np.ndarray:
    n_draws = draws.shape[-1]
    between = draws.mean(-1).var(-1, ddof=1)
    within = draws.var(-1, ddof=1).mean(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(between / within + (n_draws - 1) / n_draws))


def _normal_scores(draws: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks that draws have among those of all chains."""
    pooled = draws.reshape(*draws.shape[:-2], -1)
    scores: np.ndarray = _quantiles(pooled.shape[-1])[_rank_sums(pooled)]
    return scores.reshape(draws.shape)


@lru_cache(maxsize=8)
def _quantiles(n: int) -> np.ndarray:
    """Normal quantiles of the ranks 1, 1.5, 2, ..., n among n, with Blom's offset of 3/8."""
    ranks = np.arange(2, 2 * n + 1) / 2
    inverse = NormalDist().inv_cdf
    return np.array([inverse(share) for share in ((ranks - 3 / 8) / (n + 1 / 4)).tolist()])


def _rank_sums(values: np.ndarray) -> np.ndarray:
    """First and last place, from 0, of each value's equals in the order along the last axis."""
    n = values.shape[-1]
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    differs = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*values.shape[:-1], 1), bool)
    place = np.arange(n)
    first = np.where(np.concatenate([edge, differs], axis=-1), place, 0)
    last = np.where(np.concatenate([differs, edge], axis=-1), place, n - 1)
    first = np.maximum.accumulate(first, axis=-1)
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    sums = np.empty(values.shape, np.intp)
    np.put_along_axis(sums, order, first + last, axis=-1)
    return sums


def _autocovariance(draws: np.ndarray) -> np.ndarray:
    """Autocovariance of each chain at lags 0, 1, 2, ... (..., chain, lag)."""
    n_draws = draws.shape[-1]
    centred = draws - draws.mean(-1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * n_draws)  # padded: or the end would meet the start
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.fft.irfft(power, 2 * n_draws)[..., :n_draws] / n_draws)


def _integrated(correlation: np.ndarray) -> np.ndarray:
    """Integrated autocorrelation time by the initial monotone sequence, (...)."""
    n_draws = correlation.shape[-1]
    n_pairs = max(1, 1 + (n_draws - 3) // 2)  # without the last lags, which have few terms
    even, odd = correlation[..., : 2 * n_pairs : 2], correlation[..., 1 : 2 * n_pairs : 2]
    pairs = even + odd
    is_over = pairs <= 0
    is_over[..., -1] = True
    end = is_over.argmax(-1)[..., np.newaxis]
    monotone = np.minimum.accumulate(pairs, axis=-1)
    summed = np.where(np.arange(n_pairs) < end, monotone, 0).sum(-1)
    rest = np.take_along_axis(even, end, axis=-1)[..., 0]
    return np.asarray(-1 + 2 * summed + np.maximum(rest, 0))
