"""Of which layers the shares of inputs are measured, and on which images.

Free of torch, so that the options can be named where torch is absent.
"""

from dataclasses import dataclass
from typing import ClassVar

from dvis.sweep.probing_options import ProbedRun, ProbeRunOptions


@dataclass(frozen=True, kw_only=True)
class EdgesOptions(ProbeRunOptions):
    """Of which layers to measure the shares of inputs, on which images, and where to.

    Give one kind of images: a dataset, images, or noise.

    Parameters
    ----------
    layers
        Convolutions and linear layers by their dotted names (default: all).
    n_images
        So many images of the set, at random (default: 128).
    name
        Name of the shares in the store (default: from the images).
    """

    images_unasked: ClassVar[int | None] = 128

    n_images: int | None = None


@dataclass(frozen=True, kw_only=True)
class KernelsOptions(ProbedRun):
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

    images_unasked: ClassVar[int | None] = EdgesOptions.images_unasked
    needs_images: ClassVar[bool] = False  # running statistics need none

    layer: str
    channels: tuple[int, ...] = ()
    inputs: tuple[int, ...] = ()
