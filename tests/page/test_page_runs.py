"""Several runs on a page in a real browser: what is compared is each run's own."""

from collections.abc import Iterator

import pytest
from recorded_stores import write_store
from trees import info_of, jpg_of, write_unit

import dvis

pytest.importorskip("selenium", reason="needs selenium: pip install selenium")
pytest.importorskip("starlette", reason="needs the extra `page`")
from browser import MISSING, Browser, Page, server, text

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

N_TIMED = 24
TRAIN_AND_VAL = [
    f"checkpoint_2024-03-25-00h0{i}_epoch_{i // 2}_{phase}_0.pth.tar"
    for i, phase in enumerate(("train", "val", "train", "val"))
]
_CURVES = """return [...document.querySelectorAll('.timeline .series')].map(series =>
    [...series.querySelectorAll('.line')].map(line =>
        (line.getAttribute('d').match(/[ML][\\d.]+/g) || []).map(at => Number(at.slice(1)))))"""
_READOUT = "return document.querySelector('.timeline .readout').textContent"


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Page]:
    """Two runs of one schedule whose labels carry times, and two with other steps by one label."""
    store = tmp_path_factory.mktemp("timed") / "net.zarr"
    for run, day in (("seed1", "2024-03-25"), ("seed2", "2024-03-26")):
        labels = [
            f"checkpoint_{day}-{i // 60:02d}h{i % 60:02d}_epoch_0_train_{10 * i}.pth.tar"
            for i in range(N_TIMED)
        ]
        write_store(store, labels, ["layer1"], run=run, n_channels=2)
    write_store(store, [f"epoch_{i}" for i in range(4)], ["layer1"], run="long", failed=[(1, 1)])
    write_store(store, ["epoch_0", "epoch_3"], ["layer1"], run="short")
    for layers in ("abc", "def", "ghi"):
        write_store(store, ["epoch_0", "epoch_1"], layers, run="deep")
    with server(store) as (address, _):
        yield Page("live", address, browser)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Page]:
    """Runs whose steps are not known, one of which lacks the default variant."""
    folder = tmp_path_factory.mktemp("imported")
    model = folder / "feature_images" / "resnet18"
    for run, labels, kind in (
        ("runA", TRAIN_AND_VAL, "average"),
        ("runB", ("first", "second", "third"), "average"),
        ("runC", ("epoch_0", "epoch_1"), "sum"),
    ):
        for i, label in enumerate(labels):
            for channel in range(2):
                write_unit(
                    model / run / label, "layer1", channel, kind=kind,
                    jpg=jpg_of(i, channel, size=32),
                    info=info_of("layer1", channel, Aggregation=kind, Activation=float(i)),
                )  # fmt: skip
    gone = model / "runA" / TRAIN_AND_VAL[1] / "layer_layer1_channel_1_average"
    gone.with_suffix(".jpg").unlink()
    dvis.ingest_tree(model, store=folder / "resnet18.zarr")
    with server(folder / "resnet18.zarr") as (address, _):
        yield Page("live", address, browser)


def test_curves_of_runs_with_other_labels_are_whole_lines(timed: Page) -> None:
    browser = timed.open("compare?run=seed1&other_run=seed2&layer=layer1&channel=1")
    one, other = browser.js(_CURVES)
    assert [len(one[0]), len(other[0])] == [N_TIMED, N_TIMED]
    assert one == other  # the same steps lie at the same places, and there are no gaps
    browser.press("\ue012")
    browser.wait(f"{_READOUT}.startsWith('step 220')")
    assert browser.js(_READOUT).count("22.1") == 2
    assert browser.errors() == []


def test_each_run_is_drawn_at_its_own_steps(timed: Page) -> None:
    browser = timed.open("compare?run=long&other_run=short&layer=layer1&channel=2")
    (one,), (other,) = browser.js(_CURVES)
    assert other == one[:2]  # epoch_3 of the second is its step 10
    assert "B 1.2 at step 10" in browser.js(_READOUT)


def test_units_of_two_runs_are_told_apart_by_name(timed: Page) -> None:
    browser = timed.open("compare?run=long&other_run=short&layer=layer1&channel=2")
    heads = browser.js(
        "return [...document.querySelectorAll('.compare-side h2 a, .timeline .legend li')]"
        ".map(each => each.textContent)"
    )
    for names in (heads[:2], heads[2:]):
        assert ["long" in names[0] + names[1], "short" in names[0] + names[1]] == [True, True]
    title = browser.js("return document.title")
    assert "layer1 2, run long and layer1 2, run short" in title


