"""What a function gave for units, put in their places in labelled arrays.

The likeness of one unit's result in, arrays over (layer, channel) of all units' results out.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dvis.schema import CHANNEL, CHECKPOINT, LAYER


@dataclass(frozen=True, kw_only=True)
class Output:
    """One variable of a function's result: its own dims beside (layer, channel), dtype, filler."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    attrs: Mapping[Hashable, Any]
    indexes: Mapping[str, pd.Index]
    """Labels of the own dims that have them, checkpoint aside."""

    def empty(self, n_channels: int) -> np.ndarray:
        """Values of that many channels of a layer in which no unit is."""
        return np.full((1, n_channels, *self.shape), self.fill, self.dtype)


def as_dataset(returned: Any, function: Any) -> xr.Dataset:
    """What a function gave as a Dataset; a lone array bears the function's name.

    Raises
    ------
    TypeError
        When it is an array without names of its dims, or None.
    """
    if isinstance(returned, xr.Dataset):
        return returned
    if isinstance(returned, Mapping):
        return xr.Dataset({str(name): _named(value) for name, value in returned.items()})
    name = getattr(returned, "name", None) or _name_of(function)
    return xr.Dataset({str(name): _named(returned)})


def _name_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__name__", "result")
    return "result" if name == "<lambda>" else name


def _named(value: Any) -> Any:
    """A value as `xr.Dataset` takes it."""
    if isinstance(value, xr.DataArray):
        # Or the checkpoint of one, selected away, would contradict the checkpoints of another.
        return value.reset_coords(drop=True)
    if isinstance(value, xr.Variable | tuple):
        return value
    if value is None:
        raise TypeError(
            "The function gave None; perhaps a `return` is missing. Give a number, NaN where there "
            "is nothing, or a DataArray, a Dataset, or a mapping of names to these"
        )
    if np.ndim(value):
        raise TypeError(
            f"The function gave an array of shape {np.shape(value)} whose dims have no names. Give "
            "a DataArray, or (dims, values) in a mapping: {'mean': (('y', 'x', 'rgb'), values)}"
        )
    return value


def outputs_of(
    likeness: xr.Dataset, n_checkpoints: int, by_block: bool, fill_values: Mapping[str, Any]
) -> list[Output]:
    """Variables to be filled, by the likeness of one result.

    Raises
    ------
    ValueError
        When there are none, a result of blocks lacks the dim channel, or that of a unit has it.
    """
    if not likeness.data_vars:
        raise ValueError(
            "The function gave no variables, only coordinates "
            f"({', '.join(map(str, likeness.coords)) or 'none'}). Give a number, a DataArray, or "
            "variables whose names are not those of their dims"
        )
    outputs = []
    for name, variable in likeness.data_vars.items():
        if (CHANNEL in variable.dims) != by_block or LAYER in variable.dims:
            raise ValueError(
                f"{name!r} has the dims {variable.dims}. The function is given one layer"
                + (
                    " and a block of channels: its result has the dim channel, and no layer"
                    if by_block
                    else " and one channel: its result has neither dim. Or map with by_block=True"
                )
            )
        dims = tuple(str(dim) for dim in variable.dims if dim not in (LAYER, CHANNEL))
        sizes = {**variable.sizes, CHECKPOINT: n_checkpoints}
        dtype, fill = _filled(variable.dtype, fill_values.get(str(name)))
        indexes = {
            dim: likeness.indexes[dim]
            for dim in dims
            if dim != CHECKPOINT and dim in likeness.indexes
        }
        outputs.append(
            Output(
                name=str(name),
                dims=dims,
                shape=tuple(sizes[dim] for dim in dims),
                dtype=dtype,
                fill=fill,
                attrs=variable.attrs,
                indexes=indexes,
            )
        )
    return outputs


def _filled(dtype: np.dtype[Any], fill: Any) -> tuple[np.dtype[Any], Any]:
    """Dtype that holds a variable's values and what stands for none, and the latter."""
    if dtype.kind in "US":
        return np.dtype(object), "" if fill is None else fill
    if fill is not None:
        return np.result_type(dtype, np.min_scalar_type(fill)), fill
    if dtype.kind in "biu":
        return np.dtype(np.float64), np.nan
    return dtype, np.array("NaT", dtype) if dtype.kind in "mM" else np.nan


