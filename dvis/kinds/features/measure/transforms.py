"""Random views of an image, so that a feature does not hang on single pixels.

Shift, scale and rotation are one affine map and one resampling. What is drawn for an image comes
from its own generator, at the start, for all steps: which images share a batch changes nothing.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dvis.kinds.features.options import FeatureSettings

_N_DRAWS = 4  # shift in x and y, scale, angle
_SIZE_OF_JITTER = 224  # pixels of the image that jitter_scale is given for


def draw_views(settings: FeatureSettings, generators: Sequence[torch.Generator]) -> Tensor | None:
    """Random affine maps (image, step, 2, 3) in units of half an image, or None where none is."""
    if not settings.is_transformed:
        return None
    shape = (settings.max_iterations, _N_DRAWS)
    draws = torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in generators])
    reach = 2 * settings.jitter_scale / _SIZE_OF_JITTER if settings.use_jitter else 0.0
    shift = reach * (2 * draws[..., :2] - 1)
    low, high = settings.scale_range if settings.use_scaling else (1.0, 1.0)
    scale = low + (high - low) * draws[..., 2]
    angle = math.radians(settings.rotation) * (2 * draws[..., 3] - 1)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = torch.stack((cos, -sin, shift[..., 0], sin, cos, shift[..., 1]), -1)
    return rows.reshape(*rows.shape[:-1], 2, 3)


def view(images: Tensor, affine: Tensor) -> Tensor:
    """Images (image, channel, y, x) as affine maps (image, 2, 3) show them, mirrored at edges."""
    grid = _affine_grid(affine.to(images), *images.shape[2:])
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _affine_grid(affine: Tensor, height: int, width: int) -> Tensor:
    """As torch's own, (image, y, x, 2), whose product of matrices takes eight times as long."""
    y, x = (
        (2 * torch.arange(n, device=affine.device, dtype=affine.dtype) + 1) / n - 1
        for n in (height, width)
    )
    by_x, by_y, shift = affine.unbind(2)  # each (image, 2)
    columns = by_x[:, :, None] * x + shift[:, :, None]
    rows = by_y[:, :, None] * y
    return (columns[:, :, None, :] + rows[:, :, :, None]).movedim(1, -1)


def blur(images: Tensor, kernel_size: int, deviation: float | None = None) -> Tensor:
    """Images under a Gaussian of so many pixels (odd), by default of a deviation that fits them."""
    from torchvision.transforms.v2.functional import gaussian_blur  # imports torch's compiler

    blurred: Tensor = gaussian_blur(
        images, [kernel_size] * 2, None if deviation is None else [deviation] * 2
    )
    return blurred
