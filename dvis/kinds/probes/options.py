"""Which probes are trained, on which layers and images: the options of `dvis probe`.

Free of torch, so that the command line can name the options where torch is absent.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dvis.models.option_numbers import at_least
from dvis.sweep.probing_options import ProbeRunOptions

_POOL = re.compile(r"mean|cls|flatten(:(?P<n>[1-9]\d*))?")
_COMPONENTS = 128
ALL = "all"
MEAN, CLS, FLATTEN = "mean", "cls", "flatten"


@dataclass(frozen=True, kw_only=True)
class LinearProbeOptions(ProbeRunOptions):
    """What is read off which layers, and on which images.

    Give a dataset, images with a file of labels, or activations that the store keeps.

    Parameters
    ----------
    layers
        Layers by their dotted names, or all: every one whose output has channels.
    targets
        What is read off: label, the class of a set that has some; a factor of shapes or dsprites,
        such as shape, size, position_x, colour; a column of --labels (default: label, or the
        columns of --labels).
    labels
        A csv file of labels of one's own: a header, then sample id and label in each line; a column
        for each target. A column of numbers that are not whole, or of more than 100 whole ones, is
        read as numbers, any other as classes.
    pool
        What of a layer's output is read: its mean over places or tokens; cls, the class token; or
        flatten, all of it, as 128 principal components of the training split; flatten:64 so many.
    n_images
        So many images of the set, at random (default: 2,000, or all of a smaller set).
    held_out
        Share of the images on which probes are scored.
    validation
        Share on which their penalties are chosen.
    n_shuffles
        Probes of shuffled targets, for the null; 0 for none.
    untrained
        A checkpoint of the network untrained (default: weights drawn with the seed, where the model
        can be made by its name).
    from_activations
        Name of activations that the store keeps (see `dvis activations`), in place of images: of
        these layers, of the checkpoints that have them; no file of the model is read.
    keep_weights
        Keep the probes' weights, of channels as they are; not of what is flattened.
    name
        Name of the probes in the store (default: from the images).
    """

    images_unasked: ClassVar[int | None] = 2000

    targets: tuple[str, ...] = ()
    labels: Path | None = None
    pool: str = "mean"
    n_images: int | None = None
    held_out: float = 0.3
    validation: float = 0.2
    n_shuffles: int = 5
    untrained: Path | None = None
    from_activations: str | None = None
    keep_weights: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise ValueError("no layers given; give some, such as layer1 layer4, or all")
        if not _POOL.fullmatch(self.pool):
            raise ValueError(f"pool is {self.pool!r}; give mean, cls, flatten or flatten:64")
        if self.keep_weights and self.how == FLATTEN:
            raise ValueError(
                "weights of what is flattened are of principal components, which are not kept; "
                "give --pool mean or cls, or leave keep_weights out"
            )
        for name in ("held_out", "validation"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share between 0 and 1")
        if self.held_out + self.validation >= 1:
            raise ValueError(
                f"held_out {self.held_out} and validation {self.validation} leave no images to "
                "train on; give less"
            )
        at_least("n_shuffles", self.n_shuffles, 0)
        if self.n_shuffles == 1:
            raise ValueError("n_shuffles is 1; give 2 or more, for a band, or 0")

    @property
    def given(self) -> list[str]:
        """Kinds of images, or of what was made of some, that are given."""
        return [*super().given, *(["from_activations"] if self.from_activations else [])]

    @property
    def how(self) -> str:
        """What of an output is read: mean, cls or flatten."""
        return self.pool.partition(":")[0]

    @property
    def n_components(self) -> int:
        """Principal components of what is flattened."""
        match = _POOL.fullmatch(self.pool)
        assert match is not None
        return int(match["n"] or _COMPONENTS)

    @property
    def called(self) -> str:
        """Name of the group."""
        images = self.from_activations or self.images_name
        own = images if self.pool == MEAN else f"{images}-{self.pool}"
        return self.name or own.replace(":", "-")
