"""A group of feature images, open for the one process that writes it: create, grow, commit.

What a group holds is there for readers only once `status` says so, and `status` is written last;
what is killed on the way has no status and is done again.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.kinds.features.images.blocks import ImageBlocks, image_layout
from dvis.names import CheckpointName
from dvis.schema import (
    BLOCK_CHANNELS,
    CHANNEL,
    CHECKPOINT,
    COORDINATES,
    FEATURES,
    IMAGE,
    LAYER,
    LOSS,
    LOSS_CHUNK_STEPS,
    SCALARS,
    SOURCE,
    SOURCES,
    TEXT,
    Status,
    VariableSpec,
    feature_group,
    run_group,
    scalar_chunks,
)
from dvis.store.growth import resize, settle
from dvis.store.replaced import retracting, settle_replaced

_COORDINATE_NAMES = "epoch phase batch step time n_channels"


class FeatureGroup:
    """A variant of a run, open for writing by the one process that holds its lock."""

    def __init__(self, store: Path, run: str, variant: str, group: zarr.Group) -> None:
        self.store, self.run, self.variant = store, run, variant
        self._group = group
        self._source: zarr.Group = group[SOURCE]  # type: ignore[assignment]  # always a group
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._read_labels()
        self.parameters: list[dict[str, Any]] = list(group.attrs.get("parameters", []))  # type: ignore[arg-type]

    @classmethod
    def open(cls, store: Path, run: str, variant: str) -> "FeatureGroup | None":
        """The group, set right if a killed writer left it half grown, or None if there is none."""
        path = feature_group(run, variant)
        if not (store / path / "zarr.json").exists():
            return None
        group = zarr.open_group(store, path=path, mode="r+", use_consolidated=False)
        if group.attrs.get("dvis_kind") != FEATURES:  # its making was cut off
            return None
        settle(group, array_specs())
        settle_replaced(group)
        return cls(store, run, variant, group)

    @classmethod
    def create(
        cls,
        store: Path,
        run: str,
        variant: str,
        *,
        height: int,
        width: int,
        codec: str,
        block_checkpoints: int | None = None,
    ) -> "FeatureGroup":
        """Make an empty group whose images have that size; the caller is `restructuring`."""
        path = feature_group(run, variant)
        shutil.rmtree(store / path, ignore_errors=True)  # one whose making was cut off
        zarr.open_group(store, path=run_group(run), mode="a").update_attributes({"run": run})
        group = zarr.open_group(store, path=path, mode="a")
        image = image_layout(height, width, codec, checkpoints=block_checkpoints)
        span = (image.get("shards") or image["chunks"])[0]
        sizes = {"y": height, "x": width, "rgb": 3}
        for name, spec in array_specs().items():
            _create_array(group, name, spec, sizes, image, span)
        group.update_attributes(
            {
                "dvis_kind": FEATURES,
                "run": run,
                "variant": variant,
                "coordinates": _COORDINATE_NAMES,
                "parameters": [],
                "image_codec": codec,
            }
        )
        return cls(store, run, variant, group)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the group's images."""
        shape = self.array("image").shape
        return shape[3], shape[4]

    @property
    def blocks(self) -> ImageBlocks:
        """The files of the group's images."""
        folder = self.store / feature_group(self.run, self.variant) / "image"
        return ImageBlocks.of(self.array("image"), folder)

    def array(self, name: str) -> zarr.Array[Any]:
        """One of the group's arrays, `source/...` included."""
        if name not in self._arrays:
            self._arrays[name] = self._group[name]  # type: ignore[assignment]  # an array by schema
        return self._arrays[name]

    def grow(
        self,
        checkpoints: Sequence[CheckpointName],
        channels_of_layers: Mapping[str, int],
    ) -> None:
        """Make room for checkpoints, layers and channels that the group does not have yet.

        The caller is `restructuring`. Data arrays grow first, coordinates after them, then the
        labels are written: what is cut off has no label and is taken back.
        """
        new_checkpoints = [name for name in checkpoints if name.label not in self.rows]
        new_layers = [layer for layer in channels_of_layers if layer not in self.layers]
        wider = {
            layer: n for layer, n in channels_of_layers.items() if n > self.n_channels.get(layer, 0)
        }
        sizes = {
            CHECKPOINT: len(self.rows) + len(new_checkpoints),
            LAYER: len(self.layers) + len(new_layers),
            CHANNEL: max([self._width, *channels_of_layers.values()]),
        }
        if not (new_checkpoints or new_layers or wider or sizes[CHANNEL] > self._width):
            return
        specs = array_specs()
        resize({name: self.array(name) for name in specs}, specs, sizes)
        self._write_checkpoints(new_checkpoints)
        if sizes[CHANNEL] > self._width:
            self.array(CHANNEL)[self._width :] = np.arange(self._width, sizes[CHANNEL])
        self._write_layers(new_layers, wider)
        self._read_labels()

    def grow_loss(self, n_steps: int) -> None:
        """Make room for longer loss curves; the root hears of it when the import ends."""
        loss = self.array("loss")
        if n_steps > loss.shape[3]:
            loss.resize((*loss.shape[:3], n_steps))

    def write_steps(self, steps: Mapping[str, int]) -> None:
        """Set the training step of the checkpoints that are named."""
        known = {self.rows[label]: step for label, step in steps.items() if label in self.rows}
        array = self.array("step")
        values = np.asarray(array[:])
        updated = values.copy()
        updated[list(known)] = list(known.values())
        if not np.array_equal(values, updated):
            array[:] = updated

    def parameter_index(self, parameters: Mapping[str, Any], limit: int = 1000) -> int:
        """Place of a set of parameters in the group's table, or -1 where the table is full."""
        wanted = dict(parameters)
        if wanted in self.parameters:
            return self.parameters.index(wanted)
        if len(self.parameters) >= limit:
            return -1
        self.parameters.append(wanted)
        self._group.update_attributes({"parameters": self.parameters})
        return len(self.parameters) - 1

    def read(self, name: str, rows: slice, layer: int) -> np.ndarray:
        """A variable's values of some checkpoints of one layer, (checkpoint, channel)."""
        return np.asarray(self.array(name)[rows, layer, :])

    def retract(self, rows: np.ndarray, layer: int, channels: np.ndarray) -> None:
        """Mark units absent, as whoever is about to write them again must do first.

        Where readers may have seen some of them, the group's counter of replacements moves.
        """
        first, stop = int(rows.min()), int(rows.max()) + 1
        status = self.read("status", slice(first, stop), layer)
        if status[rows - first, channels].any():
            with retracting(self._group):
                self._put("status", rows, layer, channels, np.full(len(rows), int(Status.ABSENT)))

    def mark_failed(self, rows: np.ndarray, layer: int, channels: np.ndarray) -> None:
        """Mark units failed, and forget their files so that an import reads them again."""
        self._put("status", rows, layer, channels, np.full(len(rows), int(Status.FAILED)))
        self._put("source/fingerprint", rows, layer, channels, np.zeros(len(rows), np.uint64))
        for name in ("activation", "stop_step", "seed", "params"):
            self._put(name, rows, layer, channels, np.full(len(rows), SCALARS[name].fill))

    def commit(
        self,
        rows: np.ndarray,
        layer: int,
        channels: np.ndarray,
        values: Mapping[str, np.ndarray],
    ) -> None:
        """Write scalars of units of one layer, and their status after everything else.

        Parameters
        ----------
        rows, channels : ndarray, (unit,), int
            The checkpoint's row and the channel of each unit.
        layer : int
            The layer's index.
        values : mapping of str to ndarray, (unit,)
            Variables by name, `status` among them.
        """
        for name, data in values.items():
            if name != "status":
                self._put(name, rows, layer, channels, data)
        self._put("status", rows, layer, channels, values["status"])

    def write_losses(
        self,
        rows: np.ndarray,
        layer: int,
        channels: np.ndarray,
        losses: Sequence[np.ndarray],
        *,
        is_new: bool,
    ) -> None:
        """Write loss curves, a block of steps at a time, NaN after the end of each.

        Of units that are not new, the curve may have been longer: it is overwritten to its end.
        """
        lengths = np.array([len(loss) for loss in losses])
        self.grow_loss(int(lengths.max(initial=0)))
        array = self.array("loss")
        for start in range(0, array.shape[3], LOSS_CHUNK_STEPS):
            stop = min(start + LOSS_CHUNK_STEPS, array.shape[3])
            reaching = np.flatnonzero((lengths > start) | (not is_new))
            if not len(reaching):
                break
            region = (
                slice(int(rows[reaching].min()), int(rows[reaching].max()) + 1),
                layer,
                slice(int(channels[reaching].min()), int(channels[reaching].max()) + 1),
                slice(start, stop),
            )
            block = np.array(array[region])
            for i in reaching.tolist():
                curve = block[rows[i] - region[0].start, channels[i] - region[2].start]
                part = losses[i][start:stop]
                curve[: len(part)] = part
                curve[len(part) :] = np.nan
            array[region] = block

    def _put(
        self, name: str, rows: np.ndarray, layer: int, channels: np.ndarray, data: np.ndarray
    ) -> None:
        array, data = self.array(name), data.astype(self.array(name).dtype)
        first, stop = rows.min(), rows.max() + 1
        left, right = channels.min(), channels.max() + 1
        if len(data) == (stop - first) * (right - left):  # a whole rectangle: twice as fast
            block = np.empty((stop - first, right - left), data.dtype)
            block[rows - first, channels - left] = data
            array[first:stop, layer, left:right] = block
        else:
            layers = np.full(len(rows), layer)
            array.set_coordinate_selection((rows, layers, channels), data)

    def _write_checkpoints(self, new: Sequence[CheckpointName]) -> None:
        if not new:
            return
        rows = slice(len(self.rows), len(self.rows) + len(new))
        times = np.array([name.time for name in new], "datetime64[s]").astype("int64")
        self.array("epoch")[rows] = np.array([name.epoch for name in new])
        self.array("phase")[rows] = np.array([name.phase for name in new], TEXT)
        self.array("batch")[rows] = np.array([name.batch for name in new])
        self.array("time")[rows] = times
        self.array(CHECKPOINT)[rows] = np.array([name.label for name in new], TEXT)

    def _write_layers(self, new: Sequence[str], wider: Mapping[str, int]) -> None:
        n_channels = {**self.n_channels, **wider}
        names = [*self.layers, *new]
        if wider:
            self.array("n_channels")[:] = np.array([n_channels.get(name, 0) for name in names])
        if new:
            self.array(LAYER)[len(self.layers) :] = np.array(new, TEXT)

    def _read_labels(self) -> None:
        labels = np.asarray(self.array(CHECKPOINT)[:]).tolist()
        layers = np.asarray(self.array(LAYER)[:]).tolist()
        counts = np.asarray(self.array("n_channels")[:]).tolist()
        self.rows = {label: row for row, label in enumerate(labels)}
        self.layers = {layer: i for i, layer in enumerate(layers)}
        self.n_channels = dict(zip(layers, counts, strict=True))
        self._width = self.array(CHANNEL).shape[0]


