"""What is found by words: layers, lists and units of a store, by notes, names and classes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from page_client import serving
from recorded_stores import write_store

import dvis
from dvis.page import documents
from dvis.page.static import export_page
from dvis.page.unit_words import called, class_names
from dvis.store.datasets import keep_dataset, making_dataset
from dvis.store.unit_names import LatentName, keep_names

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
from browser import MISSING, Browser, shown_channels, text

CLASSES = ["circle", "ring", "triangle"]
LABELS = ["step_0", "step_10"]


def keep_classes(store: Path, name: str, classes: list[str]) -> None:
    """An image set of a few samples with these classes."""
    samples = xr.Dataset(
        {"label": ("sample", np.arange(4) % len(classes))},
        {"sample": [str(each) for each in range(4)]},
        {"classes": classes},
    )
    with making_dataset(store, name):
        keep_dataset(store, name, samples)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers conv1 and fc, whose three channels are logits of a set's three classes."""
    path = tmp_path_factory.mktemp("classes") / "net.zarr"
    write_store(path, LABELS, ["conv1", "fc"], dataset="shapes-0")
    keep_classes(path, "shapes-0", CLASSES)
    dvis.note(path, "Bird heads", layer="conv1", channel=2)
    return path


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


def typed(browser: Browser, words: str) -> None:
    browser.js(
        """const search = document.querySelector('.search'); search.value = arguments[0];
        search.dispatchEvent(new Event('input'))""",
        words,
    )


def test_classes_are_those_of_the_last_layer_where_one_set_has_as_many(
    store: Path, tmp_path: Path
) -> None:
    shown = documents.shown_units(store)
    assert class_names(shown, 0, 0) is None
    found = class_names(shown, 0, 1)
    assert found == {"names": CLASSES, "set": "shapes-0"}
    assert documents.layer(shown, 0, 1)["classes"] == found
    other = Path(shutil.copytree(store, tmp_path / "other.zarr"))
    write_store(other, LABELS, ["conv1"], run="b", dataset="digits-0")
    keep_classes(other, "digits-0", ["one", "two", "three"])
    of_other = documents.shown_units(other)
    (index,) = [i for i, each in enumerate(of_other.entries()) if each.run != "b"]
    assert class_names(of_other, index, 1) is None  # either set could be meant


def test_of_a_store_that_knows_no_classes_nothing_is_said(tmp_path: Path) -> None:
    shown = documents.shown_units(write_store(tmp_path / "net.zarr", LABELS, ["fc"]))
    assert class_names(shown, 0, 0) is None
    assert called(shown) == {"units": [], "n_left_out": 0}


def test_the_store_is_searched_from_the_overview(address: str, browser: Browser) -> None:
    browser.resize(1280)
    browser.open(f"{address}#/")
    layers = """return [...document.querySelectorAll('tr[data-layer]')]
        .filter(row => !row.hidden).map(row => row.dataset.layer)"""
    units = "return [...document.querySelectorAll('.found-unit')].map(each => each.innerText)"
    searched = "return document.querySelector('.found-units').dataset.searched === arguments[0]"
    assert browser.js(layers) == ["conv1", "fc"]
    typed(browser, "head bird")
    browser.wait(searched, "head bird")
    assert browser.js(layers) == []
    (found,) = browser.js(units)
    assert found.split("\n") == ["conv1", "channel 2", "note: Bird heads"]
    tally = "return document.querySelector('.search-card .tally').innerText"
    assert browser.js(tally) == "0 layers, 1 unit"
    typed(browser, "tri")
    browser.wait(searched, "tri")
    (found,) = browser.js(units)
    assert "class: triangle" in found
    typed(browser, "conv")
    browser.wait(searched, "conv")
    assert browser.js(layers) == ["conv1"]
    typed(browser, "zebra")
    browser.wait(searched, "zebra")
    assert browser.js(tally).startswith("Nothing is called “zebra”: no layer, and no note")
    browser.wait("return location.hash.includes('search=zebra')")
    browser.js("document.querySelector('.search-card button').click()")
    browser.wait(searched, "")
    assert browser.js(layers) == ["conv1", "fc"]
    browser.open(f"{address}#/?search=tri")
    browser.wait(searched, "tri")
    browser.js("document.querySelector('.found-unit').click()")
    browser.wait("return document.getElementById('main').dataset.view === 'unit'")
    assert browser.js("return location.hash").startswith("#/fc/2")
    assert "class 2, triangle" in browser.js(
        "return document.querySelector('.title-row').innerText"
    )
    browser.driver.back()
    browser.wait(searched, "tri")
    assert browser.errors() == []


def test_a_layer_of_logits_is_searched_by_classes(address: str, browser: Browser) -> None:
    browser.resize(1280)
    browser.open(f"{address}#/fc")
    named = "return [...document.querySelectorAll('.cell')].map(each => each.ariaLabel)"
    assert [each.split(", ")[1:3] for each in browser.js(named)] == [
        [f"class {number}", name] for number, name in enumerate(CLASSES)
    ]
    typed(browser, "ring")
    assert shown_channels(browser) == 1
    typed(browser, "zebra")
    assert shown_channels(browser) == 0
    assert "No channel has “zebra” in its number, note or class" in text(browser)
    browser.js("document.querySelector('.empty button').click()")
    assert shown_channels(browser) == 3
    browser.open(f"{address}#/conv1")
    assert not any("class" in each for each in browser.js(named))
    assert browser.errors() == []


def test_latents_are_found_by_the_names_that_programs_gave(
    labelled_store: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = Path(shutil.copytree(labelled_store, tmp_path / "named.zarr"))
    shown = documents.shown_units(path)
    only: dict[str, Any] = documents.overview(shown)["lists"][0]
    named = LatentName(
        run=only["run"], layer=only["layer"], autoencoder=only["name"], latent=1,
        checkpoint="step_0", text="wheels of cars", score=0.5, null_high=0.4, by="class",
    )  # fmt: skip
    keep_names(path, [named])
    (found,) = called(documents.shown_units(path))["units"]
    assert (found["unit"], found["noun"], found["texts"]) == (
        1, "latent", [("name", "wheels of cars")],
    )  # fmt: skip
    if MISSING:
        pytest.skip(MISSING)
    browser: Browser = request.getfixturevalue("browser")
    browser.resize(1280)
    with serving(path) as client:
        place = f"{only['layer']}/{only['name']}"
        browser.open(f"{client.origin}/#/list/{place}?search=car%20wheel")
        units = "return [...document.querySelectorAll('.list-row')].map(row => row.dataset.unit)"
        assert browser.wait(units) == ["1"]
        assert "wheels of cars" in text(browser)
        typed(browser, "zebra")
        assert "No latent has “zebra” in its number, note, name or class" in text(browser)
        browser.open(f"{client.origin}/#/?search=wheel")
        browser.wait("return document.querySelector('.found-unit')")
        assert browser.errors() == []
