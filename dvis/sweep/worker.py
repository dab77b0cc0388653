"""What a worker does and keeps: one task on one model, and what its tasks have in common.

A measurement may be large, for it holds images, spectra or a caller's tensors, and so may a model
that a caller gives. So they do not travel with every task: a worker that lacks them says so, is
sent them once with the task, and keeps them.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from dvis.models.architectures import load_model
from dvis.models.checkpoints import CheckpointFile
from dvis.models.model_reference import Model

_MODELS_KEPT = 2  # tasks of two checkpoints can alternate where one ends
_WORKS_KEPT = 2
_works: "OrderedDict[str, Work]" = OrderedDict()


@dataclass(frozen=True)
class Work:
    """What all tasks of a sweep have in common."""

    measurement: Any
    model: Model


@dataclass(frozen=True)
class Order:
    """One task, as it travels to a worker: small."""

    work: str  # its key
    checkpoint: CheckpointFile
    device: str
    task: Any
    start: np.ndarray | None


@dataclass(frozen=True)
class Lacking:
    """What a worker answers that has not been sent the work."""

    work: str


def keep(key: str, work: Work) -> None:
    """Keep a work in this process, under a key."""
    _works[key] = work
    _works.move_to_end(key)
    while len(_works) > _WORKS_KEPT:
        _works.popitem(last=False)


def carry_out_order(order: Order, work: Work | None = None) -> xr.Dataset | Lacking:
    """The result of a task; or that the work is lacking, where it is not sent along."""
    if work is not None:
        keep(order.work, work)
    if order.work not in _works:
        return Lacking(order.work)
    of_task = _works[order.work]
    path = order.checkpoint.path
    stamp = None if path is None else path.stat().st_mtime_ns
    model = _loaded(of_task.model, order.checkpoint, stamp, order.device)
    result: xr.Dataset = of_task.measurement.measure(model, order.task, order.start)
    return result


def forget() -> None:
    """Let go of the models and measurements that this process keeps."""
    _loaded.cache_clear()
    for work in _works.values():
        let_go = getattr(work.measurement, "forget", None)
        if let_go is not None:
            let_go()
    _works.clear()


@lru_cache(maxsize=_MODELS_KEPT)
def _loaded(model: Model, checkpoint: CheckpointFile, _stamp: int | None, device: str) -> Any:
    return load_model(model, checkpoint, device)
