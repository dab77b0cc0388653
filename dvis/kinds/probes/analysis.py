"""From when on a layer tells something: when its scores leave what they are held against.

A Dataset of `dvis.probes` in, checkpoints with their bounds out.
"""

from typing import Any, get_args

import numpy as np
import xarray as xr

from dvis.analysis.baselines import (
    FIRST,
    MAJORITY,
    PIXELS,
    SHUFFLED,
    UNTRAINED,
    Baseline,
    require_baseline,
)
from dvis.analysis.requirements import require, require_numbers
from dvis.analysis.resampling import BOUND
from dvis.analysis.staying import stays_above
from dvis.analysis.trajectories import (
    in_one_piece,
    labels_of,
    looked_up,
    of_complete_units,
    origin,
    steps_of,
)
from dvis.kinds.probes.words import HELD_OUT, SCORE, SPLIT, TARGET
from dvis.schema import CHECKPOINT, LAYER

TELLS, NEVER, ALWAYS, ABSENT = "tells", "never", "always", "absent"
ADVICE = "Open one with dvis.probes"
_BASELINES: dict[str, tuple[str, str | None]] = {
    UNTRAINED: ("untrained_score", "untrained_score_se"),
    PIXELS: ("pixel_score", "pixel_score_se"),
    MAJORITY: ("majority_score", None),
}
COMMENT = (
    "Bounds are over images, not over training runs. That a probe reads something off a layer does "
    "not say that the network uses it"
)


def tells_from(
    dataset: xr.Dataset, *, above: Baseline = SHUFFLED, errors: float = 1.96
) -> xr.Dataset:
    r"""From which checkpoint on each layer tells each target, with bounds.

    It is the first from which, to the end of training, the score of the images held out stays above
    what it is held against: :math:`s_t > b_t`. The earliest that it may have been is where
    :math:`s_t + z\,e_t > b_t` is from then on, the latest where :math:`s_t - z\,e_t > b_t` is,
    with the standard error :math:`e_t`, of the difference where the baseline has one too.
    Checkpoints without a score are passed over. It is computed at once.

    Of layers that hold nothing but noise, 1.5 % of accuracies and 0.5 % of R^2 are above those of
    shuffled targets at the last checkpoint (400 simulations with five shuffles). An untrained layer
    tells much already: `above="untrained"` is the question of what training adds, `above="first"`
    the same of the first checkpoint with a score, where nothing was drawn untrained.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.probes` gave.
    above : {"shuffled", "first", "untrained", "pixels", "majority"}
        What scores are to be above: the upper end of those of shuffled targets; those of the first
        checkpoint that has some; the network untrained; pixels; the commonest class, or the mean.
    errors : float
        Standard errors z that bounds are away; 1.96 for 95 %.

    Returns
    -------
    Dataset, (layer, target)
        - `position`, int32: along `checkpoint`, -1 where there is none;
        - `from_checkpoint`, `earliest_checkpoint`, `latest_checkpoint`, str: labels, "" where there
          is none;
        - `from_step`, `earliest_step`, `latest_step`, float64: training steps, NaN where there is
          none or it is not known;
        - `state`, str: "tells"; "always", from the first checkpoint on; "never", not at the end;
          "absent", where there are no scores, or nothing to hold them against.

    Raises
    ------
    SchemaError
        When the Dataset has no probes.
    ValueError
        When there is no such baseline, z is below 0, or a dimension was selected away.

    Examples
    --------
    >>> dims = ("checkpoint", "layer", "target", "split")
    >>> scores = xr.DataArray(np.reshape([0.3, 0.6, 0.8], (3, 1, 1, 1)), dims=dims)
    >>> labels = {"checkpoint": ["a", "b", "c"], "layer": ["fc"], "target": ["shape"]}
    >>> made = xr.Dataset({"score": scores, "score_se": 0 * scores + 0.1,
    ...                    "majority_score": (dims[2:], [[0.5]])},
    ...                   {**labels, "split": ["held-out"]})
    >>> found = tells_from(made, above="majority").squeeze()
    >>> [str(found[name].item()) for name in ("earliest_checkpoint", "from_checkpoint")]
    ['b', 'b']
    >>> found.latest_checkpoint.item()
    'c'
    """
    _check(dataset, above, errors)
    scores, error = (
        in_one_piece(of_complete_units(dataset, dataset[name]), CHECKPOINT)
        .sel({SPLIT: HELD_OUT}, drop=True)
        .transpose(..., CHECKPOINT)
        for name in (SCORE, "score_se")
    )
    if above == FIRST:
        margin, together = _above_first(scores, error)
    else:
        level, of_level = _held_against(dataset, above)
        margin = (scores - level).transpose(*scores.dims)
        together = ((error**2 + of_level**2) ** 0.5).transpose(*scores.dims)
    reach = errors * together
    found: dict[str, Any] = {}
    at = {
        "from": _stays_from(margin),
        "earliest": _stays_from(margin + reach),
        "latest": _stays_from(margin - reach),
    }
    labels, steps = labels_of(scores), steps_of(scores)
    for name, position in at.items():
        found[f"{name}_checkpoint"] = looked_up(position, labels, "").assign_attrs(
            long_name=_LONG_NAMES[name], units="1"
        )
        found[f"{name}_step"] = looked_up(position, steps, np.nan).assign_attrs(
            long_name=f"training step: {_LONG_NAMES[name]}", units="1"
        )
    position = at["from"].astype("int32")
    found["position"] = position.assign_attrs(
        long_name="position along checkpoints from which it tells", units="1"
    )
    found["state"] = _states(margin, position).assign_attrs(
        long_name="whether the layer tells the target", units="1"
    )
    attrs = {**origin(dataset), "above": above, "errors": errors, "comment": COMMENT}
    return xr.Dataset(found, attrs=attrs)


