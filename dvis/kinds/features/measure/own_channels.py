"""The last convolutions for channels one by one: each image's own, where that is all it needs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvis.kinds.features.measure.rewrites import is_norm_by_statistics, is_plain, padding_of
from dvis.models.forward_trace import ForwardTrace, Operation, Value

# What keeps the channels of maps (image, channel, row, column) apart, beside what is pointwise.
_CHANNELWISE = {
    "max_pool2d_with_indices",
    "avg_pool2d",
    "_adaptive_avg_pool2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "constant_pad_nd",
}


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
        (py, px), (sy, sx) = padding_of(conv), conv.stride
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


def last_convolutions(model: nn.Module, trace: ForwardTrace, layer: str) -> dict[str, nn.Conv2d]:
    """Convolutions, by name, of which a layer's channel takes the channel of its number alone.

    Parameters
    ----------
    model : nn.Module
        The model that was traced.
    trace : ForwardTrace
        Its operations until the layer has run.
    layer : str
        A layer that gives maps (image, channel, row, column).
    """
    target = trace.outputs[layer]
    found = {}
    for operation in trace.operations:
        if operation.name != "convolution":
            continue
        module = model.get_submodule(operation.module)
        weight = operation.arguments[1]
        if not is_plain(module) or trace.users(weight.memory) != [operation]:
            continue
        if _keeps_channels_apart(trace, operation, target):
            found[operation.module] = module
    return found


def _keeps_channels_apart(trace: ForwardTrace, conv: Operation, target: Value) -> bool:
    """Whether channels of a convolution stay by themselves on the way to a layer's output."""
    n_channels = target.shape[1]
    reached = {conv.given[0].memory}
    if not _is_map(conv.given[0], n_channels) or not _is_map(target, n_channels):
        return False
    for operation in trace.operations[conv.place + 1 :]:
        taken = [value for value in operation.taken if value.memory in reached]
        if not taken or operation.name == "detach":
            continue
        is_norm = is_norm_by_statistics(operation)
        if not (is_norm or operation.is_pointwise or operation.name in _CHANNELWISE):
            return False
        given = operation.given[:1] if is_norm else operation.given  # the others are for training
        if not all(_is_map(value, n_channels) for value in (*taken, *given)):
            return False
        reached.update(value.memory for value in given)
    return target.memory in reached


def _is_map(value: Value, n_channels: int) -> bool:
    return len(value.shape) == 4 and value.shape[1] == n_channels
