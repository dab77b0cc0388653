"""Where a sweep's feature images go: what a run's variants lack, and what comes in for them.

One sweep fills several groups: a variant for each objective and image number.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr

from dvis.kinds.features import reference_sets
from dvis.kinds.features.dead import notes_of_dead, said_of_deaths
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.levels import model_input
from dvis.kinds.features.made_of import WEIGHTS, fingerprint_of, with_directions
from dvis.kinds.features.read import FEATURE_READER
from dvis.kinds.features.run_notes import finish_import
from dvis.kinds.features.tasks import FeatureTask, ReferenceTask
from dvis.kinds.features.words import (
    FINGERPRINT,
    FORM,
    IMAGE_NUMBER,
    REFERENCE,
    Variant,
    size_label,
)
from dvis.models.directions import Directions
from dvis.names import CheckpointName
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_DIMS, Status
from dvis.store.writer import restructuring
from dvis.sweep.record import OTHER_WEIGHTS, said_of

_MISSING, _DONE, _OTHER_OPTIONS, _OTHER_WEIGHTS = range(4)
_WHY = {_OTHER_OPTIONS: "of other options", _OTHER_WEIGHTS: OTHER_WEIGHTS}
_OTHER_DIRECTIONS = "of other weights, or of others of {}, under the same label"
_OTHER_REFERENCE = "held against other reference images"


class FeatureRecorder:
    """A run's feature groups, open for one sweep."""

    def __init__(
        self,
        store: Path,
        run: str,
        *,
        image_size: int,
        number_of_images: int,
        parameters: Mapping[str, Any],
        reference: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        noted: Mapping[str, Any] | None = None,
        compared: Sequence[str] = (),
        directions: Directions | None = None,
    ) -> None:
        self.store, self.run = store, run
        self.image_size, self.number_of_images = image_size, number_of_images
        self.parameters, self.overwrite = parameters, overwrite
        self.reference = reference  # the description of the reference images
        self.noted = dict(noted or {})
        self.compared = list(compared)
        self.directions = directions
        self._hashes: dict[tuple[str, str], np.ndarray] = {}
        self._labels: list[str] = []
        self.kept: dict[str, int] = {}
        self._groups: dict[str, FeatureGroup] = {}
        self._params: dict[str, int] = {}
        self._fingerprints: dict[str, int] = {}
        self._state: dict[tuple[str, str], np.ndarray] = {}
        self._set: dict[str, int] = {}  # the reference set's place in a group's table
        self._sets: dict[tuple[str, str], np.ndarray] = {}

    def prepare(
        self,
        checkpoints: Sequence[CheckpointName],
        steps: Mapping[str, int],
        columns: Mapping[str, Mapping[str, int]],
        tasks: Sequence[FeatureTask],
        fingerprints: Mapping[str, int],
    ) -> Self:
        """Make room for checkpoints, layers and channels in the groups of some tasks.

        Parameters
        ----------
        checkpoints : sequence of CheckpointName
            Checkpoints.
        steps : mapping of str to int
            Training step by checkpoint, of those whose is known.
        columns : mapping of str to mapping
            `n_channels` of each layer, and its `depth` where that is known.
        tasks : sequence of FeatureTask
            What is to be recorded.
        fingerprints : mapping of str to int
            What tells the weights of checkpoints apart, of those that have a file.
        """
        self._fingerprints = dict(fingerprints)
        self._labels = [name.label for name in checkpoints]
        with restructuring(self.store):
            for objective in dict.fromkeys(task.objective for task in tasks):
                for number in range(self.number_of_images):
                    variant = Variant(objective, number).base
                    group = self._open_group(variant)
                    group.add_arrays(self.compared)
                    group.array("status").attrs.update(group.words.arrays["status"].attrs)
                    if self.reference is not None:
                        self._set[variant] = reference_sets.make_room(group, self.reference)
                    group.grow_units(checkpoints, **columns)
                    group.write_column("step", steps)
                    group.note(**self.noted)
                    self._params[variant] = group.parameter_index(self.parameters)
                    self._groups[variant] = group
                    for layer in columns["n_channels"]:
                        self._state[variant, layer] = self._read_state(variant, group, layer)
                        self._sets[variant, layer] = reference_sets.read_sets(group, layer)
        self.kept = self._count_kept(self._labels, tasks)
        return self

    def missing(self, label: str, task: FeatureTask) -> tuple[int, ...]:
        """Channels of a task that a checkpoint does not have, or not all of their images."""
        if not self.has_units(label, task):
            return ()
        if isinstance(task, ReferenceTask):
            return self._without_reference(label, task)
        channels = np.array(task.channels)
        is_there = np.ones(len(channels), bool)
        for variant, group in self.groups_of(task):
            state = self._state[variant, task.layer][group.rows[CHECKPOINT][label], channels]
            is_there &= state == _DONE if self.overwrite else state != _MISSING
        return tuple(channels[~is_there].tolist())

    def has_units(self, label: str, task: FeatureTask) -> bool:
        """Whether there is at a checkpoint what a task's units are: not all have latents."""
        return self.directions is None or self.directions.at(task.layer, label) is not None

    def start_from(self, label: str, task: FeatureTask) -> np.ndarray | None:
        """Model inputs of a task's images at a checkpoint, NaN where there is none.

        Returns
        -------
        ndarray, (image_number, channel, rgb, y, x), float32, or None where there is none at all
        """
        inputs = []
        for _, group in self.groups_of(task):
            row, layer = group.rows[CHECKPOINT][label], group.layers[task.layer]
            inputs.append(model_inputs(group, row, layer, np.array(task.channels)))
        start = np.stack(inputs)
        return None if np.isnan(start).all() else start

    def record(self, label: str, task: FeatureTask, result: xr.Dataset) -> list[str]:
        """Put a task's result into the store; return what is to be said of its units."""
        if isinstance(task, ReferenceTask):
            for variant, group in self.groups_of(task):
                reference_sets.put(group, label, task, result, self._set[variant])
            return []
        said = []
        for (variant, group), (_, of_image) in zip(
            self.groups_of(task), result.groupby(IMAGE_NUMBER), strict=True
        ):
            units = of_image.squeeze(IMAGE_NUMBER, drop=True)
            units = units.assign_coords({CHECKPOINT: label, LAYER: task.layer})
            if variant in self._set:
                of_set = np.full(units.sizes[CHANNEL], self._set[variant], np.int32)
                units[REFERENCE] = CHANNEL, of_set
            units = self.commit(group, units, self._params[variant])
            # Of dead units all is said at the end, when some may have come to life.
            of_units = units.drop_vars("note")
            said += [f"{variant}, {text}" for text in said_of(of_units, UNIT_DIMS)]
        return said

    def commit(self, group: FeatureGroup, units: xr.Dataset, params: int) -> xr.Dataset:
        """Put units (channel) of one variant into its group; return them as they were committed.

        Parameters
        ----------
        group : FeatureGroup
            The variant's group.
        units : Dataset, (channel, ...)
            What was measured of them.
        params : int
            Place in the group's table of how they were made.
        """
        n_units = units.sizes[CHANNEL]
        is_dead = units["is_dead"].values
        place = units[CHECKPOINT].item(), units[LAYER].item(), units[CHANNEL].values
        units = units.drop_vars("is_dead").assign(
            {
                "note": (CHANNEL, notes_of_dead(units, is_dead)),
                "status": (CHANNEL, np.where(is_dead, Status.DEAD, Status.COMPLETE)),
                "params": (CHANNEL, np.full(n_units, params)),
                FORM: (CHANNEL, np.zeros(n_units, np.uint8)),
                FINGERPRINT: (CHANNEL, self._made_of(*place)),
            }
        )
        group.commit(units)
        return units

    def fail(self, label: str, task: FeatureTask, error: str) -> None:
        """Mark a task's units failed, with the error; those that are complete are kept."""
        for _, group in self.groups_of(task):
            labels = {CHECKPOINT: label, LAYER: task.layer, CHANNEL: list(task.channels)}
            group.fail(group.places(labels), error)

    def close(self) -> None:
        """Show readers all of it."""
        finish_import(self.store)

    def group(self, variant: str) -> FeatureGroup:
        """The group of a variant, by its objective and image number."""
        return self._groups[variant]

    def said_of_deaths(self, tasks: Sequence[FeatureTask]) -> list[str]:
        """How many units of some tasks are dead, by variant and layer, over all checkpoints."""
        channels: dict[tuple[str, str], set[int]] = {}
        for task in tasks:
            for variant, _ in self.groups_of(task):
                channels.setdefault((variant, task.layer), set()).update(task.channels)
        said: list[str] = []
        for (variant, layer), asked in channels.items():
            opened = FEATURE_READER.open(self.store, self.run, self.group(variant).variant)
            said += said_of_deaths(opened, variant, layer, sorted(asked))
        return said

    def groups_of(self, task: FeatureTask) -> Iterator[tuple[str, FeatureGroup]]:
        """Names and groups of a task's variants, by image number."""
        for number in range(self.number_of_images):
            variant = Variant(task.objective, number).base
            yield variant, self._groups[variant]

    def _own_params(self, variant: str, group: FeatureGroup) -> list[int]:
        """Places of this sweep's parameters in a group's table, also as of what was refined."""
        refined = self.refined_parameters
        places = [i for i, each in enumerate(group.parameters) if each == refined]
        return [self._params[variant], *places]

    @property
    def refined_parameters(self) -> dict[str, Any]:
        """How images are made that begin at those of the checkpoints beside theirs."""
        return {**self.parameters, "init_from": "neighbours"}

    def _without_reference(self, label: str, task: ReferenceTask) -> tuple[int, ...]:
        """Channels whose images are there and stay, and were never held against this set."""
        channels = np.array(task.channels)
        is_lacking, is_kept = np.zeros(len(channels), bool), np.ones(len(channels), bool)
        kept = (_DONE,) if self.overwrite else (_DONE, _OTHER_OPTIONS)
        for variant, group in self.groups_of(task):
            at = group.rows[CHECKPOINT][label], channels
            of_set = self._sets[variant, task.layer][at]
            is_other = of_set != self._set[variant]
            is_lacking |= is_other if self.overwrite else of_set == -1
            is_kept &= np.isin(self._state[variant, task.layer][at], kept)
        return tuple(channels[is_lacking & is_kept].tolist())

    def _count_kept(self, labels: Sequence[str], tasks: Sequence[FeatureTask]) -> dict[str, int]:
        """Complete units of some tasks that were made otherwise than this sweep would."""
        reasons = self._why()
        n_units = dict.fromkeys(reasons.values(), 0)
        for task in () if self.overwrite else tasks:
            for variant, group in self.groups_of(task):
                rows = [group.rows[CHECKPOINT][label] for label in labels]
                state = self._state[variant, task.layer][np.ix_(rows, task.channels)]
                for why, text in reasons.items():
                    n_units[text] += int((state == why).sum())
                sets = self._sets[variant, task.layer][np.ix_(rows, task.channels)]
                is_other = (sets >= 0) & (sets != self._set.get(variant, -1)) & (state == _DONE)
                if variant in self._set and is_other.any():
                    n_before = n_units.get(_OTHER_REFERENCE, 0)
                    n_units[_OTHER_REFERENCE] = n_before + int(is_other.sum())
        return n_units

    def _why(self) -> dict[int, str]:
        """Why units are others than this sweep would make, in words."""
        if self.directions is None:
            return _WHY
        return {**_WHY, _OTHER_WEIGHTS: _OTHER_DIRECTIONS.format(self.directions.variant)}

    def _made_of(self, label: str, layer: str, channels: Sequence[int] | np.ndarray) -> np.ndarray:
        """What tells apart what units are made of, (channel,), uint64, 0 where it is not known."""
        weights = self._fingerprints.get(label, 0)
        if self.directions is None:
            return np.full(len(channels), weights, np.uint64)
        hashes = np.zeros(self.directions.n_units(layer), np.uint64)
        read_out = self.directions.at(layer, label)
        if read_out is not None:
            if (layer, label) not in self._hashes:
                self._hashes[layer, label] = with_directions(weights, read_out.fingerprints)
            hashes[list(read_out.numbers)] = self._hashes[layer, label]
        found: np.ndarray = np.append(hashes, np.uint64(0))[np.minimum(channels, len(hashes))]
        return found

    def _open_group(self, variant: str) -> FeatureGroup:
        """The variant's group of this image size; of another name where that has another size."""
        size = (self.image_size, self.image_size)
        group = FeatureGroup.existing(self.store, self.run, variant)
        if group is not None and group.image_size != size:
            variant = f"{variant}@{size_label(*size)}"
            group = FeatureGroup.existing(self.store, self.run, variant)
        if group is not None:
            return group
        return FeatureGroup.create(
            self.store,
            self.run,
            variant,
            height=self.image_size,
            width=self.image_size,
            codec="raw",
            block_checkpoints=1,
        )

    def _read_state(self, variant: str, group: FeatureGroup, layer: str) -> np.ndarray:
        """What there is of each unit of a layer, (checkpoint, channel): nothing, or made how."""
        status, params, made_of = (
            group.read(name, slice(None), group.layers[layer])
            for name in ("status", "params", FINGERPRINT)
        )
        weights, channels = np.zeros(status.shape, np.uint64), np.arange(status.shape[1])
        for label in self._labels:
            weights[group.rows[CHECKPOINT][label]] = self._made_of(label, layer, channels)
        is_measured = fingerprint_of(params, group.parameters) == WEIGHTS
        is_of_others = is_measured & (weights != 0) & (made_of != 0) & (made_of != weights)
        state = np.full(status.shape, _DONE, np.uint8)
        state[~np.isin(params, self._own_params(variant, group))] = _OTHER_OPTIONS
        state[is_of_others] = _OTHER_WEIGHTS
        # Of a dead unit nothing is worth keeping that was not tried as is asked for now.
        is_tried = (status == Status.DEAD) & (state == _DONE) & (not self.overwrite)
        state[(status != Status.COMPLETE) & ~is_tried] = _MISSING
        return state


def model_inputs(group: FeatureGroup, row: int, layer: int, channels: np.ndarray) -> np.ndarray:
    """Model inputs of a layer's images at a checkpoint, (channel, rgb, y, x), float32.

    Those of units that are not complete are NaN.
    """
    images, low, high, params, status = (
        np.asarray(group.array(name).oindex[row, layer, channels])
        for name in ("image", "value_min", "value_max", "params", "status")
    )
    table = group.parameters
    tables = [table[i] if i >= 0 else {} for i in params.tolist()]
    units = zip(images, low, high, tables, strict=True)
    given = np.stack([model_input(*of_image) for of_image in units])
    given[status != Status.COMPLETE] = np.nan
    return np.moveaxis(given, -1, 1)
