"""The files that hold feature images: blocks of checkpoints x one layer x channels.

A block is one Zarr chunk (codec `dvis.jpeg`) or one Zarr shard of raw pixels. Writing it here,
whole and by one rename, keeps jpg bytes as they came and never moves a raw image that is already
in the file: a reader who has just read the old index still finds the image that it points to.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from zarr.codecs import BytesCodec, ShardingCodec

from dvis.disk import inside, write_atomically
from dvis.kinds.features.words import BLOCK_CHANNELS, block_checkpoints
from dvis.store.checksums import (
    CRC_BYTES,
    NOT_COMPRESSED,
    ChecksumError,
    is_checked,
    with_checksum,
    without_checksum,
)
from dvis.store.picture_codec import (
    BlockError,
    JpegCodec,
    held_positions,
    pack,
    read_pictures,
    sound_pictures,
)
from dvis.store.regular_files import NoFileError, open_file

_ABSENT = np.uint64(2**64 - 1)

Position = tuple[int, int]  # checkpoint and channel, counted from the block's corner


def image_layout(
    height: int, width: int, codec: str, *, checkpoints: int | None = None
) -> dict[str, Any]:
    """Arguments of `zarr.Group.create_array` that make an image array of blocks.

    Parameters
    ----------
    height, width : int
        Size of the images in pixels.
    codec : {"jpeg", "raw"}
        What a block keeps of an image: its file's bytes, or its pixels.
    checkpoints : int, optional
        Checkpoints that a block spans. By default that of the read layout; a sweep that writes
        one checkpoint at a time takes 1.
    """
    span = checkpoints or block_checkpoints(height, width, codec)
    block = (span, 1, BLOCK_CHANNELS, height, width, 3)
    if codec == "jpeg":
        return {
            "chunks": block,
            "serializer": JpegCodec(),
            "compressors": None,
            "filters": None,
        }
    inner = (span, 1, 1, height, width, 3)
    return {
        "chunks": inner,
        "shards": block,
        "serializer": BytesCodec(),
        "compressors": NOT_COMPRESSED,
        "filters": None,
    }


@dataclass(frozen=True)
class ImageBlocks:
    """The blocks of one image array on a local disk, in a folder of the store at `root`.

    Raw pixels end with a checksum where the array `is_checked`; those of an earlier dvis do not.
    """

    folder: Path
    root: Path
    separator: str
    checkpoints: int
    channels: int
    height: int
    width: int
    codec: str
    is_checked: bool = True

    @classmethod
    def of(cls, array: zarr.Array[Any], folder: Path, root: Path) -> Self:
        """Blocks of an image array whose files lie in `folder`, inside the store at `root`."""
        block = array.shards or array.chunks
        codec = array.metadata.codecs[0]  # type: ignore[union-attr]  # Zarr v3 only
        if not isinstance(codec, JpegCodec | ShardingCodec):
            raise BlockError(f"{folder} is written by {codec}, which dvis does not write")
        return cls(
            folder,
            root,
            array.metadata.chunk_key_encoding.separator,  # type: ignore[union-attr]
            block[0],
            block[2],
            block[3],
            block[4],
            "jpeg" if isinstance(codec, JpegCodec) else "raw",
            isinstance(codec, JpegCodec) or is_checked(array),
        )

    def path(self, row: int, layer: int, column: int) -> Path:
        """File of the block in that row of blocks, layer and column of blocks."""
        key = self.separator.join(["c", *map(str, (row, layer, column, 0, 0, 0))])
        return self.folder / key

    def read(self, path: Path) -> dict[Position, bytes]:
        """What a block holds by position: encoded pictures, or raw pixels.

        A picture that is damaged is left out. A raw block cannot tell a black image from none;
        its caller asks `status`.

        Raises
        ------
        BlockError
            When the file's index is damaged, or a symbolic link leads to it.
        """
        try:
            self._require_no_link(path)
        except ValueError as err:
            raise BlockError(str(err)) from err
        try:
            data = _content(path)
        except FileNotFoundError:
            return {}
        if self.codec == "raw":
            return self._read_raw(data)
        return {
            divmod(position, self.channels): picture
            for position, picture in sound_pictures(data, self.checkpoints * self.channels).items()
        }

    def damaged(self, path: Path, sound: Collection[Position]) -> set[Position]:
        """Positions of a block that hold a picture which is not among the sound ones."""
        try:
            data = _content(path)
            if self.codec != "raw":
                held = held_positions(data, self.checkpoints * self.channels)
                return {divmod(position, self.channels) for position in held} - {*sound}
            there = np.flatnonzero(self._raw_index(data)[:, 0] != _ABSENT).tolist()
            return {(row, channel) for row in self._rows for channel in there} - {*sound}
        except (FileNotFoundError, BlockError):
            return set()

    def pick(self, path: Path, wanted: Iterable[Position]) -> Iterator[tuple[Position, bytes]]:
        """Some images of a block, of which no others are read: encoded pictures, or raw pixels.

        All are of one open file: one that a writer replaces meanwhile stays as it was. What is
        damaged or not there is left out.

        Raises
        ------
        BlockError
            When the file's index is damaged.
        """
        try:
            if self.codec == "raw":
                yield from self._pick_raw(path, wanted)
                return
            places = [checkpoint * self.channels + channel for checkpoint, channel in wanted]
            found = self._pick_encoded(path, np.array(places, int))
        except FileNotFoundError:
            return
        for place, picture in found.items():
            yield divmod(place, self.channels), picture

    def merge(
        self, path: Path, images: Mapping[Position, bytes], drop: Collection[Position] = ()
    ) -> None:
        """Put images into a block, beside those that it holds, and drop some, by one rename.

        A damaged picture that is not replaced is dropped, for its checksum says that it is lost.

        Raises
        ------
        ValueError
            When a symbolic link leads to the file, or pixels that are damaged are neither replaced
            nor dropped with the others of their checksum.
        """
        self._require_no_link(path)
        old = _content(path) if path.exists() else b""
        if self.codec == "raw":
            write_atomically(path, self._merge_raw(old, images, drop), root=self.root)
            return
        # Channel by channel: the images of one unit over checkpoints lie side by side.
        n_positions = self.checkpoints * self.channels
        try:
            sound = sound_pictures(old, n_positions) if old else {}
        except BlockError:
            sound = {}
        pictures = {p: data for p, data in sound.items() if divmod(p, self.channels) not in drop}
        for (checkpoint, channel), data in images.items():
            pictures[checkpoint * self.channels + channel] = data
        order = sorted(pictures, key=lambda position: divmod(position, self.channels)[::-1])
        packed = pack({p: pictures[p] for p in order}, n_positions)
        write_atomically(path, packed, root=self.root)

    def take_out(self, path: Path, checkpoint: int) -> None:
        """Drop the images of a checkpoint from a block, by one rename; the others stay as they are.

        Pixels cannot be dropped from between others', and become black.

        Raises
        ------
        BlockError
            When the file's index is damaged.
        """
        there = {at: data for at, data in self.read(path).items() if at[0] == checkpoint}
        if not there:
            return
        if self.codec != "raw":
            self.merge(path, {}, drop=there)
        elif self.checkpoints == 1:
            write_atomically(path, self._merge_raw(b"", {}), root=self.root)
        else:
            self.merge(path, dict.fromkeys(there, bytes(self._image_bytes)))

    def _require_no_link(self, path: Path) -> None:
        inside(self.root, *path.relative_to(self.root).parts)

    @property
    def _image_bytes(self) -> int:
        return self.height * self.width * 3

    @property
    def _index_bytes(self) -> int:
        return self.channels * 16 + CRC_BYTES

    @property
    def _stored_bytes(self) -> int:
        """Size of a channel's images at all checkpoints of a block."""
        return self.checkpoints * self._image_bytes + (CRC_BYTES if self.is_checked else 0)

    def _raw_index(self, data: bytes) -> np.ndarray:
        """Offset and size of each channel's inner chunk, (channel, 2) uint64."""
        if not data:
            return np.full((self.channels, 2), _ABSENT, np.uint64)
        tail = data[-self._index_bytes :]
        try:
            index = without_checksum(tail, "the index of a shard")
        except ChecksumError as err:
            raise BlockError(str(err)) from err
        if len(tail) != self._index_bytes:
            raise BlockError("the index of a shard is cut short")
        return np.frombuffer(index, "<u8").reshape(-1, 2).copy()

    def _read_raw(self, data: bytes) -> dict[Position, bytes]:
        images = {}
        for channel, (offset, length) in enumerate(self._raw_index(data).tolist()):
            if length != self._stored_bytes:  # absent, or damaged
                continue
            stored = data[offset : offset + self._stored_bytes]
            for checkpoint, pixels in enumerate(self._sound_raw(stored)):
                images[checkpoint, channel] = pixels
        return images

    def _sound_raw(self, stored: bytes | bytearray) -> list[bytes]:
        """Pixels of a channel at each checkpoint of a block; none where they are damaged."""
        if len(stored) != self._stored_bytes:
            return []
        try:
            pixels = without_checksum(stored, "a picture") if self.is_checked else stored
        except ChecksumError:
            return []
        size = self._image_bytes
        return [bytes(pixels[i * size : (i + 1) * size]) for i in range(self.checkpoints)]

    def _pick_encoded(self, path: Path, places: np.ndarray) -> dict[int, bytes]:
        n_positions = self.checkpoints * self.channels
        try:
            return read_pictures(path, places, n_positions) or {}
        except BlockError:
            sound = sound_pictures(_content(path), n_positions)
            return {place: sound[place] for place in places.tolist() if place in sound}

    def _pick_raw(self, path: Path, wanted: Iterable[Position]) -> Iterator[tuple[Position, bytes]]:
        with _opened(path) as file:
            first = max(0, file.seek(0, os.SEEK_END) - self._index_bytes)
            file.seek(first)
            index = self._raw_index(file.read())
            by_channel: dict[int, list[int]] = {}
            for checkpoint, channel in wanted:
                by_channel.setdefault(channel, []).append(checkpoint)
            for channel, checkpoints in by_channel.items():
                offset, length = index[channel].tolist()
                # Absent, or damaged.
                if length != self._stored_bytes or offset + length > first:
                    continue
                file.seek(offset)
                if pictures := self._sound_raw(file.read(self._stored_bytes)):
                    yield from (((each, channel), pictures[each]) for each in checkpoints)

    def _merge_raw(
        self, old: bytes, images: Mapping[Position, bytes], drop: Collection[Position] = ()
    ) -> bytes:
        try:
            index = self._raw_index(old)
        except BlockError:
            old, index = b"", self._raw_index(b"")
        body = bytearray(old[: -self._index_bytes] if old else b"")
        by_channel: dict[int, dict[int, bytes]] = {}
        for (checkpoint, channel), pixels in images.items():
            by_channel.setdefault(channel, {})[checkpoint] = pixels
        dropped = {channel for _, channel in drop}
        for channel in sorted(dropped | by_channel.keys()):
            new = by_channel.get(channel, {})
            offset, length = index[channel].tolist()
            is_there = offset != _ABSENT
            there = self._sound_raw(body[offset : offset + length]) if is_there else []
            if is_there and not there and channel in dropped:
                index[channel] = _ABSENT
                is_there = False
            if not new:
                continue
            if is_there and not there and len(new) < self.checkpoints:
                raise BlockError("a picture is damaged; `dvis check --fix` first")
            if not there:  # where a damaged index points to, others may lie
                offset = len(body)
                index[channel] = offset, self._stored_bytes
                body.extend(bytes(self._stored_bytes))
            there = there or [bytes(self._image_bytes)] * self.checkpoints
            pixels = b"".join(new.get(row, there[row]) for row in self._rows)
            stored = with_checksum(pixels) if self.is_checked else pixels
            body[offset : offset + self._stored_bytes] = stored
        return bytes(body) + with_checksum(index.astype("<u8").tobytes())

    @property
    def _rows(self) -> range:
        return range(self.checkpoints)


def _opened(path: Path) -> FileIO:
    try:
        return open_file(path)
    except NoFileError as err:
        raise BlockError(str(err)) from err


def _content(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read()
