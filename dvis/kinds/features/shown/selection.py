"""What of a store a page shows, by the numbers that stand in its addresses.

A store and a selection in, variants and layers out. A store may grow meanwhile: what is kept here
is kept for as long as the files that it was read from are the same.
"""

import os
from collections.abc import Iterable
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from dvis.kinds.features.images.blocks import ImageBlocks
from dvis.kinds.features.read import FEATURE_READER
from dvis.kinds.features.words import KIND
from dvis.kinds.shown import MovedError, NotShownError, Selection
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT, Status, X, Y, did_you_mean
from dvis.store.contents import Contents, Entry, contents, open_group
from dvis.store.recent import Recent

BLOCK = 64  # channels of one sheet of thumbnails
_MAX_LAYERS = 8
_MAX_VARIANTS = 4


class ShownStore:
    """A store as a page shows it."""

    def __init__(self, store: str | Path, selection: Selection | None = None) -> None:
        self.name = str(store)
        self.selection = selection or Selection()
        is_remote = "://" in self.name
        self.source: str | Path = self.name if is_remote else Path(store).expanduser()
        self.folder = None if is_remote else Path(self.source)
        self._contents: Recent[Contents] = Recent(1)
        self._folders: Recent[list[Path]] = Recent(1)
        self._variants: Recent[ShownVariant] = Recent(_MAX_VARIANTS)

    def contents(self) -> Contents:
        """What the store holds now.

        Raises
        ------
        FileNotFoundError, SchemaError
            As `dvis.open` does.
        """
        if self.folder is None:
            return contents(self.source)
        key = tuple(_facts_of(self.folder / "zarr.json"))
        return self._contents.get("contents", key, lambda: contents(self.source))

    def entries(self) -> list[Entry]:
        """Variants that are shown, in the order of their numbers.

        Raises
        ------
        KeyError
            When a run that was asked for is not there.
        """
        found = self.contents()
        for run in self.selection.runs:
            if run not in found.runs(KIND):
                raise KeyError(did_you_mean("run", run, found.runs(KIND), self.name))
        chosen = self.selection.runs or found.runs(KIND)
        return [
            entry
            for entry in found.of(KIND)
            if entry.run in chosen and (entry.run, entry.name) not in self.selection.empty
        ]

    def signature(self) -> str:
        """A text that changes when something in the store does.

        Status is what every writer writes last, so its files tell; of a store that is no folder,
        the metadata at its root alone.
        """
        found = self.contents()
        if self.folder is None:
            return _hash(repr((found.attrs, found.entries, found.run_attrs)))
        root = self.folder / "zarr.json"
        folders = self._folders.get("", tuple(_facts_of(root)), self._status_folders)
        paths = (root, *folders)
        return _hash(*(facts for path in paths for facts in _facts_of(path)))

    def _status_folders(self) -> list[Path]:
        """Arrays called status of all groups, whatever they measure."""
        assert self.folder is not None, "the store is a folder"
        root = zarr.open_group(self.folder, mode="r", use_consolidated=None)
        metadata = root.metadata.consolidated_metadata
        paths = metadata.flattened_metadata if metadata else ()
        return [self.folder / path for path in paths if path.rpartition("/")[2] == "status"]

    def variant(self, index: int) -> "ShownVariant":
        """A variant of a run, by its number.

        Raises
        ------
        NotShownError
            When there is no such variant.
        """
        entries = self.entries()
        if not 0 <= index < len(entries):
            raise NotShownError(f"No variant number {index}: there are {len(entries)}")
        entry = entries[index]
        # One Dataset for all that a request asks: labels and rows that belong together.
        key = entry, self.signature()
        return self._variants.get(index, key, lambda: ShownVariant(self, entry))

    def layer(self, variant: int, layer: int) -> "ShownLayer":
        """A layer of a variant, by their numbers.

        Raises
        ------
        NotShownError
            When there is no such variant or layer.
        """
        return self.variant(variant).layer(layer)


