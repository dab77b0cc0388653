"""Whether numbers of levels rise or fall along chains: with a test, of several seeds."""

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL, EXCHANGEABLE, VALUE
from dvis.analysis.depth_trend import depth_trend
from dvis.analysis.requirements import require
from dvis.kinds.saes.chains.words import DEPTH, OF_CLASSES, SEED, STATISTICS
from dvis.kinds.saes.dims import SHUFFLE
from dvis.schema import CHECKPOINT

STATISTIC = "statistic"


def chain_trends(chains: xr.Dataset, *, n_permutations: int = 9_999, seed: int = 0) -> xr.Dataset:
    """Rank correlation of each number of chains with depth, with a test.

    Levels from the first that was trained are looked at: level 0 is one for all seeds, and of
    activations. The class statistics are also taken less the mean of their null, for a number that
    shuffled labels have too falls as latents fire on more images. Each of the numbers is tested by
    itself: of ten, half a one is below 0.05 by chance.

    Parameters
    ----------
    chains : Dataset
        As `dvis.chains` gives it.
    n_permutations, seed : int
        As `dvis.analysis.depth_trend.depth_trend` takes them.

    Returns
    -------
    Dataset, (statistic, checkpoint)
        As `depth_trend` gives it, of each of the numbers and of `selectivity beyond null`,
        `best_share beyond null`. There is no p-value, and `why_no_p` says why, where no p below
        0.05 is possible, as of a single seed with three levels.

    Raises
    ------
    SchemaError
        When it is no Dataset of chains.
    """
    require(
        chains,
        *STATISTICS,
        "null_selectivity",
        labels=(SEED, DEPTH),
        advice="Open one with dvis.chains, of what `dvis sae chain` trained",
    )
    there = chains.sel({DEPTH: chains[DEPTH].values > 0})
    numbers = {name: there[name].sel({CONTROL: VALUE}, drop=True) for name in STATISTICS}
    for name in OF_CLASSES:
        numbers[f"{name} beyond null"] = numbers[name] - there[f"null_{name}"].mean(SHUFFLE)
    several = xr.concat(
        [each.reset_coords(drop=True) for each in numbers.values()],
        dim=xr.Variable(STATISTIC, np.array([*numbers])),
        combine_attrs="drop",
    )
    found = depth_trend(several, DEPTH, SEED, n_permutations=n_permutations, seed=seed)
    kept = {k: v for k, v in chains.attrs.items() if k not in (EXCHANGEABLE, "cannot_tell")}
    if CHECKPOINT in found.dims:
        found = found.assign_coords({CHECKPOINT: chains[CHECKPOINT]})
    return found.assign_attrs({**kept, **found.attrs})
