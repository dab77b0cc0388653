"""What is said of LLCs whose chains have not settled, or whose steps are coarse."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.llc.analysis.settling import (
    BURN_IN_RELAXATIONS,
    DRAW_RELAXATIONS,
    MOST_STEP_BIAS,
    are_coarse,
    is_long_enough,
    settled_length,
)
from dvis.schema import counted

_WITHOUT_END = 10**15  # draws


def why_too_short(relaxation: float, burn_in: int, n_draws: int) -> str:
    """What chains lack by the pull's relaxation time, and what to do; "" where they are long.

    Examples
    --------
    >>> why_too_short(1000.0, 200, 600)
    'the pull needs 1,000 draws to settle: take --burn-in 2000 --draws 5000, or gamma 10 x as large'
    >>> why_too_short(100.0, 200, 600)
    ''
    """
    if is_long_enough(np.array(relaxation), burn_in, n_draws):
        return ""
    if np.isnan(relaxation):
        return "how long the pull needs is not known: take diagnostics, or --method sgld"
    if np.isinf(relaxation):
        return "without a pull flat directions spread without end: take --gamma above 0"
    needed = settled_length(relaxation, _WITHOUT_END)
    lack = [
        n * relaxation / there
        for n, there in ((BURN_IN_RELAXATIONS, burn_in), (DRAW_RELAXATIONS, n_draws))
        if there
    ]
    larger = f", or gamma {max(lack):.2g} x as large" if burn_in else ""
    return (
        f"the pull needs {relaxation:,.0f} draws to settle: take --burn-in {needed[0]} "
        f"--draws {needed[1]}{larger}"
    )


def doubts_of(estimates: xr.Dataset, n_draws: int) -> Iterator[str]:
    """Lines on LLCs that have not settled, or that coarse steps make too high.

    Parameters
    ----------
    estimates : Dataset
        What `dvis.llc` gave, loaded.
    n_draws : int
        Draws after burn-in.
    """
    llc, error = estimates["llc"], estimates["llc_se"]
    is_known = llc.notnull()
    is_unsettled = is_known & ~estimates["is_settled"]
    if is_unsettled.any():
        slowest = float(estimates["relaxation_draws"].where(is_unsettled).max())
        why = why_too_short(slowest, int(estimates.attrs["burn_in"]), n_draws)
        few = "they disagree, drift, or are of one chain: take more draws, or two chains or more"
        yield (
            f"not settled: {int(is_unsettled.sum())} of {counted(int(is_known.sum()), 'LLC')}, and "
            f"longer chains may give others; {why or few}"
        )
    bias = estimates["step_bias"]
    is_coarse = is_known & are_coarse(bias, error)
    if is_coarse.any():
        share = float((bias / abs(llc)).where(is_coarse).max())
        yield (
            f"coarse steps: {int(is_coarse.sum())} of {counted(int(is_known.sum()), 'LLC')} may be "
            f"too high by up to {share:.0%}, more than {MOST_STEP_BIAS} standard errors "
            "(step_bias): take a smaller --epsilon"
        )
