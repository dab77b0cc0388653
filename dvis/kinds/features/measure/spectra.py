"""The mean spectrum of a user's images, for `Maco`. Files in, magnitudes by frequency out."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from dvis.kinds.features.measure.parametrisations import ImageSpace, mean_magnitude

_SUFFIXES = (".jpg", ".jpeg", ".png")
_BATCH = 32


def spectrum_of_images(folder: Path, channels: int, side: int, n_images: int = 1000) -> np.ndarray:
    """Mean magnitude spectrum of images below a folder, cut to their central squares.

    Parameters
    ----------
    folder : Path
        A folder of jpg or png files, at any depth.
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
    ValueError
        When a file is no image.
    """
    paths = sorted(p for p in folder.expanduser().rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise FileNotFoundError(
            f"no jpg or png files below {folder}, whose mean spectrum is wanted; give a folder of "
            "photographs, or leave --maco-images out for 1/f"
        )
    chosen = np.linspace(0, len(paths) - 1, min(n_images, len(paths))).round().astype(int)
    space = ImageSpace(channels=channels, height=side, width=side, dtype=torch.float64)
    total = torch.zeros(channels, side, side // 2 + 1, dtype=torch.float64)
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH].tolist()
        images = np.stack([_read(paths[i], channels, side) for i in batch])
        total += len(batch) * mean_magnitude(torch.from_numpy(images), space)
    return (total / len(chosen)).numpy().astype(np.float32)


def _read(path: Path, channels: int, side: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            square = ImageOps.fit(image.convert("RGB" if channels == 3 else "L"), (side, side))
    except (OSError, Image.DecompressionBombError) as err:
        raise ValueError(f"{path} cannot be read as an image: {err}; take it out") from err
    values = np.asarray(square, np.float64) / 255
    return np.atleast_3d(values).transpose(2, 0, 1)
