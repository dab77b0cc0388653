"""A report opens from a file in a real browser, asks nothing of a network, and fits a phone."""

from pathlib import Path

import pytest
from browser import MISSING, chromium
from recorded_stores import write_store

import dvis

LABELS = [f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(3)]


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_it_opens_from_a_file(tmp_path: Path) -> None:
    store = write_store(tmp_path / "net.zarr", LABELS, ["layer1", "layer2"])
    written = dvis.write_report(store, tmp_path / "report.html")
    with chromium() as browser:
        for width in (1280, 390):
            for dark in (False, True):
                browser.resize(width, dark=dark)
                browser.driver.get(written.path.as_uri())
                assert browser.errors() == []
                assert browser.js("return document.documentElement.scrollWidth") <= width
        assert browser.js("return performance.getEntriesByType('resource')") in ([], None) or all(
            each["name"].startswith("data:")
            for each in browser.js("return performance.getEntriesByType('resource')")
        )
        shown = browser.js(
            "return [...document.images].map(each => each.complete && each.naturalWidth)"
        )
        assert len(shown) == written.n_figures
        assert all(shown)
