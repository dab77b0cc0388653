"""What every way of making feature images is asked for, and what it hands back.

Also what they share: a clock, seeds for libraries that draw from global generators, a hook.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Feature images of some channels of a layer.

    Parameters
    ----------
    model : Module
        In eval mode. Nobody changes it: see `own_model`.
    layer : str
        Dotted name of a module.
    channels : tuple of int
        One image is made for each.
    size : int
        Height and width of the images in pixels.
    steps : int
        Steps of the optimisation of each image; nobody stops early.
    seed : int
        Of the start and of all random transforms.
    batch_size : int
        Images that are optimised at once, where a peer can.
    mean, std : tuple of float
        What turns an image from 0..1 into the model's input.
    """

    model: nn.Module
    layer: str
    channels: tuple[int, ...]
    size: int
    steps: int
    seed: int = 0
    batch_size: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @property
    def device(self) -> torch.device:
        """Where the model's weights lie."""
        return next(self.model.parameters()).device

    @property
    def batches(self) -> list[tuple[int, ...]]:
        """The channels, in the groups in which they are optimised."""
        starts = range(0, len(self.channels), self.batch_size)
        return [self.channels[start : start + self.batch_size] for start in starts]

    def own_model(self) -> nn.Module:
        """A copy of the model, for a peer that leaves hooks or gradients behind."""
        return deepcopy(self.model)

    def normalise(self, images: Tensor) -> Tensor:
        """Model input of images, (image, rgb, y, x), 0..1."""
        mean, std = (
            torch.tensor(values, device=images.device).view(-1, 1, 1)
            for values in (self.mean, self.std)
        )
        return (images - mean) / std


class Rendered(NamedTuple):
    """What a peer made of a task, and what that took.

    `images` is (channel, rgb, y, x), float32, as the model is to be fed with them. `seconds` are
    those of `read_clock`, without the time in which a model was copied.
    """

    images: Tensor
    seconds: float


def read_clock(device: torch.device) -> float:
    """Seconds of this process on its processors; by the wall, and all work done, on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global generators that are seeded within, and as they were before afterwards."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - torch-dreams,
    with torch.random.fork_rng():  # lucent and Horama draw from one each, and take no other
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)  # noqa: NPY002


@contextmanager
def last_output(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """A list whose one item is what the layer put out last."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[:] = [output]

    hook = model.get_submodule(layer).register_forward_hook(keep)
    try:
        yield outputs
    finally:
        hook.remove()