_LONG_NAMES = {
    "from": "checkpoint from which it tells",
    "earliest": "earliest checkpoint from which it may tell",
    "latest": "checkpoint from which it tells for certain",
}


def _check(dataset: xr.Dataset, above: str, errors: float) -> None:
    labels = (CHECKPOINT, LAYER, TARGET, SPLIT)
    require(dataset, SCORE, "score_se", labels=labels, advice=ADVICE)
    require_numbers(errors=errors)
    require_baseline(above, get_args(Baseline), "tells_from")
    if not errors >= 0:
        raise ValueError(f"errors is {errors}; give 0 or more standard errors")
    if missing := [dim for dim in (CHECKPOINT, SPLIT) if dim not in dataset[SCORE].dims]:
        raise ValueError(
            f"The scores have no dimension {missing[0]}; select with lists, such as "
            f"{missing[0]}=[...]"
        )
    if HELD_OUT not in dataset[SPLIT]:
        raise ValueError(f"The split {HELD_OUT!r} was selected away; leave it in")


def _held_against(dataset: xr.Dataset, above: str) -> tuple[xr.DataArray, xr.DataArray]:
    """What scores are to be above, and its standard error."""
    at: dict[str, Any] = {SPLIT: HELD_OUT}
    if above == SHUFFLED:
        require(dataset, "null_score", labels=(BOUND,), advice=ADVICE)
        upper = dataset["null_score"].sel({**at, BOUND: "upper"}, drop=True)
        return upper, xr.DataArray(0.0)
    level, error = _BASELINES[above]
    require(dataset, *filter(None, (level, error)), labels=(), advice=ADVICE)
    of_level = xr.DataArray(0.0) if error is None else dataset[error].sel(at, drop=True)
    return dataset[level].sel(at, drop=True), of_level


def _above_first(scores: xr.DataArray, error: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """By how much scores are above the first of their own that is known, and the error of that."""
    first = xr.DataArray(np.isfinite(scores.values).argmax(-1), dims=scores.dims[:-1])
    margin = scores - scores.isel({CHECKPOINT: first}).drop_vars(CHECKPOINT)
    of_first = error.isel({CHECKPOINT: first}).drop_vars(CHECKPOINT)
    is_first = xr.DataArray(np.arange(scores.sizes[CHECKPOINT]), dims=CHECKPOINT) == first
    margin = margin.where(~is_first | scores.isnull(), -np.inf)  # which is not above itself
    together: xr.DataArray = (error**2 + of_first**2) ** 0.5
    return margin.transpose(*scores.dims), together.transpose(*scores.dims)


def _stays_from(margin: xr.DataArray) -> xr.DataArray:
    """Position from which margins (..., checkpoint) are above 0 to the end, -1 where at none."""
    return margin.isel({CHECKPOINT: 0}, drop=True).copy(data=stays_above(margin.values))


def _states(margin: xr.DataArray, position: xr.DataArray) -> xr.DataArray:
    is_known = ~np.isnan(margin.values)
    states = np.select(
        [~is_known.any(-1), position.values < 0, position.values == is_known.argmax(-1)],
        [ABSENT, NEVER, ALWAYS],
        TELLS,
    )
    return position.copy(data=states.astype("U8"))