@pytest.mark.parametrize(
    "query", ["other_run=runC", "run=runC", "run=runC&other_run=runA", "run=runC&variant=average-0"]
)
def test_a_run_without_the_default_variant_shows_its_own(imported: Page, query: str) -> None:
    browser = imported.open(
        f"compare?{query}" if "variant" not in query else f"compare?other_{query}"
    )
    assert not browser.js("return document.querySelector('.fault-box')")
    assert len(browser.js(_CURVES)) == 2
    variants = {"runA": "average-0", "runC": "sum-0"}
    links = browser.js(
        "return [...document.querySelectorAll('.compare-side h2 a')].map(a => a.hash)"
    )
    for run in variants:
        of_run = [link for link in links if f"run={run}" in link]
        assert all("variant" not in link for link in of_run), "the default needs no name"
    assert browser.errors() == []


def test_runs_that_share_no_checkpoint_lie_one_over_the_other(imported: Page) -> None:
    browser = imported.open("compare?run=runA&other_run=runB&layer=layer1&channel=0")
    (one,), (other,) = browser.js(_CURVES)
    assert other == one[:3]
    assert "share no checkpoint" in text(browser)


def test_train_and_val_checkpoints_have_names_of_their_own(imported: Page) -> None:
    browser = imported.open("layer1/0?run=runA&x=index")
    said = browser.js(
        "return [...document.querySelectorAll('.frame-button')]"
        ".map(each => each.getAttribute('aria-label'))"
    )
    assert len(set(said)) == len(TRAIN_AND_VAL)
    assert "val" in said[1]
    ticks = browser.js(
        "return [...document.querySelectorAll('.tick')].map(each => each.textContent)"
    )
    assert "val 0:0" in ticks


def test_a_unit_without_an_image_asks_for_none(imported: Page) -> None:
    browser = imported.open(f"layer1/1?run=runA&checkpoint={TRAIN_AND_VAL[1]}")
    assert browser.js("return document.querySelector('.large-frame').className").endswith(
        "incomplete"
    )
    assert browser.js("return document.querySelector('.large').hidden")
    assert browser.errors() == []


def test_problems_lead_to_their_units(timed: Page) -> None:
    browser = timed.open("")
    (problem,) = browser.js("return [...document.querySelectorAll('.problems a')]")
    assert problem.text == "net/long/epoch_1/layer1/channel 1: failed: no gradient"
    browser.js("arguments[0].click()", problem)
    browser.wait("return document.getElementById('main').dataset.view === 'unit'")
    browser.wait_for_view()
    assert browser.js("return document.querySelector('.large-frame').className").endswith("failed")
    assert "no gradient" in text(browser)


def test_curves_show_gaps_bands_and_remarks(timed: Page) -> None:
    browser = timed.open("?run=seed1")
    browser.js(
        """const read = dvis.source.read;
        dvis.source.read = async (name) => {
            const found = await read(name);
            if (!name.startsWith('variant/')) return found;
            const known = found.checkpoints.map((_, i) => i < 8 || i > 16 || i === 12);
            const of = (value) => known.map((is, i) => is ? value(i) : null);
            return {...found, parts: [{
                shape: 'curves', title: 'Chains', checkpoints: found.checkpoints.map(c => c.label),
                band: '± standard error', remark: 'chains diverged', with_zero: false,
                lines: [{
                    label: 'chains', values: of(i => i + 5), low: of(i => i + 4),
                    high: of(i => i + 6), beside_slider: 'chains',
                    remarks: known.map((is, i) => i === 12 ? '2 chains diverged' : ''),
                }]}]};
        };
        window.done = dvis.page.render()"""
    )
    browser.wait_for_view()
    drawn = browser.wait(
        """const count = name => document.querySelectorAll(`.panels .plot:first-child ${name}`)
            .length;
        return count('.line.bridge') && ['.line.bridge', '.band', '.band.bridge', '.band-bar',
            '.cross'].map(count)"""
    )
    assert drawn == [1, 2, 1, 1, 1]
    bridge = "return document.querySelector('.line.bridge').getAttribute('d').match(/M/g).length"
    assert browser.js(bridge) == 2
    assert "standard error" in text(browser)
    assert "at 1 checkpoint" in text(browser)
    browser.js(
        """const slider = document.querySelector('.slider'); slider.value = 12;
        slider.dispatchEvent(new Event('input', {bubbles: true}))"""
    )
    browser.wait(
        "return document.querySelector('.panels .readout').textContent"
        ".includes('2 chains diverged')"
    )


def test_a_plot_of_some_of_the_layers_says_so(timed: Page) -> None:
    browser = timed.open("?run=deep")
    assert "8 of 9 layers" in text(browser)
    lines = "return document.querySelectorAll('.panels .plot:last-of-type .series').length"
    assert browser.js(lines) == 8
