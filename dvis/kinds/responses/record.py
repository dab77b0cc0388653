"""Where a sweep's responses go: a group of responses, open for the one process that writes it.

Labelled Datasets in, committed units out: `status` is written last, and what has none is measured
again.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from dvis.kinds.responses.read import RESPONSES, response_group
from dvis.kinds.responses.words import ResponseLayout, ResponseSettings
from dvis.names import CheckpointName
from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    IMAGE_CHECKPOINT,
    LAYER,
    SOURCE,
    TEXT,
    Status,
    run_group,
)
from dvis.store.replaced import retracting, settle_replaced
from dvis.store.writer import restructuring, writing

_PROBLEM, _WEIGHTS = f"{SOURCE}/problem", f"{SOURCE}/weights"
_COMPLETE, _FAILED = int(Status.COMPLETE), int(Status.FAILED)


class ResponseRecorder:
    """A group of responses, open for one sweep; made by `recording_responses`."""

    def __init__(
        self, store: Path, run: str, name: str, settings: ResponseSettings, *, overwrite: bool
    ) -> None:
        self.store, self.run, self.name = store, run, name
        self.settings, self.overwrite = settings, overwrite
        self.n_of_other_weights = 0
        self._fingerprints: dict[str, int] = {}
        self._layout = ResponseLayout(settings.kind)
        self._group: zarr.Group | None = None
        self._status = np.zeros(0, np.uint8)

    def prepare(
        self,
        checkpoints: Sequence[CheckpointName],
        steps: Mapping[str, int],
        widths: Mapping[str, int],
        fingerprints: Mapping[str, int],
        images: Mapping[tuple[str, str], np.ndarray] | None = None,
    ) -> None:
        """Make room for checkpoints and layers, and see what there is of them.

        Parameters
        ----------
        checkpoints : sequence of CheckpointName
            Checkpoints.
        steps : mapping of str to int
            Training step by checkpoint, of those whose is known.
        widths : mapping of str to int
            Channels of each layer.
        fingerprints : mapping of str to int
            What tells the weights of checkpoints apart, of those that have a file.
        images : mapping of (str, str) to ndarray, (channel,) uint64, optional
            What tells feature images apart, by their checkpoint and layer; 0 where there is none.

        Raises
        ------
        ValueError
            When the group has responses to other images, and they are not to be overwritten.
        """
        self._fingerprints = dict(fingerprints)
        with restructuring(self.store):
            self._group = self._open(max(widths.values()))
            self._layout.grow(self._group, checkpoints, widths, self.settings)
            self._write_steps(steps)
        self._retract_other_images(images or {})
        self._see_weights()
        self._status = np.asarray(self._array("status")[:])

    def missing(self, label: str, task: Any) -> tuple[int, ...]:
        """Units of a task that a checkpoint lacks, as `parts` of the task."""
        stored = self._status[self._layout.rows[CHECKPOINT][label]]
        is_there = stored[self._positions(task)] == Status.COMPLETE
        return tuple(np.array(task.parts)[~is_there].tolist())

    def record(self, label: str, task: Any, result: xr.Dataset) -> list[str]:
        """Put a task's result into the group; return what is to be said of its units."""
        row, said = self._layout.rows[CHECKPOINT][label], []
        errors = result["error"].values
        of_units = result[LAYER].values
        for layer in dict.fromkeys(of_units.tolist()):
            self._commit(label, layer, result.isel(unit=np.flatnonzero(of_units == layer)))
        self._status[row][self._positions(task)] = np.where(errors == "", _COMPLETE, _FAILED)
        for i in np.flatnonzero(errors != "").tolist():
            channel = result[CHANNEL].values[i]
            said.append(f"{label}, {of_units[i]}, channel {channel}: failed: {errors[i]}")
        return said

    def fail(self, label: str, task: Any, error: str) -> None:
        """Mark a task's units failed, with the error; those that are complete are kept."""
        row = self._layout.rows[CHECKPOINT][label]
        at = self._positions(task)
        is_open = self._status[row][at] != Status.COMPLETE
        at = tuple(index[is_open] for index in at)
        self._status[row][at] = _FAILED
        problems = np.asarray(self._array(_PROBLEM)[row])
        problems[at] = f"failed: {error}"
        self._array(_PROBLEM)[row] = problems
        self._array("status")[row] = self._status[row]

    def _commit(self, label: str, layer_name: str, result: xr.Dataset) -> None:
        """Write responses of a layer's units, and their status after everything else."""
        row, layer = self._layout.rows[CHECKPOINT][label], self._layout.rows[LAYER][layer_name]
        channels, errors = result[CHANNEL].values, result["error"].values
        is_good = errors == ""
        responses = result["response"].values.astype(np.float32)
        responses[~is_good] = np.nan
        weights = np.full(len(channels), self._fingerprints.get(label, 0), np.uint64)
        status = np.where(is_good, _COMPLETE, _FAILED)
        new: dict[str, np.ndarray] = {"response": responses, _WEIGHTS: weights, "status": status}
        was_failed = (self._status[row] == Status.FAILED).any()
        if was_failed or not is_good.all():
            problems = [f"failed: {error}" if error else "" for error in errors]
            new = {_PROBLEM: np.array(problems, TEXT), **new}
        for where, chosen in self._places(row, layer, result):
            if self._status[where][channels[chosen]].any():
                absent = np.full(len(chosen), int(Status.ABSENT))
                with retracting(self._opened):
                    self._put("status", where, channels[chosen], absent)
            for name, values in new.items():
                self._put(name, where, channels[chosen], values[chosen])

    def _places(
        self, row: int, layer: int, result: xr.Dataset
    ) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Where in the arrays a layer's units go, and which of them."""
        if self.settings.kind != IMAGE_CHECKPOINT:
            yield (row, layer), np.arange(result.sizes["unit"])
            return
        of_images = result[IMAGE_CHECKPOINT].values
        for label in dict.fromkeys(of_images.tolist()):
            image_row = self._layout.rows[IMAGE_CHECKPOINT][label]
            yield (row, image_row, layer), np.flatnonzero(of_images == label)

    def _put(
        self, name: str, where: tuple[int, ...], channels: np.ndarray, values: np.ndarray
    ) -> None:
        """Write values (channel, ...) of some channels of a layer."""
        array = self._array(name)
        whole = np.asarray(array[where])
        whole[channels] = values.astype(whole.dtype)
        array[where] = whole

    def _positions(self, task: Any) -> tuple[np.ndarray, ...]:
        """Indices of a task's units into an array of one checkpoint."""
        layers = self._layout.rows[LAYER]
        if self.settings.kind == IMAGE_CHECKPOINT:
            at = self._layout.rows[IMAGE_CHECKPOINT]
            images = np.array([at[label] for label, _ in task.wanted])
            channels = np.array([channel for _, channel in task.wanted])
            return images, np.full(len(images), layers[task.layer]), channels
        places = task.places
        of_layers = [np.full(len(each), layers[layer]) for layer, each in places.items()]
        return np.concatenate(of_layers), np.concatenate(list(places.values()))

    def _open(self, width: int) -> zarr.Group:
        """The group, which is made where there is none; anew where it is of other images."""
        path = response_group(self.run, self.name)
        if (self.store / path / "zarr.json").exists():
            group = zarr.open_group(self.store, path=path, mode="r+", use_consolidated=False)
            if group.attrs.get("dvis_kind") == RESPONSES:
                if self._is_alike(group):
                    self._layout.settle(group)
                    settle_replaced(group)
                    return group
                if not self.overwrite:
                    raise ValueError(self._other_images(group))
        shutil.rmtree(self.store / path, ignore_errors=True)
        zarr.open_group(self.store, path=run_group(self.run), mode="a").update_attributes(
            {"run": self.run}
        )
        group = zarr.open_group(self.store, path=path, mode="a")
        n_labels = len(self.settings.labels)
        self._layout.create(group, {CHANNEL: width, self.settings.kind: n_labels})
        attrs = {"run": self.run, "name": self.name, "coordinates": self._layout.coordinates}
        group.update_attributes({**attrs, **self.settings.attrs})
        group.update_attributes({"dvis_kind": RESPONSES})
        return group

    def _is_alike(self, group: zarr.Group) -> bool:
        return all(group.attrs.get(key) == value for key, value in self.settings.attrs.items())

    def _other_images(self, group: zarr.Group) -> str:
        stored, asked = dict(group.attrs), self.settings.attrs
        differ = [key for key in asked if stored.get(key) != asked[key]]
        if "images" in differ:
            theirs: Mapping[str, Any] = stored.get("images") or {}  # type: ignore[assignment]
            ours = self.settings.images
            differ = [f"images' {key}" for key in ours if theirs.get(key) != ours[key]]
        return (
            f"The responses {self.name!r} of {self.store}, run {self.run!r}, are to other images: "
            f"{' and '.join(differ)} differ. Give another --name, or --overwrite to replace them"
        )

    def _retract_other_images(self, images: Mapping[tuple[str, str], np.ndarray]) -> None:
        """Compare feature images with those of earlier responses, and note the new ones."""
        at = self._layout.rows
        for (label, layer), hashes in images.items():
            where = at[IMAGE_CHECKPOINT][label], at[LAYER][layer]
            stored = np.asarray(self._array(f"{SOURCE}/images")[where])
            is_other = (stored != 0) & (hashes != 0) & (stored != hashes)
            if is_other.any():
                if not self.overwrite:
                    channel = int(np.flatnonzero(is_other)[0])
                    raise ValueError(
                        f"{is_other.sum()} feature images of {label}, {layer} (channel {channel}, "
                        f"...) were made again since the responses {self.name!r} were measured. "
                        "Give another --name, or --overwrite to measure these again"
                    )
                with retracting(self._opened):
                    self._empty("status", (slice(None), *where), is_other, int(Status.ABSENT))
                self._empty("response", (slice(None), *where), is_other, np.nan)
            updated = np.where(hashes != 0, hashes, stored)
            if not np.array_equal(updated, stored):
                self._array(f"{SOURCE}/images")[where] = updated

    def _see_weights(self) -> None:
        """Count what is there of other weights under an old label; retract it to overwrite it."""
        for label, weights in self._fingerprints.items():
            row = self._layout.rows[CHECKPOINT][label]
            stored, status = (np.asarray(self._array(name)[row]) for name in (_WEIGHTS, "status"))
            is_other = (status == Status.COMPLETE) & (stored != 0) & (stored != weights)
            if not is_other.any():
                continue
            if self.overwrite:
                self._retract(row, status, is_other)
            else:
                self.n_of_other_weights += int(is_other.sum())

    def _retract(self, row: int, status: np.ndarray, is_other: np.ndarray) -> None:
        """Take responses of a checkpoint back, those of a layer at a time: status first."""
        status[is_other] = int(Status.ABSENT)
        with retracting(self._opened):
            self._array("status")[row] = status
        for place in np.ndindex(is_other.shape[:-1]):
            if is_other[place].any():
                values = np.asarray(self._array("response")[(row, *place)])
                values[is_other[place]] = np.nan
                self._array("response")[(row, *place)] = values

    def _write_steps(self, steps: Mapping[str, int]) -> None:
        rows = self._layout.rows[CHECKPOINT]
        array = self._array("step")
        values = np.asarray(array[:])
        for label, step in steps.items():
            values[rows[label]] = step
        array[:] = values

    def _empty(self, name: str, where: tuple[Any, ...], chosen: np.ndarray, empty: float) -> None:
        """Write the same value for some channels of a layer."""
        values = np.asarray(self._array(name)[where])
        values[..., chosen] = empty
        self._array(name)[where] = values

    def _array(self, name: str) -> Any:
        return self._layout.array(self._opened, name)

    @property
    def _opened(self) -> zarr.Group:
        assert self._group is not None
        return self._group


@contextmanager
def recording_responses(
    store: str | Path,
    model: str,
    run: str,
    name: str,
    settings: ResponseSettings,
    *,
    overwrite: bool = False,
) -> Iterator[ResponseRecorder]:
    """Hold the right to write a run's responses.

    Raises
    ------
    SchemaError
        When there is something else at the place of the store.
    DiskFullError
        When there is no space left; what was recorded before is safe.
    """
    with writing(store, model, f"{run}/{RESPONSES}") as path:
        yield ResponseRecorder(path, run, name, settings, overwrite=overwrite)
