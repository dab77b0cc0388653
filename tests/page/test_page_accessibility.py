"""What axe-core finds wrong with the page for people who do not see it, or not its colours."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
pytest.importorskip("starlette", reason="needs the extra `page`")
from browser import MISSING, Browser, Page
from made_up_maps import write_mapped

from dvis.page.static import export_page

_PACKAGE = find_spec("axe_core_python")
_FOLDERS = (_PACKAGE and _PACKAGE.submodule_search_locations) or []
_AXE = next((path for each in _FOLDERS for path in Path(each).rglob("axe.min.js")), None)

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.skipif(_AXE is None, reason="needs axe-core: pip install axe-core-python"),
]
VIEWS = ("", "?search=layer", "layer1", "layer1/5", "layer1/5?enlarged=1", "compare")
SERIOUS = ("serious", "critical")
RUN = """const done = arguments[0];
axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations.flatMap(each =>
    each.nodes.map(node => [each.impact, each.id, node.html.slice(0, 160)]))),
    error => done([['critical', 'axe', String(error)]]))"""


def faults_of(browser: Browser, address: str, views: Sequence[str]) -> list[tuple[str, ...]]:
    """What is serious in the views of a page, by view."""
    assert _AXE is not None
    found = []
    for view in views:
        browser.open(f"{address}#/{view}")
        browser.js(_AXE.read_text())
        faults = browser.driver.execute_async_script(RUN)
        found += [(view, *fault) for fault in faults if fault[0] in SERIOUS]
    return found


@pytest.mark.parametrize("page", ["static"], indirect=True)
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_serious_stands_in_the_way(page: Page, is_dark: bool, width: int) -> None:
    page.browser.resize(width, dark=is_dark)
    found = faults_of(page.browser, page.address, VIEWS)
    page.browser.resize(1280)
    assert found == []


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("mapped")
    return export_page(write_mapped(folder / "net.zarr"), folder / "page").index.as_uri()


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_serious_stands_in_the_way_of_a_map(
    mapped: str, browser: Browser, is_dark: bool, width: int
) -> None:
    browser.resize(width, dark=is_dark)
    views = ("map/responses%2Fmine", "map/responses%2Fmine?color=layer&chosen=0:1-2")
    found = faults_of(browser, mapped, views)
    browser.resize(1280)
    assert found == []
