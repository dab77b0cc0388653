"""How the arrays of a group grow together, and how a half-grown group is set right after a kill.

Data grow first and labels are written last: what has no label yet is not there, and goes again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from dvis.schema import SchemaError, Status, VariableSpec

# What Zarr and its codecs raise on a damaged chunk.
UNREADABLE = (OSError, RuntimeError, ValueError)


def resize(
    arrays: Mapping[str, zarr.Array[Any]],
    specs: Mapping[str, VariableSpec],
    sizes: Mapping[str, int],
) -> None:
    """Give the arrays of a group these sizes along some of its dimensions, data first."""
    for name in sorted(specs, key=lambda name: len(specs[name].dims), reverse=True):
        array = arrays[name]
        there = zip(specs[name].dims, array.shape, strict=True)
        shape = tuple(sizes.get(dim, n) for dim, n in there)
        if shape != array.shape:
            array.resize(shape)


def settle(group: zarr.Group, specs: Mapping[str, VariableSpec]) -> bool:
    """Give the arrays of a half-grown group the lengths of its written labels.

    Parameters
    ----------
    group : Group
        The group, which nobody grows at the time.
    specs : mapping of str to VariableSpec
        Its arrays by their path in it: `status`, and the labels of each dimension that grows, none
        of which is their fill value.

    Returns
    -------
    bool
        Whether it was half grown.

    Raises
    ------
    SchemaError
        When it is damaged in another way, and is left as it is: its arrays are not those of the
        schema, cannot be read, or hold units whose labels are lost.
    """
    arrays: dict[str, Any] = {name: group.get(name) for name in specs}
    for name, spec in specs.items():
        if not isinstance(arrays[name], zarr.Array) or arrays[name].ndim != len(spec.dims):
            raise _damaged(group, f"has no array {name!r} over {', '.join(spec.dims)}")
    try:
        labels = {
            name: np.asarray(arrays[name][:])
            for name, spec in specs.items()
            if spec.dims == (name,)
        }
        written = {dim: _n_written(values != specs[dim].fill) for dim, values in labels.items()}
        is_whole = all(
            written.get(dim, n) == n
            for name, spec in specs.items()
            for dim, n in zip(spec.dims, arrays[name].shape, strict=True)
        )
        is_sound = is_whole or not _has_units_beyond(arrays["status"], specs["status"], written)
    except UNREADABLE as err:
        raise _damaged(group, f"cannot be read ({err})") from err
    if not is_sound:
        raise _damaged(group, "holds units whose labels are lost")
    if not is_whole:
        resize(arrays, specs, written)
    return not is_whole


def _n_written(is_written: np.ndarray) -> int:
    return len(is_written) if is_written.all() else int(np.argmin(is_written))


def _has_units_beyond(
    status: zarr.Array[Any], spec: VariableSpec, written: Mapping[str, int]
) -> bool:
    """Whether units have a status and no label: what is killed while it grows has neither."""
    values = np.array(status[:])
    values[tuple(slice(written.get(dim)) for dim in spec.dims)] = int(Status.ABSENT)
    return bool(values.any())


def _damaged(group: zarr.Group, what: str) -> SchemaError:
    return SchemaError(
        f"The group {group.path} {what}. `dvis check` says what is wrong with it; move its folder "
        "away to have it made again"
    )
