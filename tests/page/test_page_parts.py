"""Parts of the page: of the kinds that there are, and of one that nothing else knows."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_stores import write_store

import dvis
from dvis.kinds.kind import Kind
from dvis.kinds.parts import Asked, Curves, Line, Matrix, Part, Table, Unit
from dvis.kinds.registry import KINDS
from dvis.kinds.responses.parts import unit_matrices
from dvis.page import documents
from dvis.page.plain import as_json
from dvis.page.static import export_page
from dvis.schema import SchemaError, Words
from dvis.store.metrics import write_metrics
from dvis.store.reader import Reader

LABELS = [f"step_{step}" for step in (0, 5, 30, 70)]
NEW = "sharpness"


def parts_of_the_new(asked: Asked) -> Iterator[Part]:
    """A curve and a table of a run, a matrix and a curve of a unit; other checkpoints too."""
    labels = [*LABELS[1:], "step_900"]
    rising = np.array([1.0, np.nan, 1 / 3, 9.0])
    if asked.unit is None:
        lines = [
            Line(label="top", values=rising, low=rising - 1, high=rising + 1, beside_slider="top"),
            Line(label="mean", values=[None, 0.5, 0.25, 1]),
            Line(label="least", values=[0.1, 0.2, 0.3, 0.4], remarks=["", "", "not settled", ""]),
        ]
        yield Curves(
            title="Sharpness of the loss", checkpoints=labels, lines=lines,
            band="± one deviation", remark="not settled",
        )  # fmt: skip
        rows = [[asked.run, 3], ["<b>bold</b>", None]]
        yield Table(title="How it was found", columns=["by", "n"], rows=rows, note="Twice.")
        return
    title = f"Sharpness of {asked.unit.layer} {asked.unit.channel}"
    values = np.arange(8.0).reshape(2, 4)
    yield Matrix(
        title=title, note="By direction.", row_title="directions", rows=["first", "second"],
        checkpoints=labels, values=values,
    )  # fmt: skip
    yield Curves(
        title=f"{title}, summed", checkpoints=labels, lines=[Line(label="sum", values=values[0])]
    )


def kind_with(parts: Any) -> Kind:
    reader = Reader(kind=NEW, noun="sharpness", made_by="dvis sharpen")
    return Kind(reader=reader, words=lambda _: Words(kind=NEW, arrays={}), parts=parts)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_store(tmp_path_factory.mktemp("parts") / "net.zarr", LABELS, ["conv1"])
    numbers = {label: {"val_accuracy": i / 4} for i, label in enumerate(LABELS)}
    write_metrics(path, "checkpoints", numbers)
    return path


@pytest.fixture
def with_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """dvis with one kind more."""
    monkeypatch.setitem(KINDS, NEW, kind_with(parts_of_the_new))


def plain(document: Any) -> Any:
    return json.loads(as_json(document))


@pytest.mark.usefixtures("with_new")
def test_parts_of_a_new_kind_are_in_the_documents(store: Path) -> None:
    shown = documents.shown_units(store)
    accuracy, curves, table = plain(documents.variant(shown, 0))["parts"]
    assert [accuracy["title"], accuracy["lines"][1]["values"]] == ["Accuracy", [0, 0.25, 0.5, 0.75]]
    assert (curves["shape"], curves["checkpoints"]) == ("curves", [*LABELS[1:], "step_900"])
    assert curves["lines"][0]["values"] == [1, None, 0.333333, 9]
    assert curves["lines"][0]["low"] == [0, None, -0.666667, 8]
    assert (table["shape"], table["rows"][0]) == ("table", ["checkpoints", 3])
    matrix, summed = plain(documents.unit(shown, 0, 0, 2))["parts"]
    assert (matrix["shape"], matrix["title"]) == ("matrix", "Sharpness of conv1 2")
    assert matrix["values"][1] == [4, 5, 6, 7]
    assert summed["lines"][0]["values"] == [0, 1, 2, 3]


def test_half_grown_groups_hide_no_other_parts(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_grown(_: Asked) -> Iterator[Part]:
        yield Table(title="before", columns=[], rows=[])
        raise SchemaError("half grown")

    monkeypatch.setitem(KINDS, "half", kind_with(half_grown))
    monkeypatch.setitem(KINDS, NEW, kind_with(parts_of_the_new))
    found = documents.variant(documents.shown_units(store), 0)["parts"]
    assert [part["shape"] for part in found] == ["curves", "table", "curves", "table"]


def test_no_kind_is_named_in_the_page() -> None:
    words = re.compile(r"(?<![A-Za-z])(llc|response|feature)s?(?![a-z])|LLC|Response|Feature")
    folder = Path(documents.__file__).parent
    for path in folder.rglob("*.*"):
        if path.suffix in (".js", ".css", ".j2"):
            assert not words.search(path.read_text()), path
        if path.suffix == ".py":
            for name in KINDS:
                assert f"kinds.{name}" not in path.read_text(), path


def browsed(browser: Any, address: str) -> None:
    """What a browser shows of the new kind's parts, at a page's address."""
    browser.resize(1280, 1400)
    browser.open(f"{address}#/")
    titles = browser.wait(
        """const found = [...document.querySelectorAll('.panels .panel-title')];
        return found.length && found.map(each => each.textContent)"""
    )
    assert titles[:2] == ["Accuracy", "Sharpness of the loss"]
    count = "document.querySelectorAll(`.panels .plot:nth-of-type(2) ${arguments[0]}`).length"
    drawn = [browser.js(f"return {count}", name) for name in (".series", ".band-bar", ".cross")]
    assert drawn == [3, 1, 1]
    said = browser.js("return document.querySelector('.bar-detail').textContent")
    assert "accuracy 0.75" in said
    assert "top 0.333" in said
    legend = browser.js("return document.querySelector('.panels').innerText")
    assert "± one deviation" in legend
    assert "not settled, at 1 checkpoint" in legend
    cells = browser.js(
        """return [...document.querySelectorAll('.part[data-shape=table] tbody td')]
            .map(each => each.textContent)"""
    )
    assert cells == ["checkpoints", "3", "<b>bold</b>", "–"]
    browser.open(f"{address}#/conv1/2")
    shapes = "return [...document.querySelectorAll('.part')].map(each => each.dataset.shape)"
    assert browser.js(shapes) == ["matrix", "curves"]
    browser.wait("return document.querySelector('.part .heatmap-cells')")
    size = "const {width, height} = document.querySelector('.heatmap-cells');"
    assert browser.js(f"{size} return [width, height]") == [4, 2]
    assert "rows: directions" in browser.js("return document.querySelector('.heatmap').innerText")
    browser.press("\ue012")  # a checkpoint back
    browser.wait("return document.querySelector('.heatmap-readout').textContent === 'step 20'")
    assert browser.errors() == []


@pytest.mark.usefixtures("with_new")
@pytest.mark.parametrize("mode", ["live", "static"])
def test_parts_of_a_new_kind_are_drawn(
    store: Path, tmp_path: Path, request: pytest.FixtureRequest, mode: str
) -> None:
    pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
    pytest.importorskip("starlette", reason="needs the extra `page`")
    from browser import MISSING
    from page_client import serving

    if MISSING:
        pytest.skip(MISSING)
    browser = request.getfixturevalue("browser")
    if mode == "static":
        browsed(browser, export_page(store, tmp_path / "page").index.as_uri())
        return
    with serving(store) as client:
        browsed(browser, f"{client.origin}/")


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """A store with responses and the learning coefficient."""
    with zipfile.ZipFile(Path(__file__).parents[1] / "data" / "old_layout.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "net.zarr"


def test_a_latent_is_not_given_what_the_channel_of_its_number_has(old_store: Path) -> None:
    found = dvis.contents(old_store)
    (run,) = found.runs("responses")
    for list_name in ("", "wide"):
        unit = Unit(layer="conv1", channel=1, list_name=list_name)
        asked = Asked(store=old_store, contents=found, run=run, unit=unit)
        assert bool([*unit_matrices(asked)]) == (not list_name)


def test_pages_of_latents_say_whose_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "net.zarr", LABELS, ["conv1"])
    write_store(store, LABELS, ["conv1"], objective="latents-wide", autoencoder="wide")
    asked_for = []
    monkeypatch.setitem(KINDS, NEW, kind_with(lambda asked: asked_for.append(asked.unit) or ()))
    shown = documents.shown_units(store)
    for variant in range(2):
        documents.unit(shown, variant, 0, 2)
    of_lists = {
        entry.name: unit.list_name for entry, unit in zip(shown.entries(), asked_for, strict=True)
    }
    assert of_lists == {"average-0": "", "latents-wide": "wide"}


def test_parts_of_the_kinds_are_what_their_readers_give(old_store: Path) -> None:
    store = old_store
    shown = documents.shown_units(store)
    names = [group["kind"] for group in documents.overview(shown)["runs"][0]["groups"]]
    assert names == ["features", "llc", "responses", "responses", "responses"]
    curve = plain(documents.variant(shown, 0))["parts"][-1]
    llc = dvis.llc(store).squeeze()
    cell = llc.isel(gamma=llc.gamma.values.tolist().index(shown_gamma(store)))
    line, *others = curve["lines"]
    assert {line["label"], *(other["label"] for other in others)} == {
        f"LLC at γ = {gamma:g}" for gamma in llc.gamma.values
    }
    assert [line["beside_slider"], *(other["beside_slider"] for other in others)] == [
        "LLC (γ = 100, ε = 0.0001)",
        "",
    ]
    np.testing.assert_allclose(line["values"], cell.llc, rtol=1e-5)
    np.testing.assert_allclose(line["high"], cell.llc + 2 * cell.llc_se, rtol=1e-5)
    is_told = ["not settled" in remark for remark in line["remarks"]]
    assert is_told == (cell.llc.notnull() & ~cell.is_settled).values.tolist()
    matrices = plain(documents.unit(shown, 0, 0, 1))["parts"]
    assert [part["title"].split(" · ")[1] for part in matrices] == dvis.response_names(store)
    for part, name in zip(matrices, dvis.response_names(store), strict=True):
        of_unit = dvis.responses(store, name=name).sel(layer="conv1", channel=1)
        response = of_unit.response.where(of_unit.status == dvis.Status.COMPLETE)
        dim = next(dim for dim in response.dims if dim != "checkpoint")
        expected = response.transpose(dim, "checkpoint").values
        np.testing.assert_allclose(np.array(part["values"], float), expected, rtol=1e-5)
        assert part["rows_are_checkpoints"] == (dim == "image_checkpoint")


def shown_gamma(store: Path) -> float:
    """The pull of which `dvis.open` shows the LLC."""
    attrs = dvis.open(store).llc.attrs
    return float(attrs.get("gamma", dvis.llc(store).gamma.values[0]))
