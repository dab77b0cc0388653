"""What lies in a checkpoint's content: dicts of tensors by name, and plain values.

Which of the dicts are the weights is for the model to say (`fitting`).
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvis.models.safe_load import CheckpointError
from dvis.models.stand_ins import Array, Record

# Weights and buffers by name; None where a file has the name of an entry that is empty.
State = dict[str, Tensor | None]

_DEEPEST = 6  # levels of dicts, more than any trainer nests its weights in
_MOST_VALUES = 100_000  # of one fact: a training's whole log is none
_MOST_OF_FILE = 20 * _MOST_VALUES  # of all its facts: a list can hold itself often in few bytes
_LETTERS_OF_VALUE = 64  # of a text count as one value
_LARGEST_REPEATED = 2**24  # items that a tensor may have beyond those that are stored


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


def require_plain(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise where weights are no plain tensors.

    Plain ones are dense, of numbers as they are, and about as large as what is stored of them: few
    bytes can stand for a tensor of a million million items, and be all memory when it is used.

    Raises
    ------
    CheckpointError
        With the first that is not, and why.
    """
    for name, tensor in tensors.items():
        if oddity := _oddity(tensor):
            raise CheckpointError(
                f"{path}: {name} is {oddity}; dvis reads dense tensors that are stored whole. Save "
                "it so, with .to_dense(), .dequantize() or .contiguous()"
            )


def _oddity(tensor: Tensor) -> str | None:
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_meta:
        return "a tensor without values, of torch's device meta"
    if tensor.layout is not torch.strided:
        return f"a sparse tensor ({tensor.layout})"
    if tensor.is_quantized:
        return f"a quantised tensor ({tensor.dtype})"
    n_items = tensor.numel()
    n_stored = tensor.untyped_storage().nbytes() // max(tensor.element_size(), 1)
    if n_items > n_stored + _LARGEST_REPEATED:
        return f"a tensor of {n_items:.3g} items, of which {n_stored} are stored, and repeated"
    return None


def facts_in(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Plain values beside the weights, and in a dict that holds the weights' dict.

    A value that is not plain, or holds one that is not, is left out.
    """
    inner: dict[str, Any] = {}
    room = _Room(_MOST_OF_FILE)
    entries = _plain_entries(content, room)
    for value in content.values():
        if isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values()):
            inner |= _plain_entries(value, room) if states_in(value) else {}
    return inner | entries


def _plain_entries(content: Mapping[Any, Any], of_file: "_Room") -> dict[str, Any]:
    entries = {}
    for key, value in content.items():
        if not isinstance(key, str | int | float | None):
            continue
        is_weight = isinstance(value, Tensor) and "." in str(key)
        if is_weight or "optim" in str(key):
            continue
        room = _Room(min(_MOST_VALUES, of_file.left))
        before = room.left
        with suppress(TypeError, ValueError, RecursionError):
            entries[str(key)] = _of_64_bits(_plain(value, room))
        of_file.left -= before - max(room.left, 0)
    return entries


@dataclass
class _Room:
    """How many values may come yet."""

    left: int

    def take(self, n_values: int) -> None:
        """Raise ValueError where so many are too many."""
        self.left -= n_values
        if self.left < 0:
            raise ValueError("too much for a fact")


def as_plain(value: Any) -> Any:
    """The same value in Python's plain types; times and types of torch as text.

    Raises
    ------
    TypeError, ValueError, RecursionError
        When it is, or holds, anything else, more than a fact does, or itself; a whole number
        beyond 64 bits is such, or one of more than 128 in it.
    """
    return _of_64_bits(_plain(value, _Room(_MOST_VALUES)))


def _of_64_bits(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("a number beyond 64 bits")
    return value


def _plain(value: Any, room: _Room) -> Any:
    room.take(1 + len(value) // _LETTERS_OF_VALUE if isinstance(value, str) else 1)
    match value:
        # A random generator's state holds some of 128 bits.
        case int() if value.bit_length() > 128:
            raise ValueError("a number beyond 128 bits")
        case None | bool() | int() | float() | str():
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta() | timezone() | torch.device() | torch.dtype():
            return str(value)
        case Tensor() if not _oddity(value) and value.ndim == 0:
            return _plain(value.item(), room)
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
