"""Graphs on the page: still while the slider moves, pinned in the address, the same in files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from colour_trees import ODD, encoded
from made_up_influence import LABELS, made_up_influence, write_influence
from recorded_stores import write_store
from slowly import slowly

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
pytest.importorskip("starlette", reason="needs the extra `page`")
from browser import MISSING, Browser, Page
from page_client import serving

from dvis.page.static import export_page

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
WIDTHS = {ODD: 4, "layer2": 6, "layer3": 8, "layer4~wide": 3}
UNIT = "layer3/2"


@pytest.fixture(scope="module")
def graph_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feature images of three layers, and influence between them and onto latents of a fourth."""
    store = tmp_path_factory.mktemp("graph") / "net.zarr"
    write_store(store, LABELS, [*WIDTHS][:3], n_channels=8, model="resnet18")
    made = made_up_influence(WIDTHS)
    made["half_difference"] *= 4  # so that halves agree to another degree at each checkpoint
    write_influence(store, made)
    return store


@pytest.fixture(scope="module", params=["live", "static"])
def graph_page(
    request: pytest.FixtureRequest, graph_store: Path, browser: Browser
) -> Iterator[Page]:
    if request.param == "static":
        folder = export_page(graph_store, graph_store.with_name("page"))
        yield Page("static", folder.index.as_uri(), browser)
        return
    with serving(graph_store) as client:
        yield Page("live", f"{client.origin}/", browser)


def drawn(browser: Browser) -> Any:
    """All that a graph shows, once its pictures are there."""
    browser.wait(
        """const pictured = [...document.querySelectorAll('.graph-node:not(.unpictured)')];
        const shown = document.querySelector('.graph').dataset.shown;
        return pictured.length && pictured.every(each => each.dataset.drawn === shown)"""
    )
    return browser.js(
        """const box = document.querySelector('.graph-box').getBoundingClientRect();
        return {
            nodes: [...document.querySelectorAll('.graph-node')].map(each => {
                const {x, y} = each.querySelector('.frame').getBoundingClientRect();
                return [each.dataset.node, Math.round(x - box.x), Math.round(y - box.y),
                    each.className, each.innerText];
            }),
            paths: [...document.querySelectorAll('.graph-edge .graph-line')]
                .map(each => each.getAttribute('d')),
            widths: [...document.querySelectorAll('.graph-edge .graph-line')]
                .map(each => each.getAttribute('stroke-width')),
            faded: [...document.querySelectorAll('.graph-edge')]
                .map(each => each.classList.contains('faded')),
            titles: [...document.querySelectorAll('.graph-edge title')]
                .map(each => each.textContent),
            said: document.querySelector('.graph-said').textContent,
            rows: document.querySelectorAll('.graph-numbers tbody tr').length,
            k: document.querySelector('.graph-tools select').value,
            address: location.hash,
        }"""
    )


def shift(browser: Browser, checkpoint: int) -> None:
    """Move the slider as a hand does, and wait for the address."""
    browser.js(
        """const slider = document.querySelector('.slider'); slider.value = arguments[0];
        slider.dispatchEvent(new Event('input', {bubbles: true}))""",
        checkpoint,
    )
    browser.wait("return location.hash.includes(arguments[0])", encoded(LABELS[checkpoint]))


def test_the_slider_changes_widths_and_moves_nothing(graph_page: Page) -> None:
    browser = graph_page.open(UNIT)
    browser.wait("return document.querySelector('.part[data-shape=graph] .graph-edge')")
    last = drawn(browser)
    assert len(last["nodes"]) == 1 + 3 + 4 + 3
    assert len(last["widths"]) == 3 + 3 * 3 + 3
    shift(browser, 0)
    early = drawn(browser)
    for name in ("paths", "nodes"):
        assert [each[:3] for each in early[name]] == [each[:3] for each in last[name]]
    pairs = zip(early["widths"], last["widths"], strict=True)
    assert all(float(one) < float(other) for one, other in pairs), "made-up strengths grow"
    assert early["said"] != last["said"]
    assert "Spearman" in last["said"]
    assert browser.errors() == []


@pytest.mark.parametrize("graph_page", [slowly("live"), "static"], indirect=True)
def test_pins_checkpoint_and_count_come_back_with_the_address(graph_page: Page) -> None:
    browser = graph_page.open(UNIT)
    browser.wait("return document.querySelector('.graph-edge')")
    browser.js(
        """const select = document.querySelector('.graph-tools select'); select.value = '2';
        select.dispatchEvent(new Event('change', {bubbles: true}))"""
    )
    shift(browser, 2)
    pin = """const pins = [...document.querySelectorAll('.graph-pin')];
        const other = pins.find(each => each.id.includes('-layer2:')); other.focus()"""
    browser.js(pin)
    browser.press("\ue007")  # Enter
    browser.wait("return location.hash.includes('pins=')")
    before = drawn(browser)
    assert 0 < sum(before["faded"]) < len(before["faded"])
    assert before["rows"] == before["faded"].count(False)
    browser.open(browser.js("return location.href"))
    browser.wait("return document.querySelector('.graph-edge')")
    after = drawn(browser)
    assert after == before
    assert after["k"] == "2"
    pressed = "return document.querySelectorAll('.graph-pin[aria-pressed=true]').length"
    assert browser.js(pressed) == 1
    browser.js("document.querySelector('.graph-tools .action').click()")
    browser.wait("return !location.hash.includes('pins=')")
    assert not any(drawn(browser)["faded"])
    assert browser.errors() == []


def test_labels_are_text_and_links_lead_to_units(graph_page: Page) -> None:
    browser = graph_page.open(UNIT)
    browser.wait("return document.querySelector('.graph-link[href]')")
    found = drawn(browser)
    assert any(title.startswith(f"{ODD} ") for title in found["titles"])
    assert browser.js("return document.querySelector('.graph-head').textContent") == ODD
    assert browser.js("return window.hacked === undefined")
    assert browser.js("return document.querySelectorAll('#main img, #main script').length") == 0
    latents = [each for each in found["nodes"] if each[0].startswith("layer4")]
    assert latents
    assert all("unpictured" in each[3] for each in latents), "the page has no pictures of latents"
    assert not browser.js("return document.querySelector('[data-node^=layer4] a[href]')")
    browser.js("document.querySelector('.graph-link[href]').click()")
    browser.wait("return document.getElementById('main').innerText.includes(arguments[0])", ODD)
    browser.wait("return document.querySelector('.graph-edge')")
    assert browser.errors() == []


@pytest.mark.parametrize("graph_page", [slowly("live"), "static"], indirect=True)
def test_narrow_pages_scroll_the_graph_alone(graph_page: Page) -> None:
    browser = graph_page.open(UNIT)
    browser.resize(390)
    browser.wait("return document.querySelector('.graph-edge')")
    drawn(browser)
    assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
    area = "const area = document.querySelector('.graph .scroll-x');"
    assert browser.js(f"{area} return area.scrollWidth > area.clientWidth && area.tabIndex === 0")
