"""What lets xarray write a Dataset into any other format: plain attributes, no Zarr encoding.

A netCDF file holds numbers, texts and lists of them, but neither mappings nor None; a Zarr codec
or chunk that was right for a store is wrong or unknown elsewhere.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from zarr.abc.codec import ArrayBytesCodecPartialDecodeMixin

_OF_TIME = ("units", "calendar", "_FillValue", "dtype")
# Ours, which no format knows or writes: reading a part of a chunk decodes that part alone.
READS_PARTS = "dvis_reads_parts"


def portable_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as any format keeps them: what is nested as json, `nested` being the inverse.

    Of a list each item becomes a text, so that it is still counted and indexed; what says nothing
    is left out.

    Examples
    --------
    >>> portable_attrs({"seed": 0, "is_new": True, "of": None, "data": {"name": "shapes"}})
    {'seed': 0, 'is_new': 1, 'data': '{"name": "shapes"}'}
    >>> portable_attrs({"sizes": [1, 2.5], "parameters": [{"seed": 7}, {"seed": None}]})
    {'sizes': [1, 2.5], 'parameters': ['{"seed": 7}', '{"seed": null}']}
    """
    plain = {str(name): _plain(value) for name, value in attrs.items()}
    return {name: value for name, value in plain.items() if value not in (None, [])}


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list | tuple):
        items = list(value)
        is_flat = all(isinstance(item, str) for item in items) or all(map(_is_number, items))
        return items if is_flat else [json.dumps(item) for item in items]
    is_plain = value is None or isinstance(value, str) or _is_number(value)
    return value if is_plain else json.dumps(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def nested(value: Any) -> Any:
    """A nested attribute as it was before `portable_attrs`; one that still is stays so."""
    if isinstance(value, str):
        return json.loads(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [nested(item) for item in value]
    return value


def portable(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with attributes and encodings that every format of xarray takes."""
    dataset = dataset.copy()
    dataset.attrs = portable_attrs(dataset.attrs)
    for variable in dataset.variables.values():
        variable.attrs = portable_attrs(variable.attrs)
        variable.encoding = _portable_encoding(variable)
    return dataset


def _portable_encoding(variable: xr.Variable) -> dict[str, Any]:
    there = variable.encoding
    kept = ("preferred_chunks", *(_OF_TIME if variable.dtype.kind == "M" else ()))
    is_partial = isinstance(there.get("serializer"), ArrayBytesCodecPartialDecodeMixin)
    reads_parts = {READS_PARTS: True} if is_partial and not there.get("compressors") else {}
    return {**{name: there[name] for name in kept if name in there}, **reads_parts}
