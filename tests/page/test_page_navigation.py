"""Ways through the page in a real browser: keys, links, and addresses."""

import time

import pytest
from colour_trees import LABELS, ODD, encoded
from slowly import slowly

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
pytest.importorskip("starlette", reason="needs the extra `page`")
from browser import MISSING, WAIT_S, Page, show, shown_channels, text

# The ways are those of one script, wherever its numbers come from; test_page_browser looks at both.
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.parametrize("page", [slowly("live"), "static"], indirect=True),
]


def test_keyboard(page: Page) -> None:
    browser = page.open("layer1")
    moment = "return document.querySelector('.slider').getAttribute('aria-valuetext')"
    browser.press("\ue012")  # arrow left
    assert "4 of 5" in browser.js(moment)
    browser.press("\ue011")  # home
    assert "1 of 5" in browser.js(moment)
    browser.press("\ue014")  # arrow right
    assert "2 of 5" in browser.js(moment)
    browser.press(" ")
    assert (
        browser.js("return document.querySelector('.bar-play').getAttribute('aria-label')")
        == "Pause"
    )
    browser.wait(f"{moment}.includes('5 of 5')")
    browser.wait("return document.querySelector('.bar-play').getAttribute('aria-label') === 'Play'")
    browser.press("/")
    assert browser.js("return document.activeElement.className") == "search"
    browser.press("12")
    assert shown_channels(browser) == 1
    browser.press("\ue00c")  # escape
    browser.press("?")
    assert browser.js("return document.querySelector('dialog').open")
    browser.press("\ue00c")
    assert not browser.js("return document.querySelector('dialog').open")
    browser.press("u")
    browser.wait("return document.getElementById('main').dataset.view === 'overview'")
    browser = page.open("layer1/6")
    browser.press("n")
    browser.wait("return location.hash.startsWith('#/layer1/7')")
    browser.wait_for_view()
    assert browser.errors() == []


def test_tab_reaches_thumbnails_and_enter_opens_a_unit(page: Page) -> None:
    browser = page.open("layer1")
    browser.js("document.querySelector('.cell[aria-posinset=\"1\"]').focus()")
    browser.press("\ue004")  # tab
    assert browser.js("return document.activeElement.dataset.channel") == "1"
    browser.press("\ue007")  # enter
    browser.wait("return document.getElementById('main').dataset.view === 'unit'")
    assert browser.js("return document.activeElement.id") == "main"


@pytest.mark.parametrize(
    "fragment",
    [
        f"?checkpoint={encoded(LABELS[1])}&x=epoch",
        f"layer1?checkpoint={encoded(LABELS[1])}&sort=birth&order=desc&filter=state%3Aborn",
        f"layer1/7?checkpoint={encoded(LABELS[4])}&x=time",
        f"compare?layer=layer1&channel=5&other_channel=9&checkpoint={encoded(LABELS[1])}",
        f"{encoded(ODD)}/2?checkpoint={encoded(LABELS[4])}",
        "layer1/0?variant=sum-0",
    ],
)
def test_addresses_reload_to_the_same_view(page: Page, fragment: str) -> None:
    browser = page.open(fragment)
    said, address = text(browser), browser.js("return location.href")
    state = "return [...document.querySelectorAll('select, input')].map(each => each.value)"
    values = browser.js(state)
    assert address.endswith(f"#/{fragment}")
    browser.open(address)
    assert browser.js("return location.href") == address
    assert browser.js(state) == values
    end = time.monotonic() + WAIT_S
    while text(browser) != said and time.monotonic() < end:
        time.sleep(0.05)  # what is drawn to a width comes a frame later
    assert text(browser) == said
    assert browser.errors() == []


def test_slider_is_in_the_address(page: Page) -> None:
    browser = page.open("layer1")
    show(browser, 1)
    expected = f"#/layer1?checkpoint={encoded(LABELS[1])}"
    browser.wait("return location.hash === arguments[0]", expected)
    browser.driver.refresh()
    browser.wait_for_view()
    assert browser.js("return document.querySelector('.grid').dataset.shown") == "1"


def test_variants_of_a_unit_are_tabs(page: Page) -> None:
    browser = page.open("layer1/0")
    tabs = "return [...document.querySelectorAll('.tabs a')].map(each => each.innerText)"
    assert browser.js(tabs) == ["average-0", "sum-0"]
    browser.js("document.querySelectorAll('.tabs a')[1].click()")
    browser.wait("return location.hash.includes('variant=sum-0')")
    browser.wait_for_view()
    assert browser.js("return document.querySelector('.tabs [aria-current]').innerText") == "sum-0"


def test_compared_sliders_move_together(page: Page) -> None:
    browser = page.open("compare?layer=layer1&channel=5&other_channel=9")
    sliders = "return [...document.querySelectorAll('.slider')].map(each => Number(each.value))"
    assert browser.js(sliders) == [4, 4]
    browser.press("\ue012")
    assert browser.js(sliders) == [3, 3]
    browser.js("document.getElementById('link').click()")
    browser.press("\ue012")
    assert browser.js(sliders) == [2, 3]
    browser.wait("return location.hash.includes('other_checkpoint')")
    browser.driver.refresh()
    browser.wait_for_view()
    assert browser.js(sliders) == [2, 3]
    images = browser.js(
        "return [...document.querySelectorAll('.large-frame')].map(e => e.dataset.checkpoint)"
    )
    assert images == ["2", "3"]


def test_wrong_addresses_say_what_there_is(page: Page) -> None:
    browser = page.open("layer9")
    assert "layer1" in browser.js("return document.querySelector('[role=alert]').innerText")
    browser = page.open("layer1?checkpoint=none")
    assert "no checkpoint" in browser.js("return document.getElementById('notice').innerText")


def test_an_address_of_no_channel_says_what_there_is(page: Page) -> None:
    for channel in ("abc", "999", "1.5"):
        browser = page.open(f"layer1/{channel}")
        said = browser.js("return document.querySelector('[role=alert]').innerText")
        assert channel in said
        assert "Channels: 0, 1, 2" in said
        assert browser.errors() == []


def test_the_way_up_leads_to_the_layer_as_it_was(page: Page) -> None:
    kept = "filter=state%3Aborn&order=desc&sort=birth"
    browser = page.open(f"layer1?{kept}")
    n_channels = shown_channels(browser)
    browser.go("#/layer1/6")
    browser.press("u")
    browser.wait("return document.getElementById('main').dataset.view === 'layer'")
    browser.wait_for_view()
    for part in kept.split("&"):
        assert part in browser.js("return location.hash")
    assert shown_channels(browser) == n_channels < 70


def test_compare_begins_with_the_layer_looked_at(page: Page) -> None:
    browser = page.open(encoded(ODD))
    browser.press("c")
    browser.wait("return document.getElementById('main').dataset.view === 'compare'")
    browser.wait_for_view()
    assert browser.js("return document.getElementById('A-layer').value") == ODD
    assert browser.js("return document.getElementById('B-layer').value") == ODD
