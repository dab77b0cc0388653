"""The images of a training run: in which order it sees them, and on which it is measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dvis.models.data import ImageSet, Split, augmented, load_images
from dvis.models.schedule import Draw, seed_for
from dvis.models.training_settings import TrainingSettings

Batch = tuple[Tensor, Tensor]  # images (batch, channel, y, x) float32, labels (batch,) int64

# Images to measure on are prepared once and kept where they take no more than this.
_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The images to train on, those to validate on, and how they become batches."""

    train: ImageSet
    val: ImageSet
    settings: TrainingSettings

    @property
    def batches_per_epoch(self) -> int:
        """Batches in an epoch; an incomplete last one is left out unless it is the only one."""
        return max(1, len(self.train) // self.settings.batch_size)

    def facts(self) -> dict[str, Any]:
        """What checkpoints tell about the images, as plain values."""
        return {
            "name": self.train.name,
            "fingerprint": self.train.fingerprint,
            "classes": list(self.train.classes),
            "n_train": len(self.train),
            "n_val": len(self.val),
        }

    def epoch(self, epoch: int, first_batch: int, *, pin: bool) -> Iterable[Batch]:
        """Batches of an epoch from `first_batch` on, in an order that the seed tells."""
        images: Dataset[tuple[Tensor, int]] = self.train
        if self.settings.augment:
            changed = augmented(self.train, self.settings.seed)
            changed.set_epoch(epoch)
            images = changed
        order = _generator(self.settings, Draw.ORDER, epoch).permutation(len(self.train))
        size = self.settings.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        return self._loader(images, batches[first_batch : self.batches_per_epoch], pin=pin)

    def to_measure(self) -> dict[str, Iterable[Batch]]:
        """Batches to measure on, of "train" and of "val": the same images each time."""
        return {"train": self._sample(self.train), "val": self._sample(self.val)}

    def _sample(self, images: ImageSet) -> Iterable[Batch]:
        positions = _generator(self.settings, Draw.MEASURED).permutation(len(images))
        positions = np.sort(positions[: self.settings.n_val])
        n_batches = -(-len(positions) // self.settings.batch_size)
        loader = self._loader(images, np.array_split(positions, n_batches))
        n_bytes = images[0][0].nbytes * len(positions)
        return list(loader) if n_bytes <= _KEPT_BYTES else loader

    def _loader(
        self,
        images: Dataset[tuple[Tensor, int]],
        batches: Sequence[np.ndarray],
        *,
        pin: bool = False,
    ) -> DataLoader[Any]:
        return DataLoader(
            images,
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=self.settings.workers,
            pin_memory=pin,
            generator=torch.Generator(),  # else each pass draws from the random state of all
        )


def load_training_data(settings: TrainingSettings) -> TrainingData:
    """The images that the settings ask for, with their split.

    Raises
    ------
    ValueError
        When a part would be empty; beside what `load_images` raises.
    """

    def load(split: Split, n_samples: int | None = None) -> ImageSet:
        return load_images(
            settings.dataset,
            settings.data_path,
            split=split,
            size=settings.image_size,
            download=settings.download,
            n_samples=n_samples,
            seed=settings.seed,
        )

    train = load("train", settings.n_train)
    if settings.val_fraction is None:
        return TrainingData(train=train, val=load("val"), settings=settings)
    n_val = round(settings.val_fraction * len(train))
    if not 0 < n_val < len(train):
        raise ValueError(
            f"--val-fraction {settings.val_fraction} of the {len(train)} images of {train.name} "
            f"are {n_val}; give one that leaves images to train and to validate on"
        )
    order = _generator(settings, Draw.VALIDATION).permutation(len(train))
    return TrainingData(
        train=train.take(np.sort(order[n_val:])),
        val=train.take(np.sort(order[:n_val])),
        settings=settings,
    )


def images_of_training(
    facts: Mapping[str, Any], split: Split, size: int, *, data_path: str | Path | None = None
) -> ImageSet | None:
    """The images that checkpoints were trained or validated on, as far as these tell.

    Parameters
    ----------
    facts : mapping
        What a checkpoint tells of itself: `settings` of its training.
    split : "train" or "val"
        Which of the images.
    size : int
        Side in pixels.
    data_path : str or Path, optional
        Where the set lies, in place of where it lay in training.

    Returns
    -------
    ImageSet or None
        None where the checkpoint does not tell a set.

    Raises
    ------
    ValueError, FileNotFoundError
        As `load_images` raises them.
    """
    settings = facts.get("settings")
    if not isinstance(settings, Mapping) or not isinstance(settings.get("dataset"), str):
        return None
    path = data_path or settings.get("data_path")
    given = TrainingSettings(
        model="any",
        dataset=settings["dataset"],
        data_path=None if path is None else Path(path).expanduser(),
        image_size=size,
        seed=settings.get("seed", 0),
        n_train=settings.get("n_train"),
        val_fraction=settings.get("val_fraction"),
    )
    data = load_training_data(given)
    return data.train if split == "train" else data.val


def _generator(settings: TrainingSettings, use: Draw, position: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed_for(settings.seed, use, position))
