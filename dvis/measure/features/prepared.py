"""A private copy of a model that costs as little as a target layer allows.

The caller's model is never touched: the copy is frozen, in eval mode and channels_last, its batch
norms folded into the convolutions before them, and its forward pass ends at the target.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dvis.models.hooks import Forward, LayerOutput, first_tensor, stopping

# Folding changes rounding alone; anything more means that the pair was no pair.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}


@contextmanager
def prepared(
    model: nn.Module, outputs: Mapping[str, LayerOutput], layers: Iterable[str], sample: Tensor
) -> Iterator[Forward]:
    """A forward pass of a private copy of a model that ends at the last of some layers.

    Parameters
    ----------
    model : nn.Module
        The model, which is not touched.
    outputs : mapping of str to LayerOutput
        What `trace_layers` says of it.
    layers : iterable of str
        The layers whose outputs are wanted.
    sample : Tensor, (batch, channel, y, x)
        Images on which the copy is compared with the model.

    Yields
    ------
    callable
        Images (batch, channel, y, x) to outputs by layer.
    """
    calls = {layer: outputs[layer].n_calls for layer in layers}
    plain = _frozen_copy(model)
    folded = fold_batch_norms(_frozen_copy(model), sample, calls)
    with torch.no_grad():
        with stopping(plain, calls) as forward:
            expected = forward(sample)
        with stopping(folded, calls) as forward:
            given = forward(sample)
    is_same = all(_agree(expected[layer], given[layer]) for layer in calls)
    with stopping(folded if is_same else plain, calls) as forward:
        yield forward


def fold_batch_norms(model: nn.Module, sample: Tensor, kept: Iterable[str]) -> nn.Module:
    """Fold each batch norm of a frozen model into the convolution before it, in place.

    A pair is folded where the batch norm takes the very tensor that the convolution gives, both
    run once, and the convolution's own output is not kept.
    """
    modules = dict(model.named_modules())
    given_by: dict[int, str] = {}
    alive: list[Any] = []  # so that no two tensors have the same id
    pairs: list[tuple[str, str]] = []
    n_calls: dict[str, int] = {}

    def hook(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        n_calls[name] = n_calls.get(name, 0) + 1
        source = first_tensor(inputs)
        alive.extend((source, output))
        if isinstance(module, nn.BatchNorm2d) and id(source) in given_by:
            pairs.append((given_by[id(source)], name))
        elif type(module) is nn.Conv2d:
            given_by[id(output)] = name

    with ExitStack() as stack, torch.no_grad():
        for name, module in modules.items():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                handle = module.register_forward_hook(
                    lambda m, i, o, name=name: hook(name, m, i, o)
                )
                stack.callback(handle.remove)
        model(sample)
    for conv, norm in pairs:
        is_tracked = getattr(modules[norm], "running_mean", None) is not None
        if n_calls[conv] == n_calls[norm] == 1 and conv not in kept and is_tracked:
            fused = fuse_conv_bn_eval(modules[conv], modules[norm])
            model.set_submodule(conv, fused)
            model.set_submodule(norm, nn.Identity())
    return model.requires_grad_(False)


def _frozen_copy(model: nn.Module) -> nn.Module:
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    # In a gradient, a weight that is not finite spoils every channel, for 0 * nan is nan. A unit
    # whose activation is finite does not depend on it; others are found out by the whole model.
    for values in (*frozen.parameters(), *frozen.buffers()):
        if values.is_floating_point() and not values.isfinite().all():
            values.nan_to_num_(0.0, 0.0, 0.0)
    return frozen.to(memory_format=torch.channels_last)


def _agree(expected: Tensor, given: Tensor) -> bool:
    if expected.shape != given.shape:
        return False
    tolerance = _TOLERANCE.get(expected.dtype, 1e-2) * float(
        expected.nan_to_num(0, 0, 0).abs().max()
    )
    return bool(torch.allclose(expected, given, rtol=0, atol=tolerance, equal_nan=True))
