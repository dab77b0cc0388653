"""Where a sweep's feature images go: what a run's variants lack, and what comes in for them.

One sweep fills several groups: a variant for each objective and image number.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import xarray as xr

from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.levels import model_input
from dvis.kinds.features.made_of import WEIGHTS, fingerprint_of
from dvis.kinds.features.run_notes import finish_import
from dvis.kinds.features.words import FINGERPRINT, FORM, HELD_OUT_MEAN, IMAGE_NUMBER, size_label
from dvis.names import CheckpointName
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, Status
from dvis.store.writer import restructuring
from dvis.sweep.record import OTHER_WEIGHTS, said_of

_MISSING, _DONE, _OTHER_OPTIONS, _OTHER_WEIGHTS = range(4)
_WHY = {_OTHER_OPTIONS: "of other options", _OTHER_WEIGHTS: OTHER_WEIGHTS}
_DEAD = "dead: no gradient reached the image, which stayed as it began"


class UnitTask(Protocol):
    """Channels of one layer."""

    @property
    def layer(self) -> str:
        """The layer."""

    @property
    def objective(self) -> str:
        """What is maximised, as variants name it."""

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels."""


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
        overwrite: bool = False,
        noted: Mapping[str, str] | None = None,
    ) -> None:
        self.store, self.run = store, run
        self.image_size, self.number_of_images = image_size, number_of_images
        self.parameters, self.overwrite = parameters, overwrite
        self.noted = dict(noted or {})
        self.kept: dict[str, int] = {}
        self._groups: dict[str, FeatureGroup] = {}
        self._params: dict[str, int] = {}
        self._fingerprints: dict[str, int] = {}
        self._state: dict[tuple[str, str], np.ndarray] = {}

    def prepare(
        self,
        checkpoints: Sequence[CheckpointName],
        steps: Mapping[str, int],
        columns: Mapping[str, Mapping[str, int]],
        tasks: Sequence[UnitTask],
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
        tasks : sequence of UnitTask
            What is to be recorded.
        fingerprints : mapping of str to int
            What tells the weights of checkpoints apart, of those that have a file.
        """
        self._fingerprints = dict(fingerprints)
        with restructuring(self.store):
            for objective in dict.fromkeys(task.objective for task in tasks):
                for number in range(self.number_of_images):
                    variant = f"{objective}-{number}"
                    group = self._open_group(variant)
                    group.grow_units(checkpoints, **columns)
                    group.write_column("step", steps)
                    group.add_arrays([HELD_OUT_MEAN])
                    group.note(**self.noted)
                    self._params[variant] = group.parameter_index(self.parameters)
                    self._groups[variant] = group
                    for layer in columns["n_channels"]:
                        self._state[variant, layer] = self._read_state(variant, group, layer)
        self.kept = self._count_kept([name.label for name in checkpoints], tasks)
        return self

    def missing(self, label: str, task: UnitTask) -> tuple[int, ...]:
        """Channels of a task whose images a checkpoint does not have, or not all."""
        channels = np.array(task.channels)
        is_there = np.ones(len(channels), bool)
        for variant, group in self._of(task):
            state = self._state[variant, task.layer][group.rows[CHECKPOINT][label], channels]
            is_there &= state == _DONE if self.overwrite else state != _MISSING
        return tuple(channels[~is_there].tolist())

    def start_from(self, label: str, task: UnitTask) -> np.ndarray | None:
        """Model inputs of a task's images at a checkpoint, NaN where there is none.

        Returns
        -------
        ndarray, (image_number, channel, rgb, y, x), float32, or None where there is none at all
        """
        inputs = []
        for _, group in self._of(task):
            at = (group.rows[CHECKPOINT][label], group.layers[task.layer], np.array(task.channels))
            images, low, high, params, status = (
                np.asarray(group.array(name).oindex[at])
                for name in ("image", "value_min", "value_max", "params", "status")
            )
            table = group.parameters
            tables = [table[i] if i >= 0 else {} for i in params.tolist()]
            given = np.stack(
                [
                    model_input(image, bottom, top, of_image)
                    for image, bottom, top, of_image in zip(images, low, high, tables, strict=True)
                ]
            )
            given[status != Status.COMPLETE] = np.nan
            inputs.append(np.moveaxis(given, -1, 1))
        start = np.stack(inputs)
        return None if np.isnan(start).all() else start

    def record(self, label: str, task: UnitTask, result: xr.Dataset) -> list[str]:
        """Put a task's result into the store; return what is to be said of its units."""
        said = []
        for (variant, group), (_, of_image) in zip(
            self._of(task), result.groupby(IMAGE_NUMBER), strict=True
        ):
            units = of_image.squeeze(IMAGE_NUMBER, drop=True)
            units = units.assign_coords({CHECKPOINT: label, LAYER: task.layer})
            n_units = units.sizes[CHANNEL]
            made_of = np.full(n_units, self._fingerprints.get(label, 0), np.uint64)
            notes = np.where(units["is_dead"], _DEAD, "").astype(object)
            units = units.drop_vars("is_dead").assign(
                {
                    "note": (CHANNEL, notes),
                    "params": (CHANNEL, np.full(n_units, self._params[variant])),
                    FORM: (CHANNEL, np.zeros(n_units, np.uint8)),
                    FINGERPRINT: (CHANNEL, made_of),
                }
            )
            group.commit(units)
            dims = (CHECKPOINT, LAYER, CHANNEL)
            said += [f"{variant}, {text}" for text in said_of(units, dims)]
        return said

    def fail(self, label: str, task: UnitTask, error: str) -> None:
        """Mark a task's units failed, with the error; those that are complete are kept."""
        for _, group in self._of(task):
            labels = {CHECKPOINT: label, LAYER: task.layer, CHANNEL: list(task.channels)}
            group.fail(group.places(labels), error)

    def close(self) -> None:
        """Show readers all of it."""
        finish_import(self.store)

    def _of(self, task: UnitTask) -> Iterator[tuple[str, FeatureGroup]]:
        for number in range(self.number_of_images):
            variant = f"{task.objective}-{number}"
            yield variant, self._groups[variant]

    def _count_kept(self, labels: Sequence[str], tasks: Sequence[UnitTask]) -> dict[str, int]:
        """Complete units of some tasks that were made otherwise than this sweep would."""
        n_units = dict.fromkeys(_WHY.values(), 0)
        for task in () if self.overwrite else tasks:
            for variant, group in self._of(task):
                rows = [group.rows[CHECKPOINT][label] for label in labels]
                state = self._state[variant, task.layer][np.ix_(rows, task.channels)]
                for why, text in _WHY.items():
                    n_units[text] += int((state == why).sum())
        return n_units

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
        weights = np.zeros((len(status), 1), np.uint64)
        for label, fingerprint in self._fingerprints.items():
            weights[group.rows[CHECKPOINT][label]] = fingerprint
        is_measured = fingerprint_of(params, group.parameters) == WEIGHTS
        is_of_others = is_measured & (weights != 0) & (made_of != 0) & (made_of != weights)
        state = np.full(status.shape, _DONE, np.uint8)
        state[params != self._params[variant]] = _OTHER_OPTIONS
        state[is_of_others] = _OTHER_WEIGHTS
        state[status != Status.COMPLETE] = _MISSING
        return state
