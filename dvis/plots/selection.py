"""Units of a Dataset by name, with errors that say what there is: for every view."""

from collections.abc import Sequence
from textwrap import shorten
from typing import Any, TypeAlias, TypeVar

import numpy as np
import xarray as xr

from dvis.analysis.trajectories import origin
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT, UNIT_NOTE, Status, did_you_mean

_NOTE_LETTERS = 60  # of a note in a title

Label = TypeVar("Label")
Chosen: TypeAlias = Label | Sequence[Label] | slice | None


def listed(dataset: xr.Dataset, dim: str, labels: Any) -> list[Any] | None:
    """One label, several or a slice of them as a list; None where none are named."""
    if labels is None:
        return None
    if isinstance(labels, slice):
        return list(np.atleast_1d(dataset[dim].sel({dim: labels}).values).tolist())
    return [labels] if np.ndim(labels) == 0 else list(labels)


def units_of(
    dataset: xr.Dataset, layers: list[str] | None, channels: list[int] | None
) -> list[tuple[str, int]]:
    """Units of the layers and channels that are asked for and that the layers have."""
    of_layers = [at_layer(dataset, layer) for layer in layers or labels_of(dataset, LAYER)]
    units = []
    for each in of_layers:
        there = _existing_channels(each)
        wanted = (
            measured(each, there)
            if channels is None
            else known_channels(each, channels, strict=False)
        )
        units += [(str(each[LAYER].item()), int(channel)) for channel in wanted]
    if not units:
        raise ValueError(_no_channel(of_layers[0], channels or []))
    return units


def unit_name(dataset: xr.Dataset, layer: str, channel: int) -> str:
    """Layer and channel of a unit, and the note that is kept about it."""
    name = f"{layer}, {dataset.attrs.get(UNIT, CHANNEL)} {channel}"
    if UNIT_NOTE not in dataset.coords:
        return name
    notes = dataset.coords[UNIT_NOTE]
    place = {dim: label for dim, label in ((LAYER, layer), (CHANNEL, channel)) if dim in notes.dims}
    note = shorten(str(notes.sel(place).item()), _NOTE_LETTERS, placeholder=" ...")
    return f"{name}: {note}" if note else name


def name_of(unit: xr.Dataset) -> str:
    """What the unit of a Dataset of one is called."""
    return unit_name(unit, unit[LAYER].item(), unit[CHANNEL].item())


def measured(of_layer: xr.Dataset, channels: np.ndarray) -> np.ndarray:
    """Channels of a layer of which some checkpoint has something; all, where none has."""
    if "status" not in of_layer or CHANNEL not in of_layer.dims:
        return channels
    status = of_layer["status"].sel({CHANNEL: channels})
    is_there = status.where(status != Status.ABSENT).notnull()
    chosen: np.ndarray = channels[is_there.any([d for d in status.dims if d != CHANNEL]).values]
    return chosen if len(chosen) else channels


def labels_of(dataset: xr.Dataset, dim: str) -> list[str]:
    """Labels along a dimension, which may have been selected away."""
    return [str(label) for label in np.atleast_1d(dataset[dim].values)]


def one_unit(dataset: xr.Dataset, layer: str | None, channel: int | None) -> xr.Dataset:
    """The Dataset of one unit, of a layer and a channel where there are several."""
    of_layer = at_layer(dataset, layer)
    if CHANNEL not in of_layer.dims:
        if channel is not None and channel != of_layer[CHANNEL].item():
            raise ValueError(_no_channel(of_layer, [channel]))
        return of_layer
    if channel is None:
        if of_layer.sizes[CHANNEL] > 1:
            raise ValueError(f"Which channel? {_channels_there(of_layer)}")
        return of_layer.isel({CHANNEL: 0})
    known_channels(of_layer, [channel])
    return of_layer.sel({CHANNEL: channel})


def at_layer(dataset: xr.Dataset, layer: str | None) -> xr.Dataset:
    """The Dataset of one layer."""
    there = labels_of(dataset, LAYER)
    if layer is None:
        if len(there) > 1:
            raise ValueError(f"Which layer? There are {', '.join(there[:10])}")
        layer = there[0]
    if layer not in there:
        raise ValueError(did_you_mean("layer", str(layer), there, origin_of(dataset)))
    return dataset.sel({LAYER: layer}) if LAYER in dataset.dims else dataset


def at_checkpoint(dataset: xr.Dataset, checkpoint: str | int | None) -> xr.Dataset:
    """The Dataset at a checkpoint, by its name or its place; at the last by default."""
    there = labels_of(dataset, CHECKPOINT)
    if CHECKPOINT not in dataset.dims:
        dataset = dataset.expand_dims(CHECKPOINT)
    if checkpoint is None or isinstance(checkpoint, int | np.integer):
        place = -1 if checkpoint is None else int(checkpoint)
        if not -len(there) <= place < len(there):
            raise ValueError(
                f"No checkpoint number {place} in {origin_of(dataset)}; there are {len(there)}"
            )
        return dataset.isel({CHECKPOINT: place})
    if checkpoint not in there:
        raise ValueError(did_you_mean("checkpoint", str(checkpoint), there, origin_of(dataset)))
    return dataset.sel({CHECKPOINT: checkpoint})


def known_channels(
    of_layer: xr.Dataset, channels: Sequence[int], *, strict: bool = True
) -> np.ndarray:
    """Those of the channels that the layer has; with `strict`, all of them or an error."""
    there = set(_existing_channels(of_layer).tolist())
    known = [c for c in channels if c in there]
    if strict and len(known) < len(list(channels)):
        raise ValueError(_no_channel(of_layer, channels))
    return np.array(known, int)


def _existing_channels(of_layer: xr.Dataset) -> np.ndarray:
    """Channels that a layer has: the axis is as wide as the widest layer."""
    there = np.atleast_1d(of_layer[CHANNEL].values)
    return there[there < int(of_layer["n_channels"])] if "n_channels" in of_layer else there


def _no_channel(of_layer: xr.Dataset, channels: Sequence[int]) -> str:
    asked = ", ".join(map(str, channels))
    return f"No channel {asked} in {of_layer[LAYER].item()}. {_channels_there(of_layer)}"


def _channels_there(of_layer: xr.Dataset) -> str:
    there = _existing_channels(of_layer)
    return f"Its channels: {there.min()} to {there.max()}" if len(there) else "It has none here"


def origin_of(dataset: xr.Dataset) -> str:
    """Model, run and variant of a Dataset, for the margin of a picture."""
    return ", ".join(str(part) for part in origin(dataset).values() if part)
