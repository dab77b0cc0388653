"""What units respond to, and how their responses are measured: the options of `dvis respond`.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from dvis.models.option_numbers import at_least
from dvis.models.probe_options import ImageOptions
from dvis.sweep.place import RunOptions

Aggregation = Literal["mean", "max"]
ALL, LAST = "all", "last"


@dataclass(frozen=True, kw_only=True)
class RespondOptions(RunOptions, ImageOptions):
    """Whose responses to measure, to which images, and where to.

    Give one kind of images: a dataset, images, noise, or feature_images.

    Parameters
    ----------
    layers
        Layers by their dotted names (default: all convolutions; with feature_images those that
        have some). Of other images, all channels of a layer respond in one forward pass.
    by_class
        Keep the mean response to each class, not that to each image.
    feature_images
        Stored feature images: those of a checkpoint (its label, RUN/LABEL such as pretrained/full,
        or last), or all: the cross response of the images of every checkpoint. Each drives its own
        channel alone.
    variant
        Which of the stored feature images (default: the run's).
    channels
        Channels of each layer whose feature images are taken (default: all).
    aggregation
        What of a channel's map is kept: its mean or its maximum (default: the mean; of feature
        images what they maximise).
    batch_size
        Images in one forward pass (default: 32 on a CPU, 256 on a GPU).
    name
        Name of the responses in the store (default: from the images).
    """

    layers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--layer-names"])] = ()
    by_class: bool = False
    feature_images: str | None = None
    variant: str | None = None
    channels: tuple[int, ...] = ()
    aggregation: Aggregation | None = None
    batch_size: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [*self.given, *(["feature_images"] if self.feature_images else [])]
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given) or 'no images'} given; give one of dataset, images, noise, "
                "feature_images"
            )
        self._check_belongs(given[0])
        for option in ("noise", "n_images", "batch_size", "image_size"):
            at_least(option, getattr(self, option), 1)
        if self.name is not None and (not self.name or "/" in self.name):
            raise ValueError(f"name is {self.name!r}; give one without a slash, such as noise-1")

    def _check_belongs(self, kind: str) -> None:
        """Raise where an option is given that the kind of images does not have."""
        owners = {
            "dataset": ("data_path", "n_images", "by_class"),
            "feature_images": ("variant", "channels"),
        }
        for owner, options in owners.items():
            stray = [option for option in options if getattr(self, option) and owner != kind]
            if stray:
                raise ValueError(f"{stray[0]} goes with {owner}, not with {kind}; leave it out")
        sizes = ("image_size",) if self.image_size is not None else ()
        if kind == "feature_images" and (told := (*sizes, *self.told)):
            raise ValueError(f"feature images are taken as they are; leave {told[0]} out")

    @property
    def default_name(self) -> str:
        """Name of the responses where none is given, by the images and what is kept of a map."""
        if self.feature_images:
            name = f"features-{self.feature_images}".replace("/", "-")
        else:
            name = self.images_name + ("-by-class" if self.by_class else "")
        return name if self.aggregation is None else f"{name}-{self.aggregation}"
