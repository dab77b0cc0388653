"""Trees that went through other systems and programs: nothing is lost without a word."""

import codecs
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import CHECKPOINTS, decoded, info_of, jpg_of, pixels_of, write_tree, write_unit
from whole_stores import counts, unit

import dvis
from dvis.info import list_problems
from dvis.kinds.features.tree.command import ingest
from dvis.schema import Status

ONE = "layer_layer1_channel_1_average"


def png_of(*key: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_of(*key)).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def tree_with(root: Path, change: Callable[[Path], None]) -> Path:
    """A tree of two checkpoints with two units each, the second of them changed."""
    tree = write_tree(root, CHECKPOINTS[:2], ("layer1",), 2)
    change(tree / "checkpoints" / CHECKPOINTS[1])
    return tree


def renamed(old: str, new: str) -> Callable[[Path], None]:
    """A change that renames the files of channel 1 that have `old` in their names."""

    def change(folder: Path) -> None:
        for path in list(folder.glob(f"{ONE}.*")):
            path.rename(path.with_name(path.name.replace(old, new)))

    return change


def names_of(tree: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()
    }


# Suffixes


@pytest.mark.parametrize(
    "suffix", [".JPG", ".jpeg", ".JPEG", ".Jpg", ".png", ".PNG", ".Png", ".info.json"]
)
def test_files_are_taken_by_any_suffix_and_exported_by_it(suffix: str, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        if suffix == ".info.json":
            renamed(suffix, ".INFO.JSON")(folder)
        else:
            (folder / f"{ONE}.jpg").unlink()
            data = png_of(7) if "png" in suffix.lower() else jpg_of(7)
            (folder / f"{ONE}{suffix}").write_bytes(data)

    tree, store = tree_with(tmp_path, change), tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store, workers=1)
    assert counts(store) == {("checkpoints", "average-0"): (4, 0, 0)}
    assert list_problems(store) == []
    if suffix != ".info.json":
        image = unit(dvis.open(store), 1, "layer1", 1).image.values
        data = png_of(7) if "png" in suffix.lower() else jpg_of(7)
        np.testing.assert_array_equal(image, decoded(data))
    dvis.export_tree(store, tmp_path / "out")
    before, after = names_of(tree), names_of(tmp_path / "out" / "resnet18")
    assert before.keys() == after.keys()
    for name, data in before.items():
        if name.lower().endswith("json"):
            assert json.loads(after[name]) == json.loads(data)
        else:
            assert after[name] == data
    report = dvis.ingest_tree(tmp_path / "out" / "resnet18", store=store, workers=1)[0]
    assert not report.problems


def test_raw_pixels_of_a_png_come_back_as_a_png(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        (folder / f"{ONE}.jpg").unlink()
        (folder / f"{ONE}.png").write_bytes(png_of(7))

    dvis.ingest_tree(tree_with(tmp_path, change), store=tmp_path / "s.zarr", codec="raw", workers=1)
    dvis.export_tree(tmp_path / "s.zarr", tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.png")
    np.testing.assert_array_equal(decoded(path.read_bytes()), pixels_of(7))


def test_of_two_pictures_of_a_unit_the_newer_is_taken_and_it_is_told(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        (folder / f"{ONE}.png").write_bytes(png_of(7))
        os.utime(folder / f"{ONE}.jpg", (1000, 1000))

    store = tmp_path / "s.zarr"
    tree = tree_with(tmp_path, change)
    dvis.ingest_tree(tree, store=store, workers=1)
    np.testing.assert_array_equal(unit(dvis.open(store), 1, "layer1", 1).image, decoded(png_of(7)))
    (problem,) = list_problems(store)
    assert f"{ONE}.png: .jpg is there too; this is newer" in problem
    assert dvis.ingest_tree(tree, store=store, workers=1)[0].n_unchanged == 4


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (f"{ONE}.jpg", png_of(7), "is a png by another name"),
        (f"{ONE}.png", jpg_of(7), "is a jpeg by another name"),
        (f"{ONE}.png", png_of(7, mode="RGBA"), "of mode RGBA; kept as it is"),
        (f"{ONE}.png", png_of(7, mode="LA"), "of mode LA; kept as it is"),
        (f"{ONE}.png", png_of(7, mode="P"), ""),
        (f"{ONE}.png", png_of(7, mode="1"), ""),
    ],
)
def test_what_a_picture_is_its_bytes_say(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        (folder / f"{ONE}.jpg").unlink()
        (folder / name).write_bytes(data)

    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree_with(tmp_path, change), store=store, workers=1)
    found = unit(dvis.open(store), 1, "layer1", 1)
    assert int(found.status) == Status.COMPLETE
    np.testing.assert_array_equal(found.image, decoded(data))
    problems = list_problems(store)
    assert len(problems) == bool(said)
    assert all(said in problem for problem in problems)


@pytest.mark.parametrize(
    "data",
    [
        png_of(7)[:40],
        png_of(7).replace(b"IHDR", b"IHDX"),
        b"\x89PNG\r\n\x1a\n" + (4).to_bytes(4, "big") + b"IHDR" + bytes(8),
        b"",
    ],
)
def test_a_damaged_png_is_told_and_stops_nothing(data: bytes, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        (folder / f"{ONE}.jpg").unlink()
        (folder / f"{ONE}.png").write_bytes(data)

    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree_with(tmp_path, change), store=store, workers=1)
    assert counts(store) == {("checkpoints", "average-0"): (3, 1, 0)}
    (problem,) = list_problems(store)
    assert f"{ONE}.png: is" in problem


# Json


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.encode("utf-16-le"),
    ],
    ids=["BOM", "UTF-16-LE", "UTF-16-BE", "UTF-16 CRLF", "CRLF", "UTF-16 without BOM"],
)
@pytest.mark.parametrize("activation", [5.0, float("nan")])
def test_json_in_any_unicode_is_read(
    encode: Callable[[str], bytes], activation: float, tmp_path: Path
) -> None:
    # A key of its own makes the store keep the text itself.
    record = info_of("layer1", 1, Activation=activation, Author="Zoë")

    def change(folder: Path) -> None:
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (folder / f"{ONE}.info.json").write_bytes(encode(text))

    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree_with(tmp_path, change), store=store, workers=1)
    found = unit(dvis.open(store), 1, "layer1", 1)
    assert int(found.status) == Status.COMPLETE
    np.testing.assert_equal(float(found.activation), activation)
    assert list_problems(store) == []
    dvis.export_tree(store, tmp_path / "out")
    (path,) = (tmp_path / "out").rglob(f"{CHECKPOINTS[1]}/{ONE}.info.json")
    np.testing.assert_equal(json.loads(path.read_bytes().decode("utf-8")), record)


