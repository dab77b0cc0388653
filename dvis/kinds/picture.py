"""A picture that `dvis plot` draws."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xarray as xr

from dvis.store.contents import Contents

UNIT = ("layer", "channel")
OVER_TRAINING = ("variable", "x", "xscale")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a kind of measurement, and the options of `dvis plot` that it takes.

    Parameters
    ----------
    draw
        What draws it, of a Dataset.
    options
        The options that it has beside those of every picture.
    opens
        The options that say what of the store it is of.
    one
        Those of layer and channel of which it takes one alone.
    chosen
        Run and name of the group that it is of, of what the store holds and the options; by default
        the run and the name that the options give.
    beside
        The variant of optimised images of units that it shows beside, of its Dataset: given as
        `unit_images` where the store has it. None of it is the run's default.
    """

    draw: Callable[..., Any]
    options: tuple[str, ...]
    opens: tuple[str, ...] = ()
    one: tuple[str, ...] = ()
    chosen: Callable[[Contents, Any], tuple[str | None, str | None]] | None = None
    beside: Callable[[xr.Dataset], str | None] | None = None


def one_layer(options: Any) -> str | None:
    """The layer that is asked for, where a picture is of a group that has one.

    Raises
    ------
    ValueError
        When several are.
    """
    if len(options.layer) > 1:
        raise ValueError(f"give one layer, not {len(options.layer)}")
    return options.layer[0] if options.layer else None


def refuse(noun: str, **given: Any) -> None:
    """Raise ValueError where an option is given that a picture of these has no use for."""
    for option, value in given.items():
        if value is not None:
            raise ValueError(f"this picture of {noun} takes no --{option}; leave it out")
