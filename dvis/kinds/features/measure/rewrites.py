"""Rewrites of a frozen model that give the same outputs for less work.

A private copy in, changed in place where the operations of its forward pass (see
`dvis.models.forward_trace`) show that the outputs stay the same for any image. `prepared` still
compares values and gradients, and takes back what does not fit.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dvis.models.forward_trace import ForwardTrace, Operation

Rewrite = Callable[[nn.Module, ForwardTrace, Collection[str]], None]
_COLOURS = 4  # an input with no more channels is an image's, whose gradient oneDNN is slow at
_COUNT = "num_batches_tracked"
_NORMS = {"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"}


def fold_batch_norms(model: nn.Module, trace: ForwardTrace, kept: Collection[str]) -> None:
    """Fold each batch norm into the convolution before it, whose output nothing else takes."""
    own = _OwnWork(model, trace)
    for norm in trace.operations:
        if not is_norm_by_statistics(norm):
            continue
        before = trace.givers(norm.arguments[0].memory)
        if len(before) != 1 or before[0].name != "convolution":
            continue
        (conv,) = before
        is_alone = trace.users(conv.given[0].memory) == [norm]
        if is_alone and own(conv, nn.Conv2d) and own(norm, nn.BatchNorm2d):
            convolution, batch_norm = (model.get_submodule(each.module) for each in (conv, norm))
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(batch_norm, nn.BatchNorm2d)
            model.set_submodule(conv.module, fuse_conv_bn_eval(convolution, batch_norm))
            model.set_submodule(norm.module, nn.Identity())
    model.requires_grad_(False)


def pool_before_relu(model: nn.Module, trace: ForwardTrace, kept: Collection[str]) -> None:
    """Take the maximum first and its positive part after, over a quarter of the positions."""
    own = _OwnWork(model, trace)
    for pool in trace.operations:
        if pool.name != "max_pool2d_with_indices" or not own(pool, nn.MaxPool2d):
            continue
        memory = pool.arguments[0].memory
        before = trace.givers(memory)
        if not before or not own(before[-1], nn.ReLU) or before[-1].module in kept:
            continue
        relu = before[-1]
        # One that works in place takes its memory after others, which it does not concern.
        users = [user for user in trace.users(memory) if user.place > relu.place]
        pooling = model.get_submodule(pool.module)
        if users == [pool] and not pooling.return_indices:
            model.set_submodule(pool.module, nn.Sequential(pooling, nn.ReLU(inplace=True)))
            model.set_submodule(relu.module, nn.Identity())


def block_stems(model: nn.Module, trace: ForwardTrace, kept: Collection[str]) -> None:
    """Let strided convolutions of few channels stride over blocks of pixels."""
    if not _is_on_cpu(model):
        return
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Conv2d) or not is_plain(module):
            continue
        is_few = module.in_channels <= _COLOURS and min(module.stride) > 1
        users = trace.users(trace.memories[f"{name}.weight"])
        if is_few and name not in kept and all(user.module == name for user in users):
            model.set_submodule(name, BlockedConvolution(module))


def spread_pointwise(model: nn.Module, trace: ForwardTrace, kept: Collection[str]) -> None:
    """Take 1 x 1 convolutions off the slow way on which torch sends them with a single thread.

    Dilation is nothing to a kernel of one pixel, but dilated convolutions go to oneDNN.
    """
    if not _is_on_cpu(model):
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (2, 2)


class BlockedConvolution(nn.Module):
    """A strided convolution as one of stride 1 over blocks of stride x stride pixels.

    Its gradient costs 0.4 of that of a 7 x 7 convolution of stride 2 over three channels.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.stride, self.padding, self.kernel = conv.stride, padding_of(conv), conv.kernel_size
        sizes = zip(conv.kernel_size, conv.stride, strict=True)
        self.blocks = [math.ceil(kernel / stride) for kernel, stride in sizes]
        missing = [
            n * stride - kernel
            for n, stride, kernel in zip(self.blocks, conv.stride, conv.kernel_size, strict=True)
        ]
        weight = self._blocked(F.pad(conv.weight, (0, missing[1], 0, missing[0])))
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", conv.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (image, channel, row, column)."""
        edges: list[int] = []
        for dim in (1, 0):
            size, stride, padding = images.shape[2 + dim], self.stride[dim], self.padding[dim]
            n_out = (size + 2 * padding - self.kernel[dim]) // stride + 1
            after = (n_out - 1 + self.blocks[dim]) * stride - size - padding
            edges += [padding, after]
        maps: Tensor = F.conv2d(self._blocked(F.pad(images, edges)), self.weight, self.bias)
        return maps

    def _blocked(self, images: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        sy, sx = self.stride
        split = images.reshape(n, channels, height // sy, sy, width // sx, sx)
        blocks = split.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
        return blocks.contiguous(memory_format=torch.channels_last)


def is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a convolution without groups, dilation or unusual padding."""
    if not isinstance(module, nn.Conv2d) or not is_bare(module, nn.Conv2d):
        return False
    if isinstance(module.padding, str):
        return False
    is_dense = module.kernel_size == (1, 1) or set(module.dilation) == {1}
    return is_dense and module.groups == 1 and module.padding_mode == "zeros"


def padding_of(conv: nn.Conv2d) -> tuple[int, int]:
    """Zeros around the rows and the columns of a plain convolution."""
    assert not isinstance(conv.padding, str)
    return conv.padding[0], conv.padding[1]


def _is_on_cpu(model: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in model.parameters())


def is_bare(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is just one of torch's: no subclass, hooks, or weights made of others."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks
    is_as_made = "forward" not in vars(module) and not any(hooks)
    return type(module) is kind and is_as_made and "weight" not in vars(module)


def is_norm_by_statistics(operation: Operation) -> bool:
    """Whether an operation is a batch norm by running statistics, which looks at no other image."""
    if operation.name not in _NORMS:
        return False
    running_mean, _, is_training = operation.arguments[3:6]
    return running_mean is not None and not is_training


class _OwnWork:
    """Whether an operation is all that a plain module of a kind does, and alone has its weights."""

    def __init__(self, model: nn.Module, trace: ForwardTrace) -> None:
        self._trace, self._modules = trace, dict(model.named_modules(remove_duplicate=False))
        self._n_names = Counter(map(id, self._modules.values()))

    def __call__(self, operation: Operation, kind: type[nn.Module]) -> bool:
        name, trace = operation.module, self._trace
        module = self._modules[name]
        if not is_bare(module, kind) or self._n_names[id(module)] > 1:
            return False
        alike = [other for other in trace.of_module(name) if other.name == operation.name]
        own = [trace.memories[f"{name}.{key}"] for key in module.state_dict() if key != _COUNT]
        return len(alike) == 1 and all(trace.users(memory) == [operation] for memory in own)
