"""Whether units wait for their inputs or for their own weights: gains of the two kinds of chimera.

A Dataset of `dvis.chimera` in, gains with intervals and their null out.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
import xarray as xr

from dvis.analysis.control import with_control
from dvis.analysis.requirements import require, require_numbers, require_whole_numbers
from dvis.analysis.resampling import BOUND, MIDDLE
from dvis.analysis.trajectories import in_one_piece, of_complete_units, origin, quantiles
from dvis.kinds.chimera.words import ABOVE, BELOW, BOTH, CUT, EXCHANGED, PART
from dvis.schema import CHANNEL, CHECKPOINT, DEPTH, LAYER

_ADVICE = "Open one with dvis.chimera"
_CELL_DIMS = (CHECKPOINT, CUT, LAYER)
_GAINS: Final = ("waits_for_inputs", "waits_for_weights", "difference")
_LONG_NAMES = (
    "share of the gap that final inputs close under early weights",
    "share of the gap that final weights close on early inputs",
    "gain of final inputs less that of final weights",
)
COMMENT = (
    "The interval is over units of one run on its images; other runs may differ by more. Neither "
    "half was trained with the other: a low gain may mean that two codes do not fit, not that "
    "something was not learnt yet. Gain and offset of a response do not count. Where some goes "
    "around a cut, upper layers see more than its output"
)


def waits_for_inputs(
    dataset: xr.Dataset, *, least_gap: float = 0.05, n_resamples: int = 1000, seed: int = 0
) -> xr.Dataset:
    r"""What final inputs give to early weights, against what final weights give to early inputs.

    With the correlations of unit c with its final responses in the checkpoint whole, :math:`b_c`,
    behind final lower layers, :math:`a_c` (early weights, final inputs), and under final upper
    layers, :math:`d_c` (final weights, early inputs), over units of a layer behind the cut,

    .. math::
        g_\text{inputs} = \frac{\sum_c a_c - b_c}{\sum_c 1 - b_c}, \qquad
        g_\text{weights} = \frac{\sum_c d_c - b_c}{\sum_c 1 - b_c}.

    1 closes the whole gap between the checkpoint and the end, 0 nothing of it, and below 0 the
    mixture answers less like the final network than the checkpoint does. Where the first is the
    larger, responses wait for their inputs more than for their own weights. It is computed at once.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.chimera` gave.
    least_gap : float
        Mean of :math:`1 - b_c` from which on there are gains: of a small one they are noise.
    n_resamples : int
        Bootstrap samples of units.
    seed : int
        What draws them.

    Returns
    -------
    Dataset
        - `waits_for_inputs`, `waits_for_weights`, `difference` (control, checkpoint, cut, layer),
          float64: the gains and the first less the second; along `control` also with the final
          responses of other units of the layer, `units exchanged`: what any unit gains;
        - `waits_for_inputs_interval`, ... (checkpoint, cut, layer, bound): 95 % of bootstrap
          samples of units;
        - `gap` (checkpoint, cut, layer): mean of :math:`1 - b_c`;
        - `n_units` (checkpoint, cut, layer): units with all three correlations.

        NaN for layers that are not behind the cut, and where the gap is small. Its attribute
        `comment` says what it cannot tell.

    Raises
    ------
    SchemaError
        When the Dataset has no chimeras.
    ValueError
        When a dimension was selected away, or a number is out of its range.

    Examples
    --------
    >>> dims = ("checkpoint", "cut", "part", "layer", "channel")
    >>> labels = {"part": ["below", "above", "both"], "channel": [0, 1], "cut": ["conv1"]}
    >>> labels |= {"checkpoint": ["a"], "layer": ["conv2"], "depth": ("layer", [1])}
    >>> values = np.array([[0.4, 0.4], [0.8, 0.8], [0.2, 0.2]])[None, None, :, None]
    >>> made = xr.Dataset({"correlation": (dims, values), "null_correlation": (dims, 0 * values)},
    ...                   {**labels, "cut_depth": ("cut", [0])})
    >>> waits_for_inputs(made).waits_for_inputs.sel(control="value").values.round(2).ravel()
    array([0.75])
    """
    _check(dataset, least_gap, n_resamples)
    is_behind = dataset[DEPTH] > dataset["cut_depth"]
    of_units, null = (
        _gains(
            of_complete_units(dataset, dataset[name]).astype(float).where(is_behind),
            least_gap,
            n_resamples,
            seed,
        )
        for name in ("correlation", "null_correlation")
    )
    found = {}
    for name, long_name in zip(_GAINS, _LONG_NAMES, strict=True):
        control = {"units exchanged": null[name]}
        told = {"long_name": long_name, "units": "1"}
        found[name] = with_control(of_units[name], control, EXCHANGED).assign_attrs(told)
        told["long_name"] = f"95 % interval over units: {long_name}"
        found[f"{name}_interval"] = of_units[f"{name}_interval"].assign_attrs(told)
    for name, long_name in (("gap", "mean gap to the final responses"), ("n_units", "units")):
        found[name] = of_units[name].assign_attrs(long_name=long_name, units="1")
    attrs = {**origin(dataset), "comment": COMMENT, "seed": seed, "least_gap": least_gap}
    return xr.Dataset(found, attrs=attrs)


def _check(dataset: xr.Dataset, least_gap: float, n_resamples: int) -> None:
    require(
        dataset,
        "correlation",
        "null_correlation",
        labels=(*_CELL_DIMS, PART, CHANNEL, DEPTH, "cut_depth"),
        advice=_ADVICE,
    )
    require_numbers(least_gap=least_gap)
    require_whole_numbers(n_resamples=n_resamples)
    dims = (*_CELL_DIMS, PART, CHANNEL)
    if missing := [dim for dim in dims if dim not in dataset["correlation"].dims]:
        raise ValueError(
            f"The correlations have no dimension {missing[0]}; select with lists, such as "
            f"{missing[0]}=[...]"
        )
    if not 0 < least_gap <= 2:
        raise ValueError(f"least_gap is {least_gap}; it must be above 0 and at most 2")
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples}; it must be at least 1")


def _gains(values: xr.DataArray, least_gap: float, n_resamples: int, seed: int) -> xr.Dataset:
    """Gains of units (checkpoint, cut, layer), their intervals, and what they are over."""
    values = in_one_piece(values, PART).transpose(*_CELL_DIMS, CHANNEL, PART)
    early, inputs, weights = (values.sel({PART: part}).values for part in (BOTH, ABOVE, BELOW))
    is_known = np.isfinite(early) & np.isfinite(inputs) & np.isfinite(weights)
    shape = early.shape[:-1]
    gap = np.full(shape, np.nan)
    gains = np.full((len(_GAINS), *shape), np.nan)
    intervals = np.full((len(_GAINS), *shape, 2), np.nan)
    for at in np.ndindex(*shape):
        parts = np.stack([part[at][is_known[at]] for part in (early, inputs, weights)])
        gap[at] = 1 - parts[0].mean() if parts.size else np.nan
        if gap[at] >= least_gap:
            of_samples = _of_samples(parts, n_resamples, seed)
            gains[(slice(None), *at)] = of_samples[:, 0]
            intervals[(slice(None), *at)] = quantiles(of_samples[:, 1:], MIDDLE)
    found: dict[str, Any] = {"gap": (_CELL_DIMS, gap), "n_units": (_CELL_DIMS, is_known.sum(-1))}
    for name, gain, interval in zip(_GAINS, gains, intervals, strict=True):
        found[name] = (_CELL_DIMS, gain)
        found[f"{name}_interval"] = ((*_CELL_DIMS, BOUND), interval)
    kept = values.isel({CHANNEL: 0, PART: 0}, drop=True).coords
    return xr.Dataset(found, {**kept, BOUND: ["lower", "upper"]})


def _of_samples(parts: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Gains (gain, 1 + sample) of parts (early, inputs or weights; unit), first of all units."""
    sums = parts @ _resamples(parts.shape[1], n_resamples, seed).T
    left = parts.shape[1] - sums[0]
    pair = (sums[1:] - sums[0]) / np.where(left > 0, left, np.nan)
    return np.stack([*pair, pair[0] - pair[1]])


@lru_cache(maxsize=8)
def _resamples(n_units: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each unit is in a sample, (1 + sample, unit); in the first, each once."""
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(n_units, np.full(n_units, 1 / n_units), n_resamples)
    return np.concatenate([np.ones((1, n_units)), drawn])
