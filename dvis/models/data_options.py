"""Which labelled images a measurement looks at: options that commands share.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dvis.models.option_numbers import bounded


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Labelled images of a set.

    Parameters
    ----------
    dataset
        A labelled image set: imagenet1k, folder, cifar10, mnist, emnist, dsprites, digits, shapes.
    data_path
        Where the set lies.
    split
        The set's training or validation images. They are never augmented.
    n_images
        So many images of the set, at random (default: all).
    image_size
        Side in pixels to which images are brought, where it is not what the model takes (default:
        --input-size).
    """

    dataset: str | None = None
    data_path: Path | None = None
    split: Literal["train", "val"] = "val"
    n_images: int | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        bounded(self)
