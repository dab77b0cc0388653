"""What a model takes, where its user tells: options that commands share.

Free of torch, so that the command line can name the options where torch is absent.
"""

from dataclasses import dataclass

from dvis.models.option_numbers import at_least, bounded

ASSUMED = "assumed (ImageNet's)"  # who tells what a model takes, where nobody does


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What the model takes.

    Parameters
    ----------
    input_size
        Side in pixels of the images that the model takes (default: as the checkpoints record it,
        else as torchvision, timm or OpenCLIP have their model on record, else 224, which is said).
    input_channels
        Their channels: 3, or 1 for grey images (default: those of the model's first convolution).
    input_mean
        Values from 0 to 1 become (value - mean) / std: one mean a channel, such as 0.5 0.5 0.5
        (default: as for input_size, else ImageNet's, which is said).
    input_std
        One standard deviation a channel (default: as for input_mean).
    """

    input_size: int | None = None
    input_channels: int | None = None
    input_mean: tuple[float, ...] = ()
    input_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        bounded(self)
        for name in ("input_size", "input_channels"):
            at_least(name, getattr(self, name), 1)
        if len(self.input_mean) != len(self.input_std):
            raise ValueError(
                f"{len(self.input_mean)} values of input_mean and {len(self.input_std)} of "
                "input_std given; give both, one of each a channel"
            )
        if not all(0 <= value <= 1 for value in self.input_mean):
            raise ValueError(
                f"input_mean is {_listed(self.input_mean)}; pixel values are 0 to 1: divide what "
                "is told of 0 to 255 by 255"
            )
        if not all(0 < value <= 1 for value in self.input_std):
            raise ValueError(
                f"input_std is {_listed(self.input_std)}; give numbers above 0 and at most 1, for "
                "pixel values are 0 to 1: divide what is told of 0 to 255 by 255"
            )
        given = len(self.input_mean)
        if given and self.input_channels not in (None, given):
            raise ValueError(
                f"input_channels is {self.input_channels}, and input_mean has {given}; give one "
                "mean and one standard deviation a channel"
            )

    @property
    def told(self) -> tuple[str, ...]:
        """Names of the options that are given."""
        names = ("input_size", "input_channels", "input_mean", "input_std")
        return tuple(name for name in names if getattr(self, name) not in (None, ()))


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
