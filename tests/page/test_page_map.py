"""Maps of units over training in a real browser: points, colours, the lasso, addresses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_up_maps import STILL, write_mapped
from made_up_responses import LABELS, UNITS
from page_client import serving
from recorded_stores import write_store

import dvis
from dvis.kinds.shown import NotShownError
from dvis.page import documents, maps
from dvis.page.static import export_page

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
from browser import MISSING, Browser, text
from selenium.webdriver.common.action_chains import ActionChains

NAME = "responses%2Fmine"
POINTS = """return [...document.querySelectorAll('.point')].map(each =>
    [Number(each.getAttribute('cx')), Number(each.getAttribute('cy'))])"""
LISTED = "return [...document.querySelectorAll('.map-list a')].map(each => each.dataset.place)"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mapped(tmp_path_factory.mktemp("map") / "net.zarr")


@pytest.fixture(scope="module", params=["live", "static"])
def address(
    store: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    if MISSING:
        pytest.skip(MISSING)
    if request.param == "static":
        yield export_page(store, tmp_path_factory.mktemp("out") / "page").index.as_uri()
        return
    with serving(store) as client:
        yield f"{client.origin}/"


def opened(browser: Browser, address: str, query: str = "") -> None:
    browser.resize(1280)
    browser.open(f"{address}#/map/{NAME}{query}")
    browser.wait("return document.querySelector('.unit-map').dataset.shown")


def moved_to(browser: Browser, checkpoint: int) -> None:
    browser.js(
        """const slider = document.querySelector('.slider'); slider.value = arguments[0];
        slider.dispatchEvent(new Event('input', {bubbles: true}))""",
        checkpoint,
    )
    browser.wait(
        "return document.querySelector('.unit-map').dataset.shown === String(arguments[0])",
        checkpoint,
    )


def test_documents_have_units_places_and_classes(store: Path) -> None:
    shown = documents.shown_units(store)
    (outline,) = documents.overview(shown)["maps"]
    head = maps.map_head(shown, outline["number"])
    units = [
        (head["layers"][layer], unit)
        for layer, unit in zip(head["layer"], head["units"], strict=True)
    ]
    assert units == UNITS
    assert head["classes"] == ["cat", "dog"]
    assert 0 < sum(head["explained"]) <= 1 + 1e-9
    responses = dvis.responses(store).response
    by_class = responses.groupby("image_class").mean("image")
    for row in range(len(LABELS)):
        found = maps.map_places(shown, outline["number"], row)
        assert found["label"] == LABELS[row]
        assert (np.abs(np.stack([found["x"], found["y"]])) <= head["reach"]).all()
        for place, (layer, channel) in enumerate(UNITS):
            means = by_class.isel(checkpoint=row).sel(layer=layer, channel=channel)
            assert found["best_class"][place] == int(means.values.argmax())
    with pytest.raises(NotShownError, match="there are 3 checkpoints"):
        maps.map_places(shown, outline["number"], 3)
    with pytest.raises(NotShownError, match="No map has the number 7"):
        maps.map_head(shown, 7)


def test_a_store_without_maps_says_what_makes_one(tmp_path: Path) -> None:
    shown = documents.shown_units(write_store(tmp_path / "net.zarr", LABELS, ["layer1"]))
    told = documents.overview(shown)
    assert told["maps"] == []
    assert "`dvis respond`" in told["maps_need"]
    assert "`dvis sae train`" in told["maps_need"]


def test_the_slider_moves_points_and_what_is_the_same_stays(address: str, browser: Browser) -> None:
    browser.resize(1280)
    browser.open(f"{address}#/")
    browser.js("document.querySelector('.map-link').click()")
    browser.wait("return document.querySelector('.unit-map').dataset.shown === '2'")
    last = browser.js(POINTS)
    assert len(last) == len(UNITS)
    moved_to(browser, 0)
    first = browser.js(POINTS)
    assert first[STILL] == last[STILL]
    assert all(first[place] != last[place] for place in range(len(UNITS)) if place != STILL)
    said = browser.js("return document.querySelector('.map-meaning').innerText")
    assert "standardised over images" in said
    assert "of the variance" in said
    assert browser.errors() == []


def test_a_lasso_makes_a_list_that_the_address_keeps(address: str, browser: Browser) -> None:
    opened(browser, address)
    box = browser.js(
        """document.querySelector('.unit-map').scrollIntoView();
        const point = document.querySelector(`.point[data-place="${arguments[0]}"]`);
        return point.getBoundingClientRect().toJSON()""",
        STILL,
    )
    x, y = round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)
    actions = ActionChains(browser.driver, duration=0)
    pointer = actions.w3c_actions.pointer_action
    pointer.move_to_location(x - 14, y - 14)
    pointer.pointer_down()
    for dx, dy in ((14, -14), (14, 14), (-14, 14)):
        pointer.move_to_location(x + dx, y + dy)
    pointer.pointer_up()
    actions.perform()
    browser.wait("return !document.querySelector('.map-clear button').hidden")
    assert str(STILL) in browser.js(LISTED)
    assert len(browser.js(LISTED)) < len(UNITS)
    listed = browser.js(LISTED)
    browser.wait("return location.hash.includes('chosen=')")
    copied = browser.js("return location.href")
    browser.open(copied)
    browser.wait("return document.querySelector('.unit-map').dataset.shown")
    assert browser.js(LISTED) == listed
    browser.js("document.querySelector('.map-clear button').click()")
    assert len(browser.js(LISTED)) == len(UNITS)
    assert browser.errors() == []


def test_colours_search_and_layer_are_in_the_address(address: str, browser: Browser) -> None:
    opened(browser, address)
    legend = (
        "return [...document.querySelectorAll('.map-controls .legend li')].map(e => e.innerText)"
    )
    assert set(browser.js(legend)) <= {"cat", "dog"}
    browser.js(
        """const color = document.getElementById('color'); color.value = 'layer';
        color.dispatchEvent(new Event('change', {bubbles: true}));
        const search = document.querySelector('.search'); search.value = 'bird';
        search.dispatchEvent(new Event('input'))"""
    )
    assert browser.js(legend) == ["layer1", "layer2"]
    assert browser.js(LISTED) == [str(UNITS.index(("layer2", 4)))]
    browser.wait("return location.hash.includes('search=bird')")
    browser.open(browser.js("return location.href"))
    browser.wait("return document.querySelector('.unit-map').dataset.shown")
    assert browser.js(legend) == ["layer1", "layer2"]
    assert len(browser.js(LISTED)) == 1
    browser.js("document.querySelector('.map-list a').click()")
    browser.wait("return document.getElementById('main').dataset.view === 'unit'")
    assert browser.js("return location.hash").startswith("#/layer2/4")
    browser.driver.back()
    browser.wait("return document.querySelector('.unit-map').dataset.shown")
    assert len(browser.js(LISTED)) == 1
    opened(browser, address, "?search=zebra")
    assert "No channel has “zebra”" in text(browser)
    browser.open(f"{address}#/map/none")
    said = browser.js("return document.querySelector('[role=alert]').innerText")
    assert "Maps: responses/mine" in said


def test_latents_are_mapped_by_their_directions(labelled_store: Path) -> None:
    shown = documents.shown_units(labelled_store)
    outline = next(each for each in maps.map_outlines(shown) if each["noun"] == "latent")
    head = maps.map_head(shown, outline["number"])
    assert head["list"]
    found = maps.map_places(shown, outline["number"], 0)
    assert len(found["x"]) == len(head["units"])
    assert np.isfinite(found["x"]).any()
