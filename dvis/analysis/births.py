"""Births: when a unit becomes what it will be.

A Dataset over checkpoints in, a birth for each unit out.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import xarray as xr

from dvis.analysis.measures import Measure, development
from dvis.analysis.requirements import (
    require_dataset,
    require_numbers,
    require_same_units,
    require_whole_numbers,
)
from dvis.analysis.trajectories import (
    labels_of,
    looked_up,
    origin,
    positions_beside,
    quantiles,
    steps_of,
)
from dvis.schema import CHECKPOINT, did_you_mean
from dvis.store.portable import nested

BORN, NEVER, UNSTABLE, ABSENT = "born", "never", "unstable", "absent"
FINGERPRINT = "images_fingerprint"
_MIN_COUNTED = 2  # of one checkpoint nobody can say what came before or after


@dataclass(frozen=True, kw_only=True)
class _Criterion:
    """When a trajectory counts as born; `births` says what each field means."""

    fraction: float
    baseline: Literal["zero", "first"]
    n_last: int
    least_rise: float
    tolerance: float
    patience: int
    least_stay: int
    max_losses: int

    def __post_init__(self) -> None:
        require_numbers(
            fraction=self.fraction, least_rise=self.least_rise, tolerance=self.tolerance
        )
        least_of = {"n_last": 1, "patience": 0, "least_stay": 1, "max_losses": 0}
        require_whole_numbers(**{name: getattr(self, name) for name in least_of})
        if not 0 < self.fraction <= 1:
            raise ValueError(
                f"fraction={self.fraction} of the final level: it lies in (0, 1]; "
                "0.5 is half of the way"
            )
        if not 0 <= self.tolerance <= self.fraction:
            raise ValueError(
                f"tolerance={self.tolerance} lies between 0 and fraction={self.fraction}, of "
                "which it is taken away"
            )
        if self.baseline not in ("zero", "first"):
            raise ValueError(did_you_mean("baseline", self.baseline, ["zero", "first"], "births"))
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}={getattr(self, name)} is a number of checkpoints or falls; "
                    f"give {least} or more"
                )


def births(
    dataset: xr.Dataset,
    *,
    variable: str | xr.DataArray | None = None,
    measure: Measure | None = None,
    fraction: float = 0.5,
    baseline: Literal["zero", "first"] = "zero",
    n_last: int = 1,
    least_rise: float = 0.0,
    tolerance: float = 0.0,
    patience: int = 0,
    least_stay: int = 2,
    max_losses: int = 1,
) -> xr.Dataset:
    r"""When each unit became what it is at the end.

    A unit is born at the first checkpoint from which its trajectory :math:`a_t` stays at or above

    .. math:: \theta = b + fraction \cdot (a_{final} - b)

    of its own final level; :math:`b` is the baseline. By default :math:`a_t` has no scale where the
    Dataset allows it, for of an activation nobody can tell what the unit learnt from the gain of
    all layers below: it is the activation of the unit's feature image in standard deviations of its
    answers to reference images at the same checkpoint, or the correlation of its responses with the
    final ones. `attrs["measure"]` says which it is, `attrs["comment"]` what it cannot tell.
    Checkpoints at which the unit is not complete
    are passed over. They are taken in the Dataset's order, which `dvis.open` makes that of
    training: births of a Dataset turned round are others. The result is on dask where the variable
    is, and then nothing is computed but the checkpoints' labels.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, or `dvis.responses`.
    variable : str or DataArray, (checkpoint, ...), optional
        Trajectories: a variable, or numbers of one's own, such as `1 - drift(ds).to_last`, NaN
        where nothing is, taken as they are. What falls is given with a minus.
    measure : {"standardised", "correlation", "raw"}, optional
        In place of a variable: activations in standard deviations of reference images, which
        `dvis visualize` keeps; the correlation over images of responses with those at the unit's
        last complete checkpoint; activations or responses as they are. By default the first of
        these that the Dataset allows. A unit has no value at a checkpoint where the images do not
        move it.
    fraction : float, optional
        Share of the rise that makes a birth, in (0, 1].
    baseline : {"zero", "first"}, optional
        What a rise is counted from: zero, or the unit's first complete checkpoint.
    n_last : int, optional
        The final level is the median of this many last complete checkpoints.
    least_rise : float, optional
        A final level that is not more than this above the baseline is no birth. In the units of
        the variable.
    tolerance : float, optional
        For noise: once above, a unit counts as staying down to `fraction - tolerance`.
    patience : int, optional
        For noise: so many checkpoints in a row below are forgiven.
    least_stay : int, optional
        Complete checkpoints, from the birth on, at which a unit must have been seen.
    max_losses : int, optional
        A unit that rose and fell again more often than this is unstable. Many fall once: an
        untrained layer can answer strongly, and answers otherwise when it learns.

    Returns
    -------
    Dataset, (layer, channel)
        - `birth`, int32: position along `checkpoint`, -1 where there is none;
        - `birth_checkpoint`, str: its label, "" where there is none;
        - `birth_step`, float64: its training step, NaN where there is none or it is not known;
        - `earliest_step`, `latest_step`, float64: steps of the complete checkpoints next to it, NaN
          where there is none. The rise lies between `earliest_step` and `birth_step`; a noisy
          trajectory may have risen for good as late as `latest_step`;
        - `state`, str: "born"; "never", where the final level does not rise above the baseline;
          "unstable", where it rose but did not stay, or was seen for fewer than `least_stay`
          checkpoints; "absent", where fewer than two checkpoints are complete;
        - `n_losses`, int32: how often it rose and fell again before its birth;
        - `first_level`, `final_level`, float64: at the first complete checkpoint and at the end, in
          the units of the variable.

        The criterion is in the attributes, with `measure` ("given" of a variable), `comment`, and
        of responses `images_fingerprint`, where it is known of their images.

    Raises
    ------
    KeyError
        When the Dataset has no such variable.
    ValueError
        When the variable has no dimension `checkpoint`, a selection left nothing of it, or a
        parameter is out of its range; when a measure and a variable are given, or the Dataset does
        not allow the measure.
    TypeError
        When a parameter is no number.

    Examples
    --------
    >>> activation = xr.DataArray([[0.1], [0.2], [1.9], [2.0]], dims=("checkpoint", "channel"))
    >>> births(activation.to_dataset(name="activation")).birth.values
    array([2], dtype=int32)
    """
    criterion = _Criterion(
        fraction=fraction,
        baseline=baseline,
        n_last=n_last,
        least_rise=least_rise,
        tolerance=tolerance,
        patience=patience,
        least_stay=least_stay,
        max_losses=max_losses,
    )
    require_dataset(dataset)
    require_same_units(dataset)
    trajectories = development(dataset, variable=variable, measure=measure)
    birth, earlier, later, n_losses, first_level, final_level, state = xr.apply_ufunc(
        _births_of,
        trajectories,
        kwargs={"criterion": criterion},
        input_core_dims=[[CHECKPOINT]],
        output_core_dims=[[]] * 7,
        dask="parallelized",
        output_dtypes=["int32", "int32", "int32", "int32", "float64", "float64", "U8"],
    )
    steps, labels = steps_of(trajectories), labels_of(trajectories)
    found = xr.Dataset(
        {
            "birth": birth,
            "birth_checkpoint": looked_up(birth, labels, ""),
            "birth_step": looked_up(birth, steps, np.nan),
            "earliest_step": looked_up(earlier, steps, np.nan),
            "latest_step": looked_up(later, steps, np.nan),
            "state": state,
            "n_losses": n_losses,
            "first_level": first_level,
            "final_level": final_level,
        }
    )
    units = str(trajectories.attrs.get("units", "1"))
    attrs = {
        **origin(dataset),
        **_images(dataset),
        "variable": str(trajectories.name or ""),
        "measure": trajectories.attrs["measure"],
        "comment": trajectories.attrs["comment"],
        **asdict(criterion),
    }
    step = dataset.coords.get("step")
    comment = "" if step is None else str(step.attrs.get("comment", ""))
    return _described(found, units, comment).assign_attrs(attrs)


def _images(dataset: xr.Dataset) -> dict[str, str]:
    """Fingerprint of the images that responses are to, for those who need births of other ones."""
    images = dataset.attrs.get("images", {})
    if isinstance(images, str) and images.startswith("{"):
        images = nested(images)
    known = images.get("fingerprint") if isinstance(images, dict) else None
    return {FINGERPRINT: str(known)} if known else {}


def _described(found: xr.Dataset, units: str, comment: str) -> xr.Dataset:
    """Births with what each variable is called, in which units; the comment tells of estimates."""
    described = {
        "birth": ("position of birth along checkpoints", "1"),
        "birth_checkpoint": ("checkpoint of birth", "1"),
        "birth_step": ("training step of birth", "1"),
        "earliest_step": ("training step before birth", "1"),
        "latest_step": ("training step after birth", "1"),
        "state": ("whether the unit was born", "1"),
        "n_losses": ("falls before birth", "1"),
        "first_level": ("level at the first checkpoint", units),
        "final_level": ("final level", units),
    }
    for name, (long_name, unit) in described.items():
        found[name].attrs = {"long_name": long_name, "units": unit}
        if comment and name.endswith("_step"):
            found[name].attrs.update(long_name=f"{long_name} (estimated)", comment=comment)
    return found


def _births_of(values: np.ndarray, criterion: _Criterion) -> tuple[np.ndarray, ...]:
    """Birth, its neighbours, falls, final level and state of trajectories (..., checkpoint)."""
    values = values.astype(float)
    is_counted = np.isfinite(values)
    values[~is_counted] = np.nan
    n_counted = is_counted.sum(axis=-1)
    final_level = _final_level(values, is_counted, criterion.n_last)
    first = is_counted.argmax(axis=-1)[..., None]
    first_level = np.take_along_axis(values, first, axis=-1)[..., 0]
    rise_from = first_level if criterion.baseline == "first" else np.zeros_like(final_level)
    rise = final_level - rise_from
    birth, n_losses = _stays_from(values, rise_from, rise, criterion)

    before, after = positions_beside(is_counted)
    n_from = is_counted[..., ::-1].cumsum(axis=-1)[..., ::-1]
    place = np.maximum(birth, 0)[..., None]
    n_stayed = np.take_along_axis(n_from, place, axis=-1)[..., 0]
    is_lasting = (
        (birth >= 0) & (n_stayed >= criterion.least_stay) & (n_losses <= criterion.max_losses)
    )
    # Compared so that NaN, the rise of what is absent, counts as no rise.
    is_never = ~(rise > criterion.least_rise)
    state = np.select(
        [n_counted < _MIN_COUNTED, is_never, is_lasting], [ABSENT, NEVER, BORN], UNSTABLE
    )
    is_born = state == BORN
    earlier, later = (
        np.where(is_born, np.take_along_axis(beside, place, axis=-1)[..., 0], -1)
        for beside in (before, after)
    )
    positions = [np.where(is_born, birth, -1), earlier, later, n_losses]
    levels = first_level, final_level
    return (*(each.astype("int32") for each in positions), *levels, state.astype("U8"))


def _final_level(values: np.ndarray, is_counted: np.ndarray, n_last: int) -> np.ndarray:
    """Median of the last counted values, (...,)."""
    n_up_to_end = is_counted[..., ::-1].cumsum(axis=-1)[..., ::-1]
    if n_last > 1:
        late = np.where(n_up_to_end <= n_last, values, np.nan)
        return quantiles(late, np.array([0.5]))[..., 0]
    last = values.shape[-1] - 1 - is_counted[..., ::-1].argmax(axis=-1)
    return np.take_along_axis(values, last[..., None], axis=-1)[..., 0]


def _stays_from(
    values: np.ndarray, rise_from: np.ndarray, rise: np.ndarray, criterion: _Criterion
) -> tuple[np.ndarray, np.ndarray]:
    """Position from which trajectories stay up, -1 where they are down at the end, and falls.

    One step through the checkpoints for all units at once, with the state of each: up or not, since
    when, and for how long it has been dipping. NaN is neither high nor low, and so passed over.
    """
    high = rise_from + criterion.fraction * rise
    low = rise_from + (criterion.fraction - criterion.tolerance) * rise
    is_up = np.zeros(rise.shape, bool)
    birth, dip, n_losses = (np.full(rise.shape, start) for start in (-1, 0, 0))
    for position, now in enumerate(np.moveaxis(values, -1, 0)):
        rises = ~is_up & (now >= high)
        birth = np.where(rises, position, birth)
        is_up |= rises
        dip = np.where(now < low, dip + 1, np.where(now >= low, 0, dip))
        falls = is_up & (dip > criterion.patience)
        n_losses += falls
        is_up &= ~falls
    return np.where(is_up, birth, -1), n_losses
