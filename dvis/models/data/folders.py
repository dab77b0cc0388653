"""Image sets in folders: ImageNet's layout, and any folder of class folders.

A path and a split go in; an ImageSet comes out that reads each file when it is asked for.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dvis.models.data.image_set import Augmentation, ImageSet, Split, in_split
from dvis.models.data.transform import InputTransform, as_image
from dvis.models.image_files import PICTURE_SUFFIXES, folders_in, pictures_below
from dvis.schema import did_you_mean

# Of ImageNet's training images, as in torchvision/transforms/_presets.py.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_DEFAULT_SIZE, _RESIZE_RATIO = 224, 256 / 224

# Folders up to this size are fingerprinted by content, bigger ones by the sizes of their files.
CONTENT_BYTES = 256 * 2**20

_SHOWN = 10


@dataclass(frozen=True)
class FilePictures:
    """Pictures in files, by their paths below a folder."""

    root: Path
    names: tuple[str, ...]

    def __getitem__(self, index: int) -> Image.Image:
        """Picture of a sample, grey or RGB.

        Raises
        ------
        OSError
            When the file cannot be read as an image; the text names it.
        """
        path = self.root / self.names[index]
        try:
            with Image.open(path) as image:
                image.load()
                return as_image(image)
        # What Pillow raises of files that are cut short, damaged, or no images.
        except (
            *(OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error),
            Image.DecompressionBombError,
        ) as err:
            raise OSError(
                f"The image {path} cannot be read: {err}. Replace it, or take it out of the folder"
            ) from err

    def take(self, positions: np.ndarray) -> "FilePictures":
        """The pictures at these positions."""
        return FilePictures(self.root, tuple(self.names[position] for position in positions))

    def content(self) -> tuple[str, Iterable[bytes]]:
        """Every byte of the files, or their sizes where they are more than `CONTENT_BYTES`."""
        sizes = [os.stat(self.root / name).st_size for name in self.names]
        if sum(sizes) > CONTENT_BYTES:
            return "sizes", (size.to_bytes(8, "little") for size in sizes)
        return "files", ((self.root / name).read_bytes() for name in self.names)


def folder_images(
    dataset: str, path: Path, split: Split, size: int | None = None, seed: int = 0
) -> ImageSet:
    """Photographs in class folders, below `train` and `val` or without them.

    Parameters
    ----------
    dataset : "imagenet1k" or "folder"
        ImageNet's layout has to have `train` or `val`; a folder that has neither is split at
        random, a tenth of each class for validation.
    path : Path
        The folder.
    split : "train" or "val"
    size : int, optional
        Side of the images in pixels, 224 unless told otherwise.
    seed : int
        Seed of the random split.

    Returns
    -------
    ImageSet

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or it does not have the layout.
    ValueError
        When the validation images have classes that the training images lack.
    """
    _demand_folder(path)
    below = path / split
    is_split = (path / "train").is_dir() or (path / "val").is_dir()
    if not below.is_dir() and (is_split or dataset == "imagenet1k"):
        raise FileNotFoundError(
            f"No folder {split!r} in {path}, which is to have {split}/CLASS/IMAGE.{_holds(path)} "
            "Give the folder that holds 'train' and 'val'"
        )
    root = below if is_split else path
    names, labels, classes = _listed(root, _class_names(path / "train", root))
    size = size or _DEFAULT_SIZE
    images = ImageSet(
        name=f"{dataset}/{split}",
        classes=classes,
        transform=InputTransform(
            size=size, resize=round(size * _RESIZE_RATIO), mean=IMAGENET_MEAN, std=IMAGENET_STD
        ),
        sample_ids=names,
        labels=labels,
        pictures=FilePictures(root, names),
        # 0.08 as in Szegedy et al., Going deeper with convolutions, 2015, section 6.
        augmentation=Augmentation(smallest_area=0.08, flips=True),
    )
    return images if is_split else images.take(in_split(labels, split, seed))


def _demand_folder(path: Path) -> None:
    if path.is_dir():
        return
    if path.exists():
        raise NotADirectoryError(f"{path} is a file. Give the folder that holds the class folders")
    parent = path.absolute().parent
    there = folders_in(parent) if parent.is_dir() else []
    raise FileNotFoundError(did_you_mean("folder", path.name, there, str(parent)))


def _class_names(train: Path, root: Path) -> tuple[str, ...]:
    """Classes, which are the training folder's, so that both splits number them alike."""
    there = _class_folders(root)
    classes = _class_folders(train) if train.is_dir() else there
    if unknown := sorted(set(there) - set(classes)):
        raise ValueError(
            f"{len(unknown)} class folders in {root} are not in {train}: "
            f"{', '.join(unknown[:_SHOWN])}. Give both the same classes"
        )
    return tuple(classes)


def _listed(
    root: Path, classes: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Paths of the images below the folder, sorted by class and path, their labels, the classes."""
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        below = _image_files(root, name)
        names += below
        labels += [label] * len(below)
    if not names:
        raise FileNotFoundError(
            f"No images in class folders in {root}.{_holds(root)} Sort the images into a folder a "
            f"class (CLASS/IMAGE); images end in {', '.join(PICTURE_SUFFIXES)}"
        )
    return tuple(names), np.array(labels, np.int64), classes


def _class_folders(path: Path) -> list[str]:
    # Nor are `_unsorted` and its like classes, though their pictures may be looked at elsewhere.
    return [name for name in folders_in(path) if not name.startswith("_")]


def _image_files(root: Path, name: str) -> list[str]:
    """Paths below `root` of the images in a class folder, at any depth, sorted."""
    if not (root / name).is_dir():  # a class of which there are no validation images
        return []
    return sorted(f"{name}/{path.as_posix()}" for path in pictures_below(root / name))


def _holds(path: Path) -> str:
    """What lies in a folder, as a sentence after a space."""
    there = sorted(os.listdir(path))
    shown = ", ".join(there[:_SHOWN]) + (", ..." if len(there) > _SHOWN else "")
    return f" It holds {len(there)} entries: {shown}." if there else " It is empty."
