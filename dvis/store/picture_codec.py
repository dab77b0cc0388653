"""The Zarr codec `dvis.jpeg`: a chunk that keeps the bytes of its jpgs as they came.

A chunk of shape (..., y, x, rgb) holds one picture for each of its leading positions. On disk it is

    pictures, one after the other | index | crc32 of the index (4 bytes) | b"dvj1"

where the index has 16 bytes a position in C order, little-endian: offset (8), length (4), crc32 of
the picture (4); a length of 0 stands for no picture, which reads as the fill value. Reading some
positions fetches the index and those pictures alone.

Arrays written through Zarr are kept without loss, as png: the codec never changes a pixel.
"""

import asyncio
import io
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import ByteGetter, RangeByteRequest, SuffixByteRequest
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.storage import LocalStore

from dvis.store.picture_files import PictureError, decode, encode_png
from dvis.store.read_store import LocalReadStore
from dvis.store.regular_files import NoFileError, open_file

MAGIC = b"dvj1"
_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc", "<u4")])
_FOOTER = struct.Struct("<I4s")
# Pictures that lie this close together are fetched in one request.
_GAP_BYTES = 64 * 1024
_PICTURES_A_THREAD = 8
_MOST_FILE_BYTES = 2**40  # beyond which no picture begins
_READ_ATTEMPTS = 5


class BlockError(ValueError):
    """A chunk of pictures that is cut short or damaged."""


def pack(pictures: Mapping[int, bytes], n_positions: int) -> bytes:
    """Bytes of a chunk that holds the given pictures at their positions (C order).

    They lie in the file in the order of the mapping.
    """
    entries = np.zeros(n_positions, _ENTRY)
    parts, offset = [], 0
    for position, data in pictures.items():
        entries[position] = (offset, len(data), zlib.crc32(data))
        parts.append(data)
        offset += len(data)
    index = entries.tobytes()
    return b"".join([*parts, index, _FOOTER.pack(zlib.crc32(index), MAGIC)])


def unpack(data: bytes, n_positions: int) -> dict[int, bytes]:
    """Pictures of a chunk by position: the inverse of `pack`.

    Raises
    ------
    BlockError
        When the index or one of the pictures is damaged.
    """
    entries = _parse_index(data[-_index_bytes(n_positions) :], n_positions)
    pictures = {}
    for position in np.flatnonzero(entries["length"]):
        offset, length = int(entries["offset"][position]), int(entries["length"][position])
        pictures[int(position)] = _checked(data[offset : offset + length], entries, int(position))
    return pictures


def held_positions(data: bytes, n_positions: int) -> list[int]:
    """Positions of a chunk that hold a picture, damaged or not.

    Raises
    ------
    BlockError
        When the index is damaged.
    """
    entries = _parse_index(data[-_index_bytes(n_positions) :], n_positions)
    return [int(position) for position in np.flatnonzero(entries["length"])]


def sound_pictures(data: bytes, n_positions: int) -> dict[int, bytes]:
    """Pictures of a chunk that pass their checksum; the damaged ones are left out.

    Raises
    ------
    BlockError
        When the index is damaged.
    """
    entries = _parse_index(data[-_index_bytes(n_positions) :], n_positions)
    sound = {}
    for position in np.flatnonzero(entries["length"]).tolist():
        offset, length = int(entries["offset"][position]), int(entries["length"][position])
        picture = data[offset : offset + length]
        if len(picture) == length and zlib.crc32(picture) == entries["crc"][position]:
            sound[position] = picture
    return sound


