"""Functions of a Dataset as methods of `ds.dvis`, with their signatures and docstrings."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import xarray as xr

P = ParamSpec("P")
R = TypeVar("R")


def method_of(
    function: Callable[Concatenate[xr.Dataset, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """A function of a Dataset as a method, with its signature and docstring less the Dataset."""

    @wraps(function)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(self._dataset, *args, **kwargs)

    first, *others = inspect.signature(function).parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    signature = inspect.signature(function).replace(parameters=[itself, *others])
    method.__signature__ = signature  # type: ignore[attr-defined]
    method.__doc__ = _without_parameter(function.__doc__ or "", first.name)
    return method


def _without_parameter(docstring: str, name: str) -> str:
    """A numpydoc docstring without the entry of its first parameter."""
    # Cleaned, for only from Python 3.13 on does the compiler take the indentation away.
    docstring = inspect.cleandoc(docstring)
    before, heading, entries = docstring.partition("Parameters\n----------\n")
    lines = entries.splitlines(keepends=True)
    if not heading or not lines[0].startswith(name):
        return docstring
    if lines[0].startswith(f"{name}, "):
        return before + heading + lines[0].replace(f"{name}, ", "", 1) + "".join(lines[1:])
    rest = next((i for i, line in enumerate(lines[1:], 1) if line[:1].strip()), len(lines))
    after = "".join(lines[rest:])
    has_others = rest < len(lines) and not lines[rest + 1].startswith("---")
    return before + (heading if has_others else "") + after
