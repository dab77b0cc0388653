"""Sums over images of a layer's inputs times its outputs, and the shares that they make.

What a layer takes and gives goes in, batch by batch; covariances with what its kernel reads come
out, in memory that does not grow with the images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from dvis.kinds.edges.words import INPUT_CHANNEL
from dvis.models.hooks import LayerOutput
from dvis.schema import CHANNEL

Weighted = nn.Conv2d | nn.Linear

# A variance below this share of the squared mean is rounding.
_LEAST_VARIANCE = {torch.float64: 1e-24}
_LEAST_VARIANCE_IN_SINGLE = 1e-10


def weighted_layers(model: nn.Module, outputs: Mapping[str, LayerOutput]) -> dict[str, Weighted]:
    """Convolutions and linear layers that run, by their names.

    Parameters
    ----------
    model : nn.Module
        The model.
    outputs : mapping of str to LayerOutput
        What `trace_layers` says of it.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Weighted) and name and name in outputs
    }


def n_inputs(layer: Weighted) -> int:
    """Channels that a layer takes."""
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features


class LayerSums:
    """Sums of one layer, as batches go through it.

    Outputs are taken less their mean over the first batch: of sums of products with outputs that
    are nearly centred nothing is lost to rounding where the means are taken off, whatever the
    inputs' means. A bias is a constant, and leaves covariances as they are.
    """

    def __init__(self) -> None:
        self._n = 0
        self._layer: Weighted | None = None
        self._shift = self._outputs = self._squares = self._products = self._inputs = torch.empty(0)

    def add(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Take a batch; it is a forward hook."""
        assert isinstance(layer, Weighted)
        dtype = torch.float64 if output.dtype == torch.float64 else torch.float32
        taken, given = inputs[0].detach().to(dtype), output.detach().to(dtype)
        if isinstance(layer, nn.Linear):
            taken, given = taken.flatten(0, -2), given.flatten(0, -2)
        positions = [dim for dim in range(given.ndim) if dim != 1]
        if self._layer is None:
            self._begin(layer, given.mean(positions))
        given = given - self._shift.reshape(-1, *[1] * (given.ndim - 2))
        self._n += given.numel() // given.shape[1]
        self._outputs += given.sum(positions, dtype=torch.float64)
        self._squares += given.square().sum(positions, dtype=torch.float64)
        kernel = layer.weight.detach().to(dtype)
        if isinstance(layer, nn.Linear):
            self._products += kernel * (given.T @ taken)
            self._inputs += taken.sum(0, dtype=torch.float64)[:, None, None]
            return
        taken = padded(layer, taken)
        read = _products(layer, taken, given, layer.groups).mul_(kernel).flatten(2)
        self._products += read @ read.new_ones(read.shape[2])  # sooner than a sum of short rows
        # Of all images at once, for what is read at a position does not depend on the image.
        ones = torch.ones_like(given[:1, :1])
        self._inputs += _products(layer, taken.sum(0, keepdim=True), ones, 1)[0]

    @property
    def is_finite(self) -> bool:
        """Whether all that went through was finite."""
        return all(bool(sums.isfinite().all()) for sums in (self._products, self._squares))

    def shares(self) -> xr.DataArray:
        """Shares, (channel, input_channel), float64: NaN of channels that do not vary.

        Inputs of other groups than the channel's have share 0.
        """
        assert self._layer is not None
        kernel = self._layer.weight.detach().double()
        kernel = kernel.reshape(*kernel.shape[:2], *self._inputs.shape[1:])
        n_groups = getattr(self._layer, "groups", 1)
        mean = self._outputs / self._n
        of_groups = (self._inputs / self._n).reshape(n_groups, -1, *kernel.shape[2:])
        means = of_groups.repeat_interleave(len(kernel) // n_groups, 0)
        covariance = self._products / self._n - (kernel * means).sum((2, 3)) * mean[:, None]
        variance = self._squares / self._n - mean**2
        least = _LEAST_VARIANCE.get(self._shift.dtype, _LEAST_VARIANCE_IN_SINGLE)
        varies = variance > least * (self._shift.double() + mean) ** 2
        shares = covariance / torch.where(varies, variance, torch.nan)[:, None]
        # A group's block lies where its inputs do among all.
        whole = shares.new_zeros(n_groups, len(kernel) // n_groups, n_groups, kernel.shape[1])
        groups = torch.arange(n_groups)
        whole[groups, :, groups] = shares.reshape(n_groups, -1, kernel.shape[1])
        whole[~varies.reshape(n_groups, -1)] = torch.nan
        values = whole.reshape(len(kernel), -1).cpu().numpy()
        n_channels, n_taken = values.shape
        return xr.DataArray(
            values,
            {CHANNEL: np.arange(n_channels), INPUT_CHANNEL: np.arange(n_taken)},
            (CHANNEL, INPUT_CHANNEL),
            "share",
            {"long_name": "share of the channel's variance", "units": "1"},
        )

    def _begin(self, layer: Weighted, shift: Tensor) -> None:
        n_channels, n_of_group = layer.weight.shape[:2]
        size = layer.kernel_size if isinstance(layer, nn.Conv2d) else (1, 1)
        sums = shift.new_zeros(0, dtype=torch.float64)
        self._layer, self._shift = layer, shift
        self._outputs, self._squares = sums.new_zeros(2, n_channels).unbind()
        self._products = sums.new_zeros(n_channels, n_of_group)
        self._inputs = sums.new_zeros(n_inputs(layer), *size)


def _products(layer: nn.Conv2d, taken: Tensor, given: Tensor, n_groups: int) -> Tensor:
    """Sums over images and positions of what each place of a kernel reads times what is given."""
    shape = (given.shape[1], taken.shape[1] // n_groups, *layer.kernel_size)
    told = {"stride": layer.stride, "dilation": layer.dilation, "groups": n_groups}
    sums: Tensor = conv2d_weight(taken, shape, given, **told)  # type: ignore[no-untyped-call]  # torch's
    return sums


def padded(layer: nn.Conv2d, taken: Tensor) -> Tensor:
    """What a convolution reads of its input, padded as it pads."""
    before_and_after: list[int] = []
    for place in (1, 0):  # torch's order: the last dim first
        if layer.padding == "same":
            whole = layer.dilation[place] * (layer.kernel_size[place] - 1)
            before_and_after += [whole // 2, whole - whole // 2]
        else:
            padding = 0 if isinstance(layer.padding, str) else layer.padding[place]
            before_and_after += [padding, padding]
    if not any(before_and_after):
        return taken
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(taken, before_and_after, mode=mode)
