"""The chunk codec: its bytes, its damage, and writing through Zarr."""

import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from trees import decoded, jpg_of, pixels_of

import dvis
from dvis.store.picture_codec import BlockError, JpegCodec, pack, sound_pictures, unpack


@given(st.dictionaries(st.integers(0, 19), st.binary(min_size=1, max_size=50)))
def test_unpack_is_the_inverse_of_pack(pictures: dict[int, bytes]) -> None:
    assert unpack(pack(pictures, 20), 20) == pictures
    assert sound_pictures(pack(pictures, 20), 20) == pictures


def test_format_on_disk_is_the_documented_one() -> None:
    data = pack({1: b"abc"}, 2)
    entry = (0).to_bytes(8, "little") + (3).to_bytes(4, "little")
    entry += zlib.crc32(b"abc").to_bytes(4, "little")
    index = bytes(16) + entry
    assert data == b"abc" + index + zlib.crc32(index).to_bytes(4, "little") + b"dvj1"


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_changed_byte_is_found(position: int, change: int) -> None:
    data = bytearray(pack({0: b"first picture", 3: b"second picture"}, 4))
    position %= len(data)
    data[position] ^= change
    with pytest.raises(BlockError):
        unpack(bytes(data), 4)


def test_a_block_of_another_layout_is_refused() -> None:
    with pytest.raises(BlockError, match="another layout"):
        unpack(pack({0: b"x"}, 4), 8)


@pytest.fixture
def array(tmp_path: Path) -> zarr.Array:
    return zarr.create_array(
        tmp_path / "a.zarr",
        shape=(5, 2, 16, 16, 3),
        chunks=(3, 2, 16, 16, 3),
        dtype="uint8",
        fill_value=0,
        serializer=JpegCodec(),
        compressors=None,
    )


def test_what_zarr_writes_is_kept_without_loss(array: zarr.Array) -> None:
    pixels = np.stack([[pixels_of(i, j) for j in range(2)] for i in range(5)])
    pixels[1, 0] = 0
    array[:] = pixels
    np.testing.assert_array_equal(array[:], pixels)
    array[1, 1] = 255 - pixels[1, 1]
    pixels[1, 1] = 255 - pixels[1, 1]
    np.testing.assert_array_equal(array[:], pixels)
    np.testing.assert_array_equal(array.oindex[[4, 0], [1]], pixels[[4, 0]][:, [1]])
    points = ([4, 0, 4], [1, 1, 0], [2, 3, 15], [4, 4, 0], [0, 1, 2])
    np.testing.assert_array_equal(array.vindex[points], pixels[points])


def test_jpgs_read_back_as_pillow_decodes_them(array: zarr.Array, tmp_path: Path) -> None:
    jpgs = {4: jpg_of(1), 1: jpg_of(2, mode="L"), 0: jpg_of(3, progressive=True)}
    chunk = tmp_path / "a.zarr" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(pack(jpgs, 6))
    for position, jpg in jpgs.items():
        np.testing.assert_array_equal(array[divmod(position, 2)], decoded(jpg))
    assert not array[1, 1].any()


def test_reading_some_pictures_does_not_read_the_others(array: zarr.Array, tmp_path: Path) -> None:
    chunk = tmp_path / "a.zarr" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.parent.mkdir(parents=True)
    data = bytearray(pack({0: jpg_of(1), 5: jpg_of(2)}, 6))
    data[len(jpg_of(1)) + 30] ^= 255
    chunk.write_bytes(data)
    np.testing.assert_array_equal(array[0, 0], decoded(jpg_of(1)))
    with pytest.raises(BlockError, match="picture 5 of a chunk is damaged"):
        array[2, 1]


def test_arrays_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    for shape, dtype in (((4, 4, 2), "uint8"), ((4, 4, 3), "float32"), ((4, 3), "uint8")):
        with warnings.catch_warnings(), pytest.raises(ValueError, match=r"rgb=3"):
            zarr.create_array(
                tmp_path / "b.zarr",
                shape=shape,
                dtype=dtype,
                serializer=JpegCodec(),
                compressors=None,
            )


def test_rows_of_pictures_that_come_twice_are_read_as_asked_for(sample_store: Path) -> None:
    unit = dvis.open(sample_store).image.isel(checkpoint=[0, 1], layer=0, channel=[0])
    whole = unit.load().values
    rows = np.sort(np.append(np.arange(whole.shape[2] - 1), 0))  # as many as there are
    opened = dvis.open(sample_store).image.isel(checkpoint=[0, 1], layer=0, channel=[0])
    np.testing.assert_array_equal(opened.isel(y=rows).values, whole[:, :, rows])
    np.testing.assert_array_equal(opened.isel(x=slice(None, None, -1)).values, whole[:, :, :, ::-1])
    np.testing.assert_array_equal(opened.isel(rgb=[0, 0, 1]).values, whole[..., [0, 0, 1]])
