"""Numbers that a training recorded with each checkpoint: loss, accuracy, learning rate.

    {run}/training/    checkpoint (checkpoint); train_loss, val_accuracy, ... (checkpoint)

They come out of the checkpoints' files with the first sweep over them, and `dvis.open` joins them
to everything that has the same checkpoints.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.schema import CHECKPOINT, FORGOTTEN, TEXT, TRAINING, run_group
from dvis.store.guarded import GuardedStore
from dvis.store.writer import restructuring

_CHUNK = (4096,)


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
        group = zarr.open_group(files, path=f"{run_group(run)}/{TRAINING}", mode="a")
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
    columns = {name: np.asarray(array[:]) for name, array in group.arrays() if name != CHECKPOINT}
    return {
        label: {
            name: float(values[row])
            for name, values in columns.items()
            if row < len(values) and not np.isnan(values[row])
        }
        for row, label in enumerate(labels)
        if label  # a row without a label was cut off
    }


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
    names = sorted({name for numbers in metrics.values() for name in numbers})
    columns: dict[str, tuple[np.ndarray, Any, dict[str, Any]]] = {
        name: (
            np.array([numbers.get(name, np.nan) for numbers in metrics.values()]),
            np.nan,
            {"long_name": name.replace("_", " "), "units": "1"},
        )
        for name in names
    }
    # Labels come last: a row without one does not count.
    columns[CHECKPOINT] = np.array(list(metrics), TEXT), "", {"long_name": "checkpoint"}
    for name, (values, fill, attrs) in columns.items():
        if name not in group:
            group.create_array(
                name,
                shape=values.shape,
                dtype=TEXT if name == CHECKPOINT else "float64",
                chunks=_CHUNK,
                fill_value=fill,
                dimension_names=(CHECKPOINT,),
                attributes=attrs,
            )
        array: Any = group[name]
        if array.shape != values.shape:
            array.resize(values.shape)
        array[:] = values
