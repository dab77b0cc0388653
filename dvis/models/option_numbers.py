"""Whether a number that is given as an option is one, and large enough: below all options.

The command line reads numbers; from Python anything can come.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

# What stores keep of seeds and counts, in 32 bits; no run has as many images, steps or draws.
MOST_WHOLE = 2**31 - 1
_BYTES = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_MOST = 1e38  # of any other number, as float32 has it
# Numbers that are larger than all others may be, or of which far fewer are all memory.
_MOST_OF = {
    "tokens": 10**13,
    "seed": MOST_WHOLE,
    "workers": 4096,
    "threads": 4096,
    "batch_size": 2**20,
    "noise": 2**20,
    "chains": 2**20,
    "cell_chains": 2**20,
    "image_size": 2**14,
    "feature_image_size": 2**14,
    "input_size": 2**14,
}


def at_least(
    name: str, value: Any, least: float, *, words: Sequence[str] = (), is_needed: bool = False
) -> None:
    """Raise where an option that is given is no number, or not as large as it must be.

    Parameters
    ----------
    name : str
        What the option is called.
    value : Any
        What was given.
    least : int or float
        The least that it may be. Of an int, the option must be whole.
    words : sequence of str, optional
        What it may be instead of a number, such as auto.
    is_needed : bool, optional
        None is no number; else it stands for an option that was left out.

    Raises
    ------
    ValueError
        With the option's value, and what it may be.

    Examples
    --------
    >>> at_least("draws", "auto", 1, words=["auto"])
    >>> at_least("draws", "many", 1, words=["auto"])
    Traceback (most recent call last):
    ValueError: draws is 'many'; give a whole number of at least 1, or auto
    """
    if (value is None and not is_needed) or (isinstance(value, str) and value in words):
        return
    of_kind = "a whole number" if isinstance(least, int) else "a number"
    if not is_number(value, is_whole=isinstance(least, int)):
        choices = [f"{of_kind} of at least {least:g}", *words]
        raise ValueError(f"{name} is {value!r}; give {', or '.join(choices)}")
    if not value >= least:
        raise ValueError(f"{name} is {_shown(value)}; it must be at least {least}")
    if isinstance(least, int) and value > _MOST_OF.get(name, MOST_WHOLE):
        raise ValueError(
            f"{name} is {_shown(value)}; it must be at most {_MOST_OF.get(name, MOST_WHOLE):,}"
        )


def bounded(options: Any, **most: float) -> None:
    """Raise where a number of a dataclass of options is not finite, or is absurdly large.

    What is above all that can be computed with, such as a seed of 10^20 or a shift of infinitely
    many pixels, would end somewhere below with an error of another library, or the interpreter.

    Parameters
    ----------
    options : dataclass instance
        Options, of which each number is looked at, also those in tuples and mappings.
    **most : float
        The most that some of them may be, by name.

    Raises
    ------
    ValueError
        With the option's value, and the most that it may be.
    """
    for field in fields(options):
        for value in _numbers_in(getattr(options, field.name)):
            usual = MOST_WHOLE if isinstance(value, Integral) else _MOST
            limit = most.get(field.name, _MOST_OF.get(field.name, usual))
            # In this order, for an int may be too large to be a float.
            if not -limit <= value <= limit:
                raise ValueError(
                    f"{field.name} is {_shown(value)}; give a finite number of at most {limit:,}"
                )


def _numbers_in(value: Any) -> Iterator[Any]:
    if is_number(value):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _numbers_in(each)
    elif isinstance(value, Mapping):
        yield from _numbers_in(list(value.values()))


def _shown(value: Any) -> str:
    is_long = is_number(value, is_whole=True) and abs(value) >= 10**30
    return "a number of more than 30 digits" if is_long else str(value)


def is_number(value: Any, *, is_whole: bool = False) -> bool:
    """Whether a value is a number, which True and False are not, and a whole one where it must be.

    Examples
    --------
    >>> is_number(3, is_whole=True), is_number(3.0, is_whole=True), is_number(True), is_number("3")
    (True, False, False, False)
    """
    return isinstance(value, Integral if is_whole else Real) and not isinstance(value, bool)


def bytes_of(text: str) -> int:
    """Bytes that a text such as 50GB means, by powers of 1000.

    Raises
    ------
    ValueError
        When it means none.

    Examples
    --------
    >>> bytes_of("50GB"), bytes_of("1.5 TB"), bytes_of("300")
    (50000000000, 1500000000000, 300)
    """
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"budget is {text!r}; give bytes, such as 50GB or 1.5TB")
    return int(float(match["number"]) * _UNITS[match["unit"].lower()])
