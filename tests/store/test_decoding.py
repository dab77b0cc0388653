"""Decoding: each picture is what Pillow makes of it, to the byte, whoever decodes it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from trees import decoded, jpg_of, pixels_of

import dvis.store.picture_files as picture_files
from dvis.store.picture_files import PictureError, decode, decode_small, encode_png

SIZES = [(1, 1), (2, 3), (7, 9), (8, 8), (16, 17), (33, 31), (64, 64), (101, 97), (224, 223)]


def noise(height: int, width: int) -> np.ndarray:
    # More than this, and Pillow has no room for its progressive jpg.
    return np.random.default_rng((height, width)).integers(60, 160, (height, width, 3), np.uint8)


def encoded(pixels: np.ndarray, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture
def no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: bytes) -> None:
        raise AssertionError("Pillow was asked to decode")

    monkeypatch.setattr(picture_files, "_decode_by_pillow", refuse)


@pytest.mark.usefixtures("no_pillow")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_progressive", [False, True])
def test_plain_jpgs_are_equal_to_the_byte(size: tuple[int, int], is_progressive: bool) -> None:
    for subsampling in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
        for quality in (30, 75, 95):
            jpg = encoded(
                noise(*size), quality=quality, subsampling=subsampling, progressive=is_progressive
            )
            np.testing.assert_array_equal(decode(jpg), decoded(jpg))
    grey = encoded(noise(*size), "L", progressive=is_progressive)
    np.testing.assert_array_equal(decode(grey), decoded(grey))


def test_the_pictures_of_the_sample_are_equal_to_the_byte(sample_tree: Path) -> None:
    n_whole = 0
    for path in sample_tree.rglob("*.jpg"):
        try:
            expected = decoded(path.read_bytes())
        except OSError:
            with pytest.raises(PictureError, match="cut short or damaged"):
                decode(path.read_bytes())
            continue
        np.testing.assert_array_equal(decode(path.read_bytes()), expected)
        n_whole += 1
    assert n_whole > 100


@pytest.mark.parametrize(
    "data",
    [
        encoded(noise(24, 20), "CMYK"),
        encode_png(noise(24, 20)),
        # Bytes that belong to nothing, between the picture's: libjpeg warns, and goes on.
        jpg_of(1, size=64)[:-2] + b"\x00\x00\x00" + b"\xff\xd9",
    ],
)
def test_what_is_no_plain_jpg_is_left_to_pillow(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data), decoded(data))
    out = np.empty(decoded(data).shape, np.uint8)
    assert decode(data, out) is out
    np.testing.assert_array_equal(out, decoded(data))


def test_pixels_go_where_they_are_asked_for() -> None:
    several = np.zeros((3, 16, 16, 3), np.uint8)
    assert np.shares_memory(decode(jpg_of(1), several[1]), several)
    np.testing.assert_array_equal(several[1], decoded(jpg_of(1)))
    assert not several[[0, 2]].any()


def test_a_picture_of_another_size_does_not_go_there() -> None:
    for side in (8, 32):
        out = np.zeros((16, 16, 3), np.uint8)
        found = decode(jpg_of(1, size=side), out)
        assert found.shape == (side, side, 3)
        assert not out.any()


@given(st.data())
def test_damaged_jpgs_are_what_they_are_to_pillow(data: st.DataObject) -> None:
    damaged = bytearray(jpg_of(3, size=32, quality=90))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(damaged[: data.draw(st.integers(2, len(damaged)))])
    assert outcome(decode, cut) == outcome(picture_files._decode_by_pillow, cut)


def outcome(function: Any, data: bytes) -> str | bytes:
    """Pixels that a function gives, or the text of its error."""
    try:
        return bytes(function(data).tobytes())
    except PictureError as err:
        return str(err)


def test_a_jpg_that_claims_too_much_is_not_decoded() -> None:
    jpg = bytearray(jpg_of(1))
    at = jpg.index(b"\xff\xc0") + 5
    jpg[at : at + 2] = (60_000).to_bytes(2, "big")
    with pytest.raises(PictureError, match="claims 16 x 60000 pixels"):
        decode(bytes(jpg))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("least", [(90, 90), (60, 75), (33, 40), (12, 12), (500, 500), (0, 0)])
def test_at_a_reduced_scale_it_is_pillows_draft(mode: str, least: tuple[int, int]) -> None:
    jpg = jpg_of(1, size=150, mode=mode)
    with Image.open(io.BytesIO(jpg)) as picture:
        picture.draft("RGB", (max(least[1], 1), max(least[0], 1)))
        expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(decode_small(jpg, *least), expected)


@pytest.mark.usefixtures("no_pillow")
@pytest.mark.parametrize(("height", "width"), [(224, 224), (101, 97), (64, 200)])
def test_a_reduced_scale_is_near_a_resize(height: int, width: int) -> None:
    pixels = np.asarray(Image.fromarray(pixels_of(4)).resize((width, height)))
    jpg = encoded(pixels, quality=90)
    for factor in (2, 4):
        small = decode_small(jpg, height // factor, width // factor)
        assert small.shape == (-(-height // factor), -(-width // factor), 3)
        resized = Image.fromarray(decode(jpg)).resize(small.shape[1::-1], Image.Resampling.BOX)
        assert np.abs(small.astype(int) - np.asarray(resized)).mean() < 4


def test_what_cannot_be_reduced_comes_as_it_is() -> None:
    png = encode_png(noise(30, 20))
    np.testing.assert_array_equal(decode_small(png, 10, 10), decoded(png))
    with pytest.raises(PictureError, match="cut short or damaged"):
        decode_small(jpg_of(1, size=64)[:500], 16, 16)
