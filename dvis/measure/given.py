"""What a caller from Python gives, as a command's options take it.

Modules, state dicts and flat options in, fields of a command's dataclass out. Free of torch until
checkpoints are given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from dvis.models.model_reference import GivenModel, Model
from dvis.schema import did_you_mean

if TYPE_CHECKING:
    from torch import nn

# A name, a module, or what returns one; files, or by label files, state dicts and modules.
AnyModel: TypeAlias = "str | nn.Module | Callable[..., nn.Module]"
_NO_OPTIONS = {"model", "checkpoint_path", "settings"}  # fields that arguments of their own make
Checkpoints: TypeAlias = str | Path | Iterable[str | Path] | Mapping[str, Any]


def split_options(
    options: Mapping[str, Any], kind: type, settings: type
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options that belong to some settings, and the others.

    Raises
    ------
    KeyError
        When one is none of both.
    """
    check_names(options, kind, settings)
    names = {item.name for item in fields(settings)}
    chosen = {name: value for name, value in options.items() if name in names}
    return chosen, {name: value for name, value in options.items() if name not in names}


@contextmanager
def asked_options(
    kind: type, model: AnyModel, checkpoints: Checkpoints | None, options: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Options as a command's dataclass takes them: paths as paths, several values as a tuple.

    Raises
    ------
    TypeError
        When the model is none, or a checkpoint has no label.
    """
    from dvis.models.given_checkpoints import as_files

    given = as_fields(kind, options)
    given["model"] = as_model(model, given.get("store"))
    if checkpoints is None and hasattr(model, "state_dict") and not isinstance(model, type):
        checkpoints = {"model": model}
    if isinstance(checkpoints, Mapping):
        with as_files(checkpoints) as files:
            yield {**given, "checkpoint_path": files}
        return
    yield {**given, "checkpoint_path": None if checkpoints is None else _paths(checkpoints)}


def _paths(checkpoints: str | Path | Iterable[str | Path]) -> tuple[Path, ...]:
    several: list[Any] = [checkpoints]
    if isinstance(checkpoints, Iterable) and not isinstance(checkpoints, str):
        several = list(checkpoints)
    for each in several:
        if not isinstance(each, str | Path):
            raise TypeError(
                f"a checkpoint is given as a {type(each).__name__} without its label; give a "
                "mapping: {'step_0': state_dict, 'step_100': state_dict}"
            )
    return tuple(map(Path, several))


def as_model(model: AnyModel, store: Path | None) -> Model:
    """A model as options take it: a name, or what was given, called by itself or by the store.

    Raises
    ------
    TypeError
        When it is neither.
    """
    if isinstance(model, str):
        return model
    if not callable(model):
        raise TypeError(
            f"the model is a {type(model).__name__}; give a name, a torch.nn.Module, or a function "
            "that returns one"
        )
    return GivenModel.of(model, None if store is None else store.stem)


def check_names(options: Mapping[str, Any], *kinds: type) -> None:
    """Raise where an option is none of these.

    Raises
    ------
    KeyError
        With the nearest.
    """
    names = [item.name for kind in kinds for item in fields(kind) if item.name not in _NO_OPTIONS]
    for name in options:
        if name not in names:
            raise KeyError(did_you_mean("option", name, names, kinds[0].__name__))


def as_fields(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as their fields have them: paths, texts, and several values as a tuple.

    One of several is a tuple of one, a text where a path is meant is a path, and a number where a
    text is meant, such as of tokens, is a text.
    """
    types = get_type_hints(kind)
    return {name: _as_field(value, types.get(name)) for name, value in options.items()}


def _as_field(value: Any, of_field: Any) -> Any:
    single, several = _meant(of_field)
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, tuple):
        return tuple(_as_item(each, several) for each in value)
    if several and isinstance(value, str | Path | int | float) and type(value) not in single:
        return (_as_item(value, several),)
    return _as_item(value, single)


def _as_item(value: Any, meant: set[Any]) -> Any:
    if isinstance(value, str) and Path in meant and str not in meant:
        return Path(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number and meant & {int, float, str} == {str} else value


def _meant(of_field: Any) -> tuple[set[Any], set[Any]]:
    """Types of a value of a field, and those of several values of it, by its hint."""
    if get_origin(of_field) is Literal:
        return {type(each) for each in get_args(of_field)}, set()
    if get_origin(of_field) is tuple:
        return set(), set().union(*(_meant(each)[0] for each in get_args(of_field)))
    if get_origin(of_field) in (Union, UnionType):
        members = [_meant(each) for each in get_args(of_field)]
        return set().union(*(one for one, _ in members)), set().union(*(of for _, of in members))
    return {of_field}, set()
