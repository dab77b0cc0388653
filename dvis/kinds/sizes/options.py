"""Whose sizes are measured, and on which images: the options of `dvis sizes`.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from dvis.sweep.probing_options import ProbeRunOptions

_N_IMAGES = 16


@dataclass(frozen=True, kw_only=True)
class SizeOptions(ProbeRunOptions):
    """Whose receptive fields to measure, and on which images.

    Give a dataset, or noise.

    Parameters
    ----------
    layers
        Layers by their dotted names.
    channels
        Channels of each layer (default: all).
    n_images
        So many images of the set, at random. Batch norm is measured on more of them.
    name
        Name of the sizes in the store (default: from the images).
    """

    layers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--layer-names"])] = ()
    channels: tuple[int, ...] = ()
    n_images: int | None = _N_IMAGES
    name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise ValueError("no layers given; give some, such as layer1 layer4")
        if self.name is not None and (not self.name or "/" in self.name):
            raise ValueError(f"name is {self.name!r}; give one without a slash, such as shapes")
