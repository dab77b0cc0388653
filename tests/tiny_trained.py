"""Networks that have learnt something, in seconds: digits of scikit-learn, grey and coloured."""

import functools

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

GREY, COLOURED = 1, 3
MEAN, STD = 0.3, 0.32
CONVOLUTIONS, LOGITS = ("conv1", "conv2", "conv3"), "fc"


@functools.cache
def trained(n_colours: int, size: int, seed: int = 0) -> nn.Module:
    """Three convolutions and a classifier of digits, of which a third of the images are told."""
    network, images, labels = _network(n_colours, seed), *digits(n_colours, size)
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.AdamW(network.parameters(), 5e-3)
    for _ in range(10):
        for batch in torch.randperm(len(images), generator=generator).split(32):
            adam.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            adam.step()
    with torch.no_grad():
        right = network(images).argmax(1) == labels
    assert right.float().mean() > 0.85
    return network.eval()


def digits(n_colours: int, size: int) -> tuple[Tensor, Tensor]:
    """Model inputs (image, channel, y, x) and labels; in colours, a digit's colour is at random."""
    loaded = load_digits()
    levels = torch.tensor(loaded.images[::3], dtype=torch.float32)[:, None] / 16
    images = F.interpolate(levels, size=(size, size), mode="bilinear")
    if n_colours == COLOURED:
        noise = torch.Generator().manual_seed(0)
        images = images * (0.4 + 0.6 * torch.rand(len(images), 3, 1, 1, generator=noise))
    return (images - MEAN) / STD, torch.tensor(loaded.target[::3])


def _network(n_colours: int, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, n_before = nn.Sequential(), n_colours
        for name, n_channels in zip(CONVOLUTIONS, (8, 16, 24), strict=True):
            network.add_module(name, nn.Conv2d(n_before, n_channels, 3, padding=1))
            network.add_module(f"relu_of_{name}", nn.ReLU())
            if name != CONVOLUTIONS[-1]:
                network.add_module(f"pool_of_{name}", nn.MaxPool2d(2))
            n_before = n_channels
        network.add_module("mean", nn.AdaptiveAvgPool2d(2))
        network.add_module("flat", nn.Flatten())
        network.add_module(LOGITS, nn.Linear(4 * n_before, 10))
        return network
