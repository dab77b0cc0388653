"""What a report tells of made-up stores: each line runs, nulls make no claim, doubts are told."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up_chains import DIVERGED, prepare, record_all, recording
from made_up_influence import write_influence
from made_up_responses import write_responses
from recorded_stores import write_store

import dvis
from dvis.analysis.order import birth_order
from dvis.cli import main
from dvis.kinds.registry import KINDS
from dvis.kinds.told import Code, ToldFigure, ToldTable
from dvis.kinds.told_births import count_sentence, order_sentence
from dvis.reporting.collect import Told, told_of
from dvis.reporting.html import html_of
from dvis.reporting.pdf import pages_of

LABELS = [f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(3)]
HOSTILE = "layer<script>alert(1)</script>&\"'$"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feature images of which one failed, responses, influence, and chains too short to settle."""
    path = tmp_path_factory.mktemp("report") / "net.zarr"
    write_store(path, LABELS, ["layer1", "layer2"], model="resnet18", failed=[(1, 0)])
    write_responses(path, "image")
    write_influence(path)
    with recording(path, model="resnet18", run="checkpoints") as recorder:
        prepare(recorder)
        record_all(recorder)
        recorder.note(burn_in=20, kind_of_run="estimate")
    return path


@pytest.fixture(scope="module")
def told(store: Path) -> Told:
    return told_of(store)


def figures_of(told: Told) -> list[ToldFigure]:
    return [each for s in told.sections for each in s.shown if isinstance(each, ToldFigure)]


def text_of(told: Told) -> str:
    return "".join(html_of(told))


def test_every_figure_is_made_by_its_line(told: Told) -> None:
    figures = figures_of(told)
    assert len(figures) > 6
    for each in figures:
        made = eval(str(each.code), {"dvis": dvis})
        assert made.get_size_inches().min() > 0, each.title
        assert len(each.numbers()), each.title


def test_each_kind_that_is_there_has_its_section_and_others_are_named(told: Told) -> None:
    titles = " ".join(section.title for section in told.sections)
    for word in ("come about", "answer as they do", "Circuits", "Local learning coefficient"):
        assert word in titles
    there = {"features", "responses", "influence", "llc"}
    absent = {row[0] for row in told.absent.rows}
    assert absent == {kind.noun for name, kind in KINDS.items() if name not in there}
    assert "<code>dvis probe</code>" in text_of(told)


def test_numbers_are_those_of_the_analysis(store: Path, told: Told) -> None:
    births = dvis.open(store).dvis.births().load()
    section = next(s for s in told.sections if s.title == "When units come about")
    assert count_sentence(births) in section.finding
    table = next(each for each in section.shown if isinstance(each, ToldTable))
    by_layer = (births.state == "born").sum("channel")
    assert [int(row[2]) for row in table.rows] == by_layer.values.tolist()
    llc = dvis.llc(store).sel(gamma=1.0).isel(checkpoint=-1).llc.item()
    section = next(s for s in told.sections if s.title == "Local learning coefficient")
    table = next(each for each in section.shown if isinstance(each, ToldTable))
    assert table.rows[-1][1].startswith(f"{llc:.3g}".replace("-", "−"))


def test_failed_images_and_unsettled_chains_are_told(told: Told) -> None:
    text = " ".join(each.text for _, each in told.caveats)
    assert "2 of 18 parts are failed" in text
    assert "not settled" in text
    assert [each.severity for _, each in told.caveats] == sorted(
        (each.severity for _, each in told.caveats), key=["wrong", "doubt", "note"].index
    )
    section = next(s for s in told.sections if s.title == "Local learning coefficient")
    assert section.finding.startswith("No LLC of this run can be relied on")


def test_diverged_chains_are_told(store: Path) -> None:
    status = dvis.llc_traces(store).status.values
    text = " ".join(each.text for _, each in told_of(store).caveats)
    n_diverged = int((status == DIVERGED).sum())
    assert (f"{n_diverged} of {status.size} chains diverged" in text) == (n_diverged > 0)


