"""Handwritten digits that come with scikit-learn: 1,797 grey images of 8 x 8, enlarged.

Nothing goes in; an ImageSet in memory comes out.
"""

import numpy as np

from dvis.models.data.image_set import ArrayPictures, ImageSet, Split, in_split, numbered
from dvis.models.data.transform import InputTransform

_DEFAULT_SIZE = 64
_HIGHEST_LEVEL = 16
# Measured over all 1,797 images at 64 px.
_MEAN, _STD = 0.3054, 0.3247


def digits_images(split: Split, size: int | None = None, seed: int = 0) -> ImageSet:
    """The digits 0 to 9; a tenth of each, at random, is for validation.

    Parameters
    ----------
    split : "train" or "val"
    size : int, optional
        Side of the images in pixels, 64 unless told otherwise.
    seed : int
        Seed of the split.

    Returns
    -------
    ImageSet

    Raises
    ------
    ImportError
        When scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as err:
        raise ImportError("digits needs scikit-learn: pip install 'dvis[torch]'") from err
    loaded = load_digits()
    levels = np.rint(loaded.images * (255 / _HIGHEST_LEVEL)).astype(np.uint8)
    labels = loaded.target.astype(np.int64)
    images = ImageSet(
        name=f"digits/{split}",
        classes=tuple(str(digit) for digit in range(10)),
        transform=InputTransform(size=size or _DEFAULT_SIZE, mean=(_MEAN,) * 3, std=(_STD,) * 3),
        sample_ids=numbered(len(levels)),
        labels=labels,
        pictures=ArrayPictures(levels),
    )
    return images.take(in_split(labels, split, seed))
