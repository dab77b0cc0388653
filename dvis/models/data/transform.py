"""How a picture becomes what a model takes: its size, its channels and its normalisation.

The transform belongs to an image set and is recorded in checkpoints as plain values, so that a
measurement made years later feeds a model what it was trained on.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image

from dvis.models.option_numbers import at_least, is_number
from dvis.schema import MAX_IMAGE_SIDE, did_you_mean

Picture = Image.Image | np.ndarray

_MODES = {1: "L", 3: "RGB"}
Interpolation = Literal["bilinear", "bicubic"]
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, kw_only=True)
class InputTransform:
    """A picture's shorter side resized, its centre cropped, its values normalised; no chance in it.

    Parameters
    ----------
    size : int
        Side of the square that the model takes, in pixels.
    mean, std : tuple of float, one a channel
        Values from 0 to 1 become ``(value - mean) / std``.
    channels : int, default 3
        3 (grey pictures become RGB) or 1 (coloured ones become grey).
    resize : int, optional
        Shorter side before the centre crop, in pixels; `size` where it is None. The longer side is
        rounded down, so that sizes and pixels are those of torchvision's own presets.
    interpolation : {"bilinear", "bicubic"}
        How pictures are resized, with antialiasing (Pillow's).

    Raises
    ------
    ValueError
        When a size, the number of channels or of values is impossible.

    Examples
    --------
    >>> transform = InputTransform(size=4, mean=(0.5,) * 3, std=(0.25,) * 3)
    >>> transform(np.full((8, 6), 255, np.uint8)).unique()
    tensor([2.])
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3
    resize: int | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        for name in ("size", "channels", "resize"):
            if not is_number(getattr(self, name), is_whole=True):
                at_least(name, getattr(self, name), 1, is_needed=name != "resize")
        if not 1 <= self.size <= MAX_IMAGE_SIDE:
            raise ValueError(
                f"Images of {self.size} px were asked for. Give a size from 1 to {MAX_IMAGE_SIDE}"
            )
        if self.resize is not None and not self.size <= self.resize <= MAX_IMAGE_SIDE:
            raise ValueError(
                f"A crop of {self.size} px does not fit images resized to {self.resize} px. "
                f"Give resize from {self.size} to {MAX_IMAGE_SIDE}"
            )
        if self.interpolation not in _FILTERS:
            raise ValueError(did_you_mean("interpolation", self.interpolation, _FILTERS, "dvis"))
        if self.channels not in _MODES:
            raise ValueError(f"{self.channels} channels were asked for. Give 3 or 1")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.std)} standard deviations were given for "
                f"{self.channels} channels. Give one of each a channel"
            )
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise ValueError(f"mean is {self.mean} and std {self.std}. Give finite numbers")
        if not min(self.std) > 0:
            raise ValueError(f"std is {self.std}. Give numbers above 0")

    def __call__(self, picture: Picture) -> torch.Tensor:
        """Picture as the model takes it.

        Parameters
        ----------
        picture : PIL image, or ndarray, (y, x) or (y, x, rgb), uint8 0-255

        Returns
        -------
        Tensor, (channel, y, x), float32, normalised
        """
        return self.normalised(self.fitted(picture))

    def fitted(self, picture: Picture) -> Image.Image:
        """Picture in the size that the model takes, grey or RGB as it came.

        Parameters
        ----------
        picture : PIL image, or ndarray, (y, x) or (y, x, rgb), uint8 0-255
        """
        image = as_image(picture)
        shorter, wanted = min(image.size), self.resize or self.size
        if shorter != wanted:
            width, height = (max(wanted, int(wanted * side / shorter)) for side in image.size)
            image = image.resize((width, height), _FILTERS[self.interpolation])
        if image.size != (self.size, self.size):
            left, top = (round((side - self.size) / 2) for side in image.size)
            image = image.crop((left, top, left + self.size, top + self.size))
        return image

    def normalised(self, image: Image.Image) -> torch.Tensor:
        """Values of an image that has its final size already.

        Returns
        -------
        Tensor, (channel, y, x), float32, normalised
        """
        if image.mode != _MODES[self.channels]:
            image = image.convert(_MODES[self.channels])
        levels = np.asarray(image, np.float32).reshape(*image.size[::-1], self.channels)
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        values = (levels - 255 * mean) / (255 * std)
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which checkpoints and json can carry."""
        values = dataclasses.asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        if self.interpolation == "bilinear":  # as all was before there was a choice
            del values["interpolation"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Transform that `to_dict` wrote; it has a channel for each mean where none are told.

        Raises
        ------
        ValueError
            When a value is missing, unknown, or none that a transform can have.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(did_you_mean("value", str(name), known, "an input transform"))
        missing = [name for name in ("size", "mean", "std") if name not in values]
        if missing:
            raise ValueError(
                f"The input transform lacks {', '.join(missing)}. It has: "
                f"{', '.join(values) or 'nothing'}. Write it with InputTransform.to_dict"
            )
        try:
            tuples = {name: tuple(float(each) for each in values[name]) for name in ("mean", "std")}
            return cls(**{"channels": len(tuples["mean"]), **values, **tuples})
        except (TypeError, OverflowError) as err:
            raise ValueError(
                f"A value of the input transform is of a wrong type ({err}): "
                f"{str(dict(values))[:200]}. Write it with InputTransform.to_dict"
            ) from err


def as_image(picture: Picture) -> Image.Image:
    """Picture as a grey or RGB PIL image.

    Raises
    ------
    ValueError
        When an array is not (y, x) or (y, x, rgb) of uint8.
    """
    if isinstance(picture, Image.Image):
        return _in_rgb(picture)
    if picture.dtype != np.uint8 or not (
        picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    ):
        raise ValueError(
            f"A picture is an array of shape {picture.shape} and dtype {picture.dtype}. "
            "Give (y, x) or (y, x, rgb) of uint8, 0 to 255"
        )
    return Image.fromarray(np.ascontiguousarray(picture))


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip at 255
        levels = np.asarray(image, np.int64) >> 8
        return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:  # straight to RGB, Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")
