"""What the strongest inputs of a unit do about its birth.

Influence and births in; curves over lags from the birth, with those of matched inputs, out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import xarray as xr

from dvis.analysis.resampling import BOUND, MIDDLE
from dvis.analysis.trajectories import quantiles
from dvis.kinds.influence.analysis.asked import Asked
from dvis.kinds.influence.analysis.top_edges import TopEdges, top_edges
from dvis.kinds.influence.words import LAG, MATCHED, SET, TOP

_CANNOT_TELL = (
    "An input whose influence rises at its target's birth may have made the target, or the target "
    "may have begun to listen to it as it learnt; which of them was first, half_rise_lag says only "
    "to within the distance of checkpoints. Top inputs are chosen at the last checkpoint, and so "
    "are those of the matched curve"
)


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Sums over targets, and how many there were; several pairs of layers add up.

    Attributes
    ----------
    exchanged : ndarray, (2, 1 + permutation, lag)
        Sums and numbers, births of targets permuted; the first as they are.
    resampled : ndarray, (2, sample, lag)
        Of targets drawn with replacement.
    rise : ndarray, (2, 1 + sample)
        Half-rises less births, as they are and drawn.
    """

    exchanged: np.ndarray
    resampled: np.ndarray
    rise: np.ndarray

    def __add__(self, other: "Aligned") -> "Aligned":
        return Aligned(
            exchanged=self.exchanged + other.exchanged,
            resampled=self.resampled + other.resampled,
            rise=self.rise + other.rise,
        )