def place(
    found: xr.Dataset,
    outputs: Sequence[Output],
    arrays: Sequence[np.ndarray],
    rows: np.ndarray,
    columns: np.ndarray,
    given: xr.Dataset,
) -> None:
    """Put the result of a unit, or of a block of them, into arrays of (layer=1, channel, ...).

    Parameters
    ----------
    found : Dataset
        What the function gave.
    outputs, arrays : sequence
        What is expected, and where it goes.
    rows, columns : ndarray of int
        Places, along checkpoint and channel, of what the function was given. One column for a
        unit, as a number.
    given : Dataset
        What the function was given.

    Raises
    ------
    ValueError
        When the result lacks a variable, or has other dims or labels than were expected.
    """
    for output, array in zip(outputs, arrays, strict=True):
        if output.name not in found:
            there = ", ".join(map(str, found.data_vars)) or "nothing"
            raise ValueError(
                f"The function gave no {output.name!r} {_where(given)}, only {there}. Let it give "
                "the same variables for every unit, with NaN where there is nothing"
            )
        variable = found[output.name]
        is_block = np.ndim(columns) > 0
        dims = (CHANNEL, *output.dims) if is_block else output.dims
        _check(variable, dims, output, given)
        along = [_places(variable, CHANNEL, columns, given) if is_block else np.atleast_1d(columns)]
        for dim, n in zip(output.dims, output.shape, strict=True):
            at = _places(variable, dim, rows, given) if dim == CHECKPOINT else np.arange(n)
            along.append(at)
        values = variable.transpose(*dims).values
        array[0][np.ix_(*along)] = values if is_block else values[None]


def _check(
    variable: xr.DataArray, dims: tuple[str, ...], output: Output, given: xr.Dataset
) -> None:
    """Raise where a variable has other dims, sizes or labels than are expected."""
    expected = dict(zip(output.dims, output.shape, strict=True))
    own = {dim: n for dim, n in expected.items() if dim != CHECKPOINT}
    if set(variable.dims) == set(dims) and all(variable.sizes[dim] == n for dim, n in own.items()):
        changed = [
            dim
            for dim, index in output.indexes.items()
            if dim in variable.indexes and not variable.indexes[dim].equals(index)
        ]
        if not changed:
            return
        raise ValueError(
            f"{output.name!r} {_where(given)} has other labels along {', '.join(changed)} than "
            "the template. Labels are to be the same for every unit"
        )
    raise ValueError(
        f"{output.name!r} {_where(given)} has dims {dict(variable.sizes)}, where the template has "
        f"{own or 'none of its own'}. Give the same dims for every unit, or a template"
    )


def _places(
    variable: xr.DataArray, dim: str, positions: np.ndarray, given: xr.Dataset
) -> np.ndarray:
    """Where a result's entries along a given dim belong: by their labels, else one by one."""
    index = variable.indexes.get(dim)
    of_given = given.indexes.get(dim)
    if index is not None and of_given is not None and not index.equals(of_given):
        among = of_given.get_indexer(index)
        if (among >= 0).all():
            chosen: np.ndarray = positions[among]
            return chosen
    elif variable.sizes[dim] == len(positions):
        return positions
    raise ValueError(
        f"{variable.name!r} {_where(given)} has {variable.sizes[dim]} entries along {dim}, which "
        f"are not those that the function was given ({len(positions)}). Name another dim, or keep "
        "their labels"
    )


def _where(given: xr.Dataset) -> str:
    channels = np.atleast_1d(given[CHANNEL].values).tolist()
    return f"of {given[LAYER].item()}, channel {', '.join(map(str, channels))}"


def coordinates_of(chosen: xr.Dataset, outputs: Sequence[Output]) -> dict[Hashable, Any]:
    """Coordinates of a result: those of its Dataset whose dims it has, and of its own dims."""
    dims = {LAYER, CHANNEL, *(dim for output in outputs for dim in output.dims)}
    kept: dict[Hashable, Any] = {
        name: coordinate.variable
        for name, coordinate in chosen.coords.items()
        if set(coordinate.dims) <= dims
    }
    for output in outputs:
        kept.update({str(dim): index for dim, index in output.indexes.items()})
    for dim in (LAYER, CHANNEL):
        kept[dim] = xr.Variable(dim, np.atleast_1d(chosen[dim].values), chosen[dim].attrs)
    return kept


def assemble(
    arrays: Sequence[Any], outputs: Sequence[Output], coordinates: Mapping[Hashable, Any]
) -> xr.Dataset:
    """The outputs' arrays, (layer, channel, ...) each, as one labelled Dataset."""
    variables = {
        output.name: ((LAYER, CHANNEL, *output.dims), array, output.attrs)
        for output, array in zip(outputs, arrays, strict=True)
    }
    return xr.Dataset(variables, coordinates)


def select(
    chosen: xr.Dataset, layer: int, channels: slice, checkpoints: slice = slice(None)
) -> xr.Dataset:
    """Some channels of a layer; of a dim that was selected away, what is there."""
    # In one step: dask fuses one selection with the read behind it, but not a second one.
    within = {LAYER: layer, CHANNEL: channels, CHECKPOINT: checkpoints}
    return chosen.isel(within, missing_dims="ignore")
