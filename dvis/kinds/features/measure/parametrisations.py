"""What is optimised in place of an image: its pixels, its Fourier coefficients, or their phases.

Random generators or images in, a tensor of one row an image out, and from that the images. Images
are `values` in the range in which a store keeps them; the model takes (values - mean) / std.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Square root of the covariance of colours in natural images, columns by variance (ImageNet; as
# published with Olah et al., "Feature Visualization", Distill 2017, doi:10.23915/distill.00007).
_COLOUR_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
_COLOUR_NORM = max(sum(row[i] ** 2 for row in _COLOUR_ROOT) ** 0.5 for i in range(3))
_EDGE = 1e-3  # of values at 0 and 1, whose logit has no end
_START_DEVIATION = 0.01


class Parametrisation(Protocol):
    """Images of one size and their parameters."""

    @property
    def is_bounded(self) -> bool:
        """Whether values lie in 0 to 1, else they are what the model takes."""

    def start(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Parameters (image, ...) of random images, each by its own generator."""

    def encode(self, values: Tensor) -> Tensor:
        """Parameters (image, ...) of given images (image, channel, y, x)."""

    def decode(self, parameters: Tensor) -> Tensor:
        """Images (image, channel, y, x) of parameters (image, ...)."""


@dataclass(frozen=True, kw_only=True)
class ImageSpace:
    """Size, number type and place of images."""

    channels: int
    height: int
    width: int
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    def randn(self, generators: Sequence[torch.Generator], *shape: int) -> Tensor:
        """Standard normal numbers (image, ...), those of an image by its own generator."""
        rows = [torch.randn(shape, generator=g, dtype=self.dtype) for g in generators]
        return torch.stack(rows).to(self.device)


