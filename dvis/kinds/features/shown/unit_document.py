"""What a page knows of one unit: its numbers at each checkpoint, and how it was made."""

from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.features.read import FEATURE_READER, parameters_of
from dvis.kinds.features.shown.documents import (
    birth_of,
    births_of,
    digits,
)
from dvis.kinds.features.shown.selection import ShownLayer, ShownStore
from dvis.kinds.features.shown.sheets import strip_sheet
from dvis.kinds.features.shown.stored_pictures import stored_pictures
from dvis.kinds.features.words import NEIGHBOUR_MAX, SEED_SIMILARITY
from dvis.kinds.shown import whole_numbers
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_NOTE, Status

_FLOATS = ("activation", "value_min", "value_max")
_WHOLE = ("stop_step", "seed", "params")
# What the page says beside an activation, by the variable: what it is, and called in few words.
_HELD_AGAINST = {
    "constant_max": ("floor", "constant"),
    "reference_max": ("floor", "reference"),
    "held_out_mean": ("", "held out"),
    NEIGHBOUR_MAX: ("", "neighbours"),
    "restart_sd": ("", "restarts ±"),
    SEED_SIMILARITY: ("", "seeds"),
}


def unit(store: ShownStore, variant: int, index: int, channel: int) -> dict[str, Any]:
    """A unit at all checkpoints."""
    layer = store.layer(variant, index)
    column = layer.column(channel)
    shown = layer.variant
    dataset = shown.open().sel({LAYER: layer.name, CHANNEL: channel})
    born = births_of(dataset)
    compared = [name for name in _HELD_AGAINST if name in dataset]
    at_rows = dataset[[*_FLOATS, *_WHOLE, *compared]].isel({CHECKPOINT: shown.rows}).load()
    status = layer.status[:, column]
    is_told = np.isin(status, (Status.COMPLETE, Status.INCOMPLETE))
    whole = {name: np.where(is_told, at_rows[name].values, -1) for name in _WHOLE}
    tables, params = _tables(parameters_of(dataset), whole.pop("params"))
    return {
        "layer": layer.name,
        "channel": channel,
        "status": digits(status),
        "has_image": _has_image(layer, channel, status),
        **{name: np.where(is_told, at_rows[name].values, np.nan) for name in _FLOATS},
        **{name: whole_numbers(values) for name, values in whole.items()},
        "compared": _compared(at_rows[compared], is_told),
        "parameters": tables,
        "params": params,
        "problems": _problems(layer, channel),
        "note": str(dataset[UNIT_NOTE].item()) if UNIT_NOTE in dataset.coords else "",
        "birth": birth_of(shown, born),
        "strip": {**asdict(strip_sheet(shown)), "version": layer.version_of_all()},
        "select": _selecting_line(store, layer, channel),
    }


def _compared(at_rows: xr.Dataset, is_told: np.ndarray) -> list[dict[str, Any]]:
    """What the activation is held against, in short words and in full, of what was measured."""
    return [
        {
            "group": group,
            "name": short,
            "title": str(at_rows[name].attrs.get("long_name", name)),
            "values": np.where(is_told, at_rows[name].values, np.nan),
        }
        for name, (group, short) in _HELD_AGAINST.items()
        if name in at_rows
    ]


def _tables(
    parameters: list[dict[str, Any]], params: np.ndarray
) -> tuple[list[dict[str, Any]], list[int | None]]:
    """The tables of parameters that a unit was made with, and which of them at each checkpoint."""
    known = np.where(params < len(parameters), params, -1).tolist()
    used = sorted({place for place in known if place >= 0})
    return [parameters[place] for place in used], [
        used.index(place) if place >= 0 else None for place in known
    ]


def _has_image(layer: ShownLayer, channel: int, status: np.ndarray) -> list[bool]:
    """Whether the unit has an image at each checkpoint, also an incomplete unit."""
    rows = np.flatnonzero(status == Status.INCOMPLETE).tolist()
    found = stored_pictures(layer, [(row, channel) for row in rows])
    has_image = status == Status.COMPLETE
    has_image[[rows[place] for place, _ in found]] = True
    return [bool(each) for each in has_image]


def _problems(layer: ShownLayer, channel: int) -> list[str]:
    variant = layer.variant
    texts = variant.array("source/problem")[:, variant.disk_layers[layer.index], channel]
    return [str(text) for text in np.asarray(texts)[variant.disk_rows].tolist()]


def _selecting_line(store: ShownStore, layer: ShownLayer, channel: int) -> str:
    """The line of Python that selects a unit."""
    entry = layer.variant.entry
    default = FEATURE_READER.choose(store.contents(), None, None)
    asked = f", run={entry.run!r}" if entry.run != default.run else ""
    if asked or entry.name != default.name:
        asked += f", variant={entry.name!r}"
    return f"dvis.open({store.name!r}{asked}).sel(layer={layer.name!r}, channel={channel})"
