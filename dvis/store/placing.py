"""Values of scattered parts into an array, in as few writes as they need.

Parts stand at places along the array's dims: one place for all of them, or one a part.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from dvis.schema import COORDINATES, TEXT

Places: TypeAlias = Mapping[str, Any]  # int, or ndarray (part,) int64, by dim
# A larger box around parts of several layers would be read and written for little.
_MAX_BOX_ITEMS = 2**20
# Years 1678 to 2261: xarray keeps times as nanoseconds, and opens no store that has others.
_MOST_SECONDS = (2**63 - 1) // 10**9


def plain_labels(labels: Any) -> Any:
    """Labels as a group's own table has them: text, int and float of Python."""
    return np.asarray(labels).tolist()


def taken(places: Places, chosen: np.ndarray) -> Places:
    """Where some of the parts are."""
    return {dim: place[chosen] if np.ndim(place) else place for dim, place in places.items()}


def first_of_each(places: Places, is_sound: np.ndarray) -> list[tuple[int, dict[str, int]]]:
    """Each place where parts are, with the number of the first part there, a sound one if any."""
    order = np.argsort(~is_sound, kind="stable")
    varying = [place[order] for place in places.values() if np.ndim(place)]
    if not varying:
        return [(int(order[0]), {dim: int(place) for dim, place in places.items()})]
    firsts = np.unique(np.stack(varying, axis=1), axis=0, return_index=True)[1]
    return [
        (part, {dim: int(p[part]) if np.ndim(p) else int(p) for dim, p in places.items()})
        for part in order[np.sort(firsts)].tolist()
    ]


def put_parts(array: Any, dims: Sequence[str], places: Places, values: np.ndarray) -> None:
    """Write one value a part, (part,)."""
    _put(array, dims, places, np.atleast_1d(values), slice(None))


def put_curves(array: Any, dims: Sequence[str], places: Places, values: np.ndarray) -> None:
    """Write what parts have along the array's last dims, (part, ...), a chunk at a time.

    Values that end before the array does are followed by its fill value along the last dim; along
    others they are written as far as they go.
    """
    values = values if values.ndim == 1 + len(dims) - len(places) else values[None]
    length, step = array.shape[-1], array.chunks[-1]
    if values.ndim > 2 or length <= step:
        _put(array, dims, places, _filled(values, array, 0, length), slice(0, length))
        return
    for start in range(0, length, step):
        stop = min(start + step, length)
        _put(array, dims, places, _filled(values, array, start, stop), slice(start, stop))


def _filled(values: np.ndarray, array: Any, start: int, stop: int) -> np.ndarray:
    """Values of a stretch of the last dim, with the array's fill value after their end."""
    part = values[..., start:stop]
    n_lacking = stop - start - part.shape[-1]
    if not n_lacking:
        return part
    fill = np.full((*part.shape[:-1], n_lacking), array.fill_value, array.dtype)
    return np.concatenate([part.astype(array.dtype), fill], axis=-1)


def _put(array: Any, dims: Sequence[str], places: Places, values: np.ndarray, last: slice) -> None:
    """Write values (part, ...) into the box around their places, read where it holds more."""
    varying = [dim for dim in dims if np.ndim(places.get(dim, 0))]
    if len(varying) > 1:
        n_places = [int(np.ptp(places[dim])) + 1 for dim in varying]
        n_items = int(np.prod([*n_places, *values.shape[1:]]))
        if n_items > _MAX_BOX_ITEMS:
            for place in np.unique(places[varying[0]]).tolist():
                of_place = places[varying[0]] == place
                some = {d: p[of_place] if np.ndim(p) else p for d, p in places.items()}
                _put(array, dims, {**some, varying[0]: place}, values[of_place], last)
            return
    region: list[Any] = []
    inside = []
    own = iter(values.shape[1:])
    for dim in dims:
        place = places.get(dim)
        if place is None:
            n_values = next(own)
            region.append(last if len(region) == len(dims) - 1 else slice(0, n_values))
        elif np.ndim(place):
            first, stop = int(place.min()), int(place.max()) + 1
            region.append(slice(first, stop))
            inside.append(place - first)
        else:
            region.append(int(place))
    at = tuple(region)
    if not inside:
        array[at] = values[0].astype(array.dtype)
        return
    shape = tuple(int(np.ptp(places[dim])) + 1 for dim in varying) + values.shape[1:]
    is_whole = len(values) == np.prod(shape[: len(varying)])
    box = np.empty(shape, array.dtype) if is_whole else np.array(array[at])
    box[tuple(inside)] = values.astype(array.dtype)
    array[at] = box


def as_stored(column: str, values: Sequence[Any]) -> np.ndarray:
    """Values of a coordinate as its array keeps them."""
    if column == "time":
        seconds = np.array(values, "datetime64[s]").astype("int64")
        is_kept = (seconds > -_MOST_SECONDS) & (seconds < _MOST_SECONDS)
        return np.where(is_kept, seconds, COORDINATES["time"].fill)
    return np.array(values, TEXT) if isinstance(values[0], str) else np.array(values)
