"""Which layers' activations are kept, of which images: the options of `dvis activations`.

Free of torch, so that the command line can name the options where torch is absent.
"""

import re
from dataclasses import dataclass
from typing import Annotated

import tyro

from dvis.kinds.activations.words import KEEP, VALUES, Dtype, n_top_of
from dvis.models.data_options import DataOptions
from dvis.models.option_numbers import at_least, bytes_of
from dvis.schema import MAX_IMAGE_SIDE
from dvis.sweep.place import RunOptions

_TOKENS = re.compile(r"all|cls|mean|random:(?P<n>[1-9]\d*)")


@dataclass(frozen=True, kw_only=True)
class ActivationOptions(RunOptions, DataOptions):
    """Whose activations to keep, of which layers and images, and where to.

    Parameters
    ----------
    layers
        Layers by their dotted names, or counted from the end: -2 is the last block but one of a
        transformer, the last stage but one of other models.
    tokens
        Which tokens of a sample are kept: all of them (each place of a convolution's map is one),
        cls (the class token), mean (one, over all places), or random:16: so many places, drawn once
        for a layer, the same of every sample and checkpoint.
    dtype
        Numbers as they are stored. float16 ends at 65504: activations beyond 30000 are refused.
    keep
        What is kept: values; and top:64, so many images that drive each channel most, by their
        maximum over tokens, with maps, and a histogram of each channel. top:64 alone takes little
        room. Both: --keep values top:64.
    seed
        Seed of the choice of n_images and of random tokens.
    batch_size
        Images in one forward pass (default: 32 on a CPU, 256 on a GPU).
    name
        Name of the activations in the store (default: from the image set and the tokens).
    thumbnail_size
        Side in pixels of the small pictures that the store keeps of an image set, once for all
        that is measured of it; 0 for none.
    plan
        Say how many rows and bytes it would be and how long it would take, and write nothing.
    budget
        Refuse to write more than so much, such as 50GB.
    """

    layers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--layer-names"])]
    tokens: str = "all"
    dtype: Dtype = "float16"
    keep: tuple[str, ...] = (VALUES,)
    seed: int = 0
    batch_size: int | None = None
    name: str | None = None
    thumbnail_size: int = 64
    plan: bool = False
    budget: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise ValueError("no layers given; `dvis layers MODEL` lists them")
        if self.dataset is None:
            raise ValueError("no dataset given; give one, such as cifar10 or folder")
        if not _TOKENS.fullmatch(self.tokens):
            raise ValueError(
                f"tokens is {self.tokens!r}; give all, cls, mean, or random:16 for 16 of them"
            )
        stray = [each for each in self.keep if not KEEP.fullmatch(each)]
        if stray or not self.keep:
            raise ValueError(
                f"keep is {' '.join(stray) or 'empty'}; give values, top:64 for the 64 top images "
                "of each channel, or both"
            )
        for option in ("n_images", "batch_size", "image_size"):
            at_least(option, getattr(self, option), 1)
        for option in ("seed", "thumbnail_size"):
            at_least(option, getattr(self, option), 0)
        if self.thumbnail_size > MAX_IMAGE_SIDE:
            raise ValueError(f"thumbnail_size is {self.thumbnail_size}; give 64, or 0 for none")
        if self.name is not None and (not self.name or "/" in self.name):
            raise ValueError(f"name is {self.name!r}; give one without a slash, such as cifar10")
        if self.budget is not None:
            bytes_of(self.budget)

    @property
    def n_random(self) -> int | None:
        """Tokens to be drawn; None where they are not."""
        match = _TOKENS.fullmatch(self.tokens)
        return int(match["n"]) if match and match["n"] else None

    @property
    def n_top(self) -> int:
        """Top images of a channel that are kept; 0 where none are."""
        return n_top_of(self.keep)

    @property
    def called(self) -> str:
        """Name of the activations: as given, else by the image set and the tokens."""
        of_tokens = "" if self.tokens == "all" else f"-{self.tokens.replace(':', '-')}"
        return self.name or f"{self.dataset}-{self.split}{of_tokens}"
