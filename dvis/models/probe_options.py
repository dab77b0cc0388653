"""On which fixed images a model is probed at every checkpoint: options that commands share.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from dvis.models.data_options import DataOptions
from dvis.models.option_numbers import at_least

BatchNorm = Literal["recalibrate", "running"]


@dataclass(frozen=True, kw_only=True)
class ImageOptions(DataOptions):
    """Images of a set, image files, or seeded noise.

    Parameters
    ----------
    images
        Image files, or folders of them, in place of a dataset.
    noise
        So many images of seeded noise, in place of a dataset.
    seed
        Seed of the noise, and of the choice of n_images.
    """

    images: tuple[Path, ...] = ()
    noise: int | None = None
    seed: int = 0

    @property
    def given(self) -> list[str]:
        """Kinds of images that are given."""
        kinds = {"dataset": self.dataset, "images": self.images, "noise": self.noise}
        return [kind for kind, value in kinds.items() if value not in (None, (), "")]

    @property
    def images_name(self) -> str:
        """Name of what is measured where none is given, by the images."""
        if self.dataset is not None:
            return f"{self.dataset}-{self.split}"
        if self.noise is not None:
            return f"noise-{self.noise}-seed-{self.seed}"
        return (self.images[0].stem if len(self.images) == 1 else "") or "images"


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(ImageOptions):
    """Fixed images, and whose statistics batch norm uses on them.

    Parameters
    ----------
    batch_norm
        Statistics of batch norm: measured anew on the images (recalibrate), for those of training
        lag behind early checkpoints; or those of training (running).
    seed
        Seed of the noise, of the choice of n_images, and of what is drawn beside them.
    batch_size
        Images in one forward pass (default: 32 on a CPU, 256 on a GPU).
    """

    # Images of a set that are taken where nobody says how many, all of a smaller set; None for all.
    images_unasked: ClassVar[int | None] = None
    fewest_images: ClassVar[int] = 1
    needs_images: ClassVar[bool] = True

    batch_norm: BatchNorm = "recalibrate"
    batch_size: int | None = None

    def check_probe(self) -> None:
        """Raise where not one kind of images is given, or a number is too low.

        Raises
        ------
        ValueError
            With what is given.
        """
        if len(self.given) > 1 or (self.needs_images and not self.given):
            raise ValueError(
                f"{' and '.join(self.given) or 'no images'} given; give one of dataset, images, "
                "noise"
            )
        stray = [name for name in ("data_path", "n_images") if getattr(self, name) is not None]
        if stray and self.dataset is None:
            beside = f", not with {self.given[0]}" if self.given else ""
            raise ValueError(f"{stray[0]} goes with dataset{beside}; leave it out")
        if self.batch_norm not in get_args(BatchNorm):
            raise ValueError(f"batch_norm is {self.batch_norm!r}; give recalibrate or running")
        fewest = {"noise": self.fewest_images, "n_images": self.fewest_images}
        for name in ("noise", "n_images", "image_size", "batch_size"):
            at_least(name, getattr(self, name), fewest.get(name, 1))
