"""Whether two autoencoders found the same directions, beside random directions."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from dvis.analysis.control import CONTROL, EXCHANGEABLE, VALUE
from dvis.kinds.saes.dims import LATENT, quantity

RANDOM_DIRECTIONS = "random directions"
ALIKE = 0.9  # cosine above which two directions are called the same
SUMMARY = {
    "mean_max_cosine": "mean of the largest cosines",
    "mean_matched_cosine": "mean of the matched cosines",
    "share_alike": f"share of matched cosines above {ALIKE}",
}

_UNMATCHED = -1
_OWN = 25_011_661

Floats = NDArray[np.float64]


def agreement(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> xr.Dataset:
    r"""How alike the directions of two decoders are, best for best and one to one.

    The largest cosine is one-sided, for many latents may have the same partner. Beside it is the
    one-to-one matching of largest sum,

    .. math:: \max_\pi \sum_i \cos(d_i, d'_{\pi(i)})

    and both again for as many random directions, of which some are always near: their largest
    cosine grows with the number of latents. Matching takes memory and time for each pair of latents
    (a minute for some ten thousand).

    Parameters
    ----------
    first, second : array, (latent, channel)
        Decoders, such as those of two seeds; of different lengths, some latents have no partner.
    seed : int
        Of the random directions that take the place of the second's.

    Returns
    -------
    Dataset
        Of each latent of the first, max_cosine and matched_cosine (control, latent), NaN of
        directions of length 0 and where there is no partner; match (latent), its partner's index,
        -1 for none.
        Their means, mean_max_cosine and mean_matched_cosine, and share_alike, the share of matched
        cosines above 0.9 (control). Controls are "value" and "random directions".

    Raises
    ------
    ValueError
        When the decoders have different numbers of channels, or are not finite.

    References
    ----------
    Paulo and Belrose (2025), Sparse autoencoders trained on the same data learn different features,
    arXiv:2501.16615.

    Examples
    --------
    >>> found = agreement(np.eye(3), np.eye(3)[::-1])
    >>> found.match.values, found.mean_matched_cosine.sel(control="value").item()
    (array([2, 1, 0]), 1.0)
    """
    one, other = _both(first, second)
    # A seed of its own: a decoder that was drawn from the same seed is no random one beside it.
    random = _unit(np.random.default_rng((seed, _OWN)).normal(size=other.shape))
    found = [_matched(one, each) for each in (other, random)]
    dims, said = (CONTROL, LATENT), {EXCHANGEABLE: "directions of the second"}
    variables = {
        "max_cosine": quantity(dims, [each[0] for each in found], "largest cosine", **said),
        "matched_cosine": quantity(dims, [each[1] for each in found], "matched cosine", **said),
        "match": quantity(LATENT, found[0][2], "index of the matched latent"),
    }
    summaries = [_summary(largest, matched) for largest, matched, _ in found]
    for name, long_name in SUMMARY.items():
        values = [summary[name] for summary in summaries]
        variables[name] = quantity(CONTROL, values, long_name, **said)
    coordinates = {CONTROL: [VALUE, RANDOM_DIRECTIONS], LATENT: np.arange(len(one))}
    return xr.Dataset(variables, coordinates)


def summarized(first: ArrayLike, second: ArrayLike) -> dict[str, float]:
    """The means of `agreement` alone, by name, without random directions beside them.

    Parameters
    ----------
    first, second : array, (latent, channel)
        Decoders.

    Raises
    ------
    ValueError
        As `agreement` does.
    """
    largest, matched, _ = _matched(*_both(first, second))
    return _summary(largest, matched)


def _both(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    one, other = _directions(first, "first"), _directions(second, "second")
    if one.shape[1] != other.shape[1]:
        raise ValueError(
            f"the first decoder has {one.shape[1]} channels, the second {other.shape[1]}; give "
            "two of the same layer"
        )
    return one, other


def _matched(one: Floats, other: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Largest and matched cosine of each direction, and its partner."""
    cosines = one @ other.T
    is_direction, is_partner = one.any(1), other.any(1)
    matched, match = np.full(len(one), np.nan), np.full(len(one), _UNMATCHED)
    if not is_direction.any() or not is_partner.any():
        return matched.copy(), matched, match
    largest = np.where(is_direction, cosines[:, is_partner].max(1), np.nan)
    rows, columns = np.flatnonzero(is_direction), np.flatnonzero(is_partner)
    places = linear_sum_assignment(cosines[np.ix_(rows, columns)], maximize=True)
    here, there = rows[places[0]], columns[places[1]]
    matched[here], match[here] = cosines[here, there], there
    return largest, matched, match


def _directions(decoder: ArrayLike, which: str) -> Floats:
    array = np.asarray(decoder, np.float64)
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"the {which} decoder has shape {array.shape}; give (latent, channel), none of them 0"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"the {which} decoder has weights that are not finite; train it again")
    return _unit(array)


def _unit(array: Floats) -> Floats:
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    out: Floats = np.divide(array, lengths, out=np.zeros_like(array), where=lengths > 0)
    return out


def _summary(largest: Floats, matched: Floats) -> dict[str, float]:
    found = {"mean_max_cosine": largest, "mean_matched_cosine": matched}
    known = {name: values[np.isfinite(values)] for name, values in found.items()}
    means = {
        name: float(values.mean()) if len(values) else np.nan for name, values in known.items()
    }
    n_alike = int((known["mean_matched_cosine"] > ALIKE).sum())
    return {**means, "share_alike": n_alike / max(1, len(known["mean_matched_cosine"]))}
