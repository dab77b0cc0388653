"""Do the numbers of a training, as a store keeps them, read, and are all of their files there.

A store on a local disk in, faults of its runs' metrics out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zarr

from dvis.disk import inside
from dvis.store.contents import Contents
from dvis.store.faults import Fault
from dvis.store.growth import UNREADABLE
from dvis.store.metrics import metric_name
from dvis.store.promised import promised_by

_MENDED = "Put a copy of the file in its place; a sweep over the checkpoints reads them again"


def metric_faults(store: Path, found: Contents) -> Iterator[Fault]:
    """Faults of the metrics of every run."""
    for run, path in found.training.items():
        place = f"{run}, metrics"
        try:
            group = zarr.open_group(store, path=path, mode="r", use_consolidated=False)
            arrays: dict[str, Any] = dict(group.arrays())
        except UNREADABLE as err:
            yield Fault(place, f"cannot be opened: {err}. {_MENDED}")
            continue
        promised = promised_by({name: each.metadata for name, each in arrays.items()}, {})
        for name, array in arrays.items():
            called = metric_name(name, array.attrs)
            try:
                array[:]
            except UNREADABLE as err:
                yield Fault(place, f"its {called} is damaged: {err}. {_MENDED}")
            folder = inside(store, path, name)
            files = promised.get(name)
            keys = [] if files is None else [files.key(index) for index in files.indices()]
            if not all((folder / key).is_file() for key in keys):
                yield Fault(place, f"a file of its {called} is missing. {_MENDED}")
