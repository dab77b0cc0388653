"""A store whose channels can be mapped: feature images, and made-up responses to images."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from made_up_responses import GROUP, LABELS, write_responses
from recorded_stores import write_store

import dvis

STILL = 2  # place of the unit that does not change: channel 2 of the first layer
CLASSES = ("cat", "dog", "cat", "dog")  # of the images


def write_mapped(path: Path) -> Path:
    """Random responses at three checkpoints to images of two classes; one unit stays as it is."""
    write_store(path, LABELS, ["layer1", "layer2"], n_channels=5, model="resnet18")
    write_responses(path, "image")
    group = zarr.open_group(path, path=GROUP, mode="a", use_consolidated=False)
    response: Any = group["response"]
    values = np.random.default_rng(0).normal(size=response.shape).astype(np.float32)
    values[:, 0, STILL] = values[0, 0, STILL]
    response[:] = np.where(np.isfinite(response[:]), values, np.nan)
    classes: Any = group["image_class"]
    classes[:] = np.array(CLASSES, object)
    dvis.note(path, "Bird heads", layer="layer2", channel=4)
    return path
