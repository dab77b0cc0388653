"""What a worker does and keeps: one task on one model, and what its tasks have in common.

A measurement may be large, for it holds images, spectra or a caller's tensors. So it does not
travel with every task: a worker that lacks it says so, is sent it once with the task, and keeps it.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from dvis.models.architectures import load_model
from dvis.models.checkpoints import CheckpointFile

_MODELS_KEPT = 2  # tasks of two checkpoints can alternate where one ends
_MEASUREMENTS_KEPT = 2
_measurements: "OrderedDict[str, Any]" = OrderedDict()


@dataclass(frozen=True)
class Order:
    """One task, as it travels to a worker: small."""

    measurement: str  # its key
    model: str
    checkpoint: CheckpointFile
    device: str
    task: Any
    start: np.ndarray | None


@dataclass(frozen=True)
class Lacking:
    """What a worker answers that has not been sent the measurement."""

    measurement: str


def keep(key: str, measurement: Any) -> None:
    """Keep a measurement in this process, under a key."""
    _measurements[key] = measurement
    _measurements.move_to_end(key)
    while len(_measurements) > _MEASUREMENTS_KEPT:
        _measurements.popitem(last=False)


def carry_out_order(order: Order, measurement: Any = None) -> xr.Dataset | Lacking:
    """The result of a task; or that the measurement is lacking, where it is not sent along."""
    if measurement is not None:
        keep(order.measurement, measurement)
    if order.measurement not in _measurements:
        return Lacking(order.measurement)
    path = order.checkpoint.path
    stamp = None if path is None else path.stat().st_mtime_ns
    model = _loaded(order.model, order.checkpoint, stamp, order.device)
    result: xr.Dataset = _measurements[order.measurement].measure(model, order.task, order.start)
    return result


def forget() -> None:
    """Let go of the models and measurements that this process keeps."""
    _loaded.cache_clear()
    for measurement in _measurements.values():
        let_go = getattr(measurement, "forget", None)
        if let_go is not None:
            let_go()
    _measurements.clear()


@lru_cache(maxsize=_MODELS_KEPT)
def _loaded(model: str, checkpoint: CheckpointFile, _stamp: int | None, device: str) -> Any:
    return load_model(model, checkpoint, device)
