"""A page of files is read in blocks: of what is looked at, and of nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded_stores import write_store

from dvis.page.static import export_page

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
from browser import MISSING, Browser, chromium, show

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
LABELS = [f"step_{step}" for step in range(0, 30, 10)]
LAYERS = ("conv1", "conv2")
N_CHANNELS = 400  # in seven sheets of 64, of which two are in sight


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks")
    store = write_store(folder / "net.zarr", LABELS, LAYERS, n_channels=N_CHANNELS)
    return export_page(store, folder / "page").index


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(recorded=True) as found:
        yield found


def read_by(browser: Browser, page: Path, fragment: str) -> set[str]:
    """Names of documents and pictures that a view has read once it is there."""
    browser.resize(1000, 500)
    browser.files_read()  # by the view before
    browser.open(f"{page.as_uri()}#/{fragment}")
    return now_read(browser)


def now_read(browser: Browser) -> set[str]:
    paths = browser.files_read()
    return {path.stem for path in paths if path.parent.name in ("data", "pictures")}


def test_the_first_view_reads_no_layer_and_no_unit(page: Path, browser: Browser) -> None:
    read = read_by(browser, page, "")
    browser.js("document.querySelector('.layers').scrollIntoView()")
    browser.wait("return [...document.querySelectorAll('.examples')].every(e => e.dataset.shown)")
    read |= now_read(browser)
    last = len(LABELS) - 1
    examples = {f"examples_0_{layer}_{last}" for layer in range(len(LAYERS))}
    assert read == {"overview", "variant_0", *examples}
    written = {path.stem for path in page.parent.rglob("*")}
    assert {"layer_0_0", "unit_0_0_5", f"thumbs_0_0_{last}_6", "called"} <= written
    assert browser.errors() == []


def test_a_layer_reads_its_own_numbers_and_the_sheets_in_sight(
    page: Path, browser: Browser
) -> None:
    read = read_by(browser, page, "conv2")
    documents = {name for name in read if not name.startswith("thumbs_")}
    assert documents == {"overview", "variant_0", "layer_0_1"}
    sheets = {tuple(map(int, name.split("_")[1:])) for name in read - documents}
    assert {layer for _, layer, _, _ in sheets} == {1}
    in_sight = {block for *_, block in sheets}
    assert 0 in in_sight
    assert max(in_sight) < 3
    browser.js("window.scrollTo(0, document.body.scrollHeight)")
    browser.wait("return document.querySelector('.cell[data-channel=\"399\"]').dataset.drawn")
    read = now_read(browser)
    assert f"thumbs_0_1_{len(LABELS) - 1}_6" in read
    show(browser, 0)
    assert "thumbs_0_1_0_6" in read | now_read(browser)
    assert browser.errors() == []


def test_a_unit_reads_itself_and_its_layer(page: Path, browser: Browser) -> None:
    read = read_by(browser, page, "conv1/7")
    documents = {name for name in read if not name.startswith("thumbs_")}
    assert documents == {"overview", "variant_0", "layer_0_0", "unit_0_0_7", "strip_0_0_7"}
    assert browser.errors() == []
