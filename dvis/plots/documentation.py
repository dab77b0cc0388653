"""What the docstrings of pictures have in common, each entry told once."""

import re
from collections.abc import Callable
from textwrap import dedent, indent
from typing import TypeVar

Picture = TypeVar("Picture", bound=Callable[..., object])

# Numpydoc entries by the name that stands for them in a docstring, alone in a line: "{path}".
_SHARED = {
    "units": """
        layer, channel : str and int, or sequences or slices of them, optional
            Units to draw: every channel named of every layer named; all where none is.
    """,
    "unit": """
        layer : str, optional
            The unit's layer; needed where the Dataset has several.
        channel : int, optional
            The unit's channel; needed where the Dataset has several.
    """,
    "x": """
        x : {"checkpoint", "step", "time", "epoch"}
            What the picture runs over: checkpoints (in the Dataset's order, which `dvis.open`
            makes that of training), training steps, real time or epochs.
    """,
    "variable": """
        variable : str, optional
            Scalar of units, with dims (checkpoint, layer, channel). By default what `births` reads:
            activations in standard deviations of reference images, or the correlation of responses
            with the final ones, where the Dataset allows it; else activations or responses as they
            are. The axis says which.
    """,
    "xscale": """
        xscale : {"auto", "linear", "log"}
            With "auto", steps are logarithmic where on a linear axis half of the checkpoints would
            lie in its first tenth. From step 0 to the next a logarithmic axis is linear.
    """,
    "yscale": """
        yscale : {"auto", "linear", "log"}
            With "auto", logarithmic where all values are positive and span more than two decades.
    """,
    "births": """
        births : Dataset, optional
            As `ds.dvis.births` gives it; by default the births of `variable`, by its own defaults.
    """,
    "max_layers": """
        max_layers : int
            How many layers to show at most, evenly chosen, the first and the last among them.
    """,
    "path": """
        path : str or Path, optional
            File to save the figure in; its ending tells the format.
    """,
}


def documented(picture: Picture) -> Picture:
    """Put the entries that pictures share into a docstring, where their names stand in braces."""
    if picture.__doc__:  # python -OO leaves none
        picture.__doc__ = re.sub(r"^( *)\{(\w+)\}\n", _entry, picture.__doc__, flags=re.MULTILINE)
    return picture


def _entry(name: re.Match[str]) -> str:
    return indent(dedent(_SHARED[name[2]]).strip() + "\n", name[1])
