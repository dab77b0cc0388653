"""Labelled images by the name of their set, which each process loads for itself.

A few words travel to workers with a task, in place of the pixels; batches of model inputs come out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dvis.kinds.llc.measure import Samples, samples_of
from dvis.models.data import ImageSet, InputTransform, Split, load_images
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.data.image_set import chosen
from dvis.models.data_options import DataOptions
from dvis.models.option_numbers import at_least
from dvis.models.training_data import images_of_training


@dataclass(frozen=True, kw_only=True)
class NamedImages:
    """Images of a set, chosen and brought to what a model takes, without chance.

    Parameters
    ----------
    dataset : str
        One of `dvis.models.data.DATASETS`.
    data_path : Path or None
        Where the set lies.
    split : "train" or "val"
        The set's training or validation images.
    transform : InputTransform
        What each picture goes through.
    seed : int
        Seed by which the set was split and images were chosen.
    n_images : int or None
        So many of them at random; all for None.
    trained_on : tuple of (str, Any), optional
        Number and share of the images that a training took, by the names of its settings: then the
        set is what it trained on, or validated on.
    fingerprint : str
        What tells the set from others; empty until it has been loaded once.
    """

    dataset: str
    data_path: Path | None
    split: Split
    transform: InputTransform
    seed: int = 0
    n_images: int | None = None
    trained_on: tuple[tuple[str, Any], ...] | None = None
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(_loaded(self))

    def batch(self, positions: np.ndarray, like: Tensor) -> Any:
        """Images and labels of some samples, on the device of a tensor.

        Parameters
        ----------
        positions : ndarray, (sample,), int64
        like : Tensor
            Of the device and the number format that are wanted.
        """
        return _loaded(self).batch(positions, like)

    def forget(self) -> None:
        """Let go of the images that this process keeps."""
        _loaded.cache_clear()
        _image_set.cache_clear()
        forget_prepared()

    def load(self) -> ImageSet:
        """The images, whatever their fingerprint."""
        return _image_set(replace(self, fingerprint=""))


def find_images(
    options: DataOptions, facts: Mapping[str, Any], transform: InputTransform
) -> NamedImages:
    """The images that are asked for, or those that a checkpoint was trained on.

    Parameters
    ----------
    options : DataOptions
        What is asked for.
    facts : mapping
        What a checkpoint tells of itself: `settings` and `data` of its training, and `input`.
    transform : InputTransform
        How the model takes pictures.

    Raises
    ------
    ValueError
        When no set is asked for and the checkpoint tells of none, or the set at the path is not
        the one that it was trained on; beside what `load_images` raises.
    FileNotFoundError
        When the set is not at the path.
    """
    recorded = facts.get("settings")
    training: Mapping[str, Any] = recorded if isinstance(recorded, Mapping) else {}
    is_of_training = options.dataset is None
    dataset = training.get("dataset") if is_of_training else options.dataset
    if not isinstance(dataset, str):
        raise ValueError(
            "no data set is given, and the checkpoints do not tell what they were trained on. Give "
            "one, such as --dataset digits, or --dataset folder --data-path DIR"
        )
    is_same = dataset == training.get("dataset")
    path = options.data_path or (training.get("data_path") if is_of_training else None)
    seed = training.get("seed", 0) if is_same else 0
    at_least("seed of the training", seed, 0, is_needed=True)
    images = NamedImages(
        dataset=dataset,
        data_path=None if path is None else Path(path).expanduser().absolute(),
        split=options.split,
        transform=transform,
        # The split of a set that has none of its own is as the seed of the training made it.
        seed=seed,
        n_images=options.n_images,
        trained_on=(
            tuple((name, training.get(name)) for name in ("n_train", "val_fraction"))
            if is_of_training
            else None
        ),
    )
    if is_of_training:
        _check_trained_on(images, facts)
    return replace(images, fingerprint=images.load().fingerprint)


def _check_trained_on(images: NamedImages, facts: Mapping[str, Any]) -> None:
    recorded = facts.get("data")
    expected = recorded.get("fingerprint") if isinstance(recorded, Mapping) else None
    of_training = facts.get("input")
    as_trained = replace(images, split="train", n_images=None)
    if isinstance(of_training, Mapping):
        as_trained = replace(as_trained, transform=InputTransform.from_dict(of_training))
    found = as_trained.load().fingerprint
    if expected not in (None, found):
        where = "" if images.data_path is None else f" at {images.data_path}"
        raise ValueError(
            f"the images of {images.dataset}{where} are not those that the checkpoints were "
            f"trained on: their fingerprint is {found}, not {expected}. Give --data-path of those, "
            f"or --dataset {images.dataset} to take these as they are"
        )


@lru_cache(maxsize=2)
def _image_set(named: NamedImages) -> ImageSet:
    if named.trained_on is None:
        return load_images(
            named.dataset,
            named.data_path,
            split=named.split,
            size=named.transform.size,
            n_samples=named.n_images,
            seed=named.seed,
        )
    settings = {"dataset": named.dataset, "seed": named.seed, **dict(named.trained_on)}
    images = images_of_training(
        {"settings": settings}, named.split, named.transform.size, data_path=named.data_path
    )
    assert images is not None
    if named.n_images is None:
        return images
    return images.take(chosen(named.n_images, len(images), images.name, named.seed))


@lru_cache(maxsize=1)
def _loaded(named: NamedImages) -> Samples:
    """The images in this process; they are looked at again, for workers may see other files."""
    images = named.load()
    if images.fingerprint != named.fingerprint:
        raise ValueError(
            f"the images of {named.dataset} that this worker sees are not those of the process "
            f"that asked: their fingerprint is {images.fingerprint}, not {named.fingerprint}. Let "
            "workers see the same files, or compute with --workers 0"
        )
    return samples_of(FixedImages.of(images, named.transform))
