"""All images of a unit in full, in a real browser."""

import pytest
from colour_trees import LABELS, encoded
from slowly import slowly

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
pytest.importorskip("starlette", reason="needs the extra `page`")
from browser import MISSING, Page

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.parametrize("page", [slowly("static"), "live"], indirect=True),
]
SHOWN = "return document.querySelector('dialog.enlarged')?.dataset.checkpoint"
UP, DOWN, LEFT, ESCAPE, ENTER = "\ue013", "\ue015", "\ue012", "\ue00c", "\ue007"


def test_a_unit_s_images_open_in_full_and_keys_walk_over_checkpoints(page: Page) -> None:
    browser = page.open("layer1/5")
    browser.js("document.getElementById('large').focus()")
    browser.press(ENTER)
    browser.wait(f"{SHOWN} === '4'")
    side = browser.js(
        """const box = document.querySelector('.enlarged-canvas').getBoundingClientRect();
        return Math.min(box.width, box.height)"""
    )
    assert side > 300
    browser.press(LEFT)
    browser.wait(f"{SHOWN} === '3'")
    browser.wait(f"return location.hash.includes('checkpoint={encoded(LABELS[3])}')")
    assert "enlarged=1" in browser.js("return location.hash")
    browser.press(ESCAPE)
    browser.wait("return !document.querySelector('dialog.enlarged')")
    assert browser.js("return document.activeElement.id") == "large"
    browser.wait("return !location.hash.includes('enlarged')")
    assert browser.errors() == []


def test_the_address_opens_the_images_again(page: Page) -> None:
    browser = page.open(f"layer1/5?checkpoint={encoded(LABELS[1])}&enlarged=1")
    browser.wait(f"{SHOWN} === '1'")


def test_variants_stand_side_by_side_and_one_alone(page: Page) -> None:
    browser = page.open("layer1/5?enlarged=1")
    shown = (
        "return [...document.querySelectorAll('.enlarged-figure:not([hidden])')]"
        ".map(each => each.dataset.variant).join()"
    )
    browser.wait(f"{SHOWN} === '4'")
    every = browser.js("return dvis.source.read('overview').then(o => o.runs[0].variants.length)")
    browser.wait(f"{shown.replace('.join()', '.length')} >= 1")
    if every == 1:
        return
    browser.press(DOWN)
    assert len(browser.js(shown).split(",")) == 1
