"""After a sweep: each unit's images at the checkpoints beside, tried at its own.

A feature image is a unit's best, or says that it is not. A second sweep over what a first one made:
what it lacks are units whose neighbours were not tried yet, so that it goes on where it was
stopped, and looks again where checkpoints came in between.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.trajectories import positions_beside
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.measure.neighbours import IS_BETTER, TRIED
from dvis.kinds.features.read import FEATURE_READER
from dvis.kinds.features.record import FeatureRecorder, model_inputs
from dvis.kinds.features.tasks import FeatureTask
from dvis.kinds.features.words import (
    CONSTANT_MAX,
    FINGERPRINT,
    IMAGE_NUMBER,
    NEIGHBOUR_MAX,
    NEIGHBOURS,
    OF_REFERENCE,
    REFERENCE,
    SEED_SIMILARITY,
    is_beaten,
)
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, Status, counted

# Of the unit, or of its optimisations from noise: as it was where an image begins elsewhere.
_NOT_OF_IMAGE = ("restart_sd", SEED_SIMILARITY, *OF_REFERENCE, CONSTANT_MAX, REFERENCE)
_REFINED = np.uint64(0x9E3779B97F4A7C15)
_MEASURED = (Status.COMPLETE, Status.DEAD)


@dataclass
class _Layer:
    """A layer's units of one variant, checkpoints in training order: (checkpoint, channel)."""

    columns: Mapping[int, int]
    status: np.ndarray
    key: np.ndarray
    is_open: np.ndarray