class ShownVariant:
    """One variant of one run as a page shows it."""

    def __init__(self, store: ShownStore, entry: Entry) -> None:
        self.store, self.entry = store, entry
        whole = FEATURE_READER.open(store.source, entry.run, entry.name)
        there = [str(layer) for layer in whole[LAYER].values]
        self.all_layers: list[str] = there  # of the store, shown or not
        self.layers = [x for x in there if x in (store.selection.layers or there)]
        rows = store.selection.checkpoints.get((entry.run, entry.name))
        self.n_checkpoints = whole.sizes[CHECKPOINT]
        self.rows = list(range(self.n_checkpoints)) if rows is None else list(rows)
        self.labels = [str(whole[CHECKPOINT].values[row]) for row in self.rows]
        self.height, self.width = whole.sizes[Y], whole.sizes[X]
        self.unit = str(whole.attrs.get(UNIT, CHANNEL))
        self._whole = whole
        self._layers: Recent[ShownLayer] = Recent(_MAX_LAYERS)
        self._group = open_group(store.source, entry)

    def open(self) -> xr.Dataset:
        """All checkpoints of the layers that are shown, as the kind's reader gives them.

        What is loaded of a copy is not kept in the Dataset that it is of.
        """
        return self._whole.copy().sel({LAYER: self.layers})

    def of_layer(self, name: str, index: int) -> xr.DataArray:
        """A variable of a layer by its number, (checkpoint, channel), of all checkpoints."""
        of_layer = self._whole[name].sel({LAYER: self.layers[index]})
        return of_layer.transpose(CHECKPOINT, CHANNEL)

    def layer(self, index: int) -> "ShownLayer":
        """A layer of this variant, by its number.

        Raises
        ------
        NotShownError
            When there is no such layer.
        """
        if not 0 <= index < len(self.layers):
            raise NotShownError(f"No layer number {index}: there are {len(self.layers)}")
        return self._layers.get(index, self.signature(), lambda: ShownLayer(self, index))

    def signature(self) -> str:
        """A text that changes when a unit does; of a store that is no folder, at every look."""
        if self.store.folder is None:
            return _hash(os.urandom(8).hex())
        return _hash(*_facts_of(self.store.folder / self.entry.group / "status"))

    def n_channels(self, index: int) -> int:
        """Channels that the model's layer has."""
        return int(self._whole["n_channels"].sel({LAYER: self.layers[index]}))

    def array(self, name: str) -> Any:
        """One of the group's arrays, in the order on disk."""
        return self._group[name]

    @cached_property
    def blocks(self) -> ImageBlocks | None:
        """The files that hold the images, where the store is a folder."""
        if self.store.folder is None:
            return None
        # Part by part: as a whole, a path that begins with a slash would replace the folder's.
        folder = self.store.folder.joinpath(*self.entry.group.split("/"), "image")
        return ImageBlocks.of(self.array("image"), folder, self.store.folder)

    @cached_property
    def disk_rows(self) -> list[int]:
        """Where each checkpoint that is shown lies along what no Dataset shows: files, problems."""
        places = _places(self.array(CHECKPOINT))
        return [places[label] for label in self.labels]

    @cached_property
    def disk_layers(self) -> list[int]:
        """Where each layer that is shown lies along the same."""
        places = _places(self.array(LAYER))
        return [places[layer] for layer in self.layers]


