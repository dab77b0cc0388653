"""Where a sweep's results go: what a run's feature groups lack, and what comes in for them.

Labelled Datasets in, committed units out. A recorder is the one writer of its groups for as long
as it is open; it alone touches their files, so that workers need not see the store at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

from dvis.groups import FeatureGroup
from dvis.locks import write_lock
from dvis.pictures import encode_png
from dvis.schema import BLOCK_CHANNELS, FEATURES, TEXT, Status, size_label
from dvis.tree import CheckpointName
from dvis.writer import create_store, finish_import, restructuring

_SCALARS = ("activation", "value_min", "value_max", "stop_step", "seed")
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
        self._status: dict[tuple[str, str], np.ndarray] = {}

    def prepare(
        self,
        checkpoints: Sequence[CheckpointName],
        steps: Mapping[str, int],
        widths: Mapping[str, int],
        objectives: Sequence[str],
    ) -> None:
        """Make room for checkpoints, layers and channels in the groups of some objectives."""
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
                        self._status[variant, layer] = self._read_status(variant, group, layer)

    def missing(self, label: str, task: UnitTask) -> tuple[int, ...]:
        """Channels of a task whose images a checkpoint does not have, or not all."""
        channels = np.array(task.channels)
        is_there = np.ones(len(channels), bool)
        for variant, group in self._of(task):
            status = self._status[variant, task.layer]
            is_there &= status[group.rows[label], channels] == Status.COMPLETE
        return tuple(channels[~is_there].tolist())

    def n_made_otherwise(self, labels: Sequence[str], tasks: Sequence[UnitTask]) -> int:
        """Complete units of some tasks that were made with other parameters, and are kept."""
        if self.overwrite:
            return 0
        n_units = 0
        for task in tasks:
            for variant, group in self._of(task):
                rows = [group.rows[label] for label in labels]
                params = group.read("params", slice(None), group.layers[task.layer])
                status = self._status[variant, task.layer]
                chosen = np.ix_(rows, task.channels)
                is_other = params[chosen] != self._params[variant]
                n_units += int((is_other & (status[chosen] == Status.COMPLETE)).sum())
        return n_units

    def start_from(self, label: str, task: UnitTask) -> np.ndarray | None:
        """Model inputs of a task's images at a checkpoint, NaN where there is none.

        Returns
        -------
        ndarray, (image_number, channel, rgb, y, x), float32, or None where there is none at all
        """
        inputs = []
        for _, group in self._of(task):
            row, layer = group.rows[label], group.layers[task.layer]
            at = (row, layer, np.array(task.channels))
            status = group.array("status").oindex[at]
            pixels = np.asarray(group.array("image").oindex[at], np.float32)
            low, high = (np.asarray(group.array(n).oindex[at]) for n in ("value_min", "value_max"))
            values = low[:, None, None, None] + pixels / 255 * (high - low)[:, None, None, None]
            params = int(np.asarray(group.array("params")[row, layer, task.channels[0]]))
            table = group.parameters[params] if params >= 0 else {}
            mean = np.array(table.get("input_mean", (0.0,)), np.float32)
            std = np.array(table.get("input_std", (1.0,)), np.float32)
            values = (values - mean) / std
            values[np.asarray(status) != Status.COMPLETE] = np.nan
            inputs.append(np.moveaxis(values, -1, 1))
        start = np.stack(inputs)
        return None if np.isnan(start).all() else start

    def record(self, label: str, task: UnitTask, result: xr.Dataset) -> list[str]:
        """Put a task's result into the store; return what is to be said of its units."""
        said = []
        for (variant, group), (_, of_image) in zip(
            self._of(task), result.groupby("image_number"), strict=True
        ):
            of_image = of_image.squeeze("image_number")
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
        values["source/fingerprint"] = np.zeros(len(channels), np.uint64)
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

    def _read_status(self, variant: str, group: FeatureGroup, layer: str) -> np.ndarray:
        status = group.read("status", slice(None), group.layers[layer])
        if self.overwrite:
            params = group.read("params", slice(None), group.layers[layer])
            status = np.where(params == self._params[variant], status, int(Status.ABSENT))
        return status


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
    """
    path = Path(store).expanduser()
    create_store(path, model)
    with write_lock(path, f"{run}/{FEATURES}"):
        recorder = FeatureRecorder(
            path,
            run,
            image_size=image_size,
            number_of_images=number_of_images,
            parameters=parameters,
            overwrite=overwrite,
        )
        try:
            yield recorder
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
