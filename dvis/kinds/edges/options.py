"""Of which layers the shares of inputs are measured, and on which images.

Free of torch, so that the options can be named where torch is absent.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dvis.models.data_options import DataOptions
from dvis.sweep.place import RunOptions, at_least

BatchNorm = Literal["recalibrate", "running"]


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(RunOptions, DataOptions):
    """Images that a model is looked at with: a dataset, images, or noise.

    Parameters
    ----------
    n_images
        So many images of the set, at random (default: 256, or all where it has fewer).
    images
        Image files, or folders of them.
    noise
        So many images of seeded noise.
    batch_norm
        Statistics of batch norm: recalibrate, those that the weights have on the images, or
        running, those of training, which lag behind.
    seed
        Seed of the noise, and of the choice of n_images.
    batch_size
        Images in one forward pass (default: 32 on a CPU, 256 on a GPU).
    """

    images: tuple[Path, ...] = ()
    noise: int | None = None
    batch_norm: BatchNorm = "recalibrate"
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.given) > 1 or (not self.given and self.needs_images):
            given = " and ".join(self.given) or "no images"
            raise ValueError(f"{given} given; give one of dataset, images, noise")
        if self.data_path is not None and self.dataset is None:
            raise ValueError("data_path goes with dataset; leave it out, or name the dataset")
        if self.batch_norm not in get_args(BatchNorm):
            raise ValueError(f"batch_norm is {self.batch_norm!r}; give recalibrate or running")
        for option in ("noise", "n_images", "batch_size", "image_size"):
            at_least(option, getattr(self, option), 1)

    @property
    def given(self) -> list[str]:
        """Kinds of images that are given."""
        kinds = {"dataset": self.dataset, "images": self.images, "noise": self.noise}
        return [kind for kind, value in kinds.items() if value not in (None, (), "")]

    @property
    def needs_images(self) -> bool:
        """Whether nothing can be measured without images."""
        return True


@dataclass(frozen=True, kw_only=True)
class EdgesOptions(ProbeOptions):
    """Of which layers to measure the shares of inputs, on which images, and where to.

    Give one kind of images: a dataset, images, or noise.

    Parameters
    ----------
    layers
        Convolutions and linear layers by their dotted names (default: all).
    name
        Name of the shares in the store (default: from the images).
    """

    layers: tuple[str, ...] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and (not self.name or "/" in self.name):
            raise ValueError(f"name is {self.name!r}; give one without a slash, such as noise-1")


@dataclass(frozen=True, kw_only=True)
class KernelsOptions(ProbeOptions):
    """Which kernels to read of a run's checkpoints.

    Images are needed for recalibrated batch norm, and for shares.

    Parameters
    ----------
    layer
        A convolution or linear layer by its dotted name.
    channels
        Its channels (default: all).
    inputs
        Channels of its input (default: all).
    """

    layer: str
    channels: tuple[int, ...] = ()
    inputs: tuple[int, ...] = ()

    @property
    def needs_images(self) -> bool:
        """Whether nothing can be measured without images: running statistics need none."""
        return False
