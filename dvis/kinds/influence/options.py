"""Whose influence on what is measured, and how: the options of `dvis influence`.

Free of torch, so that the command line can name the options where torch is absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from dvis.models.option_numbers import at_least
from dvis.sweep.probing_options import ProbeRunOptions

Method = Literal["ablation", "attribution", "edges"]
Value = Literal["mean", "zero", "resample"]

FEW_IMAGES = 32
OF_LATENTS = "~"  # layer~autoencoder: the latents of an autoencoder of a layer
_MOST_NAMED = 8  # channels of a layer, in the name of a group


@dataclass(frozen=True, kw_only=True)
class InfluenceOptions(ProbeRunOptions):
    """Whose influence on which later layers to measure, with which images, and where to.

    Give one kind of images: a dataset, images, or noise.

    Parameters
    ----------
    layers
        Layers by their dotted names, of which each earlier one is measured onto each later one.
        Outputs of stages or blocks are best: all that comes later passes through them.
    method
        ablation: each channel is replaced, and what later layers give is compared. attribution: the
        first order of that, by one backward pass a target, for few targets. edges: shares of the
        input channels of each convolution, by one backward pass for all.
    channels
        Channels of each layer as sources (default: all).
    to
        Targets: layers, or channels of them, such as layer4:3,7 (default: all channels of all
        layers).
    value
        What takes the place of a channel: its mean over images and positions at that checkpoint,
        zero, or its map in another image (resample).
    latents
        Name of sparse autoencoders, as `dvis sae train` gave it, whose latents are sources and
        targets too: those of layer3 as a layer that is called layer3~NAME.
    n_images
        So many images of the set, at random (default: 128).
    seed
        Seed of the noise, of the choice of n_images, and of which image resample takes.
    batch_size
        Images, changed copies among them, in one forward pass (default: 256 on a CPU, 1024 on a
        GPU, and fewer where the layer's output is large).
    name
        Name of the influence in the store (default: from the images and the method).
    plan
        Say how many passes, pairs and bytes it would be and how long it would take, and write
        nothing. It does not go with edges, where one pass over the images serves all layers.
    """

    images_unasked: ClassVar[int | None] = 128
    fewest_images: ClassVar[int] = 8

    method: Method = "ablation"
    channels: tuple[int, ...] = ()
    to: tuple[str, ...] = ()
    value: Value = "mean"
    latents: str | None = None
    n_images: int | None = None
    plan: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("batch_size", self.batch_size, 2)
        at_least("seed", self.seed, 0)
        self._check_method()
        self.targets  # noqa: B018  # raises for what cannot be read

    def _check_method(self) -> None:
        """Raise where an option is given that the method does not have."""
        if self.method == "edges":
            told = ("channels", "to", "latents")
            stray = [option for option in told if getattr(self, option)]
            stray += ["value"] if self.value != "mean" else []
            stray += ["plan"] if self.plan else []
            if stray:
                raise ValueError(f"{stray[0]} does not go with edges; leave it out")
            return
        if self.method == "attribution" and self.value == "resample":
            raise ValueError(
                "resample does not go with attribution, which needs one baseline; give --value "
                "mean or zero, or --method ablation"
            )
        if not self.layers:
            raise ValueError("no layers given; give two or more, `dvis layers MODEL` lists them")
        if min(self.channels, default=0) < 0:
            raise ValueError(f"channel is {min(self.channels)}; it must be at least 0")

    @property
    def targets(self) -> Mapping[str, tuple[int, ...]]:
        """Channels of the layers that are asked for as targets, () for all; none for all layers.

        Raises
        ------
        ValueError
            When one cannot be read.
        """
        found: dict[str, tuple[int, ...]] = {}
        for text in self.to:
            layer, colon, numbers = text.partition(":")
            each = numbers.split(",")
            if not layer or layer in found or (colon and not all(n.isdecimal() for n in each)):
                raise ValueError(
                    f"to is {text!r}; give each layer once, with channels where not all are meant, "
                    "such as layer4:3,7"
                )
            found[layer] = tuple(sorted({int(n) for n in each})) if colon else ()
        return found

    @property
    def default_name(self) -> str:
        """Name where none is given, by the images and what differs from the defaults."""
        others = [
            self.method if self.method == "attribution" else "",
            self.value if self.value != "mean" else "",
            self.batch_norm if self.batch_norm == "running" else "",
            self._targets_name if self.to else "",
        ]
        return "-".join([self.images_name, *filter(None, others)])

    @property
    def _targets_name(self) -> str:
        """Targets as part of a name: with their channels where these are few."""
        several = ["to"]
        for layer, channels in self.targets.items():
            few = channels if len(channels) <= _MOST_NAMED else ()
            several += [layer.replace("/", "-"), *map(str, few)]
        return "-".join(several)
