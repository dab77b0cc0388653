"""What analysis and pictures need of what they are given, and errors that say what it lacks."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import xarray as xr

from dvis.schema import CHECKPOINT, UNIT_DIMS, UNMATCHED, SchemaError

_OPEN_ONE = "Open one with dvis.open"
_FIND_BIRTHS = "Give what births gave, such as ds.dvis.births()"


def require(
    dataset: xr.Dataset,
    *variables: str,
    labels: Sequence[str] = UNIT_DIMS,
    advice: str = _OPEN_ONE,
) -> None:
    """Raise where a Dataset lacks a variable or a label, or has nothing left of a label.

    Parameters
    ----------
    dataset : Dataset
        What was given.
    *variables : str
        Variables that it must have.
    labels : sequence of str, optional
        Coordinates that it must have, with one entry or more.
    advice : str, optional
        What to do where it lacks something.

    Raises
    ------
    TypeError
        When it is no Dataset.
    SchemaError
        When it lacks a variable or a label.
    ValueError
        When a selection left nothing along a label.
    """
    require_dataset(dataset, advice=advice)
    missing = [name for name in (*variables, *labels) if name not in dataset]
    if missing:
        there = ", ".join(map(str, dataset.variables)) or "nothing"
        raise SchemaError(f"This Dataset has no {', '.join(missing)}, only {there}. {advice}")
    require_some(dataset, *labels)


def require_births(births: xr.Dataset, *variables: str) -> None:
    """Raise where what is given as births is not what `births` gave.

    Raises
    ------
    TypeError
        When it is no Dataset.
    SchemaError
        When it lacks one of these variables.
    """
    # Births of one series, such as a loss, have neither layer nor channel.
    require(births, *variables, labels=(), advice=_FIND_BIRTHS)


def require_dataset(given: Any, name: str = "This", advice: str = _OPEN_ONE) -> None:
    """Raise where something else than a Dataset is given.

    Raises
    ------
    TypeError
        When it is no Dataset.
    """
    if not isinstance(given, xr.Dataset):
        raise TypeError(f"{name} is no Dataset but {_described(given)}. {advice}")


def require_some(data: xr.Dataset | xr.DataArray, *dims: str) -> None:
    """Raise where a selection left nothing along a dimension.

    Raises
    ------
    ValueError
        When a dimension has length 0.
    """
    empty = [dim for dim in dims if data.sizes.get(dim, 1) == 0]
    if empty:
        raise ValueError(
            f"No {empty[0]} is left: the selection took all of them away. Select one or more, "
            f"such as ds.isel({empty[0]}=slice(3)), or leave the selection out"
        )


def require_same_units(dataset: xr.Dataset) -> None:
    """Raise where a unit's number is another unit at each of several checkpoints.

    Raises
    ------
    ValueError
        With the reason, which the Dataset has in its attribute `unmatched`.
    """
    why = str(dataset.attrs.get(UNMATCHED, ""))
    if why and dataset.sizes.get(CHECKPOINT, 1) > 1:
        raise ValueError(why)


def require_numbers(**given: Any) -> None:
    """Raise where a parameter is no number; None stands for one that was left out.

    Raises
    ------
    TypeError
        When one is something else.
    """
    _require_kind(Real, "number", given)


def require_whole_numbers(**given: Any) -> None:
    """Raise where a parameter is no whole number; None stands for one that was left out.

    Raises
    ------
    TypeError
        When one is something else.
    """
    _require_kind(Integral, "whole number", given)


def _require_kind(kind: type, called: str, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is {_described(value)}; give a {called}")


def _described(value: Any) -> str:
    """A value in few words: its type, and itself where it is short.

    Examples
    --------
    >>> _described(5), _described("a"), _described([0] * 100)
    ('5, of type int', "'a', of type str", 'of type list')
    """
    text = repr(value)
    kind = f"of type {type(value).__name__}"
    return f"{text}, {kind}" if len(text) <= 40 and "\n" not in text else kind
