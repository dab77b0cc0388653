"""A store of one checkpoint, such as a pretrained model's, in a real browser."""

from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
pytest.importorskip("starlette", reason="needs the extra `page`")
from browser import MISSING, Browser, text
from recorded_stores import write_store

from dvis.page.static import export_page

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def test_one_checkpoint_leaves_no_empty_panels(tmp_path: Path, browser: Browser) -> None:
    store = write_store(tmp_path / "s.zarr", ["pretrained"], ["conv1"])
    page = export_page(store, tmp_path / "page").index.as_uri()
    for view in ("", "conv1/0"):
        browser.open(f"{page}#/{view}")
        assert "There is one checkpoint" in text(browser)
        assert "Largest growth" not in text(browser)
        assert browser.js("return document.getElementById('axis')") is None
    assert browser.errors() == []
