"""Does a store keep its promises: schema, labels, status against data, every image decodes.

A store on a local disk in, a list of faults out; with `fix`, units that cannot be trusted become
failed, so that an import or a sweep makes them again.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.blocks import Position
from dvis.groups import FeatureGroup, array_specs
from dvis.images import Block, FeatureReader
from dvis.locks import write_lock
from dvis.pictures import PictureError, decode
from dvis.progress import progress_bar
from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    FEATURES,
    LAYER,
    Form,
    Status,
    Variant,
)
from dvis.store import FeatureEntry, contents, open_group
from dvis.writer import restructuring


@dataclass(frozen=True)
class Fault:
    """Something that a store promises and does not keep; `unit` is (row, layer, channel)."""

    place: str
    message: str
    entry: FeatureEntry | None = None
    unit: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def check_store(store: str | Path, *, fix: bool = False, progress: bool = False) -> list[Fault]:
    """Faults of a store on a local disk.

    Parameters
    ----------
    store : str or Path
        The store's folder.
    fix : bool
        Mark units whose data cannot be trusted failed, under the lock of their run, and set
        half-grown groups right.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Fault
        Those that were found, fixed or not.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    store = Path(store).expanduser()
    found = contents(store)
    if fix:
        with restructuring(store):
            pass  # which sets half-grown groups right
        found = contents(store)
    faults: list[Fault] = []
    if found.features and found.attrs.get("default_run") not in found.runs:
        faults.append(Fault(str(store), "its import has not ended; run it again"))
    for entry in found.features:
        place = f"{entry.run}, {entry.variant}"
        of_schema = list(_schema_faults(open_group(store, entry), place))
        of_schema += _root_faults(store, entry, place) if not of_schema else []
        faults += of_schema
        if of_schema:
            continue
        reader = FeatureReader(store, entry)
        faults += _label_faults(reader, place)
        of_units = list(_unit_faults(reader, place, progress))
        faults += of_units
        if fix and of_units:
            _mark_failed(store, entry, of_units)
    return faults


def _schema_faults(group: zarr.Group, place: str) -> Iterator[Fault]:
    sizes: dict[str, int] = {}
    for name, spec in array_specs().items():
        array: Any = group.get(name)
        if not isinstance(array, zarr.Array):
            yield Fault(place, f"has no variable {name!r}")
            continue
        dims = tuple(array.metadata.dimension_names or ())  # type: ignore[union-attr]
        if dims != spec.dims:
            yield Fault(place, f"{name} has dims {dims}, the schema says {spec.dims}")
            continue
        if np.dtype(array.dtype) != np.dtype(spec.dtype):
            yield Fault(place, f"{name} is {array.dtype}, the schema says {spec.dtype}")
        for dim, n in zip(dims, array.shape, strict=True):
            if sizes.setdefault(dim, n) != n:
                yield Fault(place, f"{name} has {n} along {dim}, others {sizes[dim]}")
    try:
        Variant.parse(str(group.attrs.get("variant")))
    except ValueError as err:
        yield Fault(place, str(err))


def _root_faults(store: Path, entry: FeatureEntry, place: str) -> Iterator[Fault]:
    """Arrays that readers, who go by the metadata at the store's root, take for something else."""
    shown: Any = zarr.open_group(store, mode="r", use_consolidated=True)[entry.group]
    present: Any = open_group(store, entry)
    for name in array_specs():
        layouts = [
            (array.shape, array.chunks, array.shards, array.metadata.chunk_key_encoding)
            for array in (shown[name], present[name])
        ]
        if layouts[0] != layouts[1]:
            yield Fault(place, f"{name} is not as the store's root says; --fix sets that right")


