"""Numbers of all options of commands: what none can be is a ValueError where it is read."""

import dataclasses
import importlib
import inspect
import math
import pkgutil
import types
import typing
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import dvis
from dvis.kinds.features.options import FeatureSettings
from dvis.models.option_numbers import MOST_WHOLE, at_least, bounded

NEEDED = {"model": "resnet18", "dataset": "digits", "layer": "conv1", "layers": ("conv1",)}
BY_TYPE = {int: 1, float: 1.0, str: "average-0", Path: Path("a"), bool: True}


def option_classes() -> Iterator[type]:
    """Dataclasses of options, wherever in the package."""
    seen = set()
    for module in pkgutil.walk_packages(dvis.__path__, "dvis."):
        if module.name.endswith("__main__"):
            continue
        for name, made in vars(importlib.import_module(module.name)).items():
            is_options = name.endswith(("Options", "Settings", "Recipe")) and inspect.isclass(made)
            if is_options and dataclasses.is_dataclass(made) and made not in seen:
                seen.add(made)
                yield made


def kinds_of(hint: Any) -> set[str]:
    """How a field takes numbers: alone, or in a tuple."""
    if hint in (int, float):
        return {"one"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and arguments[-1:] == (Ellipsis,):
        return {"some"} if "one" in kinds_of(arguments[0]) else set()
    if origin is tuple:
        return {"pair"} if all("one" in kinds_of(each) for each in arguments) else set()
    if origin in (types.UnionType, typing.Union, typing.Annotated):
        return set().union(
            *map(kinds_of, arguments[:1] if origin is typing.Annotated else arguments)
        )
    return set()


def numeric_fields() -> list[Any]:
    found = []
    for made in option_classes():
        hints = typing.get_type_hints(made)
        found += [
            pytest.param(
                made, field.name, kind, id=f"{made.__module__}.{made.__name__}.{field.name}"
            )
            for field in dataclasses.fields(made)
            for kind in sorted(kinds_of(hints[field.name]))
            if field.init
        ]
    return found


def needed(made: type) -> dict[str, Any]:
    hints = typing.get_type_hints(made)
    return {
        field.name: NEEDED.get(field.name, BY_TYPE.get(hints[field.name], ("a",)))
        for field in dataclasses.fields(made)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }


FIELDS = numeric_fields()
ODD = [math.inf, -math.inf, math.nan, 10**20, 10**400, 1e300]


def test_there_are_options_of_every_kind() -> None:
    classes = {each.values[0] for each in FIELDS}
    assert len(classes) > 25
    assert len(FIELDS) > 150


@pytest.mark.parametrize(("made", "name", "kind"), FIELDS)
def test_what_no_number_can_be_is_refused_where_it_is_read(made: Any, name: str, kind: str) -> None:
    def given(value: Any) -> dict[str, Any]:
        return needed(made) | {name: {"one": value, "some": (value,), "pair": (value, value)}[kind]}

    for value in ODD:
        with pytest.raises(ValueError, match=f"{name}|{name.replace('_', '-')}") as refused:
            made(**given(value))
        assert len(str(refused.value)) < 500
    with suppress(ValueError):  # some may be negative
        made(**given(-1))


@pytest.mark.parametrize(
    "absurd",
    [
        {"jitter_scale": 1e6},
        {"scale_range": (1.0, 1e6)},
        {"crop_factor": 1e6},
        {"rotation": 1e6},
        {"gauss_kernel_size": 10**9 + 1},
        {"feature_image_size": 10**9},
    ],
)
def test_views_of_an_absurd_size_are_refused(absurd: dict[str, Any]) -> None:
    (name,) = absurd
    with pytest.raises(ValueError, match=rf"{name} is .*; give a finite number of at most"):
        FeatureSettings(**absurd)


def test_the_most_of_a_whole_number_is_taken() -> None:
    at_least("n_images", MOST_WHOLE, 1)
    bounded(FeatureSettings(seed=MOST_WHOLE))
    with pytest.raises(ValueError, match="at most 2,147,483,647"):
        at_least("n_images", MOST_WHOLE + 1, 1)
