"""The command `kernels`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dvis import measure
from dvis.kinds.registry import OF_UNITS
from dvis.models.data_options import DataOptions
from dvis.models.model_reference import model_name
from dvis.opening import open as open_store
from dvis.store.contents import contents
from dvis.sweep.place import RunOptions

_OF_PICTURE = ("out", "channel", "k", "variant", "max_images", "model", "checkpoint_path")


@dataclass(frozen=True, kw_only=True)
class KernelsPictureOptions(RunOptions, DataOptions):
    """Whose kernels to draw.

    Parameters
    ----------
    out
        File for the picture; its ending (.png, .pdf, .svg) tells the format (default:
        kernels.png in the current folder).
    layer
        A convolution or linear layer by its dotted name.
    channel
        Its channel.
    inputs
        Channels of its input of which the picture may show some (default: all).
    k
        How many inputs to show.
    max_images
        How many checkpoints to show at most.
    variant
        Variant of the feature images beside them (default: the run's).
    n_images
        So many images of the set, at random (default: 256, or all where it has fewer).
    images
        Image files, or folders of them.
    noise
        So many images of seeded noise.
    batch_norm
        Statistics of batch norm: recalibrate, those that the weights have on the images, or
        running, those of training. Without images they are those of training.
    seed
        Seed of the noise, and of the choice of n_images.
    """

    out: Path = Path("kernels.png")
    layer: str
    channel: int
    inputs: tuple[int, ...] = ()
    k: int = 5
    max_images: int = 8
    variant: str | None = None
    images: tuple[Path, ...] = ()
    noise: int | None = None
    batch_norm: Literal["recalibrate", "running"] = "recalibrate"
    seed: int = 0


def kernels(options: Annotated[KernelsPictureOptions, tyro.conf.arg(name="")]) -> int:
    """Draw the kernels from a channel's first inputs to it over training.

    They are read from the checkpoints; feature images beside them are of the model's store, where
    it has some.

    Parameters
    ----------
    options
        Which channel, of which model and checkpoints.
    """
    import matplotlib

    matplotlib.use("agg")
    given: dict[str, Any] = {
        each.name: getattr(options, each.name)
        for each in fields(options)
        if each.name not in _OF_PICTURE
    }
    found = measure.kernels(
        str(options.model), options.checkpoint_path, channels=options.channel, **given
    )
    store = options.store_of(model_name(options.model))
    unit_images = None
    if store.exists() and options.run in contents(store).runs(OF_UNITS):
        unit_images = open_store(store, options.run, options.variant)
    found.dvis.kernels_film(
        k=options.k, unit_images=unit_images, max_images=options.max_images, path=options.out
    )
    print(options.out)
    return 0
