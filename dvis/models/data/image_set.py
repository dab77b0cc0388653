"""A labelled image set: pictures, their transform, labels, ids, factors and a fingerprint.

Where the pictures come from (files, an array, a drawing) is the matter of its `Pictures`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import Literal, Protocol, Self

import numpy as np
import torch
from torch.utils.data import Dataset

from dvis.models.data.transform import InputTransform, Picture

Split = Literal["train", "val"]

VALIDATION_FRACTION = 0.1
_DIGEST_BYTES = 16


class Pictures(Protocol):
    """Where the pictures of a set come from; it goes to loader processes, so it can be pickled."""

    def __getitem__(self, index: int) -> Picture:
        """Picture of a sample: a PIL image, or an array, (y, x) or (y, x, rgb), uint8 0-255."""

    def take(self, positions: np.ndarray) -> Self:
        """The pictures at these positions, in their order."""

    def content(self) -> tuple[str, Iterable[bytes]]:
        """What a fingerprint covers, in one word, and the bytes of it, sample by sample."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What training may do to a set's images without changing what they show.

    Parameters
    ----------
    smallest_area : float
        Smallest part of the image's area that a random crop keeps, 0 to 1.
    flips : bool
        Whether an image and its mirror image show the same thing.
    """

    smallest_area: float = 0.6
    flips: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet(Dataset[tuple[torch.Tensor, int]]):
    """Labelled images as a model takes them; `image_set[i]` is (image, label).

    The image is a Tensor, (channel, y, x), float32, normalised by `transform`, the label an int.
    Made by `load_images`.

    Attributes
    ----------
    name : str
        The set and its split, such as `cifar10/train`.
    classes : tuple of str
        Names of the labels, in their order.
    transform : InputTransform
        What each picture goes through; recorded in checkpoints.
    sample_ids : tuple of str, one a sample
        Names of the samples: a path below the folder, or a number in the set.
    labels : ndarray, (sample,), int64
        Index into `classes`.
    pictures : Pictures
        The pictures before the transform.
    factors : mapping of str to ndarray, (sample,)
        Latent factors by name, where the set has them.
    categories : mapping of str to tuple of str
        Names of the values of those factors that are classes, in their order.
    periods : mapping of str to float
        Of factors that run in a circle, such as hues, by how much until they are the same again.
    augmentation : Augmentation
        What training may do to the images; no part of the set itself (see `augmented`).
    """

    name: str
    classes: tuple[str, ...]
    transform: InputTransform
    sample_ids: tuple[str, ...]
    labels: np.ndarray
    pictures: Pictures
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    periods: Mapping[str, float] = field(default_factory=dict)
    augmentation: Augmentation = Augmentation()

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.picture(index)), int(self.labels[index])

    def picture(self, index: int) -> Picture:
        """Picture before the transform: a PIL image, or an array, (y, x[, rgb]), uint8 0-255.

        Raises
        ------
        IndexError
            When the set has no such sample.
        OSError
            When the file cannot be read; the text names it.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"No sample {index} in {self.name}, which has {len(self)}")
        return self.pictures[index % len(self)]

    def take(self, positions: np.ndarray) -> Self:
        """The samples at these positions, in their order.

        Parameters
        ----------
        positions : ndarray, (sample,), int64
        """
        return replace(
            self,
            sample_ids=tuple(self.sample_ids[position] for position in positions),
            labels=self.labels[positions],
            pictures=self.pictures.take(positions),
            factors={name: values[positions] for name, values in self.factors.items()},
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of classes, ids, labels and content; the word before the dash says of what content.

        `pixels-` and `files-` cover every byte of the pictures; `sizes-` the sizes of the files,
        for folders too big to read; `recipe-` the numbers from which drawn pictures are drawn. The
        transform is not covered. Computed when first asked for.
        """
        covered, content = self.pictures.content()
        digest = blake2b(digest_size=_DIGEST_BYTES)
        for text in (*self.classes, "", *self.sample_ids):
            _add(digest, text.encode(errors="surrogateescape"))
        _add(digest, self.labels.astype("<i8").tobytes())
        for data in content:
            _add(digest, data)
        return f"{covered}-{digest.hexdigest()}"


def _add(digest: blake2b, data: bytes) -> None:
    digest.update(len(data).to_bytes(8, "little"))  # so that "ab", "c" is not "a", "bc"
    digest.update(data)


@dataclass(frozen=True)
class ArrayPictures:
    """Pictures in memory: an array, (sample, y, x) or (sample, y, x, rgb), uint8 0-255."""

    values: np.ndarray

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture of a sample, (y, x) or (y, x, rgb)."""
        return np.asarray(self.values[index])

    def take(self, positions: np.ndarray) -> "ArrayPictures":
        """The pictures at these positions."""
        return ArrayPictures(self.values[positions])

    def content(self) -> tuple[str, Iterable[bytes]]:
        """Shape and pixels of every picture."""
        shape = repr(self.values.shape[1:]).encode()
        return "pixels", (shape + picture.tobytes() for picture in self.values)


def numbered(n_samples: int) -> tuple[str, ...]:
    """Ids of samples that have a place in their set and no name."""
    return tuple(str(number) for number in range(n_samples))


def chosen(n_samples: int | None, there: int, name: str, seed: int) -> np.ndarray:
    """Positions of samples chosen at random, in their order; fewer are a part of more.

    Returns
    -------
    ndarray, (sample,), int64

    Raises
    ------
    ValueError
        When there are not that many.
    """
    if n_samples is None:
        return np.arange(there)
    if n_samples > there:
        raise ValueError(
            f"{n_samples} samples of {name} were asked for, which has {there}. Ask for at most "
            "that, or leave the number out for all of them"
        )
    return np.sort(np.random.default_rng(seed).permutation(there)[:n_samples])


def in_split(labels: np.ndarray, split: Split, seed: int) -> np.ndarray:
    """Positions of one side of a random split: of each class a tenth is for validation.

    Parameters
    ----------
    labels : ndarray, (sample,), int64
    split : "train" or "val"
    seed : int
        Another seed splits otherwise: load both sides with the same one.

    Returns
    -------
    ndarray, (sample,), int64
        A class of one sample is for training only.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    n_held = np.where(counts > 1, np.maximum(1, np.rint(counts * VALIDATION_FRACTION)), 0)
    is_held = place < np.repeat(n_held, counts)
    return np.sort(order[is_held if split == "val" else ~is_held])
