"""Checksums of chunks, so that a flipped bit is an error and never a number.

Numbers and texts are compressed by zstd, whose frames carry a checksum of what was compressed; what
is not compressed, for its files are mapped or changed in place, ends with a CRC-32C. Either is four
bytes a chunk.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ShardingCodec, ZstdCodec

CRC_BYTES = 4
COMPRESSED = (ZstdCodec(level=0, checksum=True),)
NOT_COMPRESSED = (Crc32cCodec(),)


class ChecksumError(ValueError):
    """What was read is not what was written."""


def create_array(group: zarr.Group, name: str, **arguments: Any) -> zarr.Array[Any]:
    """An array whose chunks carry checksums; `compressors` says otherwise where it is given."""
    given = {"compressors": COMPRESSED, "config": {"write_empty_chunks": True}, **arguments}
    return group.create_array(name, **given)


def is_checked(array: zarr.Array[Any]) -> bool:
    """Whether each chunk of an array carries a checksum; pictures' own codec sees to theirs."""
    return are_checked(array.metadata.codecs)  # type: ignore[union-attr]  # Zarr v3 only


def are_checked(codecs: Any) -> bool:
    """Whether chunks that go through these codecs carry a checksum."""
    inner = next((codec.codecs for codec in codecs if isinstance(codec, ShardingCodec)), codecs)
    return any(
        isinstance(codec, Crc32cCodec) or (isinstance(codec, ZstdCodec) and codec.checksum)
        for codec in inner
    )


def is_compressed(array: zarr.Array[Any]) -> bool:
    """Whether chunks are compressed by zstd, so that one with a checksum reads as one without."""
    codecs = array.metadata.codecs  # type: ignore[union-attr]  # Zarr v3 only
    return any(isinstance(codec, ZstdCodec) for codec in codecs)


def with_checksum(data: bytes | bytearray | memoryview) -> bytes:
    """Bytes and their CRC-32C, as Zarr's codec `crc32c` has them."""
    return b"".join((data, _crc(data)))


def without_checksum(data: bytes | bytearray | memoryview, what: str) -> memoryview:
    """The bytes before a CRC-32C.

    Raises
    ------
    ChecksumError
        When they are not those that it was made of.
    """
    content = memoryview(data)[:-CRC_BYTES]
    if len(data) < CRC_BYTES or bytes(data[-CRC_BYTES:]) != _crc(content):
        raise ChecksumError(f"{what} is damaged: its checksum does not match")
    return content


def ends_with_checksum(folder: Path) -> bool:
    """Whether files of an array that is not compressed end with one, by its metadata on disk."""
    codecs = json.loads((folder / "zarr.json").read_text())["codecs"]
    return any(codec["name"] == "crc32c" for codec in codecs)


def _crc(data: bytes | bytearray | memoryview) -> bytes:
    # The extension refuses a view, but takes an array of it.
    value: int = google_crc32c.value(np.frombuffer(data, np.uint8))
    return value.to_bytes(CRC_BYTES, "little")


def checked_metadata(array: zarr.Array[Any]) -> Mapping[str, Any]:
    """An array's metadata, with checksums in its compressed chunks."""
    codecs = array.metadata.codecs  # type: ignore[union-attr]  # Zarr v3 only
    checked = [COMPRESSED[0] if isinstance(codec, ZstdCodec) else codec for codec in codecs]
    return {**array.metadata.to_dict(), "codecs": [codec.to_dict() for codec in checked]}
