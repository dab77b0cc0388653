"""Whether a number that is given as an option is one, and large enough: below all options.

The command line reads numbers; from Python anything can come.
"""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


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
        raise ValueError(f"{name} is {value}; it must be at least {least}")


def is_number(value: Any, *, is_whole: bool = False) -> bool:
    """Whether a value is a number, which True and False are not, and a whole one where it must be.

    Examples
    --------
    >>> is_number(3, is_whole=True), is_number(3.0, is_whole=True), is_number(True), is_number("3")
    (True, False, False, False)
    """
    return isinstance(value, Integral if is_whole else Real) and not isinstance(value, bool)
