"""Training augmentation: random crops and mirror images of a set, the same at every repetition.

It wraps a set and leaves its recorded transform alone. What happens to a sample depends on the
seed, the epoch and the sample, never on which loader process reads it.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from dvis.models.data.image_set import ImageSet
from dvis.models.data.transform import as_image

# Szegedy et al., Going deeper with convolutions, 2015, section 6: aspect ratios of random crops.
_LARGEST_RATIO = 4 / 3


class AugmentedSet(Dataset[tuple[torch.Tensor, int]]):
    """An image set whose images are cropped and mirrored at random; made by `augmented`.

    Attributes
    ----------
    images : ImageSet
        The set as it is.
    seed : int
    """

    def __init__(self, images: ImageSet, seed: int) -> None:
        self.images = images
        self.seed = seed
        # Shared memory: loader processes that live on over epochs see a new epoch too.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # torch has no type for it

    @property
    def epoch(self) -> int:
        """Epoch whose crops come out."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Make the crops those of an epoch; to be called before a loader is iterated over."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        generator = np.random.default_rng((self.seed, self.epoch, index))
        image = as_image(self.images.picture(index))
        allowed, transform = self.images.augmentation, self.images.transform
        box = _crop_box(image.size, allowed.smallest_area, generator)
        size = (transform.size, transform.size)
        image = image.resize(size, Image.Resampling.BILINEAR, box=box)
        if allowed.flips and generator.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return transform.normalised(image), int(self.images.labels[index])


def augmented(images: ImageSet, seed: int = 0) -> AugmentedSet:
    """The set with random resized crops and, where they show the same thing, mirror images.

    Parameters
    ----------
    images : ImageSet
        Its `augmentation` says how small a crop may be and whether mirror images are the same.
    seed : int, default 0
        Same seed, epoch and sample, same image, whatever the number of loader processes.

    Returns
    -------
    AugmentedSet
        `set_epoch` moves on to other crops.
    """
    return AugmentedSet(images, seed)


def _crop_box(
    size: tuple[int, int], smallest_area: float, generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a random part of an image of this width and height."""
    width, height = size
    for ratio, area in _proposals(smallest_area, generator):
        box_width = math.sqrt(width * height * area * ratio)
        box_height = math.sqrt(width * height * area / ratio)
        if box_width <= width and box_height <= height:
            break
    else:  # nothing fitted a very long image: its middle
        box_width = box_height = min(width, height)
    left, top = generator.random(2) * (width - box_width, height - box_height)
    return left, top, left + box_width, top + box_height


def _proposals(
    smallest_area: float, generator: np.random.Generator, n_tries: int = 10
) -> Iterator[tuple[float, float]]:
    for _ in range(n_tries):
        ratio, area = generator.random(2)
        yield _LARGEST_RATIO ** (2 * ratio - 1), smallest_area + area * (1 - smallest_area)
