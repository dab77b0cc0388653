"""A label taken back from a group, with all that was measured of it.

The parts become absent first, as whoever replaces them does it, then every array is emptied along
the label, and the label goes last. Who is killed on the way has left the label, and does it again.
Its row is never used anew: a reader that opened the store before would take one checkpoint for
another.
"""

from typing import Any

import numpy as np

from dvis.schema import FORGOTTEN
from dvis.store.group import ABSENT, Group


def forget_label(group: Group, dim: str, label: str) -> int:
    """Take a label back; return how many parts there were of the group's first mark.

    Parameters
    ----------
    group : Group
        The group, whose lock the caller holds.
    dim : str
        The dim along which the label lies.
    label : str
        The label.

    Raises
    ------
    OSError, ValueError
        When a file is damaged: nothing of others is rewritten.
    """
    place = group.rows[dim][label]
    n_parts = []
    for mark in group.words.marks:
        dims = group.words.arrays[mark.status].dims
        if dim in dims:
            at = tuple(place if each == dim else slice(None) for each in dims)
            others = np.nonzero(np.asarray(group.array(mark.status)[at]) != ABSENT)
            places: dict[str, Any] = {dim: place}
            places |= dict(zip((each for each in dims if each != dim), others, strict=True))
            n_parts.append(len(others[0]))
            if n_parts[-1]:
                group.retract(places, mark)
    for name, of_array in group.words.arrays.items():
        if dim in of_array.dims and name != dim:
            group.clear(name, dim, place)
    group.array(dim)[place] = f"{FORGOTTEN}{place}"
    group.read_labels()
    return n_parts[0]
