"""Fixed images to which units respond: a set, files, or seeded noise, as a model takes them.

An image set in, batches of model inputs out, the same at every checkpoint.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dvis.models.data import ImageSet, InputTransform
from dvis.models.data.folders import FilePictures
from dvis.models.data.image_set import numbered
from dvis.models.image_files import PICTURE_SUFFIXES, pictures_below

# Prepared images are kept by a process, 8 bits a colour, where they take no more than this.
_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class FixedImages:
    """Images of a set, brought to the size and the numbers that a model takes.

    Parameters
    ----------
    fingerprint : str
        What tells the set from others.
    images : ImageSet
        The set, whose `transform` is the model's.
    """

    fingerprint: str
    transform: InputTransform
    images: ImageSet = field(compare=False)

    @classmethod
    def of(cls, images: ImageSet, transform: InputTransform) -> "FixedImages":
        """The images of a set, through another transform than the set's own."""
        images = replace(images, transform=transform)
        return cls(images.fingerprint, transform, images)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, first: int, stop: int, like: Tensor) -> Tensor:
        """Model inputs (image, channel, y, x) of some images, on the device of a tensor."""
        return self.at(np.arange(first, min(stop, len(self))), like)

    def at(self, positions: np.ndarray, like: Tensor) -> Tensor:
        """Model inputs (image, channel, y, x) at any positions, on the device of a tensor."""
        if self._n_bytes <= _KEPT_BYTES:
            levels = torch.from_numpy(_all_levels(self)[positions])
        else:
            levels = torch.from_numpy(self.levels(positions))
        # As `InputTransform.normalised` computes it, to the last bit.
        mean, std = (
            torch.from_numpy(255 * np.array(values, np.float32))[:, None, None].to(like.device)
            for values in (self.transform.mean, self.transform.std)
        )
        return ((levels.to(like.device).float() - mean) / std).to(like.dtype)

    def levels(self, positions: Iterable[int]) -> np.ndarray:
        """Resized images (image, channel, y, x), uint8 0-255."""
        n_channels = self.transform.channels
        plain = replace(self.transform, mean=(0.0,) * n_channels, std=(1.0,) * n_channels)
        pictures = (plain(self.images.picture(position)) for position in positions)
        return np.stack([(255 * values).round().to(torch.uint8).numpy() for values in pictures])

    @property
    def _n_bytes(self) -> int:
        return len(self) * self.transform.channels * self.transform.size**2


@lru_cache(maxsize=2)  # what is looked at, and what batch norm is measured on
def _all_levels(images: FixedImages) -> np.ndarray:
    return images.levels(range(len(images)))


def forget_prepared() -> None:
    """Let go of the prepared images that this process keeps."""
    _all_levels.cache_clear()


def images_of_files(paths: Sequence[Path], transform: InputTransform) -> ImageSet:
    """Images of files, and of all files in folders, unlabelled.

    Parameters
    ----------
    paths : sequence of Path
        Files, and folders, of which the images at any depth are taken, by name; hidden ones and
        those of systems are passed over.
    transform : InputTransform
        What each goes through.

    Returns
    -------
    ImageSet
        `sample_ids` are paths below the folder, and names of files; whole paths where two would
        be the same.

    Raises
    ------
    FileNotFoundError
        When a path does not exist, or a folder has no images.
    """
    named: dict[Path, str] = {}
    for path in (given.expanduser() for given in paths):
        if path.is_file():
            named[path.absolute()] = path.name
        elif below := sorted(pictures_below(path)) if path.is_dir() else []:
            named |= {(path / file).absolute(): file.as_posix() for file in below}
        else:
            suffixes = ", ".join(PICTURE_SUFFIXES)
            what = f"a folder without {suffixes} files" if path.is_dir() else "nothing"
            raise FileNotFoundError(f"No images at {path}: there is {what}. Give image files")
    paths_of_files, names = [str(file) for file in named], list(named.values())
    return ImageSet(
        name="images",
        classes=(),
        transform=transform,
        sample_ids=tuple(names if len(set(names)) == len(names) else paths_of_files),
        labels=np.zeros(len(named), np.int64),
        pictures=FilePictures(Path("/"), tuple(paths_of_files)),
    )


@dataclass(frozen=True)
class NoisePictures:
    """Pictures of noise, each colour of each pixel uniform, drawn when they are asked for."""

    places: np.ndarray
    size: int
    seed: int

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture of a sample, (y, x, rgb), uint8 0-255."""
        generator = np.random.default_rng((self.seed, int(self.places[index])))
        return generator.integers(0, 256, (self.size, self.size, 3), np.uint8)

    def take(self, positions: np.ndarray) -> "NoisePictures":
        """The pictures at these positions."""
        return NoisePictures(self.places[positions], self.size, self.seed)

    def content(self) -> tuple[str, Iterable[bytes]]:
        """Size, seed and places."""
        return "recipe", (repr(("noise", self.size, self.seed)).encode(), self.places.tobytes())


def noise_images(n_images: int, seed: int, transform: InputTransform) -> ImageSet:
    """Seeded noise, 8 bits a colour; the first images do not depend on how many there are."""
    return ImageSet(
        name="noise",
        classes=(),
        transform=transform,
        sample_ids=numbered(n_images),
        labels=np.zeros(n_images, np.int64),
        pictures=NoisePictures(np.arange(n_images), transform.size, seed),
    )
