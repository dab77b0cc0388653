"""Which activation images reach once they are stored: 8 bits a value, in the untouched model.

A checkpoint and ways of making images in; rows of a table out.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from results import Row
from torch import Tensor, nn

from dvis.models.architectures import load_model
from dvis.models.checkpoints import read_facts
from dvis.models.hooks import trace_layers
from peers.task import IMAGENET_MEAN, IMAGENET_STD, Rendered, Task, last_output

USUAL_INPUT = {"size": 224, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
N_LEVELS = 256


def compare_stored(
    model: str,
    checkpoint: Path,
    sides: Mapping[str, Callable[[Task], Rendered]],
    *,
    layers: Sequence[str],
    n_units: int,
    steps: int,
    size: int | None = None,
) -> list[Row]:
    """Rows of each layer, and of all, that hold the first side against each of the others.

    The verdict is that of the median unit: at least half of the units are at least as high.
    """
    network = load_model(model, checkpoint)
    given = {**USUAL_INPUT, **read_facts(checkpoint).get("input", {})}
    reached: dict[str, dict[str, np.ndarray]] = {}
    for layer in layers:
        task = Task(
            model=network,
            layer=layer,
            channels=_spread_channels(network, layer, n_units, given["size"]),
            size=size or given["size"],
            steps=steps,
            batch_size=n_units,
            mean=tuple(given["mean"]),
            std=tuple(given["std"]),
        )
        reached[layer] = {
            side: activations(task, as_stored(render(task).images))
            for side, render in sides.items()
        }
    ours, *others = sides
    everywhere = {
        side: np.concatenate([reached[layer][side] for layer in layers]) for side in sides
    }
    return [
        _row(f"{name}, {other}", values[ours], values[other])
        for name, values in {**reached, "all layers": everywhere}.items()
        for other in others
    ]


def as_stored(images: Tensor) -> Tensor:
    """Images (image, rgb, y, x) after 8 bits a value, stretched from the least to the greatest."""
    low, high = (bound(images, dim=(1, 2, 3), keepdim=True) for bound in (torch.amin, torch.amax))
    step = ((high - low) / (N_LEVELS - 1)).clamp(min=torch.finfo(images.dtype).tiny)
    return low + ((images - low) / step).round() * step


def activations(task: Task, images: Tensor) -> np.ndarray:
    """Mean of each channel, (channel,), for its own image."""
    values = []
    with torch.no_grad(), last_output(task.model, task.layer) as outputs:
        for channel, image in zip(task.channels, images, strict=True):
            task.model(image[None])
            values.append(outputs[0][0, channel].mean().item())
    return np.array(values)


def _spread_channels(model: nn.Module, layer: str, n_units: int, size: int) -> tuple[int, ...]:
    n_channels = trace_layers(model, torch.zeros(1, 3, size, size))[layer].n_channels
    return tuple(np.linspace(0, n_channels - 1, min(n_units, n_channels)).astype(int).tolist())


def _row(name: str, ours: np.ndarray, peer: np.ndarray) -> Row:
    share = float(np.mean(ours >= peer))
    return Row(
        name=name,
        ours=f"{np.median(ours):.3g}",
        peer=f"{np.median(peer):.3g}",
        ratio=f"{share:.0%}",
        target=">= 50%",
        is_met=share >= 0.5,
    )
