"""A group of feature images, open for the one process that writes it: blocks of pictures besides.

Everything else about it is as in groups of all kinds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np

from dvis.disk import inside
from dvis.kinds.features.images.blocks import ImageBlocks, image_layout
from dvis.kinds.features.words import (
    BLOCK_CHANNELS,
    COMPARED,
    FINGERPRINT,
    INFO,
    KIND,
    LOSS_CHUNK_STEPS,
    NEIGHBOURS,
    REFERENCE,
    SCALARS,
    WORDS,
)
from dvis.names import CheckpointName
from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    DEPTH,
    LAYER,
    RGB,
    Mark,
    Status,
    Words,
    X,
    Y,
    group_path,
)
from dvis.store.group import Group
from dvis.store.making import existing_group, make_group
from dvis.store.picture_files import encode_png
from dvis.store.placing import Places

_IMAGE = "image"
_MOST_PARAMETERS = 1000


class FeatureGroup(Group):
    """A variant of a run, open for writing by the one process that holds its lock."""

    own_files = frozenset({_IMAGE})

    @classmethod
    def existing(cls, store: Path, run: str, variant: str) -> Self | None:
        """The group, set right if a killed writer left it half grown, or None if there is none."""
        if existing_group(store, WORDS, run, variant) is None:
            return None
        return cls.open(store, WORDS, run, variant, {})

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
    ) -> Self:
        """Make an empty group whose images have that size; the caller is `restructuring`."""
        words = feature_words(height, width, codec, block_checkpoints)
        attrs = {"parameters": [], "image_codec": codec}
        return cls(store, words, make_group(store, words, run, variant, attrs))

    @property
    def run(self) -> str:
        """Whose the group is."""
        return str(self.zarr.attrs["run"])

    @property
    def variant(self) -> str:
        """What it is called."""
        return str(self.zarr.attrs["variant"])

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """The table of parameters that `params` points into."""
        return list(self.zarr.attrs.get("parameters", []))  # type: ignore[arg-type]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the group's images."""
        shape = self.array(_IMAGE).shape
        return shape[3], shape[4]

    @property
    def blocks(self) -> ImageBlocks:
        """The files of the group's images."""
        folder = inside(self.store, group_path(self.run, KIND, self.variant), _IMAGE)
        return ImageBlocks.of(self.array(_IMAGE), folder, self.store)

    @property
    def layers(self) -> dict[str, int]:
        """Places of the layers."""
        return self.rows[LAYER]

    @property
    def n_channels(self) -> dict[str, int]:
        """Channels seen of each layer."""
        counts = np.asarray(self.array("n_channels")[:]).tolist()
        return dict(zip(self.layers, counts, strict=True))

    def grow_units(
        self,
        checkpoints: Sequence[CheckpointName],
        n_channels: Mapping[str, int],
        depth: Mapping[str, int] | None = None,
    ) -> None:
        """Make room for checkpoints, layers and channels that the group does not have yet."""
        known = self.n_channels
        counts = {layer: max(n, known.get(layer, 0)) for layer, n in n_channels.items()}
        labels = {LAYER: list(counts), CHANNEL: range(max(counts.values(), default=0))}
        self.grow(checkpoints, labels, {"n_channels": counts, DEPTH: depth or {}})

    def parameter_index(self, parameters: Mapping[str, Any]) -> int:
        """Place of a set of parameters in the group's table, or -1 where the table is full."""
        return self.place_in_table("parameters", parameters)

    def place_in_table(self, name: str, wanted: Mapping[str, Any]) -> int:
        """Place of plain values in an attribute that is a table, or -1 where the table is full."""
        table: list[Any] = list(self.zarr.attrs.get(name, []))  # type: ignore[arg-type]
        if wanted in table:
            return table.index(wanted)
        if len(table) >= _MOST_PARAMETERS:
            return -1
        self.note(**{name: [*table, dict(wanted)]})
        return len(table)

    def read(self, name: str, rows: slice, layer: int) -> np.ndarray:
        """A variable's values of some checkpoints of one layer, (checkpoint, channel)."""
        return np.asarray(self.array(name)[rows, layer, :])

    def write(
        self,
        places: Places,
        values: Mapping[str, np.ndarray],
        status: np.ndarray,
        mark: Mark | None = None,
    ) -> None:
        """Write arrays of units, and their status; what an activation was held against goes."""
        names = (*COMPARED, REFERENCE, NEIGHBOURS)
        held = [name for name in names if name in self.words.arrays and name not in values]
        if "activation" in values and held:
            specs = self.words.arrays
            fills = {n: np.full(len(status), specs[n].fill, specs[n].dtype) for n in held}
            values = {**values, **fills}
        super().write(places, values, status, mark)

    def put(self, name: str, places: Places, values: np.ndarray, status: np.ndarray) -> None:
        """Write an array's values of units; of images, those of complete units, into blocks."""
        if name == _IMAGE:
            self._put_images(places, values, status)
        else:
            super().put(name, places, values, status)

    def clear(self, name: str, dim: str, place: int) -> None:
        """Empty an array at a place along a dim; of images, by block."""
        if name != _IMAGE:
            super().clear(name, dim, place)
            return
        blocks = self.blocks
        row, inside = divmod(place, blocks.checkpoints)
        _, n_layers, n_channels = self.array("status").shape
        for layer, channel in product(range(n_layers), range(0, n_channels, blocks.channels)):
            blocks.take_out(blocks.path(row, layer, channel // blocks.channels), inside)

    def mark_failed(
        self,
        units: np.ndarray,
        messages: Sequence[str],  # a unit's problem tells of its files
    ) -> None:
        """Mark units failed, and forget their files so that an import reads them again."""
        places = dict(zip((CHECKPOINT, LAYER, CHANNEL), units.T, strict=True))
        n_units = len(units)
        emptied = {
            name: np.full(n_units, SCALARS[name].fill, SCALARS[name].dtype)
            for name in ("activation", "stop_step", "seed", "params")
        }
        emptied[FINGERPRINT] = np.zeros(n_units, np.uint64)
        self.write(places, emptied, np.full(n_units, int(Status.FAILED)))
        # Without the damaged pictures, which would be in the way of reading the others.
        blocks = self.blocks
        for path, members in _by_block(blocks, places).items():
            blocks.merge(path, {}, drop={position for _, position in members})

    def _put_images(self, places: Places, values: np.ndarray, status: np.ndarray) -> None:
        blocks = self.blocks
        good = np.flatnonzero(status == Status.COMPLETE)
        for path, members in _by_block(blocks, _those(places, status, good)).items():
            images = {at: _encoded(values[good[i]], blocks.codec) for i, at in members}
            blocks.merge(path, images)
        # A dead unit has none: that of another optimisation would look like its own.
        dead = np.flatnonzero(status == Status.DEAD)
        for path, members in _by_block(blocks, _those(places, status, dead)).items():
            if path.exists():
                blocks.merge(path, {}, drop={position for _, position in members})


def feature_words(
    height: int, width: int, codec: str, block_checkpoints: int | None = None
) -> Words:
    """Words of a group whose images have that size, with the layout of its blocks."""
    image = image_layout(height, width, codec, checkpoints=block_checkpoints)
    span = (image.get("shards") or image["chunks"])[0]
    loss = {"chunks": (span, 1, BLOCK_CHANNELS, LOSS_CHUNK_STEPS)}
    # A chunk of texts is rewritten with every block of pictures that is committed to it.
    layouts = {_IMAGE: image, "loss": loss, INFO: {"chunks": (span, 1, BLOCK_CHANNELS)}}
    arrays = {
        name: replace(of_array, layout=layouts.get(name, of_array.layout))
        for name, of_array in WORDS.arrays.items()
    }
    return replace(WORDS, arrays=arrays, sizes={Y: height, X: width, RGB: 3})


def _by_block(blocks: ImageBlocks, places: Places) -> dict[Path, list[tuple[int, tuple[int, int]]]]:
    """Units by the file of their images: their numbers, and positions in it."""
    members: dict[Path, list[tuple[int, tuple[int, int]]]] = {}
    columns = (np.atleast_1d(places[dim]).tolist() for dim in (CHECKPOINT, LAYER, CHANNEL))
    for i, (row, layer, channel) in enumerate(zip(*columns, strict=True)):
        (block_row, inside), (column, place) = (
            divmod(row, blocks.checkpoints),
            divmod(channel, blocks.channels),
        )
        path = blocks.path(block_row, layer, column)
        members.setdefault(path, []).append((i, (inside, place)))
    return members


def _those(places: Places, status: np.ndarray, chosen: np.ndarray) -> Places:
    """Places of some of the parts."""
    return {dim: np.broadcast_to(place, len(status))[chosen] for dim, place in places.items()}


def _encoded(pixels: np.ndarray, codec: str) -> bytes:
    # A group that an import made keeps its images encoded; png loses nothing.
    return encode_png(pixels) if codec == "jpeg" else pixels.tobytes()


class StoredUnits:
    """What a group holds of one layer at some checkpoints."""

    def __init__(self, group: FeatureGroup, labels: Sequence[str], layer: str) -> None:
        self._rows = np.array([group.rows[CHECKPOINT].get(label, -1) for label in labels])
        known = self._rows[self._rows >= 0]
        self._is_known = len(known) > 0 and layer in group.layers
        if self._is_known:
            first = int(known.min())
            rows = slice(first, int(known.max()) + 1)
            self._status = group.read("status", rows, group.layers[layer])
            self._fingerprint = group.read(FINGERPRINT, rows, group.layers[layer])
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
