"""Batch-norm statistics of a checkpoint's own weights, measured anew on fixed images.

Running statistics lag behind the weights early in training, and with lagging ones another network
is looked at than the one that learns.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Final
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dvis.models.copying import private_copy
from dvis.models.data.fixed_images import FixedImages
from dvis.models.probe_options import BatchNorm

_BATCH: Final = 64


class Recalibrated:
    """Copies of models with batch-norm statistics of some images; the last one is kept.

    Parameters
    ----------
    images : FixedImages
        The images, of which 256 or more are wanted.
    batch_norm : {"recalibrate", "running"}
        Whether statistics are measured on the images, or stay those of training.
    """

    def __init__(self, images: FixedImages, batch_norm: BatchNorm = "recalibrate") -> None:
        self.images, self.batch_norm = images, batch_norm
        self._last: tuple[ref[nn.Module], nn.Module] | None = None

    def __call__(self, model: nn.Module) -> nn.Module:
        """The model in eval mode, or a copy of it with other statistics; it is not touched."""
        if self.batch_norm == "running" or not self.changes(model):
            return model
        if self._last is None or self._last[0]() is not model:
            self._last = None  # so that never two copies are held
            copied = private_copy(model).eval().requires_grad_(False)
            some = next(model.parameters())
            recalibrate(copied, self.batches(some))
            self._last = ref(model), copied
        return self._last[1]

    @staticmethod
    def changes(model: nn.Module) -> bool:
        """Whether a model has statistics that are measured anew."""
        return any(True for _ in _tracking(model))

    def batches(self, like: Tensor) -> Iterable[Tensor]:
        """The images as model inputs, on the device of a tensor."""
        for first in range(0, len(self.images), _BATCH):
            yield self.images.batch(first, first + _BATCH, like)

    def forget(self) -> None:
        """Let go of the copy."""
        self._last = None

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: no copy of a model."""
        return {**self.__dict__, "_last": None}


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    r"""Set a model's batch-norm statistics to those of some images, in place.

    Each layer sees inputs that the layers before it normalised by the batch's own statistics, as in
    training; those of batches are pooled:

    .. math:: m = \overline{m_b}, \qquad v = \overline{v_b + m_b^2} - m^2

    Parameters
    ----------
    model : nn.Module
        A private copy, in eval mode; it is in eval mode afterwards.
    batches : iterable of Tensor, (batch, channel, y, x)
        Model inputs; batches count by their images.

    References
    ----------
    Wu and Johnson 2021, Rethinking "Batch" in BatchNorm, arXiv:2105.07576.
    """
    layers = list(_tracking(model))
    means: dict[_BatchNorm, Any] = dict.fromkeys(layers, 0.0)
    squares: dict[_BatchNorm, Any] = dict.fromkeys(layers, 0.0)
    n_images = 0
    with ExitStack() as stack, torch.no_grad():
        for layer in layers:
            stack.callback(setattr, layer, "momentum", layer.momentum)
            stack.callback(layer.eval)
            layer.train()
            layer.momentum = 1.0
        for batch in batches:
            model(batch)
            n_images += len(batch)
            for layer in layers:
                assert layer.running_mean is not None
                assert layer.running_var is not None
                mean, variance = layer.running_mean.double(), layer.running_var.double()
                means[layer] = means[layer] + len(batch) * mean
                squares[layer] = squares[layer] + len(batch) * (variance + mean**2)
        for layer in layers:
            assert layer.running_mean is not None
            assert layer.running_var is not None
            mean = means[layer] / n_images
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(squares[layer] / n_images - mean**2)


def _tracking(model: nn.Module) -> Iterable[_BatchNorm]:
    """Batch-norm layers that normalise by running statistics."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            yield module