def read_pictures(path: Path, positions: np.ndarray, n_positions: int) -> dict[int, bytes] | None:
    """Pictures at some positions of a chunk's file, or None where there is none.

    All reads are of one open file: one that a writer replaces meanwhile stays as it was.

    Raises
    ------
    BlockError
        When the index or one of these pictures is damaged.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        return None
    except NoFileError as err:
        raise BlockError(str(err)) from err
    with file:
        first = max(0, file.seek(0, io.SEEK_END) - _index_bytes(n_positions))
        file.seek(first)
        entries = _parse_index(file.read(), n_positions)
        pictures = {}
        for position in positions[entries["length"][positions] > 0].tolist():
            offset, length, _ = entries[position].item()
            if offset + length > first:  # before memory for so much is asked for
                raise _damaged(position)
            file.seek(offset)
            pictures[position] = _checked(file.read(length), entries, position)
    return pictures


def decode_into(out: np.ndarray, data: bytes, position: int) -> None:
    """Decode a picture of a chunk into an array of its size, (y, x, 3) uint8 in C order.

    Raises
    ------
    BlockError
        When it cannot be decoded, or has another size.
    """
    try:
        picture = decode(data, out)
    except PictureError as err:
        raise BlockError(f"picture {position} of a chunk {err}") from err
    if picture.shape != out.shape:
        raise BlockError(
            f"picture {position} of a chunk is {picture.shape}, the array's are {out.shape}"
        )


@dataclass(frozen=True)
class JpegCodec(ArrayBytesCodecPartialDecodeMixin, ArrayBytesCodec):
    """Zarr v3 array-to-bytes codec for uint8 chunks of (..., y, x, rgb); see the module."""

    is_fixed_size: ClassVar[bool] = False  # type: ignore[misc]  # zarr's base is no ClassVar

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Codec from its entry in an array's metadata."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Entry of the codec in an array's metadata."""
        return {"name": "dvis.jpeg", "configuration": {}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, **_: Any) -> None:
        """Refuse arrays that are not (..., y, x, 3) of uint8."""
        if len(shape) < 3 or shape[-1] != 3 or dtype.to_native_dtype() != np.uint8:
            raise ValueError(
                "dvis.jpeg keeps uint8 arrays whose last dims are (y, x, rgb=3), not "
                f"{dtype.to_native_dtype()} of shape {shape}"
            )

    def compute_encoded_size(self, input_byte_length: int, _: ArraySpec) -> int:
        """Not known before encoding; Zarr asks only for codecs of a fixed size."""
        raise NotImplementedError("the size of encoded pictures depends on their content")

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        pictures = unpack(chunk_bytes.to_bytes(), _n_positions(chunk_spec.shape))
        axes = [np.arange(n) for n in chunk_spec.shape[:-3]]
        return await _decode_pictures(pictures, axes, chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        leading = chunk_spec.shape[:-3]
        selection = selection if isinstance(selection, tuple) else (selection,)
        selection += (slice(None),) * (len(chunk_spec.shape) - len(selection))
        axes, compact = [], []
        for n, chosen in zip(leading, selection, strict=False):
            axis, within = _compact(n, chosen)
            axes.append(axis)
            compact.append(within)
        n_positions = _n_positions(chunk_spec.shape)
        positions = np.arange(n_positions).reshape(leading)[np.ix_(*axes)]
        path = _local_path(byte_getter)
        if path is not None:
            pictures = await asyncio.to_thread(read_pictures, path, positions.ravel(), n_positions)
            await _confirm(byte_getter, chunk_spec, is_there=pictures is not None)
        else:
            pictures = await _fetch(byte_getter, positions.ravel(), chunk_spec)
        if pictures is None:
            return None
        pixels = await _decode_pictures(pictures, axes, chunk_spec)
        return pixels[(*compact, *selection[len(leading) :])]

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        pixels = chunk_array.as_numpy_array().reshape(-1, *chunk_spec.shape[-3:])
        pictures = {
            position: encode_png(np.ascontiguousarray(picture))
            for position, picture in enumerate(pixels)
            if picture.any()
        }
        return chunk_spec.prototype.buffer.from_bytes(pack(pictures, len(pixels)))


def _compact(n: int, chosen: Any) -> tuple[np.ndarray, Any]:
    """Indices that a selector picks along an axis, and the selector within those alone."""
    if isinstance(chosen, slice):
        return np.arange(n)[chosen], slice(None)
    indices = np.asarray(chosen)
    if indices.dtype == bool:
        indices = np.flatnonzero(indices)
    axis, within = np.unique(indices, return_inverse=True)
    return axis, within.reshape(indices.shape) if indices.ndim else 0


def _local_path(byte_getter: ByteGetter) -> Path | None:
    """File behind a chunk of a store on a local disk."""
    store = getattr(byte_getter, "store", None)
    path = getattr(byte_getter, "path", None)
    return store.root / path if isinstance(store, LocalStore) and path is not None else None


async def _confirm(byte_getter: Any, chunk_spec: ArraySpec, *, is_there: bool) -> None:
    """Have the store say of a file that was read around it what it would have said by itself."""
    if not is_there:
        await byte_getter.get(chunk_spec.prototype)
    elif isinstance(byte_getter.store, LocalReadStore):
        byte_getter.store.confirm(byte_getter.path)


async def _fetch(
    byte_getter: ByteGetter, positions: np.ndarray, chunk_spec: ArraySpec
) -> dict[int, bytes] | None:
    """Pictures at some positions, or None where the chunk is not on disk.

    A writer may replace the chunk between the read of its index and that of its pictures; then
    their checksums differ, and both are read again.
    """
    n_positions = _n_positions(chunk_spec.shape)
    for attempt in range(_READ_ATTEMPTS):
        tail = await byte_getter.get(
            chunk_spec.prototype, SuffixByteRequest(_index_bytes(n_positions))
        )
        if tail is None:
            return None
        try:
            data = tail.to_bytes()
            if len(data) > _index_bytes(n_positions):  # of a server that knows no ranges
                every = sound_pictures(data, n_positions)
                return {p: every[p] for p in positions.tolist() if p in every}
            entries = _parse_index(data, n_positions)
            return await _fetch_pictures(byte_getter, entries, positions, chunk_spec)
        except BlockError:
            if attempt == _READ_ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.01 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


async def _fetch_pictures(
    byte_getter: ByteGetter, entries: np.ndarray, positions: np.ndarray, chunk_spec: ArraySpec
) -> dict[int, bytes]:
    present = positions[entries["length"][positions] > 0]
    present = present[np.argsort(entries["offset"][present])]
    beyond = entries["offset"][present] >= _MOST_FILE_BYTES
    if beyond.any():
        raise _damaged(int(present[beyond][0]))
    starts = entries["offset"][present].astype(np.int64)
    ends = starts + entries["length"][present]
    breaks = np.flatnonzero(starts[1:] - ends[:-1] > _GAP_BYTES) + 1

    async def fetch_run(run: np.ndarray) -> dict[int, bytes]:
        first, last = int(starts[run[0]]), int(ends[run[-1]])
        buffer = await byte_getter.get(chunk_spec.prototype, RangeByteRequest(first, last))
        data = b"" if buffer is None else buffer.to_bytes()
        return {
            int(present[i]): _checked(
                data[starts[i] - first : ends[i] - first], entries, int(present[i])
            )
            for i in run
        }

    runs = [run for run in np.split(np.arange(len(present)), breaks) if len(run)]
    found: dict[int, bytes] = {}
    for part in await asyncio.gather(*(fetch_run(run) for run in runs)):
        found |= part
    return found


async def _decode_pictures(
    pictures: Mapping[int, bytes], axes: list[np.ndarray], chunk_spec: ArraySpec
) -> NDBuffer:
    """Pixels of the positions in the product of `axes`, decoded in a few threads."""
    leading, frame = chunk_spec.shape[:-3], chunk_spec.shape[-3:]
    wanted = np.arange(_n_positions(chunk_spec.shape)).reshape(leading)[np.ix_(*axes)]
    pixels = np.empty((wanted.size, *frame), np.uint8)
    present = [(i, p) for i, p in enumerate(wanted.ravel().tolist()) if p in pictures]
    if len(present) < wanted.size:
        pixels[...] = chunk_spec.fill_value or 0

    def decode_some(some: Iterable[tuple[int, int]]) -> None:
        for i, position in some:
            decode_into(pixels[i], pictures[position], position)

    parts = [
        present[i : i + _PICTURES_A_THREAD] for i in range(0, len(present), _PICTURES_A_THREAD)
    ]
    await asyncio.gather(*(asyncio.to_thread(decode_some, part) for part in parts))
    return chunk_spec.prototype.nd_buffer.from_numpy_array(
        pixels.reshape(*(len(axis) for axis in axes), *frame)
    )


def _n_positions(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[:-3], dtype=np.int64))


def _index_bytes(n_positions: int) -> int:
    return n_positions * _ENTRY.itemsize + _FOOTER.size


def _parse_index(tail: bytes, n_positions: int) -> np.ndarray:
    if len(tail) != _index_bytes(n_positions) or tail[-4:] != MAGIC:
        raise BlockError("a chunk of pictures is cut short, or belongs to another layout")
    index, (crc, _) = tail[: -_FOOTER.size], _FOOTER.unpack(tail[-_FOOTER.size :])
    if zlib.crc32(index) != crc:
        raise BlockError("the index of a chunk of pictures is damaged")
    return np.frombuffer(index, _ENTRY)


def _checked(data: bytes, entries: np.ndarray, position: int) -> bytes:
    if len(data) != entries["length"][position] or zlib.crc32(data) != entries["crc"][position]:
        raise _damaged(position)
    return data


def _damaged(position: int) -> BlockError:
    return BlockError(
        f"picture {position} of a chunk is damaged: its checksum differs. `dvis check --fix` "
        "marks the unit so that it is made again"
    )
