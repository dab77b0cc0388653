"""What lies in a checkpoint's content: dicts of tensors by name, and plain values.

Which of the dicts are the weights is for the model to say (`fitting`).
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import torch
from torch import Tensor

from dvis.models.stand_ins import Array, Record

# Weights and buffers by name; None where a file has the name of an entry that is empty.
State = dict[str, Tensor | None]

_DEEPEST = 6  # levels of dicts, more than any trainer nests its weights in
_MOST_VALUES = 100_000  # of one fact: a training's whole log is none


def states_in(content: Mapping[Any, Any]) -> dict[str, State]:
    """Dicts of tensors in a file's content, by their keys with dots; "" is the content itself.

    What is named like an optimizer's is left out. The versions of modules, which tell a model how
    old the names are, come along where the file has them.
    """
    found: dict[str, State] = {}
    for key, mapping in _mappings(content):
        state: State = OrderedDict(
            (name, value)
            for name, value in mapping.items()
            if isinstance(name, str) and (value is None or isinstance(value, Tensor))
        )
        if any(value is not None for value in state.values()):
            versions = getattr(mapping, "_metadata", None)
            if isinstance(versions, dict):  # as torch's own state dicts have it
                state._metadata = versions  # type: ignore[attr-defined]
            found[key] = state
    return found


def facts_in(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Plain values beside the weights, and in a dict that holds the weights' dict.

    A value that is not plain, or holds one that is not, is left out.
    """
    inner: dict[str, Any] = {}
    for value in content.values():
        if isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values()):
            inner |= _plain_entries(value) if states_in(value) else {}
    return inner | _plain_entries(content)


def _plain_entries(content: Mapping[Any, Any]) -> dict[str, Any]:
    entries = {}
    for key, value in content.items():
        is_weight = isinstance(value, Tensor) and "." in str(key)
        if is_weight or "optim" in str(key):
            continue
        with suppress(TypeError, ValueError, RecursionError):
            entries[str(key)] = as_plain(value)
    return entries


def as_plain(value: Any) -> Any:
    """The same value in Python's plain types; times and types of torch as text.

    Raises
    ------
    TypeError, ValueError, RecursionError
        When it is, or holds, anything else, more than a fact does, or itself.
    """
    return _plain(value, iter(range(_MOST_VALUES)))


def _plain(value: Any, room: Iterator[int]) -> Any:
    if next(room, None) is None:
        raise ValueError("too much for a fact")
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta() | timezone() | torch.device() | torch.dtype():
            return str(value)
        case Tensor() if value.ndim == 0:
            return value.item()
        case Array():
            if value.values.size > _MOST_VALUES:
                raise ValueError("too much for a fact")
            return _plain(value.values.tolist(), room)
        case Record():
            return _plain(dict(value.fields), room)
        case list() | tuple() | set() | frozenset():
            return [_plain(each, room) for each in value]
        case dict() if all(isinstance(key, str | int | float | None) for key in value):
            return {key: _plain(each, room) for key, each in value.items()}
    raise TypeError(f"{type(value).__name__} is no plain value")


def _mappings(content: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Dicts in a file's content by their keys with dots, each once, the outer ones first."""
    seen: set[int] = set()
    level: list[tuple[str, Mapping[Any, Any]]] = [("", content)]
    for _ in range(_DEEPEST):
        below = []
        for key, mapping in level:
            if id(mapping) in seen:
                continue
            seen.add(id(mapping))
            yield key, mapping
            below += [
                (f"{key}.{name}" if key else name, value)
                for name, value in mapping.items()
                if isinstance(name, str) and isinstance(value, Mapping) and "optim" not in name
            ]
        level = below
