"""Numbers over checkpoints that count, and which checkpoint a position is.

A Dataset and a variable in, a DataArray over checkpoints out, NaN where there is nothing to count.
What births, change points, rankings and summaries are read off.
"""

from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.requirements import require_dataset, require_some
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, USUAL_VARIABLE, Status, did_you_mean

ORIGIN = ("model", "run", "variant")
# Variables of units: in the Dataset of one unit, dimensions do not tell them from the model's.
_OF_UNITS = (
    *("activation", "response", "value_min", "value_max", "stop_step", "seed", "params"),
    *("status", "standardised_activation", "response_correlation"),
    *("reference", "reference_mean", "reference_sd", "reference_max", "constant_max"),
)
# Have a scale: that of a unit times the gains of all layers below. Of these the first that there is
# is meant of units where no variable is named.
RAW = ("activation", "response")


def counted(dataset: xr.Dataset, variable: str | xr.DataArray | None = None) -> xr.DataArray:
    """A variable's trajectories, NaN where they do not count.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave, or any Dataset with a dimension `checkpoint`.
    variable : str or DataArray, (checkpoint, ...), optional
        A variable of the Dataset, by default its `usual_variable`: of a unit that is not complete,
        nothing counts. Or numbers of one's own, which are taken as they are, with the Dataset's
        labels and steps where they have none.

    Returns
    -------
    DataArray, (checkpoint, ...)
        In the Dataset's order. On dask where the variable is, then in one piece along checkpoints.

    Raises
    ------
    KeyError
        When the Dataset has no such variable.
    TypeError
        When it is neither a name nor a DataArray.
    ValueError
        When it has no dimension `checkpoint` or nothing along a dimension, or has no labels and not
        as many as the Dataset.
    """
    require_dataset(dataset)
    variable = usual_variable(dataset) if variable is None else variable
    if isinstance(variable, xr.DataArray):
        trajectories = _labelled(variable, dataset) if CHECKPOINT in variable.dims else variable
    elif not isinstance(variable, str):
        raise TypeError(
            f"variable is of type {type(variable).__name__}; give the name of one, or a DataArray "
            f"with the dimension {CHECKPOINT!r}"
        )
    elif variable in dataset:
        trajectories = of_complete_units(dataset, dataset[variable])
    else:
        there = [str(name) for name, each in dataset.data_vars.items() if CHECKPOINT in each.dims]
        raise KeyError(did_you_mean("variable", variable, there, "this Dataset"))
    if CHECKPOINT not in trajectories.dims:
        raise ValueError(
            f"{trajectories.name!r} has dimensions {trajectories.dims}, so it is no trajectory; "
            f"take one over the dimension {CHECKPOINT!r}, as dvis.open gives"
        )
    require_some(trajectories, *map(str, trajectories.dims))
    return in_one_piece(trajectories, CHECKPOINT)


def usual_variable(dataset: xr.Dataset) -> str:
    """The variable that is meant where none is named.

    What the Dataset's attribute `usual_variable` says; activations, or else responses.
    """
    told = str(dataset.attrs.get(USUAL_VARIABLE, ""))
    if told in dataset:
        return told
    return next((name for name in RAW if name in dataset), RAW[0])


