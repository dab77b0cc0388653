"""Documents of a page as text: JSON, and a script that hands the same JSON to the page.

Numbers keep six significant digits; what is not a finite number is null.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

_DIGITS = 6


def numbers(values: Any) -> np.ndarray:
    """Numbers of any shape, float64, rounded for a document; NaN where not finite."""
    given = np.asarray(values, float, order="C")
    is_number = np.isfinite(given) & (given != 0)
    size = np.where(is_number, np.abs(given), 1.0)
    places = np.clip(_DIGITS - 1 - np.floor(np.log10(size)), -300, 300)
    # A whole number over a power of ten is read back as the short decimal that it is.
    scale = 10.0 ** np.abs(places)
    finer = np.round(given * scale) / scale
    rounded: np.ndarray = np.where(places >= 0, finer, np.round(given / scale) * scale)
    rounded[~np.isfinite(rounded)] = np.nan
    return rounded


def as_json(document: Any) -> bytes:
    """A document as JSON; arrays of numbers are rounded."""
    return orjson.dumps(document, default=_plain)


def as_script(name: str, document: Mapping[str, Any]) -> bytes:
    r"""A document as a script, of which no text can end the script or a line of it.

    Examples
    --------
    >>> as_script("layer/0/0", {"layer": "</script>"})
    b'dvis.source.receive("layer/0/0", {"layer":"\\u003c/script>"});\n'
    """
    call = b"dvis.source.receive(%b, %b);\n" % (as_json(name), as_json(document))
    for letter, escape in (("<", rb"\u003c"), ("\u2028", rb"\u2028"), ("\u2029", rb"\u2029")):
        call = call.replace(letter.encode(), escape)
    return call


def _plain(value: Any) -> Any:
    """What orjson does not know, as something that it does."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            text = orjson.dumps(numbers(value), option=orjson.OPT_SERIALIZE_NUMPY)
            return orjson.Fragment(text)
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else str(value)
