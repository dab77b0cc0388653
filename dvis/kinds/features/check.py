"""Do groups of feature images keep their promises: status against data, every image decodes.

A store on a local disk in, faults out; with `fix`, units that cannot be trusted become failed, so
that an import or a sweep makes them again.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.images.block_reader import Block, BlockReader
from dvis.kinds.features.made_of import WEIGHTS, fingerprint_of
from dvis.kinds.features.words import Form, Variant
from dvis.progress import progress_bar
from dvis.schema import Status
from dvis.store.faults import Fault, readable
from dvis.store.group import Group
from dvis.store.picture_files import PictureError, decode
from dvis.store.promised import Region
from dvis.store.regions import regions


def feature_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of feature images beyond its schema and labels."""
    assert isinstance(group, FeatureGroup)
    try:
        Variant.parse(group.variant)
    except ValueError as err:
        yield Fault(place, str(err))
        return
    reader = BlockReader(group.store, group.zarr)
    for unit in _lost_activations(reader):
        yield Fault(_place(reader, place, unit), "is complete, but has no activation", unit)
    yield from _unit_faults(reader, place, progress)


def _lost_activations(reader: BlockReader) -> Iterator[tuple[int, ...]]:
    """Complete units without an activation: measured ones, and whole files of imported ones.

    An info.json may say NaN of a unit, so that one alone in its file proves nothing.
    """
    activation, parameters = reader.array("activation"), reader.group.attrs.get("parameters", [])
    for region in regions(activation.shape, activation.chunks):
        is_complete = readable(reader.array("status"), region) == Status.COMPLETE
        if not is_complete.any():
            continue
        is_there = ~np.isnan(readable(activation, region))
        params = readable(reader.array("params"), region)
        is_measured = fingerprint_of(params, parameters) == WEIGHTS  # type: ignore[arg-type]
        is_whole_file = not is_there.any() and is_complete.sum() > 1
        is_lost = is_complete & ~is_there & (is_measured | is_whole_file)
        for inside in np.argwhere(is_lost).tolist():
            yield tuple(i + along.start for i, along in zip(inside, region, strict=True))


def _place(reader: BlockReader, place: str, unit: tuple[int, ...]) -> str:
    label, layer = reader.labels[unit[0]], reader.layers[unit[1]]
    return f"{place}, {label}, {layer}, channel {unit[2]}"


def _unit_faults(reader: BlockReader, place: str, progress: bool) -> Iterator[Fault]:
    n_parameters = len(list(reader.group.attrs.get("parameters", [])))  # type: ignore[arg-type]
    with (
        ThreadPoolExecutor() as pool,
        progress_bar(reader.n_blocks, "blocks", f"check {place}", shown=progress) as bar,
    ):
        for block in reader.walk():
            for row, column, message in _block_faults(reader, block, n_parameters, pool):
                unit = (block.row + row, block.layer, block.channel + column)
                yield Fault(_place(reader, place, unit), message, unit)
            if block.fault and not (block.status != Status.ABSENT).any():
                yield Fault(place, f"its image is damaged: {block.fault}", None, _whole(block))
            bar.update()


def _whole(block: Block) -> tuple[str, Region]:
    """A block whose file cannot be read, as what is to be emptied."""
    rows, columns = block.status.shape
    corner = (block.row, block.layer, block.channel)
    pairs = zip(corner, (rows, 1, columns), strict=True)
    of_units = tuple(slice(first, first + n) for first, n in pairs)
    return "image", (*of_units, slice(None), slice(None), slice(None))


def _block_faults(
    reader: BlockReader, block: Block, n_parameters: int, pool: ThreadPoolExecutor
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
    beyond = readable(reader.array("params"), region) >= n_parameters
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
    if block.fault and not units:  # of a check with --fix that was killed before it emptied it
        for row, column in zip(*np.nonzero(block.status), strict=True):
            yield int(row), int(column), block.fault
    for row, column in sorted(block.damaged - {*units}):
        if row < rows and column < columns:
            yield row, column, "a damaged picture that is not the unit's is in the way of others'"


def _image_fault(reader: BlockReader, block: Block, unit: tuple[int, int]) -> str:
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