def of_complete_units(dataset: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    """Values of the complete units, NaN elsewhere.

    What is of the whole model stays as it is, and so do results, which have no status and NaN
    already.
    """
    if "status" not in dataset or is_of_model(dataset, values):
        return values
    is_complete = dataset["status"] == Status.COMPLETE
    return values.where(is_complete) if set(is_complete.dims) <= set(values.dims) else values


def is_of_model(dataset: xr.Dataset, values: xr.DataArray) -> bool:
    """Whether a variable of a Dataset has one value a checkpoint, of no unit and no layer."""
    if not set(values.dims) <= {CHECKPOINT}:
        return False
    # In the Dataset of one unit, dimensions do not tell: everything runs over checkpoints alone.
    is_one_unit = LAYER not in dataset.dims and CHANNEL not in dataset.dims
    return not (is_one_unit and LAYER in dataset.coords and values.name in _OF_UNITS)


def in_one_piece(array: xr.DataArray, dim: str) -> xr.DataArray:
    """The same numbers, where they are on dask in chunks that span a dimension."""
    if array.chunks is None:
        return array
    # Chunking makes dask arrays of coordinates too, which are about to be looked at.
    return array.chunk({dim: -1}).assign_coords(array.coords)


def _labelled(trajectories: xr.DataArray, dataset: xr.Dataset) -> xr.DataArray:
    """Numbers of one's own with labels and steps: theirs, or else the Dataset's."""
    if CHECKPOINT not in trajectories.coords:
        n, n_there = trajectories.sizes[CHECKPOINT], dataset.sizes.get(CHECKPOINT, 0)
        if n != n_there:
            raise ValueError(
                f"{trajectories.name!r} has {n} checkpoints without labels, the Dataset {n_there}; "
                "give them the labels of the checkpoints that they are of"
            )
        names = [name for name in (CHECKPOINT, "step") if name in dataset.coords]
        return trajectories.assign_coords({name: dataset[name] for name in names})
    if "step" in trajectories.coords or not {CHECKPOINT, "step"} <= set(dataset.coords):
        return trajectories
    step = dataset["step"].reindex({CHECKPOINT: trajectories[CHECKPOINT].values})
    return trajectories.assign_coords(step=step.variable)


def steps_of(labelled: xr.Dataset | xr.DataArray) -> np.ndarray:
    """Training step of each checkpoint, (checkpoint,), float64, NaN where it is not known."""
    n_checkpoints = labelled.sizes[CHECKPOINT]
    if "step" not in labelled.coords:
        return np.full(n_checkpoints, np.nan)
    return np.asarray(labelled["step"].values, float)


def labels_of(labelled: xr.Dataset | xr.DataArray) -> np.ndarray:
    """Label of each checkpoint, (checkpoint,), numpy text; its position where it has none."""
    if CHECKPOINT not in labelled.coords:
        return np.arange(labelled.sizes[CHECKPOINT]).astype(str)
    return np.array(labelled[CHECKPOINT].values.tolist(), dtype=str)


def origin(dataset: xr.Dataset) -> dict[str, str]:
    """Model, run and variant of a Dataset, for the attributes of what is made of it."""
    return {key: dataset.attrs[key] for key in ORIGIN if key in dataset.attrs}


def looked_up(position: xr.DataArray, table: np.ndarray, missing: Any) -> xr.DataArray:
    """What a table over checkpoints has at positions, `missing` where a position is -1."""
    padded = np.append(table, np.array([missing], table.dtype))
    found: xr.DataArray = xr.apply_ufunc(
        lambda positions: padded[positions],
        position,
        dask="parallelized",
        output_dtypes=[table.dtype],
    )
    return found


def quantiles(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Quantiles along the last axis of what is not NaN, NaN where nothing is.

    They are numpy's (linear interpolation), but fifty times as fast as `numpy.nanquantile` on many
    short rows, and silent where a row is empty.

    Parameters
    ----------
    values : ndarray, (..., n)
        Numbers, NaN where there is none; n may be 0.
    at : ndarray, (quantile,)
        Quantiles, between 0 and 1.

    Returns
    -------
    ndarray, (..., quantile), float64
    """
    if not values.shape[-1]:
        return np.full((*values.shape[:-1], len(at)), np.nan)
    ordered = np.sort(values.astype(float, copy=False), axis=-1)  # NaN goes last
    n_there = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    place = np.maximum(n_there - 1, 0) * at
    below = np.floor(place).astype(int)
    above = np.ceil(place).astype(int)
    low = np.take_along_axis(ordered, below, axis=-1)
    high = np.take_along_axis(ordered, above, axis=-1)
    between: np.ndarray = low + (high - low) * (place - below)
    return between


def positions_beside(is_counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each position the nearest counted ones before and after it, -1 where there is none.

    Parameters
    ----------
    is_counted : ndarray, (..., checkpoint), bool

    Returns
    -------
    before, after : ndarray, (..., checkpoint), int
    """
    n_checkpoints = is_counted.shape[-1]
    places = np.arange(n_checkpoints)
    up_to = np.maximum.accumulate(np.where(is_counted, places, -1), axis=-1)
    from_here = np.where(is_counted, places, n_checkpoints)
    from_here = np.minimum.accumulate(from_here[..., ::-1], axis=-1)[..., ::-1]
    edge = np.full((*is_counted.shape[:-1], 1), -1)
    before = np.concatenate([edge, up_to[..., :-1]], axis=-1)
    after = np.concatenate([from_here[..., 1:], edge], axis=-1)
    return before, np.where(after == n_checkpoints, -1, after)