class ShownLayer:
    """A layer of a variant: which channels are shown, and what there is of them."""

    def __init__(self, variant: ShownVariant, index: int) -> None:
        self.variant, self.index = variant, index
        self.name = variant.layers[index]
        status = variant.of_layer("status", index).values[variant.rows]
        asked = variant.store.selection.channels
        self.channels: list[int] = [
            channel
            for channel in np.flatnonzero((status != Status.ABSENT).any(axis=0)).tolist()
            if not asked or channel in asked
        ]
        # (checkpoint, channel), of what is shown and in its order
        self.status: np.ndarray = status[:, self.channels]

    @property
    def n_channels(self) -> int:
        """Channels that the model's layer has."""
        return self.variant.n_channels(self.index)

    @property
    def n_blocks(self) -> int:
        """Sheets of thumbnails that hold all channels."""
        return -(-len(self.channels) // BLOCK)

    def column(self, channel: int) -> int:
        """Place of a channel among those that are shown.

        Raises
        ------
        NotShownError
            When it is not shown.
        """
        try:
            return self.channels.index(channel)
        except ValueError:
            raise NotShownError(f"No channel {channel} of {self.name!r} is shown") from None

    def checkpoint(self, index: int) -> int:
        """The same number, if there is such a checkpoint.

        Raises
        ------
        NotShownError
            When there is none.
        """
        if not 0 <= index < len(self.variant.labels):
            raise NotShownError(
                f"No checkpoint number {index}: there are {len(self.variant.labels)}"
            )
        return index

    def open(self) -> xr.Dataset:
        """All checkpoints of the channels that are shown; the dim layer is kept."""
        return self.variant.open().sel({LAYER: [self.name], CHANNEL: self.channels})

    def place(self, checkpoint: int) -> str:
        """What a picture's number stands for: it changes when that becomes another checkpoint."""
        entry = self.variant.entry
        label = self.variant.labels[checkpoint]
        return _hash(entry.run, entry.name, self.name, label, self.channels)[:8]

    def version(self, checkpoint: int) -> str:
        """A text that changes when the images at a checkpoint do, or the checkpoint itself."""
        facts = self._image_facts(checkpoint)
        return f"{self.place(checkpoint)}-{_hash(facts, self.status[checkpoint].tobytes())[:8]}"

    def require_same_place(self, checkpoint: int, told: str) -> None:
        """Raise where a picture's number stands for something else than in a version of it.

        Raises
        ------
        MovedError
            When it does.
        """
        if "-" in told and told.partition("-")[0] != self.place(checkpoint):
            raise MovedError("The store has other checkpoints or channels by now; refresh")

    def version_of(self, *facts: Any) -> str:
        """A text that changes when facts, or the checkpoints that are shown, do."""
        return _hash(self.variant.entry.run, self.variant.entry.name, self.variant.labels, facts)

    def version_of_all(self) -> str:
        """A text that changes when the images at any checkpoint do."""
        return _hash(*(self.version(row) for row in range(len(self.variant.labels))))

    def _image_facts(self, checkpoint: int) -> list[Any]:
        blocks, variant = self.variant.blocks, self.variant
        if blocks is None:
            of_layer = variant.of_layer("activation", self.index)
            return [of_layer.isel({CHECKPOINT: variant.rows[checkpoint]}).values.tobytes()]
        row = variant.disk_rows[checkpoint] // blocks.checkpoints
        columns = sorted({channel // blocks.channels for channel in self.channels})
        layer = variant.disk_layers[self.index]
        paths = (blocks.path(row, layer, column) for column in columns)
        return [fact for path in paths for fact in _facts_of(path)]


def _places(labels: zarr.Array[Any]) -> dict[str, int]:
    return {str(label): i for i, label in enumerate(np.asarray(labels[:]).tolist())}


def _facts_of(path: Path) -> Iterable[tuple[str, int, int, int]]:
    """What tells whether a file, or a file in a folder, was replaced."""
    try:
        if path.is_dir():
            with os.scandir(path) as found:
                for item in sorted(found, key=lambda item: item.name):
                    yield from _facts_of(Path(item.path))
            return
        facts = path.stat()
        yield path.name, facts.st_mtime_ns, facts.st_size, facts.st_ino
    except FileNotFoundError:
        return


def _hash(*facts: Any) -> str:
    return blake2b(repr(facts).encode(errors="surrogatepass"), digest_size=8).hexdigest()
