"""A page as a folder: whole or not at all, no larger than asked for, the same as the server's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded_stores import image_of, write_store

import dvis
from dvis.cli import main
from dvis.page import documents, static
from dvis.page.plain import as_json
from dvis.page.static import export_page, plan_page

LABELS = [f"step_{step}" for step in range(0, 90, 10)]
LAYERS = ("conv1", "conv2")
ODD = ("</script><script>alert(1)</script>", "../../etc/passwd", "a\u2028b\n'\"")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("swept") / "net.zarr", LABELS, LAYERS)


def documents_of(page: Path) -> dict[str, Any]:
    """Documents of a page by their names, as its scripts hand them over."""
    found = {}
    for path in (page / "data").iterdir():
        text = path.read_text().removeprefix("dvis.source.receive(").removesuffix(");\n")
        name, _, document = text.partition(", ")
        found[json.loads(name)] = json.loads(document)
        assert path.stem == json.loads(name).replace("/", "_")
    return found


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_page_holds_what_the_server_would_give(store: Path, tmp_path: Path) -> None:
    report = export_page(store, tmp_path / "page")
    found = documents_of(tmp_path / "page")
    shown = documents.shown_units(store)
    expected = {
        "overview": documents.overview(shown),
        "variant/0": documents.variant(shown, 0),
        "layer/0/1": documents.layer(shown, 0, 1),
        "drift/0/1": documents.drift(shown, 0, 1),
        "unit/0/1/2": documents.unit(shown, 0, 1, 2),
    }
    for name, document in expected.items():
        assert found[name] == json.loads(as_json(document))
    assert len(found) == 1 + 1 + 1 + 2 + 2 + 6
    pictures = tmp_path / "page" / "pictures"
    sheet = pictures / "thumbs_0_1_8_0.png"
    assert sheet.read_bytes() == shown.thumbs(0, 1, 8, 0).data
    examples = pictures / "examples_0_1_8.png"
    assert examples.read_bytes() == shown.examples(0, 1, 8).data
    assert len(list(pictures.iterdir())) == 2 * (2 * len(LABELS) + 3)
    assert report.n_images == len(LABELS) * 2 * 3
    assert report.n_files == len(names_in(tmp_path / "page"))
    assert '"mode": "static"' in report.index.read_text()


def test_a_page_needs_nothing_from_a_network(store: Path, tmp_path: Path) -> None:
    export_page(store, tmp_path / "page", layers=["conv1"], max_images=6)
    for path in (tmp_path / "page").rglob("*"):
        if path.suffix in (".html", ".css", ".js") and path.parent.name != "data":
            text = path.read_text().replace("http://www.w3.org/", "")  # names of XML
            assert "http://" not in text
            assert "https://" not in text


def test_the_size_is_told_before_anything_is_written(store: Path, tmp_path: Path) -> None:
    told = []

    def refuse(plan: Any) -> None:
        told.append((len(plan.files), plan.n_images, plan.n_bytes))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_page(store, tmp_path / "page", on_plan=refuse)
    assert names_in(tmp_path) == set()
    report = export_page(store, tmp_path / "page")
    ((n_files, n_images, n_bytes),) = told
    assert (n_files, n_images) == (report.n_files, report.n_images)
    assert 0.7 < n_bytes / report.n_bytes < 1.4
    assert report.n_bytes == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())


def test_bounds_keep_the_first_and_last_checkpoint(store: Path, tmp_path: Path) -> None:
    report = export_page(store, tmp_path / "page", layers=["conv2"], channels=[0, 2], max_images=7)
    assert report.n_images == 6
    found = documents_of(tmp_path / "page")
    labels = [checkpoint["label"] for checkpoint in found["variant/0"]["checkpoints"]]
    assert labels == ["step_0", "step_40", "step_80"]
    assert [layer["name"] for layer in found["variant/0"]["layers"]] == ["conv2"]
    layer = found["layer/0/0"]
    assert layer["channels"] == [0, 2]
    # Births are of all checkpoints: most of them are not on the page.
    births = dvis.open(store).dvis.births().sel(layer="conv2", channel=[0, 2])
    assert layer["birth"]["label"] == births.birth_checkpoint.values.tolist()
    assert any("3 of the 9 checkpoints" in note for note in found["overview"]["notes"])
    assert list(report.notes) == found["overview"]["notes"]
    strip = Image.open(tmp_path / "page" / "pictures" / "strip_0_0_2.png")
    pixels = np.asarray(strip.convert("RGB"))
    for place, checkpoint in enumerate((0, 4, 8)):
        cell = pixels[:24, 24 * place : 24 * (place + 1)]
        np.testing.assert_array_equal(cell, image_of(checkpoint, 1, 2, 24))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"max_images": 11}, ValueError, "first and last checkpoint alone have 12 images"),
        ({"layers": ["conv3"]}, KeyError, "Did you mean 'conv"),
        ({"runs": ["checkpoint"]}, KeyError, "Did you mean 'checkpoints'"),
        ({"channels": [7]}, ValueError, "no units to show"),
    ],
)
def test_bounds_that_leave_nothing_are_refused(
    store: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        plan_page(store, **options)


def test_a_layer_that_some_runs_have_makes_a_page_of_those(tmp_path: Path) -> None:
    store = write_store(tmp_path / "net.zarr", LABELS[:2], ["conv1"], run="a")
    write_store(store, LABELS[:3], LAYERS, run="b")
    report = export_page(store, tmp_path / "page", layers=["conv2"], max_images=6)
    found = documents_of(tmp_path / "page")
    assert [run["name"] for run in found["overview"]["runs"]] == ["b"]
    assert found["overview"]["default"] == {"run": "b", "variant": "average-0"}
    assert [layer["name"] for layer in found["variant/0"]["layers"]] == ["conv2"]
    assert (report.n_images, "variant/1" in found) == (6, False)
    assert any("Run a, average-0, is not on this page" in note for note in report.notes)


def test_channels_that_are_not_there_are_named(store: Path) -> None:
    (note,) = plan_page(store, channels=[0, 999]).notes
    assert note == "Only channel 0 is on this page; there is nothing of 999"


def test_a_page_never_lies_inside_its_store(store: Path) -> None:
    before = names_in(store)
    for out in (store / "page", store / "a" / "page", store / ".." / store.name / "page"):
        with pytest.raises(ValueError, match="lies inside the store"):
            export_page(store, out)
    assert names_in(store) == before


def test_other_things_are_never_replaced(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"other things \(thesis.tex\)"):
            export_page(store, page, overwrite=overwrite)
    assert names_in(tmp_path) == {"page/thesis.tex"}
    with pytest.raises(FileExistsError, match="no folder"):
        export_page(store, page / "thesis.tex")


def test_a_page_is_replaced_as_a_whole_when_told(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()  # an empty folder is as good as none
    export_page(store, page, max_images=12)
    with pytest.raises(FileExistsError, match="--overwrite"):
        export_page(store, page)
    export_page(store, page, layers=["conv1"], overwrite=True)
    assert "data/variant_0.js" in names_in(page)
    assert "data/layer_0_1.js" not in names_in(page)
    assert os.listdir(tmp_path) == ["page"]


def test_a_page_that_fails_leaves_the_old_one(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page"
    export_page(store, page, max_images=12)
    before = {name: (page / name).read_bytes() for name in names_in(page)}
    (tmp_path / "full").mkdir()
    real = static.write_new

    def write_new(path: Path, data: bytes, *, root: Path) -> None:
        if path.name == "unit_0_1_2.js":
            raise OSError(28, "No space left on device")
        real(path, data, root=root)

    monkeypatch.setattr(static, "write_new", write_new)
    with pytest.raises(OSError, match="Make space"):
        export_page(store, page, overwrite=True)
    monkeypatch.undo()
    assert {name: (page / name).read_bytes() for name in names_in(page)} == before
    assert sorted(os.listdir(tmp_path)) == ["full", "page"]


def test_odd_labels_name_no_files_and_end_no_scripts(tmp_path: Path) -> None:
    store = write_store(tmp_path / "odd.zarr", ODD, ODD[:2], run="../<b>run", model="</script>")
    before = names_in(tmp_path)
    export_page(store, tmp_path / "page")
    names = names_in(tmp_path / "page")
    assert names_in(tmp_path) - before == {f"page/{name}" for name in names}
    assert all(name.replace("/", "_").replace(".", "_").isidentifier() for name in names)
    for path in (tmp_path / "page" / "data").iterdir():
        text = path.read_text()
        assert "<" not in text
        assert "\u2028" not in text
    labels = [c["label"] for c in documents_of(tmp_path / "page")["variant/0"]["checkpoints"]]
    assert sorted(labels) == sorted(ODD)
    html = (tmp_path / "page" / "index.html").read_text()
    assert "alert" not in html
    assert html.count("</script>") == html.count("<script")


def test_the_command_says_what_it_writes(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "page")
    with pytest.raises(SystemExit) as ended:
        main(["page", str(store), out, "--layers", "conv1", "--max-images", "9"])
    assert ended.value.code == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith(f"9 images of {store}: ")
    assert "about 0." in first
    assert "  3 of the 9 checkpoints of run checkpoints, average-0, are on this page" in others[0]
    assert others[-1].startswith(f"{out}/index.html: ")
    with pytest.raises(SystemExit) as ended:
        main(["page", str(store), out])
    assert ended.value.code == 2
    assert "--overwrite" in capsys.readouterr().err


def test_importing_a_page_needs_no_torch_and_no_jinja(store: Path) -> None:
    code = (
        "import sys; sys.modules['jinja2'] = None; sys.modules['starlette'] = None; "
        "import dvis.cli; from dvis.page import static; "
        "from dvis.page import documents; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules); "
        f"dvis.cli.main([sys.argv[1], {str(store)!r}] + sys.argv[2:])"
    )
    for command, missing in ((["view"], "starlette"), (["page", "none"], "jinja2")):
        done = subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 2, done.stderr
        assert f"needs {missing}: pip install 'dvis[page]'" in done.stderr
