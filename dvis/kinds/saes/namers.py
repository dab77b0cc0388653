"""What gives names to images, and what it gave: a text and a score, or an error that says of what.

Images in; a name and how well it fits out.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

CLASS_NAMER = "class"
_LONGEST = 60  # letters of a value in an error
_WANTED = 'give a text and a number, such as ("rings", 0.8), and ("", 0) for no name'


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Images that a namer looks at.

    Attributes
    ----------
    ids : tuple of str
        Ids of samples.
    images : tuple of ndarray, (y, x, colour), uint8 0-255
        Their thumbnails; empty where the store keeps none.
    classes : tuple of str
        Names of their classes, "" where one has none.
    """

    ids: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    classes: tuple[str, ...]

    def first(self, n: int) -> "Shown":
        """The first of them, n at most."""
        return Shown(ids=self.ids[:n], images=self.images[:n], classes=self.classes[:n])


class Namer(Protocol):
    """What gives names: `by` says what it is."""

    by: str

    def name(self, shown: Shown) -> tuple[str, float]:
        """A name of what the images share, and how well it fits."""

    def score(self, text: str, shown: Shown) -> float | None:
        """How well a name fits images, None where the namer cannot say."""


class ByClass:
    """The commonest class of the images, with its purity: the share of images that are of it."""

    by = CLASS_NAMER

    def name(self, shown: Shown) -> tuple[str, float]:
        """The commonest class, the first by name of equals, and its share."""
        counts = Counter(each for each in shown.classes if each)
        if not counts:
            return "", np.nan
        best = min(counts, key=lambda each: (-counts[each], each))
        return best, counts[best] / len(shown.classes)

    def score(self, text: str, shown: Shown) -> float | None:
        """Share of the images that are of a class."""
        return shown.classes.count(text) / len(shown.classes)


class ByFunction:
    """Somebody's own function of images.

    Parameters
    ----------
    function : callable
        Gives a text and a score, higher where it fits better, of a list of images (y, x, colour),
        uint8. Where it has an attribute `score`, a function of a text and images, names are held
        against other latents' images by that.
    by : str, optional
        What it is called; by default its own name.
    """

    def __init__(self, function: Callable[..., tuple[str, float]], by: str | None = None) -> None:
        self._function = function
        self.by = by or str(getattr(function, "__name__", type(function).__name__))

    def name(self, shown: Shown) -> tuple[str, float]:
        """What the function says."""
        return self._function(list(shown.images))

    def score(self, text: str, shown: Shown) -> float | None:
        """What its attribute `score` says, None without one."""
        own = getattr(self._function, "score", None)
        return None if own is None else own(text, list(shown.images))


def name_of(namer: Namer, shown: Shown, what: str) -> tuple[str, float]:
    """The name that a namer gives to images, and its score.

    Parameters
    ----------
    namer : Namer
        Anybody's.
    shown : Shown
        The images.
    what : str
        Whose they are, for errors, such as "latent 3".

    Returns
    -------
    text : str
        Without spaces around it; "" where the namer gave none.
    score : float
        NaN only where there is no name.

    Raises
    ------
    TypeError
        When it gave something else than a text and a number.
    ValueError
        When the score of a name is not finite.
    RuntimeError
        When it failed.
    """
    given = _called(namer, "name", what, shown)
    if not isinstance(given, tuple | list) or len(given) != 2 or not isinstance(given[0], str):
        raise TypeError(f"the namer {namer.by} gave {_shortly(given)} of {what}; {_WANTED}")
    text = given[0].strip()
    return text, _number(given[1], namer, what, may_be_unknown=not text)


def score_of(namer: Namer, text: str, shown: Shown, what: str) -> float | None:
    """How well a name fits images, None where the namer cannot say.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As `name_of` does.
    """
    given = _called(namer, "score", what, text, shown)
    return None if given is None else _number(given, namer, what, may_be_unknown=False)


def _called(namer: Namer, method: str, what: str, *arguments: Any) -> Any:
    try:
        return getattr(namer, method)(*arguments)
    except Exception as err:
        raise RuntimeError(
            f"the namer {namer.by} failed on the images of {what}: {type(err).__name__}: {err}"
        ) from err


def _number(given: Any, namer: Namer, what: str, *, may_be_unknown: bool) -> float:
    """A score as a float: numbers of any library, but neither texts nor truth values."""
    try:
        if isinstance(given, str | bytes | bool | np.bool_):
            raise TypeError
        number = float(given)
    except (TypeError, ValueError):
        raise TypeError(
            f"the namer {namer.by} gave {_shortly(given)} for the score of {what}; {_WANTED}"
        ) from None
    if not np.isfinite(number) and not (may_be_unknown and np.isnan(number)):
        raise ValueError(
            f"the namer {namer.by} gave {number} for the score of {what}; give a finite number, or "
            'the name "" where it has none'
        )
    return number


def _shortly(given: Any) -> str:
    """A value, cut where it is long, and its type."""
    text = repr(given).replace("\n", " ")
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f"{text}, of type {type(given).__name__},"
