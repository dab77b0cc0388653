"""Stored feature images as fixed ones: which units have some, and what a model takes of them.

A Dataset of feature images in, model inputs of a block of units out; one block is in memory at a
time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import orjson
import xarray as xr

from dvis.kinds.features.levels import coloured_input
from dvis.kinds.features.read import parameters_of
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, RGB, Status, X, Y, did_you_mean

_TOLD_BY = ("activation", "value_min", "value_max", "stop_step", "seed")


class UnitsTask(Protocol):
    """Units of a layer."""

    @property
    def layer(self) -> str:
        """The layer."""

    @property
    def wanted(self) -> Sequence[tuple[str, int]]:
        """Checkpoint and channel of each."""


@dataclass(frozen=True)
class StoredImages:
    """Feature images of some units, read when they are asked for.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave.
    """

    dataset: xr.Dataset

    def __call__(self, _before: str | None, _label: str, task: UnitsTask, /) -> np.ndarray:
        """What the model takes (unit, rgb, y, x), float32, of the images of a task's units."""
        of_layer = self.dataset.sel({LAYER: task.layer})
        wanted, parameters = task.wanted, parameters_of(self.dataset)
        inputs: list[np.ndarray] = [np.empty(0)] * len(wanted)
        for label in dict.fromkeys(label for label, _ in wanted):
            places = [i for i, (of_unit, _) in enumerate(wanted) if of_unit == label]
            channels = [wanted[i][1] for i in places]
            units = of_layer.sel({CHECKPOINT: label, CHANNEL: channels})
            images = units["image"].transpose(CHANNEL, Y, X, RGB).values
            values = (images, units["value_min"].values, units["value_max"].values)
            tables = [parameters[i] for i in units["params"].values.tolist()]
            for i, image, low, high, table in zip(places, *values, tables, strict=True):
                inputs[i] = coloured_input(image, low, high, table)
        return np.stack(inputs)


def choose_units(
    dataset: xr.Dataset,
    checkpoints: Sequence[str],
    layers: Sequence[str] = (),
    channels: Sequence[int] = (),
) -> tuple[dict[str, list[tuple[str, int]]], int]:
    """Units that have an image that can be fed back, by layer.

    Parameters
    ----------
    dataset : Dataset
        What `dvis.open` gave.
    checkpoints : sequence of str
        Checkpoints whose images are wanted.
    layers : sequence of str
        Layers; none means all.
    channels : sequence of int
        Channels of each layer; none means all.

    Returns
    -------
    units : dict of str to list of (str, int)
        Checkpoint and channel of each, by layer.
    n_unknown : int
        Complete units that are left out, for the values of their levels are not known: jpgs.

    Raises
    ------
    KeyError
        When there is no such layer.
    ValueError
        When none of the units asked for has an image that can be fed back.
    """
    there = dataset[LAYER].values.tolist()
    for layer in layers:
        if layer not in there:
            raise KeyError(did_you_mean("layer", layer, there, "the feature images"))
    is_complete, is_known = _known(dataset.sel({CHECKPOINT: list(checkpoints)}))
    is_asked = dataset[CHANNEL].isin(list(channels)) if channels else dataset[CHANNEL] >= 0
    units: dict[str, list[tuple[str, int]]] = {}
    n_unknown = 0
    for layer in layers or there:
        at = {LAYER: layer}
        complete, known = (of.sel(at).values & is_asked.values for of in (is_complete, is_known))
        n_unknown += int((complete & ~known).sum())
        rows, columns = np.nonzero(known)
        numbers = dataset[CHANNEL].values[columns].tolist()
        chosen = [
            (checkpoints[row], number) for row, number in zip(rows.tolist(), numbers, strict=True)
        ]
        if chosen:
            units[layer] = chosen
    if not units:
        what = f"{n_unknown} jpgs whose values are not known" if n_unknown else "no complete units"
        raise ValueError(
            f"No feature images to feed back at {', '.join(checkpoints[:3])}: there are {what}. "
            "Make some with `dvis visualize`"
        )
    return units, n_unknown


def fingerprints_of_images(
    dataset: xr.Dataset, units: Mapping[str, Sequence[tuple[str, int]]]
) -> dict[tuple[str, str], np.ndarray]:
    """What tells the feature images of units apart, by checkpoint and layer.

    Returns
    -------
    dict of (str, str) to ndarray, (channel,), uint64
        A hash of what the store says of an image: its activation, the values of its levels, and
        how it was made; 0 where there is none.
    """
    tables = [orjson.dumps(table) for table in parameters_of(dataset)]
    hashes: dict[tuple[str, str], np.ndarray] = {}
    width = dataset.sizes[CHANNEL]
    for layer, of_layer in units.items():
        told = dataset[[*_TOLD_BY, "params"]].sel({LAYER: layer}).load()
        columns = {name: told[name].transpose(CHECKPOINT, CHANNEL).values for name in told}
        rows = {label: row for row, label in enumerate(told[CHECKPOINT].values.tolist())}
        for label, channel in of_layer:
            at = rows[label], channel
            table = tables[int(columns["params"][at])]
            data = b"".join(columns[name][at].tobytes() for name in _TOLD_BY) + table
            number = int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
            hashes.setdefault((label, layer), np.zeros(width, np.uint64))[channel] = number
    return hashes


def _known(dataset: xr.Dataset) -> tuple[Any, Any]:
    """Whether units are complete, and whether their images can be fed back besides."""
    order = (LAYER, CHECKPOINT, CHANNEL)
    units = dataset[["status", "value_min", "value_max", "params"]].transpose(*order).load()
    is_complete = units["status"] == Status.COMPLETE
    has_values = units["value_min"].notnull() & units["value_max"].notnull()
    return is_complete, is_complete & has_values & (units["params"] >= 0)
