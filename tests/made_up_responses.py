"""Groups of made-up responses, written as `dvis respond` writes them, without a model."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import xarray as xr

from dvis.kinds.responses.plan import planned
from dvis.kinds.responses.words import IMAGE_CHECKPOINT, KIND, Of, ResponseSettings, response_words
from dvis.names import parse_checkpoint
from dvis.schema import group_path
from dvis.store.writer import writing
from dvis.sweep.place import Place
from dvis.sweep.record import GroupRecorder

RUN, NAME = "checkpoints", "mine"
GROUP = group_path(RUN, KIND, NAME)
LABELS = tuple(f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(3))
WIDTHS = {"layer1": 3, "layer2": 5}
N_IMAGES, N_CLASSES = 4, 3
UNITS = [(layer, channel) for layer, width in WIDTHS.items() for channel in range(width)]


def write_responses(store: Path, kind: Of, labels: tuple[str, ...] = LABELS) -> None:
    """Measure what a store lacks; of classes, the last has no image."""
    settings = ResponseSettings(
        of=kind,
        labels={
            "image": tuple(f"{i}.png" for i in range(N_IMAGES)),
            "class": tuple(f"class {i}" for i in range(N_CLASSES)),
            IMAGE_CHECKPOINT: labels,
        }[kind],
        images={"name": "made up", "run": RUN, "checkpoint": "all"},
        aggregation="mean",
    )
    hashes = {(label, layer): np.full(5, 7, np.uint64) for label in labels for layer in WIDTHS}
    plan = planned(
        SimpleNamespace(model="resnet18", overwrite=False),
        NAME,
        settings,
        SimpleNamespace(),  # nothing is measured
        [],
        {"n_channels": WIDTHS},
        images=hashes if kind == IMAGE_CHECKPOINT else None,
    )
    run = SimpleNamespace(
        checkpoints=[SimpleNamespace(name=parse_checkpoint(label)) for label in labels],
        steps={label: 10 * i for i, label in enumerate(labels)},
        fingerprints={label: i + 1 for i, label in enumerate(labels)},
    )
    with writing(store, "resnet18", RUN, KIND) as path:
        recorder = GroupRecorder.open(plan, path, run, Place(run=RUN))
        for row, label in enumerate(labels):
            for task, result in _tasks(kind, labels, row):
                if recorder.missing(label, task):
                    recorder.record(label, task, result)


def _tasks(kind: Of, labels: tuple[str, ...], row: int) -> list[tuple[SimpleNamespace, xr.Dataset]]:
    """Tasks of a checkpoint, and what comes of them."""
    if kind != IMAGE_CHECKPOINT:
        layers, channels = zip(*UNITS, strict=True)
        labels_of_units = {"layer": list(layers), "channel": list(channels)}
        task = SimpleNamespace(
            labels=labels_of_units, mark="status", parts=tuple(range(len(UNITS)))
        )
        n_values = N_IMAGES if kind == "image" else N_CLASSES
        values = row + np.arange(len(UNITS))[:, None] + np.arange(n_values) / 10
        if kind == "class":
            values[:, -1] = np.nan
        return [(task, _result(UNITS, values, (kind,)))]
    tasks = []
    for layer, width in WIDTHS.items():
        wanted = [(label, channel) for label in labels for channel in range(width)]
        of_units = {
            IMAGE_CHECKPOINT: [label for label, _ in wanted],
            "layer": layer,
            "channel": [channel for _, channel in wanted],
        }
        task = SimpleNamespace(labels=of_units, mark="status", parts=tuple(range(len(wanted))))
        of_layer = [(layer, channel) for _, channel in wanted]
        result = _result(of_layer, row + np.arange(len(wanted)) / 10, ())
        of_images = ("unit", np.array([label for label, _ in wanted], object))
        tasks.append((task, result.assign_coords({IMAGE_CHECKPOINT: of_images})))
    return tasks


def _result(units: list[tuple[str, int]], values: np.ndarray, dims: tuple[str, ...]) -> xr.Dataset:
    layers, channels = zip(*units, strict=True)
    return xr.Dataset(
        {
            "response": (("unit", *dims), values.astype(np.float32)),
            "error": ("unit", np.full(len(units), "", object)),
        },
        {"layer": ("unit", np.array(layers, object)), "channel": ("unit", np.array(channels))},
    )


def complete_unit(kind: Of) -> tuple[int, ...]:
    """Place in `status` of a unit: the second checkpoint, the second layer, channel 4."""
    n_dims = len(response_words(kind).arrays["status"].dims)
    return (1, 1, 4) if n_dims == 3 else (1, 2, 1, 4)
