"""Numbers that a training recorded with each checkpoint: loss, accuracy, learning rate.

    {run}/training/    checkpoint (checkpoint); train_loss, val_accuracy, ... (checkpoint)

They come out of the checkpoints' files with the first sweep over them, and `dvis.open` joins them
to everything that has the same checkpoints. A training calls its numbers as it likes: what an array
is called tells nothing, its attribute `metric` does.
"""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import zarr

from dvis.schema import CHECKPOINT, FORGOTTEN, TEXT, TRAINING, label_segment, run_group
from dvis.store.checksums import create_array
from dvis.store.guarded import GuardedStore
from dvis.store.making import see_that_no_other_run_is_at
from dvis.store.writer import restructuring

_CHUNK = (4096,)
_METRIC = "metric"  # attribute of an array: what the training called its numbers
_MOST_BYTES = 200


def write_metrics(store: Path, run: str, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Keep the numbers of some checkpoints of a run, beside those that are there.

    Parameters
    ----------
    store : Path
        The store; the caller holds the lock of one of the run's groups.
    run : str
        The run.
    metrics : mapping of str to mapping of str to float
        Numbers by checkpoint and name.
    """
    if not any(metrics.values()):
        return
    with restructuring(store):
        files = GuardedStore(store)
        path = f"{run_group(run)}/{TRAINING}"
        see_that_no_other_run_is_at(store, path, run)
        group = zarr.open_group(files, path=path, mode="a")
        zarr.open_group(files, path=run_group(run), mode="a").update_attributes({"run": run})
        group.update_attributes({"dvis_kind": TRAINING, "run": run})
        known = read_metrics(group)
        for label, numbers in metrics.items():
            known[label] = {**known.get(label, {}), **numbers}
        _write(group, known)


def read_metrics(group: zarr.Group) -> dict[str, dict[str, float]]:
    """Numbers by checkpoint and name."""
    if CHECKPOINT not in group:
        return {}
    labels = np.asarray(group[CHECKPOINT][:]).tolist()  # type: ignore[index]
    columns = {
        metric_name(name, array.attrs): np.asarray(array[:])
        for name, array in group.arrays()
        if name != CHECKPOINT
    }
    return {
        label: {
            name: float(values[row])
            for name, values in columns.items()
            if row < len(values) and not np.isnan(values[row])
        }
        for row, label in enumerate(labels)
        if label  # a row without a label was cut off
    }


def metric_name(array: str, attrs: Mapping[str, Any]) -> str:
    """What a training called the numbers of an array; its name is that in earlier stores."""
    return str(attrs.get(_METRIC, array))


def _array_name(metric: str) -> str:
    """A name that any metric's array can have.

    Examples
    --------
    >>> _array_name("val_loss"), _array_name("train/loss"), _array_name("checkpoint")
    ('val_loss', 'train%2Floss', '%63heckpoint')
    """
    name = label_segment(metric).replace("/", "%2F") or "%"
    name = name if name != CHECKPOINT else f"%{ord(name[0]):X}{name[1:]}"
    if len(name.encode()) <= _MOST_BYTES:
        return name
    # The beginning is for people who look; what follows tells it from others that begin alike.
    return (
        f"{quote(name)[: _MOST_BYTES // 2]}%{blake2b(metric.encode(), digest_size=8).hexdigest()}"
    )


def forget_metrics(store: Path, group: str, label: str) -> None:
    """Take the numbers of a checkpoint back; the caller is `restructuring`.

    Parameters
    ----------
    store : Path
        The store.
    group : str
        Path of the group with the numbers of the checkpoint's run.
    label : str
        The checkpoint, which need not be there.
    """
    files = GuardedStore(store)
    opened: Any = zarr.open_group(files, path=group, mode="r+", use_consolidated=False)
    labels = np.asarray(opened[CHECKPOINT][:]).tolist()
    if label not in labels:
        return
    row = labels.index(label)
    for name, array in opened.arrays():
        if name != CHECKPOINT:
            array[row] = np.nan
    opened[CHECKPOINT][row] = f"{FORGOTTEN}{row}"


def _write(group: zarr.Group, metrics: Mapping[str, Mapping[str, float]]) -> None:
    there = {
        metric_name(name, array.attrs): name for name, array in group.arrays() if name != CHECKPOINT
    }
    for metric in sorted({name for numbers in metrics.values() for name in numbers}):
        values = np.array([numbers.get(metric, np.nan) for numbers in metrics.values()])
        attrs = {_METRIC: metric, "long_name": metric.replace("_", " "), "units": "1"}
        _write_column(group, there.get(metric, _array_name(metric)), values, np.nan, attrs)
    # Labels come last: a row without one does not count.
    labels = np.array(list(metrics), TEXT)
    _write_column(group, CHECKPOINT, labels, "", {"long_name": "checkpoint"})


def _write_column(
    group: zarr.Group, name: str, values: np.ndarray, fill: Any, attrs: Mapping[str, Any]
) -> None:
    if name not in group:
        create_array(
            group,
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=_CHUNK,
            fill_value=fill,
            dimension_names=(CHECKPOINT,),
            attributes=dict(attrs),
        )
    stored: Any = group[name]
    array = stored.with_config({"write_empty_chunks": True})
    if array.shape != values.shape:
        array.resize(values.shape)
    array[:] = values
