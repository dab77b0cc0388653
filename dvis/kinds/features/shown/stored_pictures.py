"""Stored images of some units, as they lie in the store, one after the other.

Units in, encoded pictures or pixels out: of a folder the bytes of those images alone, of any other
store what Zarr reads.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np

from dvis.kinds.features.images.blocks import Position
from dvis.kinds.features.shown.selection import ShownLayer
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, RGB, Status, X, Y
from dvis.store.picture_codec import BlockError
from dvis.store.picture_files import encode_png

Unit = tuple[int, int]  # number of the checkpoint, and channel
Stored = bytes | np.ndarray  # a jpg or png, or pixels (y, x, rgb), uint8

_SHOWN = (Status.COMPLETE, Status.INCOMPLETE)


def stored_pictures(layer: ShownLayer, units: Sequence[Unit]) -> Iterator[tuple[int, Stored]]:
    """Images of units, each with the place of its unit among those asked for.

    Units that have no image, and damaged images, are left out; the order is that of the files.
    """
    codec = layer.variant.entry.attrs.get("image_codec")
    # Of raw pixels nobody can tell a black image from none, unless the unit is complete.
    shown = _SHOWN if codec == "jpeg" else _SHOWN[:1]
    places = {
        place: unit
        for place, unit in enumerate(units)
        if layer.status[unit[0], layer.column(unit[1])] in shown
    }
    if layer.variant.blocks is None:
        yield from _read(layer, places)
    else:
        yield from _picked(layer, places)


def encoded(picture: Stored) -> tuple[bytes, str]:
    """Bytes of a stored image without loss, and the suffix of its format."""
    if isinstance(picture, np.ndarray):
        return encode_png(picture), "png"
    return picture, "jpg" if picture.startswith(b"\xff\xd8") else "png"


def _picked(layer: ShownLayer, places: dict[int, Unit]) -> Iterator[tuple[int, Stored]]:
    """Out of the files of a store on a local disk."""
    variant, blocks = layer.variant, layer.variant.blocks
    assert blocks is not None, "the store is a folder"
    of_files: dict[tuple[int, int], dict[Position, int]] = {}
    for place, (checkpoint, channel) in places.items():
        row, inside = divmod(variant.disk_rows[checkpoint], blocks.checkpoints)
        column, within = divmod(channel, blocks.channels)
        of_files.setdefault((row, column), {})[inside, within] = place
    size = blocks.height, blocks.width, 3
    for (row, column), wanted in of_files.items():
        path = blocks.path(row, variant.disk_layers[layer.index], column)
        with suppress(BlockError):  # a file whose index is damaged; `dvis check` says so
            for position, data in blocks.pick(path, wanted):
                is_raw = blocks.codec == "raw"
                yield (
                    wanted[position],
                    np.frombuffer(data, np.uint8).reshape(size) if is_raw else data,
                )


def _read(layer: ShownLayer, places: dict[int, Unit]) -> Iterator[tuple[int, Stored]]:
    """Through Zarr, a checkpoint at a time."""
    image = layer.open()["image"].squeeze(LAYER).transpose(CHECKPOINT, CHANNEL, Y, X, RGB)
    for checkpoint in dict.fromkeys(checkpoint for checkpoint, _ in places.values()):
        here = {place: channel for place, (row, channel) in places.items() if row == checkpoint}
        at_checkpoint = image.isel({CHECKPOINT: layer.variant.rows[checkpoint]})
        pixels = at_checkpoint.sel({CHANNEL: list(here.values())}).values
        yield from zip(here, pixels, strict=True)
