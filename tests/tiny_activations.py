"""Activations of a tiny network: its checkpoints, and what is asked to be kept of them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from tiny_models import seeded_net, write_checkpoints
from torch import nn

import dvis
from dvis.kinds.activations import words
from dvis.kinds.activations.options import ActivationOptions
from dvis.models.data import load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.models.data.transform import InputTransform

MODEL = "tiny_models:net"
LAYERS = ("conv1", "conv2", "fc")
N_IMAGES = 23
TRANSFORM = InputTransform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
# Of conv1 eight samples: 23 are three blocks, the last of which is not full.
BLOCK_BYTES = 8 * 16 * 16 * 8 * 2


def options_of(folder: Path, n_checkpoints: int = 2, **changes: Any) -> ActivationOptions:
    """Activations of shapes, of a made-up run of its own."""
    if not (folder / "run").exists():
        write_checkpoints(folder / "run", n_checkpoints)
    given = {
        "model": MODEL,
        "checkpoint_path": (folder / "run",),
        "layers": LAYERS,
        "dataset": "shapes",
        "n_images": N_IMAGES,
        "store": folder / "net.zarr",
        "workers": 0,
        "batch_size": 3,
    }
    return ActivationOptions(**{**given, **changes})


def small_blocks(monkeypatch: Any, n_bytes: int = BLOCK_BYTES) -> None:
    """Blocks of few samples, so that a small set has several."""
    monkeypatch.setattr(words, "CHUNK_BYTES", n_bytes)


def store_of(options: ActivationOptions) -> Path:
    assert options.store is not None
    return options.store


def loaded(options: ActivationOptions, layer: str, **how: Any) -> xr.Dataset:
    return dvis.activations(store_of(options), layer, **how).load()


def fixed_images(n_images: int = N_IMAGES) -> FixedImages:
    images = load_images("shapes", split="val", size=16, n_samples=n_images)
    return FixedImages.of(images, TRANSFORM)


def plain_outputs(model: nn.Module, layer: str, images: FixedImages) -> torch.Tensor:
    """What a layer gives in a plain pass with a hook of our own; copied, for ReLUs are in place."""
    outputs: list[torch.Tensor] = []
    hook = dict(model.named_modules())[layer].register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output.clone())
    )
    with torch.no_grad():
        model(images.batch(0, len(images), torch.zeros(1)))
    hook.remove()
    return outputs[-1]


def value_files(store: Path) -> dict[str, bytes]:
    """Every chunk of values, by its path in the store."""
    files = [path for path in store.rglob("values/c/**/*") if path.is_file()]
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def first_net() -> nn.Module:
    """The network of the first checkpoint."""
    return seeded_net(0)


def as_rows(output: torch.Tensor) -> np.ndarray:
    """(batch, channel, row, column) as (batch, token, channel)."""
    return output.flatten(2).transpose(1, 2).numpy()
