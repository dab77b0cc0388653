"""Where feature images begin when not at random: earlier images of a store, or files.

A checkpoint and a task in, model inputs (image_number, channel, rgb, y, x) out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from dvis.kinds.features.record import FeatureRecorder
from dvis.kinds.features.tasks import FeatureTask
from dvis.kinds.features.tree.tree_names import IMAGE_SUFFIXES, stem_of
from dvis.kinds.features.words import Form, Variant
from dvis.store.picture_files import PictureError, decode

_FORMS = (int(Form.NUMBERED_NAME), 0)


@dataclass(frozen=True)
class FromPrevious:
    """The images of the checkpoint before, as the store has them."""

    recorder: FeatureRecorder

    def __call__(self, before: str | None, _label: str, task: FeatureTask, /) -> np.ndarray | None:
        """Model inputs to start from; None at the first checkpoint."""
        return None if before is None else self.recorder.start_from(before, task)


@dataclass(frozen=True)
class FromFolders:
    """Images of a jpg/json tree, out of the first of some folders that has one.

    A folder may be a whole tree, a model's or a run's part of it, or hold the images themselves. A
    file's levels are taken for values from 0 to 1, for how it was stretched is not known.
    """

    folders: Sequence[Path]
    model: str
    run: str
    image_size: int
    number_of_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    without: list[str] = field(default_factory=list)

    def __call__(self, _before: str | None, label: str, task: FeatureTask, /) -> np.ndarray | None:
        """Model inputs to start from, NaN where no folder has an image."""
        shape = (self.number_of_images, len(task.channels), 3, self.image_size, self.image_size)
        start = np.full(shape, np.nan, np.float32)
        mean, std = (np.array(numbers, np.float32) for numbers in (self.mean, self.std))
        for number in range(self.number_of_images):
            for i, channel in enumerate(task.channels):
                path = self._find(label, task, channel, number)
                if path is None:
                    self.without.append(f"{label}, {task.layer}, channel {channel}")
                else:
                    values = (self._read(path) - mean) / std
                    start[number, i] = np.moveaxis(values, -1, 0)
        return None if np.isnan(start).all() else start

    def _find(self, label: str, task: FeatureTask, channel: int, number: int) -> Path | None:
        variant = Variant(task.objective, number)
        for folder in self.folders:
            run = folder / self.model / self.run
            for below in (folder / label, folder, run / label, folder / self.run / label):
                for form in _FORMS:
                    stem = stem_of(task.layer, channel, variant, form)
                    for suffix in IMAGE_SUFFIXES:
                        if (path := below / (stem + suffix)).is_file():
                            return path
        return None

    def _read(self, path: Path) -> np.ndarray:
        try:
            picture = Image.fromarray(decode(path.read_bytes()))
        except PictureError as err:
            raise ValueError(f"{path} cannot be the start of an image: {err}") from err
        size = (self.image_size, self.image_size)
        return np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32) / 255
