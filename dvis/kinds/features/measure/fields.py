"""Receptive fields of neurons, found by trying: which pixels can change a neuron's output at all.

A forward pass in, a crop out in which the neuron is computed as in the whole image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_WORTHWHILE = 0.8  # of the image's area; a crop of more saves less than finding it costs


@dataclass(frozen=True)
class Crop:
    """Rows and columns of images, and how far a neuron moves on its map in them."""

    rows: slice
    columns: slice
    shift: tuple[int, int]

    def __call__(self, images: Tensor) -> Tensor:
        """The crop of images (image, channel, y, x)."""
        return images[:, :, self.rows, self.columns]


def crop_to_field(
    values: Callable[[Tensor], Tensor], sample: Tensor, map_size: tuple[int, int]
) -> Crop | None:
    """The part of images that a neuron depends on, or None where that is most of them.

    Parameters
    ----------
    values : callable
        The neuron's output (image,) of images (image, channel, y, x).
    sample : Tensor, (1, channel, y, x)
        An image.
    map_size : tuple of int
        Rows and columns of the neuron's map.

    Notes
    -----
    A pixel that is not a number makes a neuron none that depends on it, through activations and
    poolings alike, whatever the weights are. So edges are halved until the field is found. The
    crop begins at a whole number of the map's strides; that the neuron is the same in it is for
    the caller to check.
    """
    height, width = sample.shape[2:]
    top, bottom, left, right = _free_margins(values, sample)
    starts, shift = [], []
    for margin, size, n_out in ((top, height, map_size[0]), (left, width, map_size[1])):
        stride = max(1, round(size / n_out))
        shift.append(margin // stride)
        starts.append(margin // stride * stride)
    rows, columns = slice(starts[0], height - bottom), slice(starts[1], width - right)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    if not 0 < area < _WORTHWHILE * height * width:
        return None
    return Crop(rows, columns, (shift[0], shift[1]))


def _free_margins(values: Callable[[Tensor], Tensor], sample: Tensor) -> list[int]:
    """Widths of the margins at top, bottom, left and right that the neuron does not depend on."""
    height, width = sample.shape[2:]
    sizes = [height, height, width, width]
    free, bound = [0] * 4, list(sizes)  # margins known to be free, and known not to be
    while any(b - f > 1 for f, b in zip(free, bound, strict=True)):
        middle = [(f + b) // 2 for f, b in zip(free, bound, strict=True)]
        probes = sample.repeat(4, 1, 1, 1)
        top, bottom, left, right = middle
        probes[0, :, :top] = torch.nan
        probes[1, :, height - bottom :] = torch.nan
        probes[2, :, :, :left] = torch.nan
        probes[3, :, :, width - right :] = torch.nan
        is_free = values(probes).isfinite().tolist()
        for edge, margin in enumerate(middle):
            if is_free[edge]:
                free[edge] = margin
            else:
                bound[edge] = margin
    return free
