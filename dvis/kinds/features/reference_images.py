"""The reference images that are asked for: the run's own, a folder's, or 1/f noise.

Options and what a checkpoint tells in, a few images at the model's size out: always the same ones.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvis.kinds.features.measure.parametrisations import (
    ImageSpace,
    Maco,
    natural_magnitude,
)
from dvis.kinds.features.measure.reference import ReferenceImages
from dvis.models.data import ImageSet, InputTransform
from dvis.models.data.fixed_images import FixedImages, images_of_files
from dvis.models.data.image_set import chosen
from dvis.models.training_data import images_of_training
from dvis.schema import LEVELS

AUTO, NOISE = "auto", "noise"
_BRIGHTNESS = 0.5  # standard deviation of the mean of logits, where that within an image is 1
_SEED = 0  # of which images are taken: the same in all runs, whatever their own seed


def find_reference(
    asked: str, n_images: int, facts: Mapping[str, Any], transform: InputTransform
) -> tuple[ReferenceImages, str]:
    """Reference images as a model takes them, and what is to be said of them, or nothing.

    Parameters
    ----------
    asked : str
        auto, noise, or a folder of images.
    n_images : int
        How many; of a set that has fewer, all.
    facts : mapping
        What a checkpoint tells of itself: `settings` of its training.
    transform : InputTransform
        How the model takes pictures.

    Raises
    ------
    FileNotFoundError
        When there is no folder of that name, or it has no images.
    ValueError
        When it has one image.
    """
    if n_images == 0:
        side, n_channels = transform.size, transform.channels
        return _reference("none", np.zeros((0, n_channels, side, side), np.uint8), transform), ""
    if asked == NOISE:
        return _noise(n_images, transform), ""
    if asked != AUTO:
        return _of_set(_of_folder(asked, transform), n_images, transform), ""
    unknown = ""
    try:
        own = images_of_training(facts, "val", transform.size)
        if own is not None:
            return _of_set(own, n_images, transform), ""
    except (OSError, TypeError, ValueError) as err:
        unknown = (
            "reference images are noise, for the run's own are not to be had "
            f"({str(err).splitlines()[0]}); --reference FOLDER takes others"
        )
    return _noise(n_images, transform), unknown


def _of_folder(asked: str, transform: InputTransform) -> ImageSet:
    folder = Path(asked).expanduser()
    try:
        return replace(images_of_files([folder], transform), name=folder.absolute().name)
    except FileNotFoundError as err:
        raise FileNotFoundError(f"--reference is {asked!r}: {err}, auto or noise") from None


def _of_set(images: ImageSet, n_images: int, transform: InputTransform) -> ReferenceImages:
    if len(images) < 2:
        raise ValueError(f"{images.name} has one image, whose answers have no spread; give more")
    taken = images.take(chosen(min(n_images, len(images)), len(images), images.name, _SEED))
    levels = FixedImages.of(taken, transform).levels(range(len(taken)))
    return _reference(images.name, levels, transform)


def _noise(n_images: int, transform: InputTransform) -> ReferenceImages:
    """Images whose amplitude falls as 1/f; the first do not depend on how many there are.

    Their mean colours vary too, which a spectrum without frequency 0 would not let them: to them
    alone the mean of a convolution answers, but for the edges of its map.
    """
    side = transform.size
    space = ImageSpace(
        channels=transform.channels, height=side, width=side, dtype=torch.float64, device="cpu"
    )
    magnitude = natural_magnitude(space).clone()
    magnitude[:, 0, 0] = _BRIGHTNESS * (2 * side * side) ** 0.5
    noise = Maco(space, magnitude)
    generators = [torch.Generator().manual_seed(_SEED + place) for place in range(n_images)]
    images = [noise.decode(noise.start([generator]))[0] for generator in generators]
    levels = (LEVELS * torch.stack(images)).round().to(torch.uint8).numpy()
    return _reference("1/f noise", levels, transform)


def _reference(name: str, levels: np.ndarray, transform: InputTransform) -> ReferenceImages:
    return ReferenceImages(name=name, levels=levels, mean=transform.mean, std=transform.std)
