"""Which loss it is: its name, and a hash of what it does, by which a change is found out.

Two lambdas of one place have one name, and a function keeps its own when its code is changed.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import blake2b
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvis.kinds.llc.measure.losses import Loss, loss_name

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


def loss_identity(loss: str | Loss) -> dict[str, str]:
    """What a store keeps of a loss: `loss`, and of a callable `loss_fingerprint`.

    Parameters
    ----------
    loss : str or callable
        A name, or a function, partial, method or object with `__call__`.

    Returns
    -------
    dict of str to str
        `loss` is the name, or `module:qualname`. The fingerprint covers the code, defaults and
        closed-over values of the function, the arguments of a partial, the state and methods of an
        object, and the plain values and functions of its own module that it names: numbers,
        texts, tensors, arrays, and containers of these. Functions of other modules count by their
        names. Comments and line numbers do not matter; the version of Python may.

    Examples
    --------
    >>> loss_identity("mse")
    {'loss': 'mse'}
    """
    if isinstance(loss, str):
        return {"loss": loss}
    digest = blake2b(repr(_described(loss, {})).encode(), digest_size=8)
    return {"loss": loss_name(loss), "loss_fingerprint": digest.hexdigest()}


def _described(value: Any, seen: dict[int, Any]) -> Any:
    """A value as nested plain ones, of which equal values have equal ones in every process."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _of_array(value)
    if id(value) in seen:
        return "seen"
    seen[id(value)] = value  # and kept, so that no other value gets its id
    if isinstance(value, tuple | list):
        return [_described(each, seen) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_described(each, seen)) for each in value)
    if isinstance(value, Mapping):
        return [(_described(key, seen), _described(each, seen)) for key, each in value.items()]
    if isinstance(value, partial):
        return [_described(each, seen) for each in (value.func, value.args, value.keywords)]
    if isinstance(value, MethodType):
        return [_described(each, seen) for each in (value.__func__, value.__self__)]
    if isinstance(value, FunctionType):
        return list(_of_function(value, seen))
    return list(_of_object(value, seen))


def _of_array(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Tensor) and value.dtype.kind not in "biufc":
        return (repr(value.tolist()),)
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.array(value))
    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest = blake2b(values.numpy().data, digest_size=16).hexdigest()
    return (str(tensor.dtype), str(tuple(tensor.shape)), digest)


def _of_function(function: FunctionType, seen: dict[int, Any]) -> Iterator[Any]:
    """Code, defaults, closed-over values, and what the code names of its own module."""
    yield _of_code(function.__code__, function.__doc__)
    yield _described(function.__defaults__, seen)
    yield _described(function.__kwdefaults__, seen)
    for cell in function.__closure__ or ():
        try:
            yield _described(cell.cell_contents, seen)
        except ValueError:  # not bound yet
            yield "empty"
    for name in sorted(_names(function.__code__)):
        value = function.__globals__.get(name)
        is_own = getattr(value, "__module__", None) == function.__module__
        if isinstance(value, (*_PLAIN, Tensor, np.ndarray, tuple, list)) or (
            isinstance(value, FunctionType) and is_own
        ):
            yield name, _described(value, seen)


def _of_object(value: Any, seen: dict[int, Any]) -> Iterator[Any]:
    """Name of the type; of an object that Python code defines also its methods and its state."""
    if isinstance(value, type | ModuleType) or not hasattr(type(value), "__qualname__"):
        yield getattr(value, "__qualname__", getattr(value, "__name__", type(value).__name__))
        return
    yield f"{type(value).__module__}:{type(value).__qualname__}"
    if hasattr(value, "__qualname__"):  # a function of C
        yield value.__qualname__
    for name, function in sorted(vars(type(value)).items()):
        if isinstance(function, FunctionType):
            yield name, _described(function, seen)
    yield _described(getattr(value, "__dict__", {}), seen)


def _of_code(code: CodeType, documentation: str | None = None) -> Any:
    """What a piece of code does, without where it stands and what is said of it."""
    constants = [
        _of_code(each) if isinstance(each, CodeType) else _of_constant(each)
        for each in code.co_consts
        if documentation is None or each != documentation
    ]
    return code.co_code.hex(), constants, code.co_names, code.co_freevars


def _of_constant(value: Any) -> Any:
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value


def _names(code: CodeType) -> set[str]:
    """Names that a piece of code and those in it look up."""
    inner = [_names(each) for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*inner)
