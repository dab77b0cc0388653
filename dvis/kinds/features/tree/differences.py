"""What of an info.json a store's variables cannot repeat: a difference, in place of its whole text.

One key more in every file, such as a date, is a few letters a unit; whole texts, with their loss
values, were as large as all pictures. Stores of before hold whole texts, which begin otherwise.
"""

import json
from collections.abc import Mapping
from typing import Any

_START = "+"  # no json begins so
_SET, _WITHOUT = "set", "without"


def difference(record: Mapping[str, Any], repeated: Mapping[str, Any]) -> str:
    """What makes of a record that a store repeats the one that was read.

    Examples
    --------
    >>> difference({"a": 1, "date": "today"}, {"a": 1, "b": 2})
    '+{"set": {"date": "today"}, "without": ["b"]}'
    """
    told = {
        key: value
        for key, value in record.items()
        if key not in repeated or _text(value) != _text(repeated[key])
    }
    without = [key for key in repeated if key not in record]
    return _START + json.dumps({_SET: told, _WITHOUT: without})


def is_difference(text: str) -> bool:
    """Whether a text is one, and not that of a whole file."""
    return text.startswith(_START)


def with_difference(repeated: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The record that was read.

    Raises
    ------
    ValueError
        When the text is damaged.

    Examples
    --------
    >>> with_difference({"a": 1, "b": 2}, '+{"set": {"date": "today"}, "without": ["b"]}')
    {'a': 1, 'date': 'today'}
    """
    try:
        found = json.loads(text.removeprefix(_START))
        told, without = dict(found[_SET]), set(found[_WITHOUT])
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise ValueError(f"the difference of an info.json is damaged: {text[:60]!r}") from err
    return {key: value for key, value in repeated.items() if key not in without} | told


def _text(value: Any) -> str:
    return json.dumps(value)  # tells 0 from 0.0 and from false, and NaN from nothing else
