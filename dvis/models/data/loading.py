"""Image sets by name.

A name, and a path where the set lies in files, go in; an ImageSet comes out.
"""

import os
from pathlib import Path
from typing import get_args

from dvis.models.data.digits import digits_images
from dvis.models.data.downloadable import DOWNLOADABLE, torchvision_images
from dvis.models.data.dsprites import FILE_NAME, dsprites_images
from dvis.models.data.folders import folder_images
from dvis.models.data.image_set import ImageSet, Split, chosen
from dvis.models.data.shapes import shapes_images
from dvis.schema import did_you_mean

_BUILT_IN = ("digits", "shapes")
_PATHS = {
    "imagenet1k": "the folder that holds 'train' and 'val'",
    "folder": "the folder that holds a folder a class, or 'train' and 'val' with those",
    "cifar10": "the folder that holds 'cifar-10-batches-py'",
    "mnist": "the folder that holds 'MNIST'",
    "emnist": "the folder that holds 'EMNIST'",
    "dsprites": f"the file {FILE_NAME}, or its folder",
}
DATASETS = (*_PATHS, *_BUILT_IN)


def load_images(
    dataset: str,
    data_path: str | Path | None = None,
    *,
    split: Split = "train",
    size: int | None = None,
    download: bool = False,
    n_samples: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """A labelled image set, opened or drawn; files of folders are read when asked for.

    Parameters
    ----------
    dataset : str
        One of `DATASETS`: imagenet1k and folder (class folders of images), cifar10, mnist and
        emnist (as torchvision keeps them), dsprites (its npz file), digits (scikit-learn's) and
        shapes (drawn when asked for).
    data_path : str or Path, optional
        Where the set lies; none for digits and shapes.
    split : "train" or "val"
        The set's own test or validation images; a tenth of each class, at random, where it has
        none of its own (folders without `train` and `val`, dsprites, digits).
    size : int, optional
        Side of the images in pixels; 224 for folders, the images' own size for others, 64 for
        digits and shapes where it is left out.
    download : bool, default False
        Whether torchvision may download what is missing.
    n_samples : int, optional
        So many at random; all, or 20,000 shapes (1,000 for validation), where it is left out.
    seed : int, default 0
        Seed of drawing, splitting and choosing. Load both splits with the same one.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        When there is no such set or split, a number is impossible, the set has fewer samples, or
        a path or download is given for a set that has none.
    FileNotFoundError
        When the set is not at the path.
    OSError
        When a download fails.

    Examples
    --------
    >>> images = load_images("shapes", n_samples=3)
    >>> images[0][0].shape, images.classes[:3]
    (torch.Size([3, 64, 64]), ('circle', 'ring', 'ellipse'))
    """
    _check_names(dataset, split, download=download)
    _check_numbers(n_samples, size, seed)
    path = _path(dataset, data_path)
    if path is None:
        if dataset == "shapes":
            return shapes_images(split, size, n_samples=n_samples, seed=seed)
        return _chosen(digits_images(split, size, seed), n_samples, seed)
    if dataset == "dsprites":
        return dsprites_images(path, split, size, n_samples=n_samples, seed=seed)
    if dataset in DOWNLOADABLE:
        images = torchvision_images(dataset, path, split, size, download=download)
    else:
        images = folder_images(dataset, path, split, size, seed)
    return _chosen(images, n_samples, seed)


def _check_names(dataset: str, split: str, *, download: bool) -> None:
    if dataset not in DATASETS:
        raise ValueError(did_you_mean("dataset", dataset, DATASETS, "dvis"))
    if split not in get_args(Split):
        raise ValueError(did_you_mean("split", split, get_args(Split), dataset))
    if download and dataset not in DOWNLOADABLE:
        raise ValueError(
            f"{dataset} cannot be downloaded; {', '.join(DOWNLOADABLE)} can. Leave download out"
        )


def _check_numbers(n_samples: int | None, size: int | None, seed: int) -> None:
    if n_samples is not None and n_samples < 1:
        raise ValueError(f"{n_samples} samples were asked for. Ask for 1 or more")
    if size is not None and size < 1:
        raise ValueError(f"Images of {size} px were asked for. Ask for 1 px or more")
    if seed < 0:
        raise ValueError(f"The seed is {seed}. Give 0 or more")


def _path(dataset: str, data_path: str | Path | None) -> Path | None:
    """Where the set lies; None for one that is built in."""
    if dataset in _BUILT_IN:
        if data_path is not None:
            raise ValueError(f"{dataset} lies in no files, not in {data_path}. Leave the path out")
        return None
    if data_path is None or not os.fspath(data_path):
        raise ValueError(f"{dataset} was asked for without a path. Give {_PATHS[dataset]}")
    return Path(data_path).expanduser()


def _chosen(images: ImageSet, n_samples: int | None, seed: int) -> ImageSet:
    if n_samples is None:
        return images
    return images.take(chosen(n_samples, len(images), images.name, seed))
