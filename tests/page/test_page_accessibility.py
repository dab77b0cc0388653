"""What axe-core finds wrong with the page for people who do not see it, or not its colours."""

from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
pytest.importorskip("starlette", reason="needs the extra `page`")
from browser import MISSING, Page

_PACKAGE = find_spec("axe_core_python")
_FOLDERS = (_PACKAGE and _PACKAGE.submodule_search_locations) or []
_AXE = next((path for each in _FOLDERS for path in Path(each).rglob("axe.min.js")), None)

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.skipif(_AXE is None, reason="needs axe-core: pip install axe-core-python"),
    pytest.mark.parametrize("page", ["static"], indirect=True),
]
VIEWS = ("", "layer1", "layer1/5", "layer1/5?enlarged=1", "compare")
SERIOUS = ("serious", "critical")
RUN = """const done = arguments[0];
axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations.flatMap(each =>
    each.nodes.map(node => [each.impact, each.id, node.html.slice(0, 160)]))),
    error => done([['critical', 'axe', String(error)]]))"""


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_serious_stands_in_the_way(page: Page, is_dark: bool, width: int) -> None:
    assert _AXE is not None
    browser = page.browser
    found = []
    for view in VIEWS:
        browser.resize(width, dark=is_dark)
        browser.open(f"{page.address}#/{view}")
        browser.js(_AXE.read_text())
        faults = browser.driver.execute_async_script(RUN)
        found += [(view, *fault) for fault in faults if fault[0] in SERIOUS]
    browser.resize(1280)
    assert found == []