class CrossCheck:
    """What records the neighbours' activations, and says at which images they are measured.

    Parameters
    ----------
    recorder : FeatureRecorder
        The variants' groups, prepared.
    tasks : sequence of FeatureTask
        What the sweep before made.
    is_refined : bool
        Whether units with a better image at a checkpoint beside are optimised again.
    """

    kept: Mapping[str, int] = {}

    def __init__(
        self, recorder: FeatureRecorder, tasks: Sequence[FeatureTask], is_refined: bool
    ) -> None:
        self._recorder, self._is_refined = recorder, is_refined
        self.n_revived = self.n_refined = 0
        self._orders: dict[str, list[str]] = {}
        self._layers: dict[tuple[str, str], _Layer] = {}
        channels: dict[tuple[str, str], set[int]] = {}
        for task in tasks:
            channels.setdefault((task.objective, task.layer), set()).update(task.channels)
        for (objective, layer), wanted in channels.items():
            for variant, group in recorder.groups_of(FeatureTask(layer, objective, ())):
                if variant not in self._orders:
                    opened = FEATURE_READER.open(recorder.store, recorder.run, group.variant)
                    self._orders[variant] = [str(label) for label in opened[CHECKPOINT].values]
                self._layers[variant, layer] = self._read(variant, group, layer, sorted(wanted))

    def missing(self, label: str, task: FeatureTask) -> tuple[int, ...]:
        """Channels of a task whose neighbours were not tried."""
        if not self._recorder.has_units(label, task):
            return ()
        is_open = np.zeros(len(task.channels), bool)
        for variant, _ in self._recorder.groups_of(task):
            units = self._layers[variant, task.layer]
            columns = [units.columns[channel] for channel in task.channels]
            is_open |= units.is_open[self._orders[variant].index(label), columns]
        return tuple(np.array(task.channels)[is_open].tolist())

    def __call__(self, _before: str | None, label: str, task: FeatureTask, /) -> np.ndarray | None:
        """Model inputs (3, image_number, channel, rgb, y, x): own, of before and of after."""
        found = []
        for variant, group in self._recorder.groups_of(task):
            units = self._layers[variant, task.layer]
            order = self._orders[variant]
            columns = [units.columns[channel] for channel in task.channels]
            place = order.index(label)
            is_there = units.status[:, columns] == Status.COMPLETE
            before, after = (beside[:, place] for beside in positions_beside(is_there.T))
            own = np.where(is_there[place], place, -1)
            found.append([self._inputs(group, order, at, task) for at in (own, before, after)])
        start = np.stack(found, axis=1)
        return None if np.isnan(start).all() else start

    def record(self, label: str, task: FeatureTask, result: xr.Dataset) -> list[str]:
        """Keep how much the neighbours' images activate, and better images of some units."""
        for number, (variant, group) in enumerate(self._recorder.groups_of(task)):
            highest = result[NEIGHBOUR_MAX].values[number]
            channels = result[TRIED].values
            better = np.zeros(len(channels), bool)
            if IS_BETTER in result:
                is_better = result[IS_BETTER].values[number]
                chosen = result[CHANNEL].values[is_better]
                better = np.isin(channels, chosen)
                of_image = result.isel({IMAGE_NUMBER: number}).sel({CHANNEL: chosen})
            keys = self._keys(variant, label, task.layer, channels)
            if better.any():
                units = of_image.drop_vars([IS_BETTER, NEIGHBOUR_MAX, TRIED, IMAGE_NUMBER])
                units = units.assign_coords({CHECKPOINT: label, LAYER: task.layer}).assign(
                    {
                        NEIGHBOUR_MAX: (CHANNEL, highest[better]),
                        NEIGHBOURS: (CHANNEL, keys[better]),
                    }
                )
                self._commit(variant, group, units)
            labels = {CHECKPOINT: label, LAYER: task.layer, CHANNEL: channels[~better].tolist()}
            if not better.all():
                places = group.places(labels)
                status = group.status(places)
                group.put(NEIGHBOUR_MAX, places, highest[~better], status)
                group.put(NEIGHBOURS, places, keys[~better], status)
        return []

    def fail(self, label: str, task: FeatureTask, error: str) -> None:
        """Leave the units as they are: they are tried again by the next run."""

    def close(self) -> None:
        """Show readers all of it."""
        self._recorder.close()

    def said(self) -> list[str]:
        """What is to be said of the units after all: how many have a better image elsewhere."""
        n_units, beaten, worst, by = 0, 0, "", 0.0
        for (variant, layer), units in self._layers.items():
            group = self._recorder.group(variant)
            order, channels = self._orders[variant], np.array(list(units.columns))
            rows = np.array([group.rows[CHECKPOINT][each] for each in order])
            own, highest = (
                group.read(name, slice(None), group.layers[layer])[np.ix_(rows, channels)]
                for name in ("activation", NEIGHBOUR_MAX)
            )
            is_there = units.status == Status.COMPLETE
            n_units += int((is_there & ~np.isnan(highest)).sum())
            is_better = is_there & is_beaten(own, highest)
            beaten += int(is_better.sum())
            gain = np.where(is_better, (highest - own) / np.maximum(np.abs(own), 1e-12), 0.0)
            if gain.size and gain.max() > by:
                row, column = np.unravel_index(int(gain.argmax()), gain.shape)
                by = float(gain[row, column])
                worst = (
                    f"{order[row]}, {layer}, channel {channels[column]}: "
                    f"{highest[row, column]:.4g}, its own {own[row, column]:.4g}"
                )
        said = []
        if self.n_revived:
            said.append(
                f"{counted(self.n_revived, 'dead unit')} began anew at the image of a checkpoint "
                "beside, and moved"
            )
        if self.n_refined:
            begun = counted(self.n_refined, "unit")
            said.append(f"{begun} made better from the image of a checkpoint beside")
        if beaten:
            what = "" if self._is_refined else "; --refine optimises them again from there"
            said.append(
                f"{beaten:,} of {counted(n_units, 'unit')} are activated more than a twentieth "
                f"higher by their image at a checkpoint beside, most of all {worst}{what}"
            )
        return said

    def _read(
        self, variant: str, group: FeatureGroup, layer: str, channels: Sequence[int]
    ) -> _Layer:
        """What there is of a layer, and which units are to be looked at."""
        order = self._orders[variant]
        rows = np.array([group.rows[CHECKPOINT][label] for label in order])
        at = np.ix_(rows, np.array(channels))
        status, params, weights, stored, own, highest = (
            group.read(name, slice(None), group.layers[layer])[at]
            for name in ("status", "params", FINGERPRINT, NEIGHBOURS, "activation", NEIGHBOUR_MAX)
        )
        is_measured = np.isin(status, _MEASURED)
        made_as = np.array([_made_as(table) for table in [*group.parameters, {}]], np.uint64)
        key = _keys_of(order, made_as[params] ^ weights, is_measured)
        is_done = stored == (key ^ _REFINED)
        is_wanted = self._is_refined & (status == Status.COMPLETE) & is_beaten(own, highest)
        is_done |= (stored == key) & ~is_wanted
        is_open = is_measured & (key != 0) & ~is_done
        return _Layer({c: i for i, c in enumerate(channels)}, status, key, is_open)

    def _keys(self, variant: str, label: str, layer: str, channels: np.ndarray) -> np.ndarray:
        units = self._layers[variant, layer]
        columns = [units.columns[channel] for channel in channels.tolist()]
        keys = units.key[self._orders[variant].index(label), columns]
        found: np.ndarray = keys ^ _REFINED if self._is_refined else keys
        return np.where(keys != 0, found, np.uint64(0))

    def _inputs(
        self, group: FeatureGroup, order: Sequence[str], at: np.ndarray, task: FeatureTask
    ) -> np.ndarray:
        """Model inputs (channel, rgb, y, x) of a task's channels, each at its checkpoint."""
        channels = np.array(task.channels)
        inputs = np.full((len(channels), 3, *group.image_size), np.nan, np.float32)
        for place in np.unique(at[at >= 0]).tolist():
            chosen = at == place
            row, layer = group.rows[CHECKPOINT][order[place]], group.layers[task.layer]
            inputs[chosen] = model_inputs(group, row, layer, channels[chosen])
        return inputs

    def _commit(self, variant: str, group: FeatureGroup, units: xr.Dataset) -> None:
        """Put units in that have a better image by now."""
        label, layer = str(units[CHECKPOINT].item()), str(units[LAYER].item())
        channels: list[int] = units[CHANNEL].values.tolist()
        places = group.places({CHECKPOINT: label, LAYER: layer, CHANNEL: channels})
        as_before: dict[str, Any] = {
            name: (CHANNEL, group.values(name, places))
            for name in _NOT_OF_IMAGE
            if name in group.words.arrays
        }
        params = group.parameter_index(self._recorder.refined_parameters)
        self._recorder.commit(group, units.assign(as_before), params)
        known = self._layers[variant, layer]
        at = self._orders[variant].index(label), [known.columns[channel] for channel in channels]
        n_dead = int((known.status[at] == Status.DEAD).sum())
        self.n_revived += n_dead
        self.n_refined += len(channels) - n_dead
        known.status[at] = Status.COMPLETE