# Names


def copied(folder: Path) -> None:
    for suffix in (".jpg", ".info.json"):
        data = (folder / f"{ONE}{suffix}").read_bytes()
        (folder / f"{ONE} (1){suffix}").write_bytes(data)


def flattened(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(folder.parents[1] / f"checkpoints\\{folder.name}\\{path.name}")


def in_capitals(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.upper()))


@pytest.mark.parametrize(
    ("change", "said", "n_units"),
    [
        (renamed("average.", "average (1)."), "was renamed, as sync programs do", 3),
        (renamed("average.", "average-LAPTOP7."), "was renamed, as sync programs do", 3),
        (
            renamed("average.", "average.sync-conflict-20240101-101010-ABC."),
            "was renamed, as sync programs do",
            3,
        ),
        (renamed("layer_layer1", "Copy of layer_layer1"), "was renamed, as sync programs do", 3),
        (copied, "copy of a feature file that lies beside it", 4),
        (renamed("average.", "max."), "does not end in average, sum, center or", 3),
        (renamed(".jpg", ".webp"), "its suffix is none of .jpg", 4),
        (flattened, "its name holds the folders that it was in", 2),
        (in_capitals, "its name is in capitals", 2),
    ],
)
def test_files_under_other_names_are_counted_and_strict_fails(
    change: Callable[[Path], None], said: str, n_units: int, tmp_path: Path
) -> None:
    store, tree = tmp_path / "s.zarr", tree_with(tmp_path, change)
    assert ingest(tree, store=store, workers=1, strict=True) == 1
    lines = [problem for problem in list_problems(store) if said in problem]
    assert len(lines) == 1  # the first of its kind speaks for all
    n_files = {2: "4 such files", 3: "2 such files"}.get(n_units, "")
    assert n_files in lines[0] or said.startswith("copy")
    assert sum(sum(each) for each in counts(store).values()) == n_units


def test_a_tree_of_nothing_but_renamed_files_says_so(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1], ("layer1",), 1)
    in_capitals(tree / "checkpoints" / CHECKPOINTS[0])
    with pytest.raises(FileNotFoundError, match=r"Nothing to import(.|\n)*in capitals"):
        dvis.ingest_tree(tree, store=tmp_path / "s.zarr", workers=1)


def test_what_systems_leave_in_a_tree_is_passed_over(tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        (folder / f"._{ONE}.jpg").write_bytes(b"\0\5\x16\7")
        for name in ("__MACOSX", ".Trash-0", ".snapshot", ".stversions", "@eaDir"):
            for place in (folder, folder.parents[1], folder.parents[2]):
                write_unit(place / name / "copy")

    tree, store = tree_with(tmp_path, change), tmp_path / "stores"
    reports = dvis.ingest_tree(tree.parent, store=store, workers=1)
    assert [report.model for report in reports] == ["resnet18"]
    assert counts(store) == {("checkpoints", "average-0"): (4, 0, 0)}
    assert list_problems(store) == []


@pytest.mark.parametrize("year", ["0024", "1600", "9999"])
def test_one_odd_date_leaves_a_store_readable(year: str, tmp_path: Path) -> None:
    tree, store = write_tree(tmp_path, CHECKPOINTS[:2], ("layer1",), 1), tmp_path / "s.zarr"
    odd = f"checkpoint_{year}-03-25-00h28_epoch_0_train_0.pth.tar"
    write_unit(tree / "checkpoints" / odd)
    dvis.ingest_tree(tree, store=store, workers=1)
    ds = dvis.open(store)
    assert set(ds.checkpoint.values) == {*CHECKPOINTS[:2], odd}
    assert np.isnat(ds.time.sel(checkpoint=odd))
    assert not np.isnat(ds.time.sel(checkpoint=CHECKPOINTS[0]))
