"""What a model's own last layer takes of images: its sense of what is alike."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvis.models.copying import frozen_copy
from dvis.models.devices import device_of


@torch.no_grad()
def penultimate(model: nn.Module, batches: Iterable[Tensor]) -> tuple[NDArray[np.float32], str]:
    """What the last layer of weights that runs is given of each image, and what it is called.

    Parameters
    ----------
    model : nn.Module
        The model, of which a copy in eval mode is used.
    batches : iterable of Tensor
        Images (sample, channel, y, x) as the model takes them.

    Returns
    -------
    embeddings : ndarray, (sample, feature), float32
        Means over places or tokens, where there are several.
    layer : str
        The layer's dotted name.

    Raises
    ------
    ValueError
        When there are no images, or no layer of weights runs.
    """
    copied, last = frozen_copy(model), _Last()
    handles = [
        module.register_forward_pre_hook(last.hook(name))
        for name, module in copied.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    parts = []
    try:
        for images in batches:
            copied(images.to(device_of(model)))
            parts.append(_vectors(last.given, last.is_map))
    finally:
        for handle in handles:
            handle.remove()
    if not parts:
        raise ValueError("there are no images; give one batch or more")
    return np.concatenate(parts), last.name


class _Last:
    """The layer of weights that ran last, and what it was given."""

    def __init__(self) -> None:
        self.name, self.is_map = "", False
        self.given: Tensor | None = None

    def hook(self, name: str) -> Any:
        def hear(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.name, self.given = name, inputs[0]
            self.is_map = isinstance(module, nn.Conv2d)

        return hear


def _vectors(given: Tensor | None, is_map: bool) -> NDArray[np.float32]:
    if given is None:
        raise ValueError("no convolution and no linear layer runs in the model; give embeddings")
    rows = given.movedim(1, -1) if is_map else given
    vectors: NDArray[np.float32] = (
        rows.reshape(len(rows), -1, rows.shape[-1]).mean(1).float().cpu().numpy()
    )
    return vectors
