"""How often units of a group were replaced, by which a reader notices that some were while it read.

A Zarr group in, a number out. Whoever replaces a unit that readers may have seen first marks it
absent, then moves the counter, then writes its data, and its status last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store

from dvis.schema import SOURCE
from dvis.store.checksums import create_array

REPLACED = f"{SOURCE}/replaced"


@contextmanager
def retracting(group: zarr.Group) -> Iterator[None]:
    """Units that readers may have seen become absent inside; the counter moves before any data do.

    The counter is odd inside. A process that is killed there leaves units absent, which the next
    writer fills without retracting them: it learns by the odd counter that it must move it.

    Parameters
    ----------
    group : Group
        The group, which nobody else writes.
    """
    counter = _counter(group)
    during = _value(counter) | 1
    counter[...] = during
    try:
        yield
    finally:
        counter[...] = during + 1


def settle_replaced(group: zarr.Group) -> None:
    """Move the counter on where a writer was killed while it retracted units.

    Whoever opens a group to write it does so first.
    """
    if REPLACED in group and _value(_counter(group)) % 2:
        with retracting(group):
            pass


def replacements(store: str | Path | Store, group: str) -> int:
    """The counter of a group as the store itself has it now, 0 where nothing was ever replaced."""
    try:
        # Never by the metadata at the root, which may be older than the counter.
        counter = zarr.open_array(store, path=f"{group}/{REPLACED}", mode="r", zarr_format=3)
    except FileNotFoundError:
        return 0
    return _value(counter)


def _counter(group: zarr.Group) -> Any:
    if REPLACED not in group:
        create_array(
            group,
            REPLACED,
            shape=(),
            dtype="int64",
            fill_value=0,
            attributes={"long_name": "how often units were replaced; odd while some are retracted"},
        )
    return group[REPLACED]


def _value(counter: Any) -> int:
    return int(np.asarray(counter[...]).item())