def test_two_reports_are_equal_to_the_byte(store: Path, tmp_path: Path) -> None:
    for suffix in ("html", "pdf"):
        made = [tmp_path / f"{n}.{suffix}" for n in range(2)]
        for path in made:
            dvis.write_report(store, path)
        assert made[0].read_bytes() == made[1].read_bytes()


def test_the_pdf_has_as_many_pages_as_are_told(store: Path, told: Told, tmp_path: Path) -> None:
    written = dvis.write_report(store, tmp_path / "r.pdf")
    n_pages = len(re.findall(rb"/Type /Page\b(?!s)", written.path.read_bytes()))
    assert n_pages == len(list(pages_of(told)))
    assert n_pages > written.n_figures


def test_null_births_make_no_claim() -> None:
    rng = np.random.default_rng(0)
    birth = xr.DataArray(
        rng.integers(0, 9, (6, 20)),
        {"layer": [f"layer{i}" for i in range(6)], "channel": np.arange(20)},
    )
    state = xr.full_like(birth, "born", dtype="U8")
    found = xr.Dataset({"birth": birth, "birth_step": 10.0 * birth, "state": state})
    order = birth_order(found)
    sentence = order_sentence(order)
    assert order.p_value > 0.05
    assert sentence.startswith("Births show no order of layers beyond chance")
    in_order = xr.zeros_like(birth) + np.arange(6)[:, None]
    planted = birth_order(found.assign(birth=in_order, birth_step=10.0 * in_order))
    assert order_sentence(planted).startswith("Later layers are born later, beyond chance")


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    store = write_store(tmp_path / "net.zarr", LABELS, [HOSTILE])
    written = dvis.write_report(store, tmp_path / "report.html")
    text = written.path.read_text()
    assert "<script" not in text
    assert HOSTILE in unescape(text)
    dvis.write_report(store, tmp_path / "report.pdf")


def test_one_checkpoint_says_that_nothing_is_over_training(tmp_path: Path) -> None:
    store = write_store(tmp_path / "net.zarr", LABELS[:1], ["layer1"])
    told = told_of(store)
    assert "nothing can be said" in told.sections[0].finding
    assert figures_of(told)
    assert "born" not in " ".join(section.finding for section in told.sections)


def test_an_imported_tree_says_what_raw_births_cannot_tell(sample_store: Path) -> None:
    told = told_of(sample_store)
    assert any("raw numbers" in each.text for _, each in told.caveats)
    for each in figures_of(told):
        each.code.run(dvis)


def test_chains_of_autoencoders_have_their_depth(chain_store: Path) -> None:
    told = told_of(chain_store)
    titles = " ".join(section.title for section in told.sections)
    assert "Autoencoders on autoencoders" in titles
    for each in figures_of(told):
        each.code.run(dvis)
        each.numbers()


def test_a_store_without_anything_and_several_runs(tmp_path: Path) -> None:
    store = write_store(tmp_path / "net.zarr", LABELS, ["layer1"], run="one")
    write_store(store, LABELS, ["layer1"], run="two")
    assert told_of(store, "two").title.endswith("run two")
    assert "other run" in " ".join(told_of(store, "two").sections[0].texts)
    with pytest.raises(KeyError, match="three"):
        told_of(store, "three")


def test_code_is_written_as_it_runs() -> None:
    images = Code().then("open", "a.zarr")
    code = Code().then("latents", "a.zarr", "fc").then("dvis.latent_sheet", 3, unit_images=images)
    assert str(code) == (
        "dvis.latents('a.zarr', 'fc').dvis.latent_sheet(3, unit_images=dvis.open('a.zarr'))"
    )


def test_the_command_writes_a_report(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["report", str(store), "--out", str(tmp_path / "a.html")])
    assert end.value.code == 0
    assert "sections" in capsys.readouterr().out
    with pytest.raises(ValueError, match="html"):
        dvis.write_report(store, tmp_path / "a.txt")
