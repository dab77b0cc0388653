"""Student's t distribution: how far a mean may be off whose error is itself of few numbers."""

import math
from statistics import NormalDist


def t_quantile(share: float, n_free: int) -> float:
    """Quantile of Student's t distribution.

    Exact for one and two degrees of freedom, else Fisher's expansion (Abramowitz & Stegun 26.7.5),
    within 1 % between the quantiles 0.005 and 0.995, and 2.3 % between 0.00135 and 0.99865.

    Examples
    --------
    >>> [round(t_quantile(0.975, n), 2) for n in (1, 2, 7, 1000)]
    [12.71, 4.3, 2.36, 1.96]
    """
    if n_free == 1:
        return math.tan(math.pi * (share - 0.5))
    if n_free == 2:
        return (2 * share - 1) * math.sqrt(2 / (4 * share * (1 - share)))
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / n_free**power for power, term in enumerate(terms, 1))
