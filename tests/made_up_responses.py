"""Groups of made-up responses, written as `dvis respond` writes them, without a model."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import xarray as xr

from dvis.kinds.responses.read import Kind, array_specs, response_group
from dvis.kinds.responses.record import recording_responses
from dvis.kinds.responses.words import IMAGE_CHECKPOINT, ResponseSettings
from dvis.names import parse_checkpoint

RUN, NAME = "checkpoints", "mine"
GROUP = response_group(RUN, NAME)
LABELS = tuple(f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(3))
WIDTHS = {"layer1": 3, "layer2": 5}
N_IMAGES, N_CLASSES = 4, 3
UNITS = [(layer, channel) for layer, width in WIDTHS.items() for channel in range(width)]


def write_responses(store: Path, kind: Kind, labels: tuple[str, ...] = LABELS) -> None:
    """Measure what a store lacks; of classes, the last has no image."""
    settings = ResponseSettings(
        kind=kind,
        labels={
            "image": tuple(f"{i}.png" for i in range(N_IMAGES)),
            "class": tuple(f"class {i}" for i in range(N_CLASSES)),
            IMAGE_CHECKPOINT: labels,
        }[kind],
        images={"name": "made up", "checkpoint": "all"},
        aggregation="mean",
    )
    hashes = {(label, layer): np.full(5, 7, np.uint64) for label in labels for layer in WIDTHS}
    with recording_responses(store, "resnet18", RUN, NAME, settings) as recorder:
        recorder.prepare(
            [parse_checkpoint(label) for label in labels],
            {label: 10 * i for i, label in enumerate(labels)},
            WIDTHS,
            {label: i + 1 for i, label in enumerate(labels)},
            hashes if kind == IMAGE_CHECKPOINT else None,
        )
        for row, label in enumerate(labels):
            for task, result in _tasks(kind, labels, row):
                if recorder.missing(label, task):
                    recorder.record(label, task, result)


def _tasks(
    kind: Kind, labels: tuple[str, ...], row: int
) -> list[tuple[SimpleNamespace, xr.Dataset]]:
    """Tasks of a checkpoint, and what comes of them."""
    if kind != IMAGE_CHECKPOINT:
        places = {layer: np.arange(width) for layer, width in WIDTHS.items()}
        task = SimpleNamespace(places=places, parts=tuple(range(len(UNITS))))
        n_values = N_IMAGES if kind == "image" else N_CLASSES
        values = row + np.arange(len(UNITS))[:, None] + np.arange(n_values) / 10
        if kind == "class":
            values[:, -1] = np.nan
        return [(task, _result(UNITS, values, (kind,)))]
    tasks = []
    for layer, width in WIDTHS.items():
        wanted = [(label, channel) for label in labels for channel in range(width)]
        task = SimpleNamespace(layer=layer, wanted=wanted, parts=tuple(range(len(wanted))))
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


def complete_unit(kind: Kind) -> tuple[int, ...]:
    """Place in `status` of a unit: the second checkpoint, the second layer, channel 4."""
    n_dims = len(array_specs(kind)["status"].dims)
    return (1, 1, 4) if n_dims == 3 else (1, 2, 1, 4)
