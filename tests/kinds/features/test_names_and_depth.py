"""Names as long as a file system takes, trees deeper than Python goes, pictures that swell."""

import io
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from recorded_stores import write_store
from trees import write_tree, write_unit

import dvis
from dvis.info import list_problems
from dvis.schema import Status
from dvis.store.metrics import write_metrics

LONG = "é" * 127 + "x"  # 255 bytes


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("run", ["features", "responses", "llc", "datasets", "zarr.json", "c"])
def test_a_run_called_like_a_group_of_a_store_comes_back(run: str, tmp_path: Path) -> None:
    tree = write_tree(tmp_path, ["step_0", "step_1"], ("layer1",), 2, run=run)
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr", workers=1)
    assert dvis.runs(tmp_path / "s.zarr") == [run]
    assert dvis.check_store(tmp_path / "s.zarr", fix=True) == []
    dvis.export_tree(tmp_path / "s.zarr", tmp_path / "out")
    assert files_of(tmp_path / "out" / tree.name) == files_of(tree)


def test_a_run_among_the_image_sets_is_none_of_them(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"], run="datasets/1")
    assert dvis.check_store(store, fix=True) == []
    assert dvis.open(store, "datasets/1").image.values.any()


def test_numbers_of_a_training_do_not_take_the_place_of_a_run(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"], run="a/training")
    write_store(store, ["step_0"], ["conv1"], run="a")
    with pytest.raises(ValueError, match="run 'a' would have its group at a/training"):
        write_metrics(store, "a", {"step_0": {"loss": 1.0}})
    assert sorted(dvis.runs(store)) == ["a", "a/training"]


def test_names_of_255_bytes_go_in_and_come_back(tmp_path: Path) -> None:
    tail = "_channel_0_average.info.json"
    layer = "x" * (255 - len("layer_" + tail))
    tree = write_tree(tmp_path, [LONG], (layer,), 1, run=LONG)
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr", workers=1)
    assert dvis.runs(tmp_path / "s.zarr") == [LONG]
    dvis.export_tree(tmp_path / "s.zarr", tmp_path / "out")
    assert files_of(tmp_path / "out" / tree.name) == files_of(tree)


def test_a_layer_too_long_for_a_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1", "x" * 240])
    with pytest.raises(ValueError, match="too long"):
        dvis.export_tree(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_too_long_for_a_store_are_one_clear_error(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, ["step_0"], ("layer1",), 1)
    with pytest.raises(ValueError, match="too long for the name of a store"):
        dvis.ingest_tree(tree, store=tmp_path / ("s" * 250 + ".zarr"))
    with pytest.raises(ValueError, match=r"is no name of a model.*--model"):
        dvis.ingest_tree(tree, model="m" * 255)
    dvis.ingest_tree(tree, model="m" * 255, store=tmp_path / "s.zarr", workers=1)
    assert dvis.contents(tmp_path / "s.zarr").attrs["model"] == "m" * 255


def test_a_run_that_a_store_cannot_keep_is_told_and_the_others_go_in(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, ["step_0"], ("layer1",), 1)
    # Each "%" takes three letters in a store.
    write_unit(tree / ("%" * 200) / "step_0", "layer1", 0)
    (report,) = dvis.ingest_tree(tree, store=tmp_path / "s.zarr", workers=1)
    assert any("too long for a folder" in str(problem) for problem in report.problems)
    assert dvis.runs(tmp_path / "s.zarr") == ["checkpoints"]


def test_folders_a_thousand_deep_are_told_and_end_nothing(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, ["step_0"], ("layer1",), 1)
    deep = tree / Path(*"d" * 1000)
    subprocess.run(["mkdir", "-p", str(deep)], check=True)  # Python's own goes by recursion
    write_unit(deep, "layer1", 0)
    (report,) = dvis.ingest_tree(tree, store=tmp_path / "s.zarr", workers=1)
    assert any("64 folders" in str(problem) for problem in report.problems)
    assert dvis.runs(tmp_path / "s.zarr") == ["checkpoints"]
    subprocess.run(["mkdir", "-p", str(tmp_path / "s.zarr" / Path(*"d" * 1000))], check=True)
    assert dvis.check_store(tmp_path / "s.zarr") == []
    subprocess.run(["rm", "-rf", str(tree), str(tmp_path / "s.zarr")], check=True)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *more: bytes, n_bytes: int = 0) -> bytes:
    pixels = zlib.compress(bytes(n_bytes or height * (1 + 3 * width)), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *more, _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _huge_jpg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


_TEXT = zlib.compress(bytes(2**28), 9)
SWELLING = {
    "a png of 40,000 x 40,000": _png(40_000, 40_000, n_bytes=100),
    "a jpg of 65,500 x 65,500": _huge_jpg(),
    "a text of 256 MB": _png(16, 16, _chunk(b"zTXt", b"a\0\0" + _TEXT)),
    "a profile of 256 MB": _png(16, 16, _chunk(b"iCCP", b"a\0\0" + _TEXT)),
    "256 MB behind the pixels": _png(16, 16, n_bytes=2**28),
}


@pytest.mark.parametrize("what", SWELLING)
def test_a_small_picture_that_swells_is_bounded_and_ends_nothing(what: str, tmp_path: Path) -> None:
    tree = write_tree(tmp_path, ["step_0"], ("layer1",), 2)
    folder, data = tree / "checkpoints" / "step_0", SWELLING[what]
    for path in folder.glob("*channel_0_average.jpg"):
        path.unlink()
    (folder / "layer_layer1_channel_0_average.png").write_bytes(data)
    assert len(data) < 2**20
    tracemalloc.start()
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr", workers=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**26
    found = dvis.open(tmp_path / "s.zarr").isel(checkpoint=0, layer=0)
    first, second = found.status.values.tolist()
    assert second == Status.COMPLETE
    if first != Status.COMPLETE:  # what swells beside the pixels may be left aside
        assert list_problems(tmp_path / "s.zarr")
    assert PngImagePlugin.MAX_TEXT_CHUNK <= 2**20  # by which Pillow bounds what we do not
