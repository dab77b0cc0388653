"""Change points of trajectories.

A Dataset over checkpoints in, the change points of every trajectory out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from dvis.analysis.penalties import FALSE_ALARMS, Shape, calibrated_penalty
from dvis.analysis.requirements import (
    require_dataset,
    require_numbers,
    require_same_units,
    require_whole_numbers,
)
from dvis.analysis.segments import Fit, LevelFit, LineFit, best_segments
from dvis.analysis.trajectories import (
    counted,
    labels_of,
    looked_up,
    origin,
    quantiles,
    steps_of,
)
from dvis.schema import CHECKPOINT, UNIT_DIMS, did_you_mean

CHANGE = "change"
_MOST_TIED = 0.1  # share of differences that are none
_NORMAL_MAD = 0.6744897501960817  # median absolute deviation of a standard normal
_LEAST_NOISE = 1e-6  # of the range: rounding of float32 is no change
_BLOCK_NUMBERS = 2**21  # trajectories x checkpoints worked on at once, 16 MB an array


class _Shape(NamedTuple):
    """What lies between two changes: its fit, its shortest length, its parameters, its noise."""

    fit: Callable[[np.ndarray, np.ndarray], Fit]
    least_length: int
    n_parameters: int  # of a segment
    n_differences: int  # that leave nothing of a segment but noise


_SHAPES: dict[Shape, _Shape] = {
    "level": _Shape(LevelFit, 2, 1, 1),
    "line": _Shape(LineFit, 4, 2, 2),
}


def change_points(
    dataset: xr.Dataset,
    *,
    variable: str | xr.DataArray | None = None,
    shape: Shape = "level",
    least_length: int | None = None,
    penalty: float | None = None,
    noise: float | str | xr.DataArray | None = None,
    max_changes: int = 8,
) -> xr.Dataset:
    r"""Where each trajectory changes abruptly.

    A trajectory of :math:`n` complete checkpoints is cut into segments so that

    .. math:: \sum_t (x_t - \hat x_t)^2 / \sigma_t^2 + penalty \cdot (\text{number of changes})

    is least, with :math:`\hat x` a segment's mean (`shape="level"`) or its
    straight line over the checkpoints' positions (`"line"`, for what rises or falls steadily and
    then jumps or bends). The least is exact: optimal partitioning (Jackson et al. 2005), of which
    PELT (Killick et al. 2012) is the pruned form with the same result. Unpruned, all units are cut
    at once, which at some hundred checkpoints is a hundred times as fast as one by one. Checkpoints
    at which a unit is not complete are passed over; they are taken in the Dataset's order, which
    `dvis.open` makes that of training. The result is on dask where the variable is, and then
    nothing is computed but the checkpoints' labels.

    On white noise 5 % of trajectories have some change, of whatever number of checkpoints (from 4,
    or 8 for lines; penalties were simulated). Where neighbouring checkpoints err alike it is more:
    of AR(1) noise of 0.3, 0.5 and 0.8 between neighbours, 15, 26 and 50 % of 12 checkpoints, 24, 50
    and 86 % of 25, 54, 93 and 100 % of 100; with the noise known 13, 17 and 14 %, 18, 30 and 39 %,
    31, 60 and 88 %. Of heavy tails, Student's t with two degrees of freedom, it is 30 % of 25
    checkpoints. `docs/levels.md` has more of it.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, or `dvis.responses`.
    variable : str or DataArray, (checkpoint, ...), optional
        Trajectories: a variable, of units (`"activation"`) or of checkpoints (`"val_loss"`), or
        numbers of one's own. By default the activation, or the response where there is none.
    shape : {"level", "line"}, optional
        What lies between two changes.
    least_length : int, optional
        Complete checkpoints of a segment at least; 2 for levels, 4 for lines, so that
        no outlier stands alone.
    penalty : float, optional
        Of one change, in units of the noise's variance. By default that at which 5 % of
        trajectories of white noise have some change, see above. More gives fewer changes.
    noise : float, str or DataArray, (checkpoint, ...), optional
        Standard deviation :math:`\sigma` of the noise, in the units of the variable: one number, or
        one a checkpoint, as numbers of one's own or the name of a variable. By default the
        variable's standard errors, where the Dataset has them under its name and `_se` (`llc_se`).
        Where there are none, or one is missing of a trajectory, it is estimated of each by the
        median absolute deviation of first differences (second, for lines), which few jumps
        hardly move; where more than a tenth of these are none, as of accuracies on few images, by
        their mean square.
    max_changes : int, optional
        Length of the dimension `change`. Where there are more, those with the greatest gain stay.

    Returns
    -------
    Dataset, (layer, channel, change)
        - `position`, int32: the first position along `checkpoint` of the new segment, -1 padded;
        - `checkpoint`, str: its label, "" padded;
        - `step`, float64: its training step, NaN where padded or not known. The change lies between
          this step and that of the complete checkpoint before;
        - `gain`, float64: by how much the change lessens the first sum, NaN padded;
        - `n_changes` (layer, channel), int32: all that were found, also those beyond `max_changes`;
        - `noise` (layer, channel), float64: :math:`\sigma`, the median of checkpoints.

        Changes are in the order of checkpoints. The parameters, the steps of all checkpoints and
        what is known of false alarms are in the attributes.

    Raises
    ------
    KeyError
        When the Dataset has no such variable.
    ValueError
        When the variable has no dimension `checkpoint`, a selection left nothing of it, or a
        parameter is out of its range.
    TypeError
        When a parameter is no number.

    References
    ----------
    Jackson et al. (2005), An algorithm for optimal partitioning of data on an interval,
    doi:10.1109/LSP.2001.838216. Killick, Fearnhead and Eckley (2012), Optimal detection of
    changepoints with a linear computational cost, doi:10.1080/01621459.2012.737745.

    Examples
    --------
    >>> loss = xr.DataArray([3.0, 3.1, 2.9, 1.0, 1.1, 0.9], dims="checkpoint")
    >>> change_points(loss.to_dataset(name="loss"), variable="loss").position.values[0]
    np.int32(3)
    """
    _check(shape, least_length, penalty, max_changes)
    require_dataset(dataset)
    require_same_units(dataset)
    trajectories = counted(dataset, variable)
    others = [str(dim) for dim in trajectories.dims if dim not in UNIT_DIMS]
    if others:
        raise ValueError(
            f"{trajectories.name} runs over {', '.join(others)} too; choose one of each, or reduce "
            "it first"
        )
    errors = _errors(dataset, trajectories, noise)
    least_length = least_length or _SHAPES[shape].least_length
    position, gain, n_changes, used_noise = xr.apply_ufunc(
        _changes_of,
        trajectories,
        errors,
        kwargs={
            "shape": shape,
            "least_length": least_length,
            "penalty": penalty,
            "max_changes": max_changes,
        },
        input_core_dims=[[CHECKPOINT], [CHECKPOINT]],
        output_core_dims=[[CHANGE], [CHANGE], [], []],
        join="left",
        dask="parallelized",
        output_dtypes=["int32", "float64", "int32", "float64"],
        dask_gufunc_kwargs={"output_sizes": {CHANGE: max_changes}},
    )
    steps = steps_of(trajectories)
    units = str(trajectories.attrs.get("units", "1"))
    found = {
        "position": (position, "position of the change along checkpoints", "1"),
        "checkpoint": (
            looked_up(position, labels_of(trajectories), ""),
            "checkpoint of the change",
            "1",
        ),
        "step": (looked_up(position, steps, np.nan), "training step of the change", "1"),
        "gain": (gain, "gain of the change", "1"),
        "n_changes": (n_changes, "number of changes", "1"),
        "noise": (used_noise, "standard deviation of the noise", units),
    }
    return xr.Dataset(
        {
            name: each.assign_attrs(long_name=long_name, units=unit)
            for name, (each, long_name, unit) in found.items()
        },
        attrs={
            **origin(dataset),
            "variable": str(trajectories.name or ""),
            "shape": shape,
            "least_length": least_length,
            "penalty": "calibrated" if penalty is None else penalty,
            "false_alarms": FALSE_ALARMS if penalty is None else "not calibrated",
            "noise_from": "" if errors.name is None else str(errors.name),
            "max_changes": max_changes,
            "checkpoint_steps": steps.tolist(),
        },
    )


def _check(
    shape: str,
    least_length: int | None,
    penalty: float | None,
    max_changes: int,
) -> None:
    """Raise where a parameter is out of its range."""
    require_numbers(penalty=penalty)
    require_whole_numbers(least_length=least_length, max_changes=max_changes)
    if shape not in _SHAPES:
        raise ValueError(did_you_mean("shape", shape, _SHAPES, "change_points"))
    least = _SHAPES[shape].n_parameters
    if least_length is not None and least_length < least:
        raise ValueError(
            f"least_length={least_length}: a {shape} needs {least} checkpoints or more; leave it "
            f"out for {_SHAPES[shape].least_length}"
        )
    if penalty is not None and not penalty >= 0:
        raise ValueError(f"penalty={penalty} is not 0 or more; leave it out for 5 % false alarms")
    if max_changes < 1:
        raise ValueError(f"max_changes={max_changes} leaves no room for a change; give 1 or more")


def _errors(
    dataset: xr.Dataset, trajectories: xr.DataArray, noise: float | str | xr.DataArray | None
) -> xr.DataArray:
    """The noise that is known, (checkpoint, ...), by the name of its variable; NaN where not."""
    own = f"{trajectories.name}_se"
    if noise is None and own in dataset and set(dataset[own].dims) <= set(trajectories.dims):
        noise = own
    if isinstance(noise, str | xr.DataArray):
        return counted(dataset, noise)
    require_numbers(noise=noise)
    if noise is not None and not noise > 0:
        raise ValueError(f"noise={noise} is not above 0; leave it out to have it estimated")
    value = np.nan if noise is None else float(noise)
    return xr.DataArray(np.full(trajectories.sizes[CHECKPOINT], value), dims=CHECKPOINT)


def _changes_of(
    values: np.ndarray,
    errors: np.ndarray,
    shape: Shape,
    least_length: int,
    penalty: float | None,
    max_changes: int,
) -> tuple[np.ndarray, ...]:
    """Positions and gains (..., change), number of changes and noise of (..., checkpoint)."""
    n_checkpoints = values.shape[-1]
    # In one order in memory, for sums in another differ in their last bits.
    rows = np.array(values.reshape(-1, n_checkpoints), float, order="C")
    rows[~np.isfinite(rows)] = np.nan
    errors = np.broadcast_to(errors, values.shape).reshape(rows.shape)
    positions = np.full((len(rows), max_changes), -1, "int32")
    gains = np.full((len(rows), max_changes), np.nan)
    n_changes = np.zeros(len(rows), "int32")
    noises = np.full(len(rows), np.nan)
    n_at_once = max(1, _BLOCK_NUMBERS // max(n_checkpoints, 1))
    for start in range(0, len(rows), n_at_once):
        block = slice(start, start + n_at_once)
        of_block = rows[block]
        is_counted = np.isfinite(of_block)
        is_known = ((errors[block] > 0) | ~is_counted).all(axis=1)
        estimated = _noise(of_block, _SHAPES[shape].n_differences)[:, None]
        sigma = np.where(is_known[:, None], errors[block], estimated)
        price = np.full(len(of_block), np.nan if penalty is None else penalty)
        if penalty is None:
            price = calibrated_penalty(is_counted.sum(axis=1), shape, is_known)
        fit = _SHAPES[shape].fit(of_block, 1 / np.where(sigma > 0, sigma, 1.0) ** 2)
        is_start = best_segments(fit, price, least_length)
        positions[block], gains[block] = _strongest(fit, is_start, max_changes)
        n_changes[block] = is_start.sum(axis=1)
        of_counted = np.where(is_counted, sigma, np.nan)
        noises[block] = quantiles(of_counted, np.array([0.5]))[:, 0]
    front = values.shape[:-1]
    return (
        positions.reshape(*front, max_changes),
        gains.reshape(*front, max_changes),
        n_changes.reshape(front),
        noises.reshape(front),
    )


def _noise(rows: np.ndarray, n_differences: int) -> np.ndarray:
    """Standard deviation of the noise of each row; NaN where a row has nothing."""
    # Missing checkpoints are passed over: what is left stands side by side, NaN last.
    packed = np.take_along_axis(rows, np.isnan(rows).argsort(axis=1, kind="stable"), axis=1)
    differences = np.diff(packed, n=n_differences, axis=1)
    middle = np.array([0.5])
    spread = np.abs(differences - quantiles(differences, middle)) if differences.size else packed
    # Differences of n numbers sum their variance: 1 + 1, or 1 + 4 + 1.
    scale = _NORMAL_MAD * np.sqrt({1: 2, 2: 6}[n_differences])
    low_high = quantiles(rows, np.array([0.0, 1.0]))
    least = _LEAST_NOISE * (low_high[:, 1] - low_high[:, 0])
    estimate = np.nan_to_num(quantiles(spread, middle)[:, 0] / scale)
    # Of values that repeat, such as shares of a few images, a median says how often they do. Where
    # some go up and come down at once there is noise, as large as differences are in the mean.
    known = np.isfinite(differences)
    n_known = np.maximum(known.sum(1), 1)
    is_none = known & (np.abs(differences) <= least[:, None])
    goes_back = (np.nan_to_num(differences[:, 1:] * differences[:, :-1]) < 0).any(1)
    of_squares = np.sqrt(np.nansum(differences**2, 1) / n_known / {1: 2, 2: 6}[n_differences])
    is_tied = is_none.sum(1) > _MOST_TIED * n_known
    estimate = np.where(is_tied, np.where(goes_back, of_squares, 0.0), estimate)
    noise: np.ndarray = np.maximum(estimate, least)
    return noise


def _strongest(fit: Fit, is_start: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and gains of the changes with the most gain, in training order, padded."""
    n_rows, n_checkpoints = is_start.shape
    n_most = max(int(is_start.sum(axis=1).max(initial=0)), n)
    places = np.sort(np.where(is_start, np.arange(n_checkpoints), n_checkpoints), axis=1)
    places = places[:, :n_most]
    places = np.pad(places, ((0, 0), (0, n_most - places.shape[1])), constant_values=n_checkpoints)
    edges = np.pad(places, ((0, 0), (1, 1)), constant_values=((0, 0), (0, n_checkpoints)))
    row = np.arange(n_rows)[:, None]
    left, here, right = (row, edges[:, :-2]), (row, places), (row, edges[:, 2:])
    gain = fit.cost(left, right) - fit.cost(left, here) - fit.cost(here, right)
    gain[places == n_checkpoints] = np.nan
    chosen = np.sort(np.argsort(-gain, axis=1, kind="stable")[:, :n], axis=1)
    position = np.take_along_axis(places, chosen, axis=1)
    return np.where(position == n_checkpoints, -1, position), np.take_along_axis(gain, chosen, 1)