class StoredUnits:
    """What a group holds of one layer at some checkpoints."""

    def __init__(self, group: FeatureGroup, labels: Sequence[str], layer: str) -> None:
        self._rows = np.array([group.rows.get(label, -1) for label in labels])
        known = self._rows[self._rows >= 0]
        self._is_known = len(known) > 0 and layer in group.layers
        if self._is_known:
            first = int(known.min())
            rows = slice(first, int(known.max()) + 1)
            self._status = group.read("status", rows, group.layers[layer])
            self._fingerprint = group.read("source/fingerprint", rows, group.layers[layer])
            self._rows = np.where(self._rows >= 0, self._rows - first, -1)

    def status(self, folder: np.ndarray, channel: np.ndarray) -> np.ndarray:
        """Status of units, (unit,) uint8, by the index of their checkpoint and their channel."""
        status = np.full(len(folder), int(Status.ABSENT), np.uint8)
        if self._is_known:
            there = (self._rows[folder] >= 0) & (channel < self._status.shape[1])
            status[there] = self._status[self._rows[folder[there]], channel[there]]
        return status

    def fingerprint(self, folder: np.ndarray, channel: np.ndarray) -> np.ndarray:
        """Fingerprints of the files of units that are committed, (unit,) uint64, else 0."""
        fingerprint = np.zeros(len(folder), np.uint64)
        there = self.status(folder, channel) != Status.ABSENT
        if there.any():
            fingerprint[there] = self._fingerprint[self._rows[folder[there]], channel[there]]
        return fingerprint


def array_specs() -> dict[str, VariableSpec]:
    """All arrays of a feature group by their path in it."""
    sources = {f"{SOURCE}/{name}": spec for name, spec in SOURCES.items()}
    return {**COORDINATES, **SCALARS, "image": IMAGE, "loss": LOSS, **sources}


def _create_array(
    group: zarr.Group,
    name: str,
    spec: VariableSpec,
    sizes: Mapping[str, int],
    image: Mapping[str, Any],
    span: int,
) -> None:
    layout: Mapping[str, Any] = {"chunks": scalar_chunks(spec)}
    if name == "image":
        layout = image
    elif name == "loss":
        layout = {"chunks": (span, 1, BLOCK_CHANNELS, LOSS_CHUNK_STEPS)}
    group.create_array(
        name,
        shape=tuple(sizes.get(dim, 0) for dim in spec.dims),
        dtype=spec.dtype,
        fill_value=spec.fill,
        dimension_names=spec.dims,
        attributes=dict(spec.attrs),
        **layout,
    )
