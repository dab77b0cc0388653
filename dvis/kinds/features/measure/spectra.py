"""The mean spectrum of a user's images, for `Maco`. Files in, magnitudes by frequency out."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from dvis.kinds.features.measure.parametrisations import ImageSpace, mean_magnitude
from dvis.models.data.folders import FilePictures
from dvis.models.image_files import pictures_below

_BATCH = 32


def spectrum_of_images(folder: Path, channels: int, side: int, n_images: int = 1000) -> np.ndarray:
    """Mean magnitude spectrum of images below a folder, cut to their central squares.

    Parameters
    ----------
    folder : Path
        A folder of pictures, at any depth.
    channels : int
        Channels of the model's input, 1 or 3.
    side : int
        Side of the square images in pixels.
    n_images : int
        Images to take at most, evenly spread over the files in the order of their names.

    Returns
    -------
    ndarray, (channel, y frequency, x frequency), float32

    Raises
    ------
    FileNotFoundError
        When there are no such files.
    OSError
        When a file cannot be read as an image; the text names it.
    """
    folder = folder.expanduser()
    paths = sorted(pictures_below(folder)) if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(
            f"no pictures below {folder}, whose mean spectrum is wanted; give a folder of "
            "photographs, or leave --maco-images out for 1/f"
        )
    pictures = FilePictures(folder, tuple(str(path) for path in paths))
    chosen = np.linspace(0, len(paths) - 1, min(n_images, len(paths))).round().astype(int)
    space = ImageSpace(channels=channels, height=side, width=side, dtype=torch.float64)
    total = torch.zeros(channels, side, side // 2 + 1, dtype=torch.float64)
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH].tolist()
        images = np.stack([_square(pictures[i], channels, side) for i in batch])
        total += len(batch) * mean_magnitude(torch.from_numpy(images), space)
    return (total / len(chosen)).numpy().astype(np.float32)


def _square(picture: Image.Image, channels: int, side: int) -> np.ndarray:
    square = ImageOps.fit(picture.convert("RGB" if channels == 3 else "L"), (side, side))
    values = np.asarray(square, np.float64) / 255
    return np.atleast_3d(values).transpose(2, 0, 1)


def spectrum_name(param: str, magnitude: np.ndarray | None) -> str:
    """What tells the spectrum of maco images from others: 1/f, or a hash; "" of other images."""
    if magnitude is None:
        return "1/f" if param == "maco" else ""
    return hashlib.blake2b(magnitude.tobytes(), digest_size=8).hexdigest()
