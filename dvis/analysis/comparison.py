"""Two runs, variants or stores side by side, checkpoint by checkpoint.

Two Datasets in, one out with what both have, and its difference.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require_dataset, require_numbers, require_some
from dvis.analysis.trajectories import ORIGIN, counted, labels_of, steps_of
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_DIMS, did_you_mean

SOURCE = "source"


def compare(
    one: xr.Dataset,
    other: xr.Dataset,
    *,
    on: Literal["label", "step"] = "label",
    tolerance: float | None = None,
    variables: Sequence[str] | None = None,
    names: tuple[str, str] | None = None,
) -> xr.Dataset:
    """Numbers of two Datasets at the checkpoints, layers and channels that both have.

    The result is on dask where they are, and then nothing is computed but labels.

    Parameters
    ----------
    one, other : Dataset
        What `dvis.open` gave, of two runs, variants or stores.
    on : {"label", "step"}, optional
        Which checkpoints belong together: those of one label, or those that are nearest to each
        other in training step. A checkpoint has at most one partner; one whose step is not known
        has none.
    tolerance : float, optional
        With `on="step"`: how far apart partners may be, in training steps; by default not at all.
    variables : sequence of str, optional
        Variables over checkpoints, layers and channels, or fewer of these; by default all such
        floating-point numbers that both have: activations, losses, accuracies.
    names : tuple of str, optional
        What the two are called along `source`; by default what tells them apart of model, run and
        variant, or "one" and "other".

    Returns
    -------
    Dataset, (source, checkpoint, layer, channel)
        - each variable, (source, ...), NaN where a unit is not complete;
        - `{variable}_difference`, (...): the other's less the one's;
        - coordinates `checkpoint`, the one's labels; `source_checkpoint`, `source_step`
          (source, checkpoint), the labels and steps of each; `step` (checkpoint), the one's.

        How many checkpoints of each had no partner is in the attributes.

    Raises
    ------
    KeyError
        When a variable is not in both.
    ValueError
        When they have no checkpoint, layer or channel in common, or a parameter makes no sense.
    TypeError
        When one of them is no Dataset.

    Examples
    --------
    >>> one = xr.Dataset({"val_loss": ("checkpoint", [3.0, 2.0])}, {"checkpoint": ["a", "b"]})
    >>> compare(one, one + 1).val_loss_difference.values
    array([1., 1.])
    """
    _check(one, other, on, tolerance)
    both = one, other
    called = names or _names(one, other)
    rows = _same_labels(one, other) if on == "label" else _near_steps(one, other, tolerance or 0.0)
    if not len(rows[0]):
        raise ValueError(_no_checkpoint(one, other, on, tolerance or 0.0))
    chosen = _variables(one, other, variables)
    units = _units_in_common(one, other)
    aligned = []
    for dataset, row in zip(both, rows, strict=True):
        numbers = xr.Dataset({name: counted(dataset, name) for name in chosen})
        numbers = numbers.drop_vars(
            [name for name, each in numbers.coords.items() if CHECKPOINT in each.dims]
        )
        # The other's labels would not match where it is the steps that do.
        numbers = numbers.isel({CHECKPOINT: row})
        numbers = numbers.assign_coords({CHECKPOINT: labels_of(one)[rows[0]]})
        aligned.append(numbers.sel({dim: units[dim] for dim in units if dim in numbers.dims}))
    first, second = aligned
    side_by_side = xr.concat(
        aligned,
        xr.Variable(SOURCE, list(called)),
        join="exact",
        coords="different",
        compat="equals",
    )
    difference = {f"{name}_difference": second[name] - first[name] for name in chosen}
    for name in chosen:
        attrs = first[name].attrs
        long_name = f"difference of {attrs.get('long_name', name)}"
        difference[f"{name}_difference"].attrs = {**attrs, "long_name": long_name}
    together = zip(both, rows, strict=True)
    labels, steps = zip(*((labels_of(d)[r], steps_of(d)[r]) for d, r in together), strict=True)
    return (
        side_by_side.assign(difference)
        .assign_coords(
            source_checkpoint=((SOURCE, CHECKPOINT), np.array(labels)),
            source_step=((SOURCE, CHECKPOINT), np.array(steps)),
            step=(CHECKPOINT, steps[0]),
        )
        .assign_attrs(
            on=on,
            tolerance=tolerance or 0.0,
            n_without_partner=[
                dataset.sizes[CHECKPOINT] - len(row)
                for dataset, row in zip(both, rows, strict=True)
            ],
        )
    )


def _check(one: xr.Dataset, other: xr.Dataset, on: str, tolerance: float | None) -> None:
    """Raise where two Datasets or parameters make no comparison."""
    for name, given in (("one", one), ("other", other)):
        require_dataset(given, name)
        require_some(given, CHECKPOINT, LAYER, CHANNEL)
    if on not in ("label", "step"):
        raise ValueError(did_you_mean("alignment", on, ["label", "step"], "compare"))
    require_numbers(tolerance=tolerance)
    if tolerance is not None and (on == "label" or not tolerance >= 0):
        raise ValueError(
            f"tolerance={tolerance} with on={on!r}: it is a distance of 0 or more in training "
            'steps, for on="step"'
        )
    for dim in (LAYER, CHANNEL):
        if (dim in one.dims) != (dim in other.dims):
            raise ValueError(
                f"only one of the two has the dim {dim}; select from both, or with a list, such as "
                f"ds.isel({dim}=[0])"
            )


def _names(one: xr.Dataset, other: xr.Dataset) -> tuple[str, str]:
    """Of model, run and variant, what tells two Datasets apart."""
    keys = [key for key in ORIGIN if one.attrs.get(key, "") != other.attrs.get(key, "")]
    named = [" ".join(str(each.attrs.get(key, "")) for key in keys) for each in (one, other)]
    return (named[0], named[1]) if keys and all(map(str.strip, named)) else ("one", "other")


def _same_labels(one: xr.Dataset, other: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each that have the same label, in the one's order."""
    row_of = {label: row for row, label in enumerate(labels_of(other).tolist())}
    pairs = [
        (row, row_of[label]) for row, label in enumerate(labels_of(one).tolist()) if label in row_of
    ]
    rows = np.array(pairs, int).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _near_steps(
    one: xr.Dataset, other: xr.Dataset, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each that are nearest to each other in training step, in the one's order."""
    apart = np.abs(steps_of(one)[:, None] - steps_of(other)[None, :])
    apart[np.isnan(apart)] = np.inf
    nearest, nearest_back = apart.argmin(axis=1), apart.argmin(axis=0)
    rows = np.arange(len(nearest))
    is_pair = (nearest_back[nearest] == rows) & (apart[rows, nearest] <= tolerance)
    return rows[is_pair], nearest[is_pair]


def _no_checkpoint(one: xr.Dataset, other: xr.Dataset, on: str, tolerance: float) -> str:
    """Text of an error for two that have no checkpoint in common."""
    if on == "label":
        there = [", ".join(labels_of(each)[:3].tolist()) for each in (one, other)]
        return (
            f"No checkpoint of the one ({there[0]}, ...) has a label of the other ({there[1]}, "
            '...). Align them by training step: on="step"'
        )
    there = [", ".join(f"{step:g}" for step in steps_of(each)[:5]) for each in (one, other)]
    return (
        f"No steps of the one ({there[0]}, ...) and the other ({there[1]}, ...) are within "
        f'tolerance={tolerance:g}. Give a greater tolerance, or on="label"'
    )


def _variables(one: xr.Dataset, other: xr.Dataset, variables: Sequence[str] | None) -> list[str]:
    """Variables to compare: those asked for, or all numbers that both have."""
    comparable = [
        str(name)
        for name, each in one.data_vars.items()
        if name in other.data_vars
        and all(
            CHECKPOINT in array.dims and set(array.dims) <= set(UNIT_DIMS)
            for array in (each, other[name])
        )
    ]
    if variables is None:
        return [name for name in comparable if one[name].dtype.kind == "f"]
    for name in variables:
        if name not in comparable:
            raise KeyError(did_you_mean("variable", name, comparable, "both Datasets"))
    return list(variables)


def _units_in_common(one: xr.Dataset, other: xr.Dataset) -> dict[str, np.ndarray]:
    """Layers and channels of both, in the one's order."""
    units = {}
    for dim in (LAYER, CHANNEL):
        if dim not in one.dims or dim not in other.dims:
            continue
        of_other = set(other[dim].values.tolist())
        shared = [label for label in one[dim].values.tolist() if label in of_other]
        if not shared:
            there = [", ".join(map(str, each[dim].values[:10])) for each in (one, other)]
            raise ValueError(
                f"No {dim} is in both: the one has {there[0]}, the other {there[1]}. Compare "
                f"Datasets with a {dim} in common"
            )
        units[dim] = np.array(shared)
    return units
