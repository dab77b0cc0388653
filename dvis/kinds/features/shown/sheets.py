"""Sheets: many images small on one picture, for a page to cut apart.

Stored images in, one jpg or png out. Jpgs are scaled down while they are decoded, which takes half
the time of decoding them whole.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from dvis.kinds.features.shown.selection import BLOCK, ShownLayer, ShownVariant
from dvis.kinds.features.shown.stored_pictures import Stored, stored_pictures
from dvis.store.picture_files import PictureError, decode_small

THUMB_PX = 96
_THUMB_COLUMNS = 8
_EXAMPLE_PX = 80
_STRIP_PX, _STRIP_COLUMNS = 160, 10
_STRIP_PIXELS = 2**21  # 8 MB in Pillow: a strip of many checkpoints has smaller cells
_SMALL_PX = 40  # images below this are kept without loss: a jpg would smear their few pixels
_QUALITY = 90
_GREY = (128, 128, 128)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """How a sheet is divided: cells from left to right, row by row."""

    columns: int
    cell_height: int
    cell_width: int
    suffix: str


def thumb_sheet(variant: ShownVariant) -> Sheet:
    """The sheets of thumbnails of a variant."""
    return _sheet(variant, THUMB_PX, _THUMB_COLUMNS)


def strip_sheet(variant: ShownVariant) -> Sheet:
    """The strips of a variant: a unit's images of all checkpoints."""
    n_checkpoints = max(1, len(variant.labels))
    most = int((_STRIP_PIXELS / n_checkpoints) ** 0.5)
    return _sheet(variant, min(_STRIP_PX, most), _STRIP_COLUMNS)


def thumbs(layer: ShownLayer, checkpoint: int, block: int) -> bytes:
    """Thumbnails of the channels of a block at a checkpoint."""
    channels = layer.channels[block * BLOCK : (block + 1) * BLOCK]
    units = [(checkpoint, channel) for channel in channels]
    return _drawn(thumb_sheet(layer.variant), len(units), stored_pictures(layer, units))


def examples(layer: ShownLayer, checkpoint: int, channels: Sequence[int]) -> bytes:
    """Small images of some channels at a checkpoint, in one row."""
    units = [(checkpoint, channel) for channel in channels]
    sheet = _sheet(layer.variant, _EXAMPLE_PX, max(1, len(units)))
    return _drawn(sheet, len(units), stored_pictures(layer, units))


def strip(layer: ShownLayer, channel: int) -> bytes:
    """A unit's images of all checkpoints."""
    units = [(checkpoint, channel) for checkpoint in range(len(layer.variant.labels))]
    return _drawn(strip_sheet(layer.variant), len(units), stored_pictures(layer, units))


def _sheet(variant: ShownVariant, most_px: int, columns: int) -> Sheet:
    height, width = variant.height, variant.width
    scale = min(1.0, most_px / max(height, width))
    return Sheet(
        columns=columns,
        cell_height=max(1, round(height * scale)),
        cell_width=max(1, round(width * scale)),
        suffix="png" if max(height, width) < _SMALL_PX else "jpg",
    )


def _drawn(sheet: Sheet, n_cells: int, pictures: Iterable[tuple[int, Stored]]) -> bytes:
    """A sheet with pictures in some of its cells; the others stay grey."""
    n_rows = max(1, -(-n_cells // sheet.columns))
    size = sheet.columns * sheet.cell_width, n_rows * sheet.cell_height
    whole = Image.new("RGB", size, _GREY)
    for cell, picture in pictures:
        row, column = divmod(cell, sheet.columns)
        small = _scaled(picture, (sheet.cell_width, sheet.cell_height))
        if small is not None:
            whole.paste(small, (column * sheet.cell_width, row * sheet.cell_height))
    buffer = io.BytesIO()
    if sheet.suffix == "png":
        whole.save(buffer, "PNG", compress_level=1)
    else:
        whole.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def _scaled(picture: Stored, size: tuple[int, int]) -> Image.Image | None:
    """A stored image at a size, None where it cannot be decoded."""
    try:
        pixels = decode_small(picture, size[1], size[0]) if isinstance(picture, bytes) else picture
    except PictureError:  # `dvis check` says so
        return None
    image = Image.fromarray(pixels)
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
