"""Whose sizes are measured, and on which images: the options of `dvis sizes`.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass
from typing import ClassVar

from dvis.sweep.probing_options import ProbeRunOptions


@dataclass(frozen=True, kw_only=True)
class SizeOptions(ProbeRunOptions):
    """Whose receptive fields to measure, and on which images.

    Give a dataset, images, or noise.

    Parameters
    ----------
    layers
        Layers by their dotted names.
    channels
        Channels of each layer (default: all).
    n_images
        So many images of the set, at random (default: 16). Batch norm is measured on more of them.
    name
        Name of the sizes in the store (default: from the images).
    """

    images_unasked: ClassVar[int | None] = 16

    channels: tuple[int, ...] = ()
    n_images: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise ValueError("no layers given; give some, such as layer1 layer4")
