"""Rewrites of a frozen model that give the same outputs for less work.

A private copy in, changed in place. Some look at which tensor goes from which module to which in
one forward pass, which `run` makes. None is trusted: `prepared` compares the outputs.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dvis.models.hooks import first_tensor

Run = Callable[[], object]
Rewrite = Callable[[nn.Module, Run, Iterable[str]], None]
_COLOURS = 4  # an input with no more channels is an image's, whose gradient oneDNN is slow at


def fold_batch_norms(model: nn.Module, run: Run, kept: Iterable[str]) -> None:
    """Fold each batch norm into the convolution before it, whose own output is not kept."""
    modules = dict(model.named_modules())
    for conv, norm in _handovers(model, run, nn.Conv2d, nn.BatchNorm2d):
        if conv not in kept and getattr(modules[norm], "running_mean", None) is not None:
            model.set_submodule(conv, fuse_conv_bn_eval(modules[conv], modules[norm]))
            model.set_submodule(norm, nn.Identity())
    model.requires_grad_(False)


def pool_before_relu(model: nn.Module, run: Run, kept: Iterable[str]) -> None:
    """Take the maximum first and its positive part after, over a quarter of the positions."""
    modules = dict(model.named_modules())
    for relu, pool in _handovers(model, run, nn.ReLU, nn.MaxPool2d):
        if relu not in kept:
            model.set_submodule(pool, nn.Sequential(modules[pool], nn.ReLU(inplace=True)))
            model.set_submodule(relu, nn.Identity())


def block_stems(model: nn.Module, run: Run, kept: Iterable[str]) -> None:
    """Let strided convolutions of few channels stride over blocks of pixels."""
    if not _is_on_cpu(model):
        return
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Conv2d) or not is_plain(module):
            continue
        if module.in_channels <= _COLOURS and min(module.stride) > 1 and name not in kept:
            model.set_submodule(name, BlockedConvolution(module))


def spread_pointwise(model: nn.Module, run: Run, kept: Iterable[str]) -> None:
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
        self.stride, self.padding, self.kernel = conv.stride, _padding(conv), conv.kernel_size
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


class OwnChannel(nn.Module):
    """A convolution that computes, for each image, one channel: others hold `filler`.

    Parameters
    ----------
    conv : nn.Conv2d
        The convolution, which is plain (see `is_plain`).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, self.filler = conv, 0.0

    def choose(self, channels: Sequence[int]) -> None:
        """Set the channel of each image of a batch, (image,)."""
        device = self.conv.weight.device
        self.channels = torch.tensor(channels, device=device)
        weight = self.conv.weight[self.channels]
        self.taps = weight.flatten(2).transpose(1, 2).contiguous()  # (image, tap, channel in)
        bias = self.conv.bias
        self.bias = None if bias is None else bias[self.channels, None, None]

    def forward(self, images: Tensor) -> Tensor:
        """Maps (image, channel, row, column), all but the images' own filled."""
        conv, (n, _, height, width) = self.conv, images.shape
        flat = images.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
        by_tap = torch.bmm(self.taps.to(flat.dtype), flat).view(n, -1, height, width)
        (py, px), (sy, sx) = _padding(conv), conv.stride
        by_tap = F.pad(by_tap, (px, px, py, py))
        kernel_y, kernel_x = conv.kernel_size
        n_y = (by_tap.shape[2] - kernel_y) // sy + 1
        n_x = (by_tap.shape[3] - kernel_x) // sx + 1
        own = by_tap.new_zeros(n, n_y, n_x)
        for y in range(kernel_y):
            rows = slice(y, y + (n_y - 1) * sy + 1, sy)
            for x in range(kernel_x):
                columns = slice(x, x + (n_x - 1) * sx + 1, sx)
                own = own + by_tap[:, y * kernel_x + x, rows, columns]
        if self.bias is not None:
            own = own + self.bias
        maps = own.new_full((n, n_y, n_x, conv.out_channels), self.filler).movedim(-1, 1)
        return maps.index_put((torch.arange(n, device=maps.device), self.channels), own)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a convolution without groups, dilation or unusual padding."""
    if type(module) is not nn.Conv2d or isinstance(module.padding, str):
        return False
    is_dense = module.kernel_size == (1, 1) or set(module.dilation) == {1}
    return is_dense and module.groups == 1 and module.padding_mode == "zeros"


def _padding(conv: nn.Conv2d) -> tuple[int, int]:
    assert not isinstance(conv.padding, str)
    return conv.padding[0], conv.padding[1]


def _is_on_cpu(model: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in model.parameters())


def _handovers(
    model: nn.Module, run: Run, giver: type[nn.Module], taker: type[nn.Module]
) -> list[tuple[str, str]]:
    """Names of modules of which one takes the very tensor that the other gives, each run once."""
    given_by: dict[int, str] = {}
    alive: list[Any] = []  # so that no two tensors have the same id
    pairs: list[tuple[str, str]] = []
    n_calls: Counter[str] = Counter()

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            n_calls[name] += 1
            source = first_tensor(inputs)
            alive.extend((source, output))
            if isinstance(module, taker) and id(source) in given_by:
                pairs.append((given_by[id(source)], name))
            elif type(module) is giver:
                given_by[id(output)] = name

        return hook

    with ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, giver | taker):
                stack.callback(module.register_forward_hook(hook_of(name)).remove)
        run()
    return [pair for pair in pairs if n_calls[pair[0]] == n_calls[pair[1]] == 1]
