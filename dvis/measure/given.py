"""What a caller from Python gives, as a command's options take it.

Modules, state dicts and flat options in, fields of a command's dataclass out. Free of torch until
checkpoints are given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_origin, get_type_hints

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
    for name in ("store", "steps"):
        if isinstance(given.get(name), str):
            given[name] = Path(given[name])
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
    """Options as their fields have them: several values as a tuple, one of several as well."""
    types = get_type_hints(kind)
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}
    return {
        name: (value,) if _is_one_of_several(value, types.get(name)) else value
        for name, value in given.items()
    }


def _is_one_of_several(value: Any, of_field: Any) -> bool:
    return get_origin(of_field) is tuple and isinstance(value, str | Path | int | float)
