"""Latents as a caller names them: what their autoencoders are called, and numbers."""

from collections.abc import Sequence
from typing import Any


def name_and_numbers(given: Sequence[Any]) -> tuple[str, tuple[int, ...]]:
    """A name, and the numbers after it, each once: texts, numbers or lists of them.

    Raises
    ------
    ValueError
        When what follows the name is no number.

    Examples
    --------
    >>> name_and_numbers(("wide", "3", "7")), name_and_numbers(("wide", [3, 7]))
    (('wide', (3, 7)), ('wide', (3, 7)))
    """
    name, *numbers = given
    nested = [each if isinstance(each, list | tuple) else [each] for each in numbers]
    try:
        several = [int(number) for each in nested for number in each]
    except (TypeError, ValueError):
        raise ValueError(
            f"latents is {given!r}; give the autoencoders' name and numbers of latents, such as "
            "wide 3 7"
        ) from None
    return str(name), tuple(dict.fromkeys(several))