@dataclass(frozen=True)
class Pixel:
    """The model's input itself, starting from standard normal noise."""

    space: ImageSpace
    is_bounded = False

    def start(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Standard normal noise."""
        return self.space.randn(generators, *self.space.shape)

    def encode(self, values: Tensor) -> Tensor:
        """The images themselves."""
        return values.clone()

    def decode(self, parameters: Tensor) -> Tensor:
        """The parameters themselves."""
        return parameters


class Fourier:
    r"""Fourier coefficients under 1/f scaling, decorrelated colours, and a sigmoid to 0 .. 1.

    .. math:: v = \sigma(C \, \mathcal{F}^{-1}[s(f) \, z]), \quad s(f) = 1 / \max(f, 1/n)

    with :math:`C` the root of the covariance of colours (for three channels) and n the longer side.

    References
    ----------
    Olah, Mordvintsev and Schubert, "Feature Visualization", Distill 2017,
    doi:10.23915/distill.00007. We differ in the normalisation: the transform is orthonormal, and
    the scaling has mean square 1, so that a step means the same at every image size.
    """

    is_bounded = True

    def __init__(self, space: ImageSpace) -> None:
        self.space = space
        scale = 1 / frequencies(space.height, space.width).clamp(
            min=1 / max(space.height, space.width)
        )
        scale = scale * (scale.numel() / scale.square().sum()).sqrt()
        self._scale = scale.to(space.device, space.dtype)[..., None]
        self._colours = colour_matrix(space)

    def start(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Coefficients of faint noise, (image, channel, y frequency, x frequency, 2)."""
        shape = (self.space.channels, *self._scale.shape[:2], 2)
        return _START_DEVIATION * self.space.randn(generators, *shape)

    def encode(self, values: Tensor) -> Tensor:
        """Coefficients of images (image, channel, y, x) with values in 0 .. 1."""
        plain = values.clamp(_EDGE, 1 - _EDGE).logit()
        spectrum = torch.fft.rfft2(_mix(self._colours.inverse(), plain), norm="ortho")
        return torch.view_as_real(spectrum) / self._scale

    def decode(self, parameters: Tensor) -> Tensor:
        """Images (image, channel, y, x) with values in 0 .. 1."""
        spectrum = torch.view_as_complex((parameters * self._scale).contiguous())
        return _image_of(spectrum, self._colours, self.space)


class Maco:
    r"""Phases of the Fourier coefficients alone, under a fixed magnitude.

    .. math:: v = \sigma(C \, \mathcal{F}^{-1}[m(f) \, e^{i \varphi}])

    Parameters
    ----------
    space : ImageSpace
        Size of the images.
    magnitude : Tensor, (channel, y frequency, x frequency), optional
        Magnitude by frequency, as `mean_magnitude` gives it for a set of images. By default 1/f,
        the mean amplitude of natural images.

    References
    ----------
    Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained
    Optimization", 2023, arXiv:2306.06805. Field, "Relations between the statistics of natural
    images and the response properties of cortical cells", 1987, doi:10.1364/JOSAA.4.002379, for
    1/f. We differ in the default: theirs is the mean spectrum of ImageNet, which is not ours to
    ship.
    """

    is_bounded = True

    def __init__(self, space: ImageSpace, magnitude: Tensor | None = None) -> None:
        self.space = space
        self._colours = colour_matrix(space)
        if magnitude is None:
            magnitude = natural_magnitude(space)
        shape = (space.channels, space.height, space.width // 2 + 1)
        if tuple(magnitude.shape) != shape:
            raise ValueError(
                f"the magnitude spectrum has shape {tuple(magnitude.shape)}; images of "
                f"{space.height} x {space.width} px with {space.channels} channels need {shape}"
            )
        self._magnitude = magnitude.to(space.device, space.dtype)

    def start(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Random phases, (image, channel, y frequency, x frequency)."""
        return torch.pi * self.space.randn(generators, *self._magnitude.shape)

    def encode(self, values: Tensor) -> Tensor:
        """Phases of images (image, channel, y, x) with values in 0 .. 1."""
        plain = values.clamp(_EDGE, 1 - _EDGE).logit()
        phases: Tensor = torch.fft.rfft2(_mix(self._colours.inverse(), plain), norm="ortho").angle()
        return phases

    def decode(self, parameters: Tensor) -> Tensor:
        """Images (image, channel, y, x) with values in 0 .. 1."""
        spectrum = torch.polar(self._magnitude.expand_as(parameters), parameters)
        return _image_of(spectrum, self._colours, self.space)


def parametrisation(
    name: str, space: ImageSpace, magnitude: Tensor | None = None
) -> Parametrisation:
    """The parametrisation of that name: pixel, fourier or maco."""
    if name == "pixel":
        return Pixel(space)
    return Fourier(space) if name == "fourier" else Maco(space, magnitude)


def frequencies(height: int, width: int) -> Tensor:
    """Distance from frequency 0 of each coefficient of a real image, in cycles a pixel."""
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(width, dtype=torch.float64)[None]
    distance: Tensor = (fy**2 + fx**2).sqrt()
    return distance


def colour_matrix(space: ImageSpace) -> Tensor:
    """Root of the covariance of colours (channel, channel); none is known but that of rgb."""
    if space.channels != 3:
        return torch.eye(space.channels, dtype=space.dtype, device=space.device)
    root: Tensor = torch.tensor(_COLOUR_ROOT, dtype=space.dtype, device=space.device)
    scaled: Tensor = root / _COLOUR_NORM
    return scaled


def natural_magnitude(space: ImageSpace) -> Tensor:
    """Magnitudes (channel, y frequency, x frequency) that fall as 1/f, without a mean.

    They are scaled so that an image's logits have a standard deviation of 1, about that of
    photographs.
    """
    magnitude = 1 / frequencies(space.height, space.width).clamp(min=1e-9)
    magnitude[0, 0] = 0.0
    # Parseval: coefficients that stand for two count twice.
    weights = torch.full_like(magnitude, 2.0)
    weights[:, 0] = 1.0
    if space.width % 2 == 0:
        weights[:, -1] = 1.0
    n_pixels = space.height * space.width
    magnitude = magnitude * (n_pixels / (weights * magnitude.square()).sum()).sqrt()
    return magnitude.expand(space.channels, -1, -1)


def mean_magnitude(images: Tensor, space: ImageSpace) -> Tensor:
    """Mean magnitude spectrum of images, for `Maco`.

    Parameters
    ----------
    images : Tensor, (image, channel, y, x), 0 to 1
        Images of the space's size.
    space : ImageSpace
        Size of the images.

    Returns
    -------
    Tensor, (channel, y frequency, x frequency)
    """
    plain = images.to(space.dtype).clamp(_EDGE, 1 - _EDGE).logit()
    mixed = _mix(colour_matrix(space).inverse(), plain - plain.mean((2, 3), keepdim=True))
    magnitude: Tensor = torch.fft.rfft2(mixed, norm="ortho").abs().mean(0)
    return magnitude


def _image_of(spectrum: Tensor, colours: Tensor, space: ImageSpace) -> Tensor:
    size = space.height, space.width
    image: Tensor = _mix(colours, torch.fft.irfft2(spectrum, s=size, norm="ortho")).sigmoid()
    return image


def _mix(matrix: Tensor, images: Tensor) -> Tensor:
    mixed: Tensor = torch.einsum("dc,ncyx->ndyx", matrix, images)
    return mixed
