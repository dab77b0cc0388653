"""Stores as a sweep writes them, of made-up images and without torch: any labels can be had."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.features.record import FeatureRecorder
from dvis.names import parse_checkpoint
from dvis.store.writer import writing


@dataclass(frozen=True)
class Task:
    """Channels of a layer, as a sweep hands them to the recorder."""

    layer: str
    channels: tuple[int, ...]
    objective: str = "average"


@contextmanager
def recording_features(store: Path, model: str, run: str, **how: Any) -> Iterator[FeatureRecorder]:
    """A recorder, as a sweep has one while it holds the run's feature images."""
    with writing(store, model, run, "features") as path:
        recorder = FeatureRecorder(path, run, **how)
        try:
            yield recorder
        finally:
            recorder.close()


def image_of(checkpoint: int, layer: int, channel: int, size: int) -> np.ndarray:
    """Pixels (y, x, rgb) that tell which unit they are of, and when: flat but for one corner."""
    image = np.empty((size, size, 3), np.uint8)
    image[:] = (40 + 9 * checkpoint, 30 + 50 * layer, 20 + 7 * channel % 236)
    image[: size // 4, : size // 4] = 255
    return image


def record(
    recorder: FeatureRecorder,
    label: str,
    place: tuple[int, int],
    task: Task,
    *,
    size: int,
    failed: Sequence[int] = (),
) -> None:
    """Put a layer's units at a checkpoint into a store; `place` are their numbers."""
    checkpoint, layer = place
    n_channels = len(task.channels)
    of_channels = ("image_number", "channel")
    numbers = {
        "activation": [[checkpoint + channel / 10 for channel in task.channels]],
        "value_min": np.zeros((1, n_channels)),
        "value_max": np.ones((1, n_channels)),
        "stop_step": np.full((1, n_channels), 7),
        "seed": np.full((1, n_channels), 3),
        "is_dead": np.zeros((1, n_channels), bool),
        "error": [["no gradient" if c in failed else "" for c in task.channels]],
    }
    images = [image_of(checkpoint, layer, channel, size) for channel in task.channels]
    result = xr.Dataset(
        {
            **{name: (of_channels, np.asarray(values)) for name, values in numbers.items()},
            "image": ((*of_channels, "y", "x", "rgb"), np.stack(images)[None]),
            "loss": ((*of_channels, "step_in_run"), np.zeros((1, n_channels, 2))),
        },
        {"image_number": [0], "channel": list(task.channels)},
    )
    recorder.record(label, task, result)


def write_store(
    store: Path,
    labels: Sequence[str],
    layers: Sequence[str],
    *,
    n_channels: int = 3,
    size: int = 24,
    run: str = "checkpoints",
    model: str = "net",
    skip: Sequence[tuple[int, int]] = (),
    failed: Sequence[tuple[int, int]] = (),
    first_step: int = 0,
    objective: str = "average",
    **noted: Any,
) -> Path:
    """A store of complete units, ten steps apart; `noted` are attributes of their group.

    `skip` and `failed` are (checkpoint, channel) of every layer.
    """
    parameters = {"input_mean": [0.0] * 3, "input_std": [1.0] * 3}
    with recording_features(
        store,
        model,
        run,
        image_size=size,
        number_of_images=1,
        parameters=parameters,
        noted=noted,
    ) as recorder:
        names = [parse_checkpoint(label) for label in labels]
        steps = {label: first_step + 10 * place for place, label in enumerate(labels)}
        tasks = [Task(layer, tuple(range(n_channels)), objective) for layer in layers]
        recorder.prepare(names, steps, {"n_channels": dict.fromkeys(layers, n_channels)}, tasks, {})
        for i, label in enumerate(labels):
            for j, layer in enumerate(layers):
                channels = tuple(c for c in range(n_channels) if (i, c) not in skip)
                bad = [c for c in channels if (i, c) in failed]
                task = Task(layer, channels, objective)
                record(recorder, label, (i, j), task, size=size, failed=bad)
    return store
