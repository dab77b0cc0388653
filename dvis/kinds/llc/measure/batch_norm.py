"""The model that is sampled: a copy of the caller's, with batch norm as asked and dropout off."""

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dvis.kinds.llc.measure.losses import Loss
from dvis.kinds.llc.measure.noise import chain_seed
from dvis.kinds.llc.measure.samples import Samples
from dvis.kinds.llc.settings import Mode
from dvis.models.copying import private_copy

_recalibrated: dict[tuple[object, ...], nn.Module] = {}  # the last one of this process


def copy_for_sampling(
    model: nn.Module,
    mode: Mode,
    samples: Samples,
    loss: Loss,
    *,
    batch_size: int,
    weights: str,
) -> nn.Module:
    """A copy of a model that is ready to be sampled: eval mode, no gradients, batch norm as asked.

    Parameters
    ----------
    model : nn.Module
        The caller's; it is not touched.
    mode : {"eval", "batch", "recalibrate"}
        `eval` keeps the stored statistics of batch norm. `batch` has it use those of each
        minibatch, and store none. `recalibrate` stores the means over all samples, in minibatches,
        before anything is sampled.
    samples, loss : Samples, callable
        What `recalibrate` takes its statistics of; the loss knows how a batch goes in.
    batch_size : int
        Samples in its minibatches.
    weights : str
        Hash of the model: the statistics of one model are computed once by a process.
    """
    key = (weights, samples.fingerprint, batch_size, next(model.parameters()).device)
    if mode == "recalibrate" and key in _recalibrated:
        return _plain_copy(_recalibrated[key])
    copied = _plain_copy(model)
    layers = [module for module in copied.modules() if isinstance(module, _NormBase)]
    if mode == "batch":
        for layer in layers:
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    elif mode == "recalibrate" and layers:
        _recalibrate(copied, layers, samples, loss, batch_size)
        _recalibrated.clear()
        _recalibrated[key] = _plain_copy(copied)
    return copied


def _plain_copy(model: nn.Module) -> nn.Module:
    copied = private_copy(model).eval()
    for parameter in copied.parameters():
        parameter.grad = None
        parameter.requires_grad_(False)
    return copied


def _recalibrate(
    model: nn.Module, layers: list[_NormBase], samples: Samples, loss: Loss, batch_size: int
) -> None:
    """Mean statistics over minibatches of all samples, in a fixed order that mixes classes."""
    order = np.random.default_rng(chain_seed("recalibrate")).permutation(len(samples))
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over minibatches
        layer.train()
    n_batches = max(1, len(samples) // batch_size)
    with torch.no_grad():
        for positions in np.array_split(order, n_batches):
            loss(model, samples.batch(positions, next(model.parameters())))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
