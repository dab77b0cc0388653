"""Image sets that torchvision reads and can download: CIFAR-10, MNIST and EMNIST.

A local root goes in; an ImageSet in memory comes out. Nothing is downloaded unless asked for.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvis.models.data.image_set import ArrayPictures, Augmentation, ImageSet, Split, numbered
from dvis.models.data.transform import InputTransform


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A torchvision dataset: its class, where it lies below the root, its pixel statistics."""

    class_name: str
    folder: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation


# Means and standard deviations are those of the training images that are in common use; MNIST's
# are those of PyTorch's own example (pytorch/examples, mnist/main.py).
# torchvision unpickles CIFAR-10's files after comparing each with its known MD5 sum.
_SOURCES = {
    "cifar10": _Source(
        class_name="CIFAR10",
        folder="cifar-10-batches-py",
        size=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        augmentation=Augmentation(smallest_area=0.5, flips=True),
    ),
    "mnist": _Source(
        class_name="MNIST",
        folder="MNIST/raw",
        size=28,
        mean=(0.1307,) * 3,
        std=(0.3081,) * 3,
        augmentation=Augmentation(),
    ),
    "emnist": _Source(
        class_name="EMNIST",
        folder="EMNIST/raw",
        size=28,
        mean=(0.1751,) * 3,
        std=(0.3332,) * 3,
        augmentation=Augmentation(),
    ),
}
DOWNLOADABLE = tuple(_SOURCES)


def torchvision_images(
    dataset: str, root: Path, split: Split, size: int | None = None, *, download: bool = False
) -> ImageSet:
    """CIFAR-10, MNIST or EMNIST (its balanced split of 47 classes); validation is its test set.

    Parameters
    ----------
    dataset : "cifar10", "mnist" or "emnist"
    root : Path
        Folder in which torchvision keeps the set's folder.
    split : "train" or "val"
    size : int, optional
        Side of the images in pixels; their own (32 or 28) unless told otherwise.
    download : bool
        Whether to download what is missing.

    Returns
    -------
    ImageSet

    Raises
    ------
    FileNotFoundError
        When the files are missing or damaged.
    OSError
        When the download fails.
    """
    from torchvision import datasets  # imports torch's compiler

    source = _SOURCES[dataset]
    kind = {"split": "balanced"} if dataset == "emnist" else {}
    try:
        of_class = getattr(datasets, source.class_name)
        opened = of_class(str(root), train=split == "train", download=download, **kind)
    except (RuntimeError, OSError) as err:
        raise _explained(err, dataset, root / source.folder, download) from err
    values = np.asarray(opened.data)
    if dataset == "emnist":  # its files hold each letter mirrored at the diagonal
        values = np.ascontiguousarray(values.transpose(0, 2, 1))
    return ImageSet(
        name=f"{dataset}/{split}",
        classes=tuple(opened.classes),
        transform=InputTransform(size=size or source.size, mean=source.mean, std=source.std),
        sample_ids=numbered(len(values)),
        labels=np.asarray(opened.targets, np.int64),
        pictures=ArrayPictures(values),
        augmentation=source.augmentation,
    )


def _explained(err: Exception, dataset: str, folder: Path, download: bool) -> OSError:
    if download:
        return OSError(
            f"{dataset} could not be downloaded to {folder}: {' '.join(str(err).split())} "
            "Without a network, copy that folder from a machine that has it"
        )
    there = sorted(os.listdir(folder)) if folder.is_dir() else []
    return FileNotFoundError(
        f"{dataset} is missing or damaged in {folder}, which "
        f"{'holds ' + ', '.join(there[:10]) if there else 'is not there'}. Give the folder that "
        f"holds {_SOURCES[dataset].folder}, or ask for download=True (--download)"
    )
