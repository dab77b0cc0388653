"""What the tests of `map_units` map: a small Dataset, a store in three forms, a function."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import dvis
from dvis.schema import Status

UNITS = ("checkpoint", "layer", "channel")
LABELS = ["first", "second", "third", "last"]
SIZE = 6

Open = Callable[[Path], xr.Dataset]


def made_up(n_layers: int = 2, n_channels: int = 5) -> xr.Dataset:
    """Four checkpoints of random images in memory; some units are not complete."""
    generator = np.random.default_rng(1)
    shape = (len(LABELS), n_layers, n_channels)
    status = np.full(shape, Status.COMPLETE, np.uint8)
    status[:, 1:, 3:] = Status.ABSENT
    status[1, 0, 2], status[3, 0, 2] = Status.FAILED, Status.INCOMPLETE
    image = generator.integers(0, 256, (*shape, SIZE, SIZE, 3), dtype=np.uint8)
    activation = generator.random(shape, np.float32)
    return xr.Dataset(
        {
            "image": ((*UNITS, "y", "x", "rgb"), image),
            "activation": (UNITS, activation),
            "status": (UNITS, status),
        },
        {
            "checkpoint": LABELS,
            "layer": [f"layer{i + 1}" for i in range(n_layers)],
            "channel": np.arange(n_channels),
            "step": ("checkpoint", [0, 10, 100, 1000]),
        },
        {"model": "made-up"},
    )


def opened(store: Path) -> xr.Dataset:
    return dvis.open(store)


def on_dask(store: Path) -> xr.Dataset:
    return dvis.open(store, chunks={})


def in_memory(store: Path) -> xr.Dataset:
    return dvis.open(store).load()


def brightness(unit: xr.Dataset) -> dict[str, Any]:
    """Of each image, of the colours of the last one, and how many images there are."""
    return {
        "brightness": unit.image.mean(["y", "x", "rgb"]),
        "colour": unit.image.isel(checkpoint=-1).mean(["y", "x"]),
        "count": unit.sizes["checkpoint"],
    }
