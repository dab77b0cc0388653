"""How the arrays of a group grow together, and how a half-grown group is set right after a kill.

Data grow first and labels are written last: what has no label yet is not there, and goes again.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from dvis.schema import SchemaError, Status

# What Zarr and its codecs raise on a damaged chunk.
UNREADABLE = (OSError, RuntimeError, ValueError)


def resize(
    arrays: Mapping[str, zarr.Array[Any]],
    dims: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int],
) -> None:
    """Give the arrays of a group these sizes along some of their dimensions, data first."""
    for name in sorted(arrays, key=lambda name: len(dims[name]), reverse=True):
        array = arrays[name]
        there = zip(dims[name], array.shape, strict=True)
        shape = tuple(sizes.get(dim, n) for dim, n in there)
        if shape != array.shape:
            array.resize(shape)


def settle(group: zarr.Group) -> bool:
    """Give the arrays of a half-grown group the lengths of its written labels.

    What it needs is in Zarr's own metadata: the names of an array's dims, and the fill value, which
    is no label. An array with the name of its one dim holds the labels along it.

    Parameters
    ----------
    group : Group
        The group, which nobody grows at the time.

    Returns
    -------
    bool
        Whether it was half grown.

    Raises
    ------
    SchemaError
        When it is damaged in another way, and is left as it is: it has no status, cannot be read,
        or holds units whose labels are lost.
    """
    with warnings.catch_warnings():
        # What a killed process had not renamed into its place yet.
        warnings.filterwarnings("ignore", message=r"Object at \S+\.partial is not recognized")
        arrays = dict(arrays_of(group))
    dims = {name: _dims_of(array) for name, array in arrays.items()}
    if "status" not in arrays:
        raise _damaged(group, "has no array 'status'")
    lengths: dict[str, set[int]] = {}
    for name, array in arrays.items():
        for dim, n in zip(dims[name], array.shape, strict=False):
            lengths.setdefault(dim, set()).add(n)
    labels = [name for name in arrays if dims[name] == (name,)]
    try:
        written = {dim: _n_written(arrays[dim]) for dim in labels}
        is_whole = all(lengths[dim] == {n} for dim, n in written.items())
        is_sound = is_whole or not _has_units_beyond(arrays["status"], dims["status"], written)
    except UNREADABLE as err:
        raise _damaged(group, f"cannot be read ({err})") from err
    if not is_sound:
        raise _damaged(group, "holds units whose labels are lost")
    if not is_whole:
        resize(arrays, dims, written)
    return not is_whole


def arrays_of(group: zarr.Group, above: str = "") -> Iterator[tuple[str, zarr.Array[Any]]]:
    """Arrays of a group and of those below it, by their path in it."""
    for name, member in group.members():
        if isinstance(member, zarr.Array):
            yield above + name, member
        else:
            yield from arrays_of(member, f"{above}{name}/")


def _dims_of(array: zarr.Array[Any]) -> tuple[str, ...]:
    names = getattr(array.metadata, "dimension_names", None) or ()
    return tuple(str(name) for name in names)


def _n_written(labels: zarr.Array[Any]) -> int:
    is_written = np.asarray(labels[:]) != labels.fill_value
    return len(is_written) if is_written.all() else int(np.argmin(is_written))


def _has_units_beyond(
    status: zarr.Array[Any], dims: Sequence[str], written: Mapping[str, int]
) -> bool:
    """Whether units have a status and no label: what is killed while it grows has neither."""
    values = np.array(status[:])
    values[tuple(slice(written.get(dim)) for dim in dims)] = int(Status.ABSENT)
    return bool(values.any())


def _damaged(group: zarr.Group, what: str) -> SchemaError:
    return SchemaError(
        f"The group {group.path} {what}. `dvis check` says what is wrong with it; move its folder "
        "away to have it made again"
    )
