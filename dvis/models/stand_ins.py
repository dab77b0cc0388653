"""What takes the place of harmless foreign types in a checkpoint's pickle, and runs none of them.

Trainers save paths, arguments, times and numpy's numbers beside the weights. Each is read as a
value of Python's own or as an inert record: numpy's constructors take bytes on trust, so that a
crafted file could reach into memory, and a class's own may do anything.
"""

import datetime
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any

import numpy as np

_NUMBER = re.compile(r"[biuf][1248]|c(8|16)|U\d{1,6}|S\d{1,6}")  # numpy's own words for them


class NumberType:
    """A `numpy.dtype`: its name and byte order."""

    def __init__(self, name: object = "", *_flags: object) -> None:
        self.name = name
        self.byte_order = "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("=", "<", ">", "|"):
            self.byte_order = state[1]

    def read(self, data: object, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers or texts of that shape from their bytes, which are copied."""
        if not isinstance(self.name, str) or not _NUMBER.fullmatch(self.name):
            raise UnpicklingError(f"GLOBAL numpy.dtype of {self.name!r}")
        dtype = np.dtype(self.byte_order.replace("|", "=") + self.name)
        n = math.prod(shape)
        if not isinstance(data, bytes) or len(data) != n * dtype.itemsize or n > len(data or " "):
            raise UnpicklingError(f"numpy {self.name} of {shape} has other bytes than these need")
        return np.frombuffer(data, dtype).reshape(shape) if data else np.zeros(shape, dtype)


class Array:
    """A `numpy.ndarray`: its values, or none."""

    def __init__(self, *_args: object) -> None:
        self.values = np.empty(0)

    def __setstate__(self, state: object) -> None:
        match state:
            case (
                int(),
                tuple() as shape,
                NumberType() as number,
                bool() | int() as by_column,
                data,
            ):
                if not all(type(n) is int and n >= 0 for n in shape):
                    raise UnpicklingError(f"numpy array of shape {shape!r}")
                read = number.read(data, shape[::-1] if by_column else shape)
                self.values = read.T if by_column else read
            case _:
                raise UnpicklingError("numpy array in a form that numpy does not write")


class Record:
    """An object that has fields and nothing else: `argparse.Namespace`, `types.SimpleNamespace`."""

    fields: Mapping[str, Any] = MappingProxyType({})  # torch makes one without a call of __init__

    def __init__(self, *_args: object) -> None:
        """Whatever it is given is of no use."""

    def __setstate__(self, state: object) -> None:
        self.fields = dict(state) if isinstance(state, Mapping) else {}


class _Factory:
    """The default of a `defaultdict`, which is not needed."""


def _array(*_args: object) -> Array:
    return Array()


def _scalar(number: NumberType, data: bytes) -> Any:
    return number.read(data, ())[()].item()


def _no_bytes() -> bytes:
    return b""  # which Python's older pickles write as a call


def _path(*parts: object) -> str:
    texts = [str(part) for part in parts if isinstance(part, str)]
    return str(pathlib.PurePosixPath(*texts))


def _windows_path(*parts: object) -> str:
    texts = [str(part) for part in parts if isinstance(part, str)]
    return str(pathlib.PureWindowsPath(*texts))


def _mapping(*given: object) -> dict[Any, Any]:
    return {key: each[key] for each in given if isinstance(each, dict) for key in each}


def _sequence(items: Iterable[Any] = (), *_limit: object) -> list[Any]:
    return list(items)


_PATHS = {
    f"{module}.{kind}": _windows_path if "Windows" in kind else _path
    for module in ("pathlib", "pathlib._local")  # where Python 3.13 has them
    for kind in ("Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
}
_NUMPY = {
    f"numpy.{core}.multiarray.{name}": made
    for core in ("core", "_core")
    for name, made in (("scalar", _scalar), ("_reconstruct", _array))
}
STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": NumberType,
    "numpy.ndarray": Array,
    **_NUMPY,
    **_PATHS,
    "argparse.Namespace": Record,  # torchvision's reference scripts save their arguments
    "types.SimpleNamespace": Record,
    "collections.defaultdict": _mapping,
    "collections.Counter": _mapping,
    "collections.deque": _sequence,
    "builtins.bytes": _no_bytes,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    **{f"builtins.{kind}": _Factory for kind in ("list", "dict", "int", "float", "str", "bool")},
    # Immutable, in C, and strict about their bytes.
    **{
        f"datetime.{kind.__name__}": kind
        for kind in (
            datetime.date,
            datetime.datetime,
            datetime.time,
            datetime.timedelta,
            datetime.timezone,
        )
    },
}
