"""Do groups of feature images keep their promises: status against data, every image decodes.

A store on a local disk in, faults out; with `fix`, units that cannot be trusted become failed, so
that an import or a sweep makes them again.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dvis.disk import write_lock
from dvis.kinds.features.group import FeatureGroup, array_specs
from dvis.kinds.features.images.block_reader import Block, FeatureReader
from dvis.kinds.features.images.blocks import Position
from dvis.kinds.features.images.picture_files import PictureError, decode
from dvis.opening import FeatureEntry, contents, open_group
from dvis.progress import progress_bar
from dvis.schema import CHECKPOINT, FEATURES, LAYER, Form, Status, Variant
from dvis.store.faults import Fault, label_faults, schema_faults, until_unreadable


def check_features(store: Path, *, fix: bool, progress: bool) -> list[Fault]:
    """Faults of a store's feature images."""
    faults = []
    for entry in contents(store).features:
        place = f"{entry.run}, {entry.variant}"
        of_group = list(until_unreadable(_group_faults(store, entry, place, progress), place))
        faults += of_group
        if fix:
            _mark_failed(store, entry, of_group)
    return faults


def _group_faults(store: Path, entry: FeatureEntry, place: str, progress: bool) -> Iterator[Fault]:
    of_schema = schema_faults(store, open_group(store, entry), array_specs(), place)
    try:
        Variant.parse(entry.variant)
    except ValueError as err:
        of_schema.append(Fault(place, str(err)))
    yield from of_schema
    if of_schema:
        return
    reader = FeatureReader(store, entry)
    yield from label_faults(reader.group, (CHECKPOINT, LAYER), place)
    yield from _unit_faults(reader, place, progress)


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
                yield Fault(f"{place}, {label}, {layer}, channel {unit[2]}", message, unit)
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
    units = np.array([fault.unit for fault in faults if fault.unit])
    if not len(units):
        return
    with write_lock(store, f"{entry.run}/{FEATURES}"):
        group = FeatureGroup.open(store, entry.run, entry.variant)
        if group is None:
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