def event_alignment(
    influence: xr.Dataset,
    births: xr.Dataset,
    *,
    k: int = 8,
    reach: int = 6,
    n_permutations: int = 999,
    n_bootstrap: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    r"""Strength of units' strongest inputs about the units' births, beside matched inputs.

    Of each target the k inputs that are strongest at the last checkpoint are followed. Strength is
    log strength without what source and target account for at that checkpoint (double-centred), so
    that neither a hub's growth nor a target's, which scales all of its inputs, is seen. Curves are
    means over the targets of all pairs of layers. Matched inputs are those of other targets of the
    same layer, chosen in the same way and aligned to this one's birth: births of targets are
    permuted within their layer. It is computed at once, of lazy influence one pair of layers at one
    checkpoint at a time.

    Parameters
    ----------
    influence : Dataset
        What `dvis.influence` gave.
    births : Dataset, (layer, channel)
        What `births` gave of responses to other images than those of influence.
    k : int, optional
        Inputs of each target, half of the sources at most.
    reach : int, optional
        Checkpoints before and after the birth.
    n_permutations : int, optional
        Permutations of births.
    n_bootstrap : int, optional
        Samples of targets, drawn with replacement, that intervals are of.
    seed : int, optional
        Seed of both.

    Returns
    -------
    Dataset
        - `strength` (lag, set), float64: log strength, of the sets "top" and "matched", by
          checkpoints from the birth; NaN where no target has that lag;
        - `strength_low`, `strength_high` (lag, set), float64: of "top" 95 % of samples of targets,
          of "matched" 95 % of permutations;
        - `n_at_lag` (lag), int64;
        - `half_rise_lag`, float64: mean of the checkpoint from which the inputs' mean stays above
          half of its rise, less the target's birth, in checkpoints; negative where inputs were
          first. No permutation of births changes it, so it has an interval and no null;
        - `half_rise_lag_interval` (bound), float64: 95 % of samples of targets.

        `attrs["cannot_tell"]` says what they leave open.

    Raises
    ------
    TypeError, SchemaError, ValueError
        As `assembly` does.

    References
    ----------
    Peri-event averages with shuffled events: Amarasingham et al. (2012), doi:10.1152/jn.00633.2011.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> dims = ("checkpoint", "layer_from", "channel_from", "layer_to", "channel_to")
    >>> layers, channels = ["layer1", "layer2"], range(9)
    >>> strength = np.exp(rng.normal(size=(5, 2, 9, 2, 9)))
    >>> ds = xr.Dataset({"strength": (dims, strength)},
    ...     {"checkpoint": range(5), "layer_from": layers, "channel_from": channels,
    ...      "layer_to": layers, "channel_to": channels})
    >>> when = rng.integers(0, 5, (2, 9))
    >>> units = {"layer": layers, "channel": channels}
    >>> born = xr.Dataset({"birth_checkpoint": (units, when.astype(str)), "birth_step":
    ...     (units, when), "state": (units, np.full((2, 9), "born"))}, units)
    >>> event_alignment(ds, born, reach=2).strength.sizes
    Frozen({'lag': 5, 'set': 2})
    """
    asked = Asked.of(
        influence,
        births,
        k=k,
        n_permutations=n_permutations,
        n_bootstrap=n_bootstrap,
        seed=seed,
        reach=reach,
    )
    found = [
        aligned(top_edges(pair, k), *asked.of_targets(pair), reach=reach) for pair in asked.pairs
    ]
    result = curves(found, reach)
    return result.assign_attrs({**asked.attrs, **result.attrs, "k": k, "reach": reach})


def aligned(
    top: TopEdges,
    target_births: np.ndarray,
    orders: np.ndarray,
    weights: np.ndarray,
    *,
    reach: int,
) -> Aligned:
    """Sums of centred log strength of top inputs about births of targets.

    Parameters
    ----------
    top : TopEdges
        Of the targets.
    target_births : ndarray, (target,)
        Places along checkpoints.
    orders : ndarray, (1 + permutation, target), int
        Orders of births.
    weights : ndarray, (sample, target), int
        How often each target is drawn.
    reach : int
        Checkpoints before and after.
    """
    padding = ((reach, reach), (0, 0))
    padded = np.pad(top.centred, padding, constant_values=np.nan)
    when, target = target_births.astype(int), np.arange(top.centred.shape[1])
    exchanged, resampled = [], []
    for lag in range(2 * reach + 1):
        values = padded[when[orders] + lag, target]  # one lag at a time, for memory
        exchanged.append([np.nansum(values, 1), np.isfinite(values).sum(1)])
        own = np.nan_to_num(values[0])
        resampled.append([weights @ own, weights @ np.isfinite(values[0])])
    late = top.rise - target_births
    shares = np.concatenate([np.ones((1, len(target)), int), weights])
    return Aligned(
        exchanged=np.moveaxis(np.array(exchanged, float), 0, -1),
        resampled=np.moveaxis(np.array(resampled, float), 0, -1),
        rise=np.array([shares @ np.nan_to_num(late), shares @ np.isfinite(late)], float),
    )


def curves(found: Sequence[Aligned], reach: int) -> xr.Dataset:
    """Means over the targets of all pairs, with their bands; what `event_alignment` returns."""
    lags = np.arange(-reach, reach + 1)
    coordinates = {LAG: lags, SET: [TOP, MATCHED], BOUND: ["lower", "upper"]}
    nothing = np.full((len(lags), 2), np.nan)
    mean, low, high, rises = nothing, nothing, nothing, np.full(1, np.nan)
    n_targets = np.zeros(len(lags), int)
    if found:
        every = reduce(add, found)
        n_targets = every.exchanged[1, 0].astype(int)
        exchanged, resampled, rises = (
            _mean(each) for each in (every.exchanged, every.resampled, every.rise)
        )
        bands = [quantiles(each.T, MIDDLE) for each in (resampled, exchanged[1:])]
        mean = np.column_stack([exchanged[0], _mean(every.exchanged[:, 1:].sum(1))])
        low, high = np.moveaxis(np.array(bands), 0, 1).transpose(2, 0, 1)
    result = xr.Dataset(
        {
            "strength": ((LAG, SET), mean),
            "strength_low": ((LAG, SET), low),
            "strength_high": ((LAG, SET), high),
            "n_at_lag": (LAG, n_targets),
            "half_rise_lag": ((), rises[0]),
            "half_rise_lag_interval": (BOUND, quantiles(rises[1:], MIDDLE)),
        },
        coordinates,
        {"cannot_tell": _CANNOT_TELL},
    )
    for name, (long_name, units) in _DESCRIBED.items():
        result[name].attrs = {"long_name": long_name, "units": units}
    return result


_DESCRIBED = {
    "strength": ("log strength of the strongest inputs, centred", "1"),
    "strength_low": ("lower end of 95 %", "1"),
    "strength_high": ("upper end of 95 %", "1"),
    "n_at_lag": ("targets with that lag", "1"),
    "half_rise_lag": ("half-rise of influence less birth", "checkpoint"),
    "half_rise_lag_interval": ("95 % interval, targets resampled", "checkpoint"),
    LAG: ("checkpoints from birth", "checkpoint"),
}


def _mean(sums: np.ndarray) -> np.ndarray:
    """Means of sums (2, ...) and their numbers; NaN of none."""
    found: np.ndarray = np.where(sums[1] > 0, sums[0] / np.maximum(sums[1], 1), np.nan)
    return found
