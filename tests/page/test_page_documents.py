"""What a page says of a store: the same as xarray does of it."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded_stores import image_of, write_store
from trees import decoded

import dvis
from dvis.info import list_problems
from dvis.kinds.features.shown import sheets
from dvis.kinds.features.shown.downloads import numbers_csv, stored_image, write_archive
from dvis.kinds.features.shown.selection import ShownStore
from dvis.kinds.features.shown.unit_document import unit
from dvis.kinds.shown import NotShownError, Selection
from dvis.page import documents
from dvis.page.documents import shown_units
from dvis.page.plain import as_json, as_script, numbers
from dvis.schema import Status

LABELS = [f"step_{step}" for step in (0, 5, 30, 70)]
LAYERS = ("conv1", "conv2.0")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's store: channel 1 is absent at the first checkpoint, 2 failed at the second."""
    path = tmp_path_factory.mktemp("swept") / "net.zarr"
    return write_store(path, LABELS, LAYERS, skip=[(0, 1)], failed=[(1, 2)])


def plain(document: Any) -> Any:
    """A document as the page gets it."""
    return json.loads(as_json(document))


def cells(data: bytes, columns: int, height: int, width: int) -> list[np.ndarray]:
    """The cells of a sheet, (y, x, rgb) each."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return [
        pixels[y : y + height, x : x + width]
        for y in range(0, pixels.shape[0], height)
        for x in range(0, columns * width, width)
    ]


def test_overview_names_what_the_store_holds(sample_store: Path) -> None:
    found = plain(documents.overview(shown_units(sample_store)))
    assert [run["name"] for run in found["runs"]] == dvis.runs(sample_store)
    for run in found["runs"]:
        names = [variant["name"] for variant in run["variants"]]
        assert names == dvis.variants(sample_store, run["name"])
    dataset = dvis.open(sample_store)
    assert found["default"] == {key: dataset.attrs[key] for key in ("run", "variant")}
    assert found["n_problems"] == len(found["problems"]) > 0
    assert found["model"] == "resnet18"


def test_every_variant_counts_what_xarray_counts(sample_store: Path) -> None:
    store = shown_units(sample_store)
    for index, entry in enumerate(store.entries()):
        dataset = dvis.open(sample_store, entry.run, entry.name)
        found = plain(documents.variant(store, index))
        assert [c["label"] for c in found["checkpoints"]] == dataset.checkpoint.values.tolist()
        for row in found["layers"]:
            status = dataset.status.sel(layer=row["name"])
            for each in (Status.COMPLETE, Status.INCOMPLETE, Status.FAILED):
                assert row[f"n_{each.name.lower()}"] == int((status == each).sum())
            complete = (status == Status.COMPLETE).sum("channel")
            assert row["complete"] == complete.values.tolist()
            activation = dataset.activation.sel(layer=row["name"])
            median = activation.where(status == Status.COMPLETE).median("channel").values
            shown = np.array(row["median"], float)
            np.testing.assert_allclose(shown, median, rtol=1e-5)


def test_layer_gives_activations_and_births_of_complete_units(swept: Path) -> None:
    store, dataset = shown_units(swept), dvis.open(swept)
    found = plain(documents.layer(store, 0, 1))
    of_layer = dataset.sel(layer="conv2.0")
    assert found["channels"] == [0, 1, 2]
    assert found["status"] == ["101", "113", "111", "111"]
    expected = of_layer.activation.where(of_layer.status == Status.COMPLETE)
    shown = np.array(found["activation"], float)
    np.testing.assert_allclose(shown, expected.transpose("checkpoint", "channel"), rtol=1e-5)
    assert found["activation"][0][1] is None
    births = of_layer.dvis.births()
    assert found["birth"]["state"] == births.state.values.tolist()
    assert found["birth"]["label"] == births.birth_checkpoint.values.tolist()
    assert found["birth"]["position"] == births.birth.values.tolist()
    growth = dataset.dvis.rank(by="growth").to_dataframe().set_index(["layer", "channel"])
    assert found["growth"] == pytest.approx(
        [growth.score["conv2.0", channel] for channel in (0, 1, 2)], rel=1e-5
    )


def test_unit_tells_how_it_was_made(swept: Path) -> None:
    found = plain(unit(ShownStore(swept), 0, 0, 2))
    assert found["status"] == "1311"
    assert found["problems"] == ["", "failed: no gradient", "", ""]
    assert found["stop_step"] == [7, None, 7, 7]
    assert found["params"] == [0, None, 0, 0]
    assert found["parameters"][0]["input_std"] == [1.0] * 3
    assert found["activation"][1] is None
    selected = eval(found["select"], {"dvis": dvis})
    assert selected.layer == "conv1"
    assert selected.channel == 2


def test_line_of_python_selects_the_run_and_variant(sample_store: Path) -> None:
    store = ShownStore(sample_store)
    for index, entry in enumerate(store.entries()):
        layer = store.layer(index, 0)
        if layer.channels:
            line = unit(store, index, 0, layer.channels[-1])["select"]
            selected = eval(line, {"dvis": dvis})
            assert selected.attrs["run"] == entry.run
            assert selected.attrs["variant"] == entry.name


def test_sheets_show_each_unit_in_its_cell(swept: Path) -> None:
    store = ShownStore(swept)
    for checkpoint in range(4):
        sheet = cells(sheets.thumbs(store.layer(0, 1), checkpoint, 0), 8, 24, 24)
        for channel in range(3):
            has_none = (checkpoint, channel) in ((0, 1), (1, 2))
            expected = (
                np.full((24, 24, 3), 128) if has_none else image_of(checkpoint, 1, channel, 24)
            )
            np.testing.assert_array_equal(sheet[channel], expected)
    strip = cells(sheets.strip(store.layer(0, 1), 0), 10, 24, 24)
    for checkpoint in range(4):
        np.testing.assert_array_equal(strip[checkpoint], image_of(checkpoint, 1, 0, 24))


def test_jpgs_are_given_as_they_are_stored(sample_store: Path) -> None:
    store, dataset = ShownStore(sample_store), dvis.open(sample_store)
    index = [(e.run, e.name) for e in store.entries()].index(
        (dataset.attrs["run"], dataset.attrs["variant"])
    )
    layer = store.layer(index, 0)
    rows, columns = np.nonzero(layer.status == Status.COMPLETE)
    for row, column in zip(rows[:5].tolist(), columns[:5].tolist(), strict=True):
        channel = layer.channels[column]
        data, _ = stored_image(store, index, 0, channel, row)
        image = dataset.image.isel(checkpoint=row).sel(layer=layer.name, channel=channel)
        np.testing.assert_array_equal(decoded(data), image.values)


def test_large_images_are_scaled_into_their_cells(tmp_path: Path) -> None:
    path = write_store(tmp_path / "net.zarr", LABELS[:2], LAYERS[:1], size=192)
    store = ShownStore(path)
    assert sheets.thumb_sheet(store.variant(0)).cell_width == 96
    sheet = cells(sheets.thumbs(store.layer(0, 0), 1, 0), 8, 96, 96)
    for channel in range(3):
        difference = sheet[channel][40:] - image_of(1, 0, channel, 96)[40:].astype(int)
        assert np.abs(difference).max() < 8


def test_damaged_pictures_leave_the_others_alone(own_store: Path) -> None:
    layer = ShownStore(own_store).layer(0, 0)
    sheet = sheets.thumb_sheet(layer.variant)
    size = sheet.columns, sheet.cell_height, sheet.cell_width
    whole = cells(sheets.thumbs(layer, 0, 0), *size)
    blocks = layer.variant.blocks
    assert blocks is not None
    path = blocks.path(0, layer.variant.disk_layers[0], 0)
    data = bytearray(path.read_bytes())
    data[20] ^= 255  # within the first picture: channel 0 at the first checkpoint on disk
    path.write_bytes(data)
    row = layer.variant.disk_rows.index(0)
    before = cells(sheets.thumbs(layer, row, 0), *size) if row else whole
    after = cells(sheets.thumbs(ShownStore(own_store).layer(0, 0), row, 0), *size)
    assert (after[0] == 128).all()
    assert not (whole[0] == 128).all()
    for old, new in zip(before[1:], after[1:], strict=True):
        np.testing.assert_array_equal(old, new)


def test_numbers_and_images_can_be_taken_away(swept: Path) -> None:
    store = ShownStore(swept)
    table = numbers_csv(store, 0, 0, 1).decode().splitlines()
    assert table[0].startswith("checkpoint,epoch,phase,batch,step,time,status,activation")
    assert [line.split(",")[6] for line in table[1:]] == ["absent", *["complete"] * 3]
    file = io.BytesIO()
    write_archive(file, store, 0, 0, 1)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert sorted(names) == [
            "00001_step_5.png", "00002_step_30.png", "00003_step_70.png", "numbers.csv"
        ]  # fmt: skip
        np.testing.assert_array_equal(
            decoded(archive.read("00002_step_30.png")), image_of(2, 0, 1, 24)
        )


def test_texts_that_a_spreadsheet_would_run_are_quoted(tmp_path: Path) -> None:
    path = write_store(tmp_path / "net.zarr", ["=1+1", "@a", "-b", "c-d"], ["conv1"])
    lines = numbers_csv(ShownStore(path), 0, 0, 1).decode().splitlines()[1:]
    assert sorted(line.split(",")[0] for line in lines) == ["'-b", "'=1+1", "'@a", "c-d"]


def test_problems_of_a_sweep_name_their_unit(swept: Path) -> None:
    said = f"net/checkpoints/{LABELS[1]}/conv2.0/channel 2: failed: no gradient"
    assert said in list_problems(swept)
    found = plain(documents.overview(shown_units(swept)))["problems"]
    assert {
        "run": "checkpoints", "variant": "average-0", "checkpoint": LABELS[1],
        "layer": "conv2.0", "channel": 2, "text": said,
    } in found  # fmt: skip
    part = shown_units(swept, Selection(layers=("conv1",)))
    of_other_layer = [p for p in plain(documents.overview(part))["problems"] if p["text"] == said]
    assert of_other_layer == [{"text": said}]


def test_a_unit_tells_where_it_has_an_image(swept: Path, sample_store: Path) -> None:
    assert unit(ShownStore(swept), 0, 0, 2)["has_image"] == [True, False, True, True]
    store = ShownStore(sample_store)
    n_incomplete = 0
    for index in range(len(store.entries())):
        layer = store.layer(index, 0)
        for channel in layer.channels:
            found = unit(store, index, 0, channel)
            for row, (status, has_image) in enumerate(
                zip(found["status"], found["has_image"], strict=True)
            ):
                n_incomplete += status == "2"
                if has_image:
                    stored_image(store, index, 0, channel, row)
                else:
                    with pytest.raises(NotShownError):
                        stored_image(store, index, 0, channel, row)
    assert n_incomplete, "the sample has such units"


def test_versions_change_with_the_images_and_only_then(tmp_path: Path) -> None:
    path = write_store(tmp_path / "net.zarr", LABELS, LAYERS, failed=[(2, 0)])
    store = shown_units(path)
    before = documents.layer(store, 0, 0)["versions"]
    signature = store.signature()
    assert documents.layer(shown_units(path), 0, 0)["versions"] == before
    write_store(path, LABELS[2:3], LAYERS[:1], first_step=20)  # makes what had failed
    after = documents.layer(store, 0, 0)["versions"]
    assert [old != new for old, new in zip(before, after, strict=True)] == [
        False,
        False,
        True,
        False,
    ]
    assert store.signature() != signature


def test_numbers_that_are_not_there_are_refused(swept: Path) -> None:
    store = ShownStore(swept)
    for ask in (
        lambda: store.variant(1),
        lambda: store.variant(-1),
        lambda: store.layer(0, 2),
        lambda: unit(store, 0, 0, 3),
        lambda: stored_image(store, 0, 0, 0, 4),
        lambda: stored_image(store, 0, 0, 1, 0),
    ):
        with pytest.raises(NotShownError):
            ask()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([np.nan, np.inf, -np.inf], "[null,null,null]"),
        ([0.0, 123456.7, -1.2345678e-7, 2.5e12], "[0.0,123457.0,-1.23457e-7,2500000000000.0]"),
        ([[1 / 3], [2.5]], "[[0.333333],[2.5]]"),
    ],
)
def test_numbers_are_short_and_never_nan(values: Sequence[float], text: str) -> None:
    assert as_json(numbers(values)).decode() == text


def test_no_text_ends_a_script() -> None:
    text = "</script><!--\u2028\u2029'\"\\"
    script = as_script("layer/0/0", {"layer": text}).decode()
    assert "<" not in script
    assert "\u2028" not in script
    assert "\u2029" not in script
    given = script.removeprefix('dvis.source.receive("layer/0/0", ').removesuffix(");\n")
    assert json.loads(given) == {"layer": text}