def _label_faults(reader: FeatureReader, place: str) -> Iterator[Fault]:
    for dim, labels in ((CHECKPOINT, reader.labels), (LAYER, reader.layers)):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            yield Fault(place, f"{dim} {twice[0]!r} is there more than once")
        if "" in labels:
            yield Fault(place, f"a {dim} has no label")
    channels = np.asarray(reader.array(CHANNEL)[:])
    if not np.array_equal(channels, np.arange(len(channels))):
        yield Fault(place, "channel is not 0, 1, 2, ...")
    if (np.asarray(reader.array("n_channels")[:]) > len(channels)).any():
        yield Fault(place, "a layer says that it has more channels than the channel axis")


def _unit_faults(reader: FeatureReader, place: str, progress: bool) -> Iterator[Fault]:
    n_parameters = len(list(reader.group.attrs.get("parameters", [])))  # type: ignore[arg-type]
    with (
        ThreadPoolExecutor() as pool,
        progress_bar(reader.n_blocks, "blocks", f"check {place}", shown=progress) as bar,
    ):
        for block in reader.walk():
            for row, column, message in _block_faults(reader, block, n_parameters, pool):
                unit = (block.row + row, block.layer, block.channel + column)
                label, layer = reader.labels[unit[0]], reader.layers[unit[1]]
                yield Fault(
                    f"{place}, {label}, {layer}, channel {unit[2]}", message, reader.entry, unit
                )
            bar.update()


def _block_faults(
    reader: FeatureReader, block: Block, n_parameters: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[int, int, str]]:
    known = np.isin(block.status, [int(status) for status in Status])
    for row, column in zip(*np.nonzero(~known), strict=True):
        yield int(row), int(column), f"has status {block.status[row, column]}, which is none"
    rows, columns = block.status.shape
    region = (
        slice(block.row, block.row + rows),
        block.layer,
        slice(block.channel, block.channel + columns),
    )
    beyond = np.asarray(reader.array("params")[region]) >= n_parameters
    for row, column in zip(*np.nonzero(beyond), strict=True):
        yield int(row), int(column), "points to parameters that the group does not have"
    has_image = (block.status == Status.COMPLETE) | (
        (block.status == Status.INCOMPLETE) & (block.form & Form.HAS_IMAGE > 0)
    )
    units = [(int(row), int(column)) for row, column in zip(*np.nonzero(has_image), strict=True)]

    def fault_of(unit: tuple[int, int]) -> str:
        return _image_fault(reader, block, unit)

    for (row, column), fault in zip(units, pool.map(fault_of, units), strict=True):
        if fault:
            yield row, column, fault


def _image_fault(reader: FeatureReader, block: Block, unit: tuple[int, int]) -> str:
    data = block.images.get(unit)
    if data is None:
        return block.fault or "its image is not there, or damaged: its checksum differs"
    size = (reader.blocks.height, reader.blocks.width, 3)
    if reader.blocks.codec == "raw":
        return "" if len(data) == int(np.prod(size)) else "its image is cut short"
    try:
        pixels = decode(data)
    except PictureError as err:
        return f"its image {err}"
    return "" if pixels.shape == size else f"its image is {pixels.shape}, the others {size}"


def _mark_failed(store: Path, entry: FeatureEntry, faults: list[Fault]) -> None:
    with write_lock(store, f"{entry.run}/{FEATURES}"):
        group = FeatureGroup.open(store, entry.run, entry.variant)
        units = np.array([fault.unit for fault in faults if fault.unit])
        if group is None or not len(units):
            return
        blocks = group.blocks
        damaged: dict[Path, set[Position]] = {}
        for layer in np.unique(units[:, 1]).tolist():
            rows, _, channels = units[units[:, 1] == layer].T
            group.mark_failed(rows, layer, channels)
            for row, channel in zip(rows.tolist(), channels.tolist(), strict=True):
                (block_row, inside), (column, place) = (
                    divmod(row, blocks.checkpoints),
                    divmod(channel, blocks.channels),
                )
                path = blocks.path(block_row, layer, column)
                damaged.setdefault(path, set()).add((inside, place))
        for path, positions in damaged.items():
            # Without the damaged pictures, which would be in the way of reading the others.
            blocks.merge(path, {}, drop=positions)
