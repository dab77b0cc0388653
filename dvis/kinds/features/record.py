"""Where a sweep's results go: what a run's feature groups lack, and what comes in for them.

Labelled Datasets in, committed units out. A recorder is the one writer of its groups for as long
as it is open; it alone touches their files, so that workers need not see the store at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.images.picture_files import encode_png
from dvis.kinds.features.levels import model_input
from dvis.kinds.features.made_of import FINGERPRINT, WEIGHTS, fingerprint_of
from dvis.names import CheckpointName
from dvis.schema import BLOCK_CHANNELS, FEATURES, IMAGE_NUMBER, TEXT, Status, size_label
from dvis.store.writer import finish_import, restructuring, writing

_SCALARS = ("activation", "value_min", "value_max", "stop_step", "seed")
_MISSING, _DONE, _OTHER_OPTIONS, _OTHER_WEIGHTS = range(4)
_DEAD = "dead: no gradient reached the image, which stayed as it began"


class Kept(NamedTuple):
    """Numbers of units that a store has and keeps, made with other options or of other weights."""

    other_options: int = 0
    other_weights: int = 0


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
    """A run's feature groups, open for one sweep; made by `recording_features`."""

    def __init__(
        self,
        store: Path,
        run: str,
        *,
        image_size: int,
        number_of_images: int,
        parameters: Mapping[str, Any],
        overwrite: bool,
    ) -> None:
        self.store, self.run = store, run
        self.image_size, self.number_of_images = image_size, number_of_images
        self.parameters, self.overwrite = parameters, overwrite
        self._groups: dict[str, FeatureGroup] = {}
        self._params: dict[str, int] = {}
        self._fingerprints: dict[str, int] = {}
        self._state: dict[tuple[str, str], np.ndarray] = {}

    def prepare(
        self,
        checkpoints: Sequence[CheckpointName],
        steps: Mapping[str, int],
        widths: Mapping[str, int],
        objectives: Sequence[str],
        fingerprints: Mapping[str, int],
    ) -> None:
        """Make room for checkpoints, layers and channels in the groups of some objectives.

        Parameters
        ----------
        checkpoints : sequence of CheckpointName
            Checkpoints.
        steps : mapping of str to int
            Training step by checkpoint, of those whose is known.
        widths : mapping of str to int
            Channels of each layer.
        objectives : sequence of str
            What is maximised, as variants name it.
        fingerprints : mapping of str to int
            What tells the weights of checkpoints apart, of those that have a file.
        """
        self._fingerprints = dict(fingerprints)
        with restructuring(self.store):
            for objective in objectives:
                for number in range(self.number_of_images):
                    variant = f"{objective}-{number}"
                    group = self._open_group(variant)
                    group.grow(checkpoints, widths)
                    group.write_steps(steps)
                    self._params[variant] = group.parameter_index(self.parameters)
                    self._groups[variant] = group
                    for layer in widths:
                        self._state[variant, layer] = self._read_state(variant, group, layer)

    def missing(self, label: str, task: UnitTask) -> tuple[int, ...]:
        """Channels of a task whose images a checkpoint does not have, or not all."""
        channels = np.array(task.channels)
        is_there = np.ones(len(channels), bool)
        for variant, group in self._of(task):
            state = self._state[variant, task.layer][group.rows[label], channels]
            is_there &= state == _DONE if self.overwrite else state != _MISSING
        return tuple(channels[~is_there].tolist())

    def n_kept(self, labels: Sequence[str], tasks: Sequence[UnitTask]) -> Kept:
        """Complete units of some tasks that were made otherwise than this sweep would."""
        if self.overwrite:
            return Kept()
        n_units = dict.fromkeys((_OTHER_OPTIONS, _OTHER_WEIGHTS), 0)
        for task in tasks:
            for variant, group in self._of(task):
                rows = [group.rows[label] for label in labels]
                state = self._state[variant, task.layer][np.ix_(rows, task.channels)]
                for kind in n_units:
                    n_units[kind] += int((state == kind).sum())
        return Kept(n_units[_OTHER_OPTIONS], n_units[_OTHER_WEIGHTS])

    def start_from(self, label: str, task: UnitTask) -> np.ndarray | None:
        """Model inputs of a task's images at a checkpoint, NaN where there is none.

        Returns
        -------
        ndarray, (image_number, channel, rgb, y, x), float32, or None where there is none at all
        """
        inputs = []
        for _, group in self._of(task):
            at = (group.rows[label], group.layers[task.layer], np.array(task.channels))
            images, low, high, params, status = (
                np.asarray(group.array(name).oindex[at])
                for name in ("image", "value_min", "value_max", "params", "status")
            )
            tables = [group.parameters[i] if i >= 0 else {} for i in params.tolist()]
            given = np.stack(
                [
                    model_input(image, bottom, top, table)
                    for image, bottom, top, table in zip(images, low, high, tables, strict=True)
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
            of_image = of_image.squeeze(IMAGE_NUMBER)
            problems = _problems(of_image)
            where = f"{label}, {task.layer}, {variant}"
            said += [
                f"{where}, channel {channel}: {problem}"
                for channel, problem in zip(of_image.channel.values, problems, strict=True)
                if problem
            ]
            self._commit(group, variant, label, task.layer, of_image, problems)
        return said

    def fail(self, label: str, task: UnitTask, error: str) -> None:
        """Mark a task's units failed, with the error; those that are complete are kept."""
        for _, group in self._of(task):
            row, layer = group.rows[label], group.layers[task.layer]
            stored = group.read("status", slice(row, row + 1), layer)[0]
            channels = np.array([c for c in task.channels if stored[c] != Status.COMPLETE])
            if not len(channels):
                continue
            rows = np.full(len(channels), row)
            values = {"source/problem": np.full(len(channels), f"failed: {error}", TEXT)}
            status = np.full(len(channels), int(Status.FAILED))
            group.commit(rows, layer, channels, {**values, "status": status})

    def _commit(
        self,
        group: FeatureGroup,
        variant: str,
        label: str,
        layer_name: str,
        result: xr.Dataset,
        problems: Sequence[str],
    ) -> None:
        row, layer = group.rows[label], group.layers[layer_name]
        channels = result.channel.values
        rows = np.full(len(channels), row)
        is_good = np.array([not text for text in result["error"].values])
        group.retract(rows, layer, channels)
        blocks = group.blocks
        block_row, inside = divmod(row, blocks.checkpoints)
        for column in np.unique(channels[is_good] // BLOCK_CHANNELS):
            members = np.flatnonzero(is_good & (channels // BLOCK_CHANNELS == column))
            images = {
                (inside, int(channels[i]) % BLOCK_CHANNELS): _encoded(
                    result["image"].values[i], blocks.codec
                )
                for i in members.tolist()
            }
            blocks.merge(blocks.path(block_row, layer, int(column)), images)
        losses = [loss[~np.isnan(loss)] for loss in result["loss"].values]
        group.write_losses(rows, layer, channels, losses, is_new=False)
        values: dict[str, np.ndarray] = {name: result[name].values for name in _SCALARS}
        values["params"] = np.full(len(channels), self._params[variant])
        values["source/form"] = np.zeros(len(channels), np.uint8)
        made_of = self._fingerprints.get(label, 0)
        values[FINGERPRINT] = np.full(len(channels), made_of, np.uint64)
        values["source/problem"] = np.array(problems, TEXT)
        values["status"] = np.where(is_good, int(Status.COMPLETE), int(Status.FAILED))
        group.commit(rows, layer, channels, values)

    def _of(self, task: UnitTask) -> Iterator[tuple[str, FeatureGroup]]:
        for number in range(self.number_of_images):
            variant = f"{task.objective}-{number}"
            yield variant, self._groups[variant]

    def _open_group(self, variant: str) -> FeatureGroup:
        """The variant's group of this image size; of another name where that has another size."""
        size = (self.image_size, self.image_size)
        group = FeatureGroup.open(self.store, self.run, variant)
        if group is not None and group.image_size != size:
            variant = f"{variant}@{size_label(*size)}"
            group = FeatureGroup.open(self.store, self.run, variant)
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
            weights[group.rows[label]] = fingerprint
        is_measured = fingerprint_of(params, group.parameters) == WEIGHTS
        is_of_others = is_measured & (weights != 0) & (made_of != 0) & (made_of != weights)
        state = np.full(status.shape, _DONE, np.uint8)
        state[params != self._params[variant]] = _OTHER_OPTIONS
        state[is_of_others] = _OTHER_WEIGHTS
        state[status != Status.COMPLETE] = _MISSING
        return state


@contextmanager
def recording_features(
    store: str | Path,
    model: str,
    run: str,
    *,
    image_size: int,
    number_of_images: int,
    parameters: Mapping[str, Any],
    overwrite: bool = False,
) -> Iterator[FeatureRecorder]:
    """Hold the right to write a run's feature images, and show readers all of them at the end.

    Raises
    ------
    SchemaError
        When there is something else at the place of the store.
    DiskFullError
        When there is no space left; what was recorded before is safe.
    """
    with writing(store, model, f"{run}/{FEATURES}") as path:
        try:
            yield FeatureRecorder(
                path,
                run,
                image_size=image_size,
                number_of_images=number_of_images,
                parameters=parameters,
                overwrite=overwrite,
            )
        finally:
            finish_import(path)


def _problems(result: xr.Dataset) -> list[str]:
    """What is to be said of each channel: that it failed, or is dead, or nothing."""
    return [
        f"failed: {error}" if error else _DEAD if is_dead else ""
        for error, is_dead in zip(result["error"].values, result["is_dead"].values, strict=True)
    ]


def _encoded(pixels: np.ndarray, codec: str) -> bytes:
    # A group that an import made keeps its images encoded; png loses nothing.
    return encode_png(pixels) if codec == "jpeg" else pixels.tobytes()
