"""The page in a real browser, from `dvis view` and from a folder: what is seen is stored."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from colour_trees import (
    ABSENT,
    ADDED,
    BLACK,
    FAILED,
    INCOMPLETE,
    LABELS,
    N_CHANNELS,
    ODD,
    SPECIAL_AT,
    encoded,
    write_checkpoint,
)
from slowly import slowly

import dvis

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
pytest.importorskip("starlette", reason="needs the extra `page`")
from browser import (
    MISSING,
    Browser,
    Page,
    cells,
    inside,
    middle,
    server,
    show,
    shown_channels,
    text,
    window,
)

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="module")
def dataset(colour_store: Path) -> xr.Dataset:
    return dvis.open(colour_store).load()


VIEWS = {
    "overview": "",
    "layer": "layer1",
    "unit": "layer1/6",
    "compare": "compare",
    "odd": encoded(ODD),
    "odd unit": f"{encoded(ODD)}/1?checkpoint={encoded(LABELS[-1])}",
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_silent_and_run_no_label(page: Page, view: str) -> None:
    browser = page.open(VIEWS[view])
    assert not browser.js("return document.querySelector('.fault-box')")
    assert browser.errors() == []
    assert "dvis" in browser.js("return document.title")
    assert browser.js("return window.hacked === undefined")
    assert browser.js("return document.querySelectorAll('#main img, #main script').length") == 0


def test_slider_moves_every_thumbnail_to_its_checkpoint(page: Page, dataset: xr.Dataset) -> None:
    browser = page.open("layer1")
    browser.resize(1280, 1500)
    status = dataset.status.sel(layer="layer1")
    for checkpoint in (0, 3, 1, 4, 2):
        show(browser, checkpoint)
        browser.wait("return !document.querySelector('.grid .waiting')")
        pixels, found = window(browser), cells(browser)
        assert sorted(found) == list(range(N_CHANNELS))
        for channel, box in found.items():
            if status[checkpoint, channel] != dvis.Status.COMPLETE:
                continue
            stored = dataset.image.sel(layer="layer1", channel=channel)[checkpoint].values
            assert np.abs(middle(pixels, box) - stored.mean((0, 1))).max() < 2, channel
    assert browser.errors() == []


def test_states_look_different_from_black(page: Page) -> None:
    browser = page.open("layer1")
    show(browser, SPECIAL_AT)
    pixels, found = window(browser), cells(browser)
    looks = {c: inside(pixels, found[c])[:96, :96] for c in (ABSENT, INCOMPLETE, FAILED, BLACK)}
    assert middle(pixels, found[BLACK]).max() < 3
    for one in looks:
        for other in looks:
            if one < other:
                assert np.abs(looks[one] - looks[other]).mean() > 8, (one, other)
        if one != BLACK:
            assert looks[one].reshape(-1, 3).std(0).max() > 5, "a pattern, not only a colour"
    words = browser.js(
        """return Object.fromEntries([...document.querySelectorAll('.grid .cell')]
            .map(cell => [cell.dataset.channel, cell.querySelector('.state').innerText]))"""
    )
    assert [words[str(c)] for c in (ABSENT, INCOMPLETE, FAILED, BLACK)] == [
        "absent",
        "incomplete",
        "failed",
        "",
    ]


def counts_of_xarray(dataset: xr.Dataset, store: Path) -> dict[str, int]:
    """What xarray counts for each condition, at the fourth checkpoint."""
    layer = dataset.sel(layer="layer1").isel(checkpoint=3)
    born = dvis.open(store).dvis.births().sel(layer="layer1").load()
    is_complete = layer.status == dvis.Status.COMPLETE
    growth = dvis.open(store).dvis.drift().to_last.sel(layer="layer1").mean("checkpoint").load()
    is_born = born.state == "born"
    return {
        "activation:2..": int((layer.activation.where(is_complete) >= 2).sum()),
        "activation:0.5..3.05": int(
            ((layer.activation >= 0.5) & (layer.activation <= 3.05) & is_complete).sum()
        ),
        "state:born": int(is_born.sum()),
        "state:never,unstable": int(born.state.isin(["never", "unstable"]).sum()),
        "drift:0.0001..": int((growth.round(9) >= 0.0001).sum()),
        "state:born;activation:4..": int((is_born & (layer.activation >= 4)).sum()),
    }


def test_filter_counts_equal_xarrays(page: Page, dataset: xr.Dataset, colour_store: Path) -> None:
    checkpoint = encoded(LABELS[3])
    expected = counts_of_xarray(dataset, colour_store)
    assert len(set(expected.values())) > 2, "the conditions tell channels apart"
    for condition, n_channels in expected.items():
        browser = page.open(f"layer1?checkpoint={checkpoint}&filter={encoded(condition)}")
        browser.wait(
            "const note = document.querySelector('.computing'); return !note || note.hidden"
        )
        assert shown_channels(browser) == n_channels, condition
        assert f"{n_channels} of {N_CHANNELS} channels" in text(browser)


def test_filters_and_order_by_hand(page: Page, dataset: xr.Dataset) -> None:
    browser = page.open("layer1")
    show(browser, SPECIAL_AT)
    browser.js("document.querySelector('.facet input').click()")  # complete
    here = dataset.status.sel(layer="layer1")[SPECIAL_AT].values
    assert shown_channels(browser) == int((here != dvis.Status.COMPLETE).sum())
    show(browser, 3)
    assert shown_channels(browser) == 0
    browser.js("document.querySelector('.facet input').click()")
    browser.js(
        """const select = [...document.querySelectorAll('.side select')][0];
        select.value = 'activation'; select.dispatchEvent(new Event('change', {bubbles: true}))"""
    )
    first = browser.js(
        "return Number(document.querySelector('.cell[aria-posinset=\"1\"]').dataset.channel)"
    )
    assert first == int(dataset.activation.sel(layer="layer1")[3].argmax("channel"))
    browser.js(
        """const search = document.querySelector('.search'); search.value = '10-12, 40';
        search.dispatchEvent(new Event('input', {bubbles: true}))"""
    )
    assert shown_channels(browser) == 4


def test_unit_shows_its_images_and_numbers(page: Page, dataset: xr.Dataset) -> None:
    browser = page.open("layer1/6?x=index")
    unit = dataset.sel(layer="layer1", channel=6)
    frames = browser.wait("return document.querySelectorAll('.frame-button').length")
    assert frames == len(LABELS)
    pixels = window(browser)
    boxes = browser.js(
        "return [...document.querySelectorAll('.frame-button')].map(each => "
        "[Number(each.dataset.checkpoint), each.getBoundingClientRect().toJSON()])"
    )
    for checkpoint, box in boxes:
        stored = unit.image[checkpoint].values.mean((0, 1))
        assert np.abs(middle(pixels, box) - stored).max() < 3, checkpoint
    browser.press("\ue011")  # home
    browser.wait("return document.querySelector('.large-frame').dataset.checkpoint === '0'")
    if page.mode == "live":
        browser.wait("return document.querySelector('.large-frame').dataset.full === '0'")
        sent = browser.js(
            """const canvas = document.querySelector('.large');
            const {width, height} = canvas;
            return [...canvas.getContext('2d').getImageData(0, 0, width, height).data]"""
        )
        shown = np.array(sent).reshape(16, 16, 4)[..., :3]
        assert np.abs(shown - unit.image[0].values.astype(int)).max() <= 2  # its own jpg decoder
    assert "channel 6" in text(browser)
    assert "sel(layer='layer1', channel=6)" in text(browser)
    assert browser.js(
        "return document.querySelector('.large').getAttribute('aria-label')"
    ).startswith("Feature image of channel 6 of layer1")
    assert browser.js("return document.querySelectorAll('.downloads a[download]').length") == 2
    tabs = browser.js(
        "return [...document.querySelectorAll('.tabs a')].map(each => each.innerText)"
    )
    assert tabs == [] or "average-0" in tabs


def test_examples_are_the_fastest_of_all_channels_and_follow_the_slider(
    page: Page, dataset: xr.Dataset, colour_store: Path
) -> None:
    browser = page.open("")
    browser.resize(1600)
    ranked = dvis.open(colour_store).sel(layer=["layer1"]).dvis.rank(by="growth")
    expected = ranked.channel.values[:6].tolist()
    assert max(expected) >= 64, "beyond the first sheet"
    row = """const row = [...document.querySelectorAll('.layers tbody tr')]
        .find(each => each.querySelector('th').textContent === 'layer1');"""
    browser.js(f"{row} row.scrollIntoView({{block: 'center'}})")
    for checkpoint in (4, 0):
        browser.js(
            """const slider = document.querySelector('.slider'); slider.value = arguments[0];
            slider.dispatchEvent(new Event('input', {bubbles: true}))""",
            checkpoint,
        )
        shown = (
            f"{row} return row.querySelector('.examples').dataset.shown === String(arguments[0])"
        )
        browser.wait(shown, checkpoint)
        boxes = browser.js(
            f"""{row} return [...row.querySelectorAll('.example')].map(each =>
                [Number(each.dataset.channel), each.getBoundingClientRect().toJSON()])"""
        )
        assert [channel for channel, _ in boxes] == expected
        pixels = window(browser)
        for channel, box in boxes:
            stored = dataset.image.sel(layer="layer1", channel=channel)[checkpoint].values
            assert np.abs(middle(pixels, box) - stored.mean((0, 1))).max() < 3


def test_what_the_slider_says_is_not_cut(page: Page) -> None:
    browser = page.open("layer1/6")
    browser.resize(390)
    browser.wait("return innerWidth === 390")
    cut = """return [...document.querySelectorAll('.bar-text *')]
        .filter(each => each.scrollWidth > each.clientWidth + 1).length"""
    assert browser.js(cut) == 0


def test_what_is_taken_away_is_named_for_what_it_is(page: Page) -> None:
    browser = page.open("layer1/6")
    table = browser.js(
        """return dvis.unitParts.csv(
            {status: '1', activation: [-1.5], value_min: [0], value_max: [1], stop_step: [7],
             seed: [3]},
            [{label: '=1+1', epoch: null, phase: '', batch: null, step: null, time: null}])"""
    )
    assert table.splitlines()[1] == "'=1+1,,,,,,complete,-1.5,0,1,7,3"
    is_told = "as it is stored comes from the store" in text(browser)
    assert is_told == (page.mode == "static")


def test_odd_labels_are_text(page: Page) -> None:
    browser = page.open(VIEWS["odd unit"])
    assert ODD in browser.js("return document.querySelector('h1').textContent")
    assert browser.js("return document.querySelector('.bar-detail').title") == LABELS[-1]


def test_of_many_channels_only_those_in_sight_are_in_the_page(page: Page) -> None:
    browser = page.open("")
    browser.js(
        """const grid = dvis.grid({
            make: () => dvis.element('div', {class: 'cell'}),
            bind: (cell, item) => { cell.textContent = item; },
            onSight: () => {}, width: 96, height: 116, label: 'many'});
        document.getElementById('main').replaceChildren(grid.element);
        grid.show(Array.from({length: 2048}, (_, i) => i));
        window.scrollTo(0, 1e6)"""
    )
    browser.wait(
        "return [...document.querySelectorAll('.cell')].some(e => e.textContent === '2047')"
    )
    assert browser.js("return document.querySelectorAll('.cell').length") < 250
    assert not browser.js(
        "return [...document.querySelectorAll('.cell')].some(e => e.textContent === '0')"
    )


@pytest.mark.parametrize("page", [slowly("live"), "static"], indirect=True)
@pytest.mark.parametrize("view", ["overview", "layer", "unit", "compare"])
def test_nothing_is_wider_than_the_window(page: Page, view: str) -> None:
    browser = page.open(VIEWS[view])
    for width in (1280, 390):
        browser.resize(width)
        browser.wait("return innerWidth === arguments[0]", width)
        assert browser.js("return document.documentElement.scrollWidth") <= width
    titles = """return [...document.querySelectorAll('.panel-title')].filter(each => {
        const box = each.getBoundingClientRect();
        return box.right > innerWidth; }).length"""
    assert browser.js(titles) == 0


def test_a_store_that_grows_shows_its_new_checkpoint_after_a_refresh(
    tmp_path: Path, browser: Browser
) -> None:
    model = tmp_path / "feature_images" / "resnet18"
    for checkpoint in range(2):
        write_checkpoint(model / "checkpoints", checkpoint, LABELS[checkpoint], n_channels=3)
    own = tmp_path / "own.zarr"
    dvis.ingest_tree(model, store=own, batches_per_epoch=1000)
    with server(own) as (address, _):
        browser.resize(1280, 900)
        browser.open(f"{address}#/layer1")
        assert browser.js("return document.querySelector('.slider').max") == "1"
        write_checkpoint(model / "checkpoints", 5, ADDED, n_channels=3)
        dvis.ingest_tree(model, store=own, batches_per_epoch=1000)
        browser.js("dvis.page.poll()")
        browser.wait("return document.getElementById('notice').innerText.includes('grown')")
        browser.press("r")
        browser.wait("return document.querySelector('.slider').max === '2'")
        browser.wait_for_view()
        browser.wait("return document.querySelector('.grid').dataset.shown === '2'")
        pixels, found = window(browser), cells(browser)
        stored = dvis.open(own).image.sel(layer="layer1").sel(checkpoint=ADDED)
        for channel in range(3):
            expected = stored.sel(channel=channel).values.mean((0, 1))
            assert np.abs(middle(pixels, found[channel]) - expected).max() < 2
        assert browser.errors() == []


def test_facts_cannot_end_their_block(page: Page) -> None:
    browser = page.open("")
    facts = json.loads(browser.js("return document.getElementById('page-facts').textContent"))
    assert facts["mode"] == page.mode