def _made_as(parameters: Mapping[str, Any]) -> int:
    """What tells how an image is made from other ways, wherever it began."""
    table = {name: value for name, value in parameters.items() if name != "init_from"}
    return _hash(json.dumps(table, sort_keys=True))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _keys_of(order: Sequence[str], made_of: np.ndarray, is_measured: np.ndarray) -> np.ndarray:
    """What tells the units beside each unit from others, (checkpoint, channel); 0 where none is.

    These are the nearest that were measured, dead ones too, so that one that comes to life while
    its neighbours are tried changes no key: a run that was stopped goes on as it would have done.
    """
    of_label, nothing = np.array([_hash(label) for label in order], np.uint64), np.uint64(0)
    ids = (of_label[:, None] ^ made_of) | np.uint64(1)
    before, after = (beside.T for beside in positions_beside(is_measured.T))
    columns = np.arange(is_measured.shape[1])[None]
    is_before, is_after = before >= 0, after >= 0
    of_before = np.where(is_before, ids[before, columns], nothing) * np.uint64(0x9E3779B97F4A7C15)
    of_after = np.where(is_after, ids[after, columns], nothing) * np.uint64(0xC2B2AE3D27D4EB4F)
    keys: np.ndarray = np.where(is_before | is_after, of_before ^ of_after, nothing)
    return keys
