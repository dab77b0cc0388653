"""Encoded pictures: what their bytes claim, whether they are whole, and their pixels.

Bytes in, facts or pixels out. Only jpg and png are ever decoded, and never one whose header claims
more than `dvis.schema.MAX_IMAGE_SIDE` pixels a side.
"""

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from dvis.schema import MAX_IMAGE_SIDE

_FORMATS = ("JPEG", "PNG")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SEGMENT = struct.Struct(">BBH")  # 0xFF, marker, length
_FRAME = struct.Struct(">BHHB")  # precision, height, width, components
# Frame headers of the jpgs that every decoder reads: baseline, extended and progressive Huffman.
_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC2})


class PictureError(ValueError):
    """Bytes that are no whole picture which dvis can keep."""


@dataclass(frozen=True)
class Picture:
    """What a picture's header says, and a remark where its colours are not plain ones."""

    height: int
    width: int
    format: str = "JPEG"
    remark: str = ""


def inspect(data: bytes) -> Picture:
    """Size of a whole picture, without decoding its pixels where the bytes allow that.

    A jpg is taken as whole when its segments are in order up to the scan and it ends in the
    end-of-image marker; anything else is decoded once to find out.

    Raises
    ------
    PictureError
        When the bytes are cut short, are no jpg or png, hold more than 8 bits a colour or
        claim too many pixels.
    """
    frame = _jpeg_frame(data)
    if frame is None:
        return _inspect_by_decoding(data)
    precision, height, width, components = frame
    _check_size(height, width)
    if precision != 8:
        raise PictureError(f"has {precision} bits a colour; 8 can be kept")
    if components not in (1, 3) or not data.endswith(b"\xff\xd9"):
        return _inspect_by_decoding(data)
    return Picture(height, width)


def decode(data: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Pixels of a jpg or png as (y, x, rgb) uint8; grey becomes RGB.

    Parameters
    ----------
    data : bytes
        The picture.
    out : ndarray, optional
        Where the pixels are to be, (y, x, 3) uint8 in C order. What it holds afterwards is of
        no use where the picture turns out to have another size.

    Returns
    -------
    ndarray
        `out`, where it is given and of the picture's size.

    Raises
    ------
    PictureError
        When the bytes cannot be decoded.
    """
    size = _plain_size(data)
    if size is not None:
        pixels = out
        if pixels is None or pixels.shape != (*size, 3):
            pixels = np.empty((*size, 3), np.uint8)
        try:
            simplejpeg.decode_jpeg(data, "RGB", buffer=pixels)
        except ValueError:
            pass  # also of what libjpeg only warns about; Pillow says whether it is a picture
        else:
            return pixels
    pixels = _decode_by_pillow(data)
    if out is None or out.shape != pixels.shape:
        return pixels
    out[...] = pixels
    return out


def decode_small(data: bytes, height: int, width: int) -> np.ndarray:
    """Pixels of a jpg or png at half, a quarter or an eighth of its size, where that is enough.

    Scaled while it is decoded, a jpg takes less time and a fraction of the memory. A png, and what
    is less than twice as large, comes as it is.

    Parameters
    ----------
    data : bytes
        The picture.
    height, width : int
        The size in pixels that it must have at least.

    Returns
    -------
    ndarray, (y, x, rgb) uint8

    Raises
    ------
    PictureError
        When the bytes cannot be decoded.
    """
    size = _plain_size(data)
    if size is not None:
        factor = _reduction(size, (height, width))
        least = {"min_height": -(-size[0] // factor), "min_width": -(-size[1] // factor)}
        try:
            return np.asarray(simplejpeg.decode_jpeg(data, "RGB", **least))
        except ValueError:
            pass  # as above
    return _decode_by_pillow(data, (height, width))


def _reduction(size: tuple[int, int], least: tuple[int, int]) -> int:
    """By how much a jpg can be scaled down: libjpeg is quick at these alone."""
    times = min(n // max(m, 1) for n, m in zip(size, least, strict=True))
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or times >= factor)


def _plain_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a jpg that simplejpeg decodes as Pillow does, to the byte, else None."""
    frame = _jpeg_frame(data)
    if frame is None:
        return None
    precision, height, width, components = frame
    # Of four components, which are ink, each of the two makes other colours.
    is_plain = precision == 8 and components in (1, 3)
    return (height, width) if is_plain and _is_kept(height, width) else None


def _decode_by_pillow(data: bytes, least: tuple[int, int] | None = None) -> np.ndarray:
    """Pixels of any picture, scaled down where they are still so many rows and columns."""
    try:
        with _open(data) as picture:
            if least is not None:
                picture.draft("RGB", (max(least[1], 1), max(least[0], 1)))
            return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except PictureError:
        raise
    except Exception as err:  # what Pillow raises of damaged bytes is no closed list
        raise PictureError(f"is cut short or damaged: {err}") from err


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless png of (y, x, rgb) uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Jpg of (y, x, rgb) uint8 pixels, each with a colour of its own."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def _open(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # The size is checked against our own, smaller limit right after.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        except Image.DecompressionBombError as err:
            raise PictureError(f"claims more pixels than can be kept: {err}") from err
        except Exception as err:  # likewise
            raise PictureError("is no jpg or png, or its header is cut short or damaged") from err
    _check_size(picture.height, picture.width)
    return picture


def _inspect_by_decoding(data: bytes) -> Picture:
    if data.startswith(_PNG_SIGNATURE) and len(data) > 24 and data[24] == 16:
        raise PictureError("is a png of 16 bits a colour; 8 can be kept")
    with _open(data) as picture:
        kind, mode = str(picture.format), picture.mode
        height, width = picture.height, picture.width
    decode(data)
    remark = ""
    if mode not in ("RGB", "L", *(("P", "1") if kind == "PNG" else ())):
        what = "without its transparency" if kind == "PNG" else "approximately"
        remark = f"is a {kind.lower()} of mode {mode}; kept as it is, read as RGB {what}"
    return Picture(height, width, kind, remark)


def _is_kept(height: int, width: int) -> bool:
    return 0 < height <= MAX_IMAGE_SIDE and 0 < width <= MAX_IMAGE_SIDE


def _check_size(height: int, width: int) -> None:
    if not _is_kept(height, width):
        raise PictureError(
            f"claims {width} x {height} pixels; at most {MAX_IMAGE_SIDE} a side can be kept"
        )


def _jpeg_frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Precision, height, width and components of a jpg whose segments are in order, else None."""
    if data[:2] != b"\xff\xd8":
        return None
    position, frame, tables = 2, None, 0
    n_bytes = len(data)
    while position + 4 <= n_bytes:
        prefix, marker, length = _SEGMENT.unpack_from(data, position)
        if prefix != 0xFF or length < 2 or position + 2 + length > n_bytes:
            return None
        if marker in _FRAME_MARKERS and length >= 8:
            frame = _FRAME.unpack_from(data, position + 4)
        elif marker == 0xDB:  # quantisation tables
            tables |= 1
        elif marker == 0xC4:  # Huffman tables
            tables |= 2
        elif marker == 0xDA:  # start of scan: the coded pixels follow
            return frame if tables == 3 else None
        position += 2 + length
    return None
