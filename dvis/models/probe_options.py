"""On which fixed images a model is probed at every checkpoint: options that commands share.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass
from typing import Literal

from dvis.models.data_options import DataOptions

BatchNormOf = Literal["recalibrate", "running"]


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(DataOptions):
    """Images of a set, or seeded noise.

    Parameters
    ----------
    noise
        So many images of seeded noise, in place of a dataset.
    batch_norm
        Statistics of batch norm: measured on fixed images at each checkpoint, or the running ones
        of training, which lag behind the weights early on.
    seed
        Seed of the noise, of the choice of n_images, and of what is drawn beside them.
    batch_size
        Images in one forward pass (default: 32 on a CPU, 256 on a GPU).
    """

    noise: int | None = None
    batch_norm: BatchNormOf = "recalibrate"
    seed: int = 0
    batch_size: int | None = None

    def check_probe(self) -> None:
        """Raise where not one kind of images is given, or a number is too low.

        Raises
        ------
        ValueError
            With what is given.
        """
        given = [name for name in ("dataset", "noise") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given) or 'no images'} given; give a dataset, such as shapes, or "
                "noise, a number of images"
            )
        if self.noise is not None and self.data_path is not None:
            raise ValueError("data_path goes with dataset, not with noise; leave it out")
        for name in ("noise", "n_images", "image_size", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")

    @property
    def probe_name(self) -> str:
        """Name of what is measured where none is given, by the images."""
        if self.dataset is not None:
            return f"{self.dataset}-{self.split}"
        return f"noise-{self.noise}-seed-{self.seed}"
