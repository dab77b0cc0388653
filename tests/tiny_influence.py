"""Influence of tiny networks: one measured at once, and checkpoints of which it is asked."""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from tiny_models import write_checkpoints
from torch import Tensor, nn

from dvis.kinds.edges.options import EdgesOptions
from dvis.kinds.influence.measure.influence import InfluenceMeasurement
from dvis.kinds.influence.measure.layers import nodes_of
from dvis.kinds.influence.measure.task import InfluenceTask
from dvis.kinds.influence.options import InfluenceOptions
from dvis.models.data.fixed_images import FixedImages, noise_images
from dvis.models.data.transform import InputTransform
from dvis.models.hooks import trace_layers
from dvis.models.recalibration import Recalibrated

TRANSFORM = InputTransform(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
ENDS = ("layer_from", "channel_from", "layer_to")
LAYERS = ("bn1", "conv2", "fc")


def noise(n_images: int = 12, size: int = 8) -> FixedImages:
    transform = replace(TRANSFORM, size=size)
    return FixedImages.of(noise_images(n_images, 0, transform), transform)


def measurement_of(images: FixedImages | None = None, **options: Any) -> InfluenceMeasurement:
    images = noise() if images is None else images
    given = {"recalibrated": Recalibrated(images, "running"), "batch_size": 12, **options}
    return InfluenceMeasurement(images=images, **given)


def influence_of(
    model: nn.Module,
    *layers: str,
    measurement: InfluenceMeasurement | None = None,
    by_target: bool = False,
    **options: Any,
) -> xr.Dataset:
    """Influence (layer_from, channel_from, layer_to, channel_to) of all of layers' channels."""
    measurement = measurement or measurement_of(
        method="attribution" if by_target else "ablation", **options
    )
    outputs = trace_layers(model, measurement.images.batch(0, 1, next(model.parameters())))
    widths = {name: node.n_units for name, node in nodes_of(outputs, layers, {}).items()}
    names = list(widths)
    pairs = [
        (source, channel, target)
        for place, source in enumerate(names)
        for channel in range(widths[source])
        for target in names[place + 1 :]
    ]
    found = []
    end = 2 if by_target else 0
    for one in dict.fromkeys(pair[end] for pair in pairs):
        own = tuple(pair for pair in pairs if pair[end] == one)
        result = measurement.measure(model, InfluenceTask(own, tuple(range(len(own))), by_target))
        ends = dict(zip(ENDS, zip(*own, strict=True), strict=True))
        result = result.assign_coords({name: ("part", list(each)) for name, each in ends.items()})
        found.append(result.pad(channel_to=(0, max(widths.values()) - result.sizes["channel_to"])))
    together = xr.concat(found, "part").set_index(part=ENDS).unstack("part")
    order = {end: [name for name in names if name in together[end]] for end in ENDS[::2]}
    return together.sel(order).transpose(*ENDS, "channel_to")


def chain(*weights: Tensor, between: type[nn.Module] = nn.Identity) -> nn.Sequential:
    """1x1 convolutions a, b, ... of given weights (channel, input), in float64."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, weight in zip("abcdef", weights, strict=False):
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False).double()
        conv.weight.data = weight.double()[:, :, None, None]
        layers[name] = conv
        layers[f"{name}_out"] = between()
    return nn.Sequential(layers).eval()


def random_weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def options_of(folder: Path, n_checkpoints: int = 2, **changes: Any) -> InfluenceOptions:
    """Influence with 12 shapes, of a made-up run of its own."""
    if not (folder / "run").exists():
        write_checkpoints(folder / "run", n_checkpoints)
    given: dict[str, Any] = {
        "model": "tiny_models:net",
        "checkpoint_path": (folder / "run",),
        "layers": LAYERS,
        "dataset": "shapes",
        "n_images": 12,
        "batch_norm": "running",
        "store": folder / "net.zarr",
        "workers": 0,
    }
    return InfluenceOptions(**{**given, **changes})


def edges_options_of(folder: Path, n_checkpoints: int = 3, **changes: Any) -> EdgesOptions:
    """Shares of edges with 20 shapes, of a made-up run of its own."""
    if not (folder / "run").exists():
        write_checkpoints(folder / "run", n_checkpoints)
    given: dict[str, Any] = {
        "model": "tiny_models:net",
        "checkpoint_path": (folder / "run",),
        "dataset": "shapes",
        "n_images": 20,
        "store": folder / "net.zarr",
        "workers": 0,
    }
    return EdgesOptions(**{**given, **changes})
