"""Chains in a store: trained once, gone on with after a kill, read with other images, checked."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from dying import dies_writing
from planted_latents import plant, reading
from tiny_chained import LAYER, NAME, ONS, OTHER, chain_options, without_chains

import dvis
from dvis.cli import main
from dvis.kinds.saes.chains.plan import chain_saes
from dvis.kinds.saes.measure.chaining import chained
from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.kinds.saes.tracks.source import Source

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trained(chain_store: Path) -> Path:
    """A store with chains on decoders and on codes."""
    return chain_store


@pytest.fixture
def store(chain_store: Path, tmp_path: Path) -> Path:
    """A copy without chains."""
    return without_chains(chain_store, tmp_path / "net.zarr")


@pytest.fixture
def own(chain_store: Path, tmp_path: Path) -> Path:
    """A copy with chains, to change."""
    return Path(shutil.copytree(chain_store, tmp_path / "trained.zarr"))


@pytest.mark.parametrize("on", ONS)
def test_a_store_has_what_is_measured(trained: Path, on: Any) -> None:
    found = dvis.chains(trained, LAYER, NAME, on=on).load()
    opened = dvis.saes(trained, LAYER, NAME)
    options = chain_options(trained, on=on)
    labels = tuple(found.checkpoint.values.tolist())
    source = Source.at(trained, opened, labels, "all")
    label = labels[1]
    wanted = chained(
        autoencoder_at(opened, label),
        source.rows(label, "train", options.batch_size),
        options.recipe(16),
        seeds=options.seeds,
        read=source.rows(label),
        n_shuffles=3,
    )
    at = found.sel(checkpoint=label)
    for name in wanted.data_vars:
        if name != "stopped":
            np.testing.assert_allclose(at[name].values, wanted[name].values, err_msg=str(name))
    assert at.stopped.values.tolist() == ["", ""]
    assert at.n_latents.values.tolist() == [[16, 6, 3], [16, 6, 3]]
    for name in ("exchangeable", "cannot_tell", "on", "split", "widths"):
        assert found.attrs[name]
    assert found.attrs["read_with"] == ""


def test_what_is_there_is_sound_and_not_trained_again(trained: Path) -> None:
    assert dvis.check_store(trained) == []
    assert not (trained.parent / ".net.zarr.training").exists()
    assert chain_saes(chain_options(trained)).n_measured == 0
    assert [each.name for each in dvis.contents(trained).of("saes")] == [
        f"{LAYER}/{NAME}",
        f"{LAYER}/{NAME}.chain-codes",
        f"{LAYER}/{NAME}.chain-decoder",
        f"{LAYER}/{NAME}.evaluation",
    ]
    assert dvis.saes(trained, LAYER).attrs["name"] == f"{LAYER}/{NAME}"  # the only autoencoders


def test_the_same_chains_read_with_other_images(store: Path) -> None:
    options = chain_options(store, checkpoints=("last",), seeds=(0,))
    chain_saes(options)
    report = chain_saes(replace(options, read_with=OTHER))
    assert report.name.endswith(f".chain-decoder.read-with-{OTHER}")
    own, read = (dvis.chains(store, LAYER, NAME, read_with=each).load() for each in (None, OTHER))
    for name in ("decoder", "parent", "parent_weight", "frequency"):
        xr.testing.assert_equal(own[name], read[name])
    assert (own.ev == read.ev).sel(control="value", depth=[1, 2]).all()
    assert not (own.selectivity == read.selectivity).sel(control="value").all()
    assert (own.attrs["n_samples"], read.attrs["n_samples"]) == (23, 9)
    assert read.attrs["read_with"] == OTHER
    assert read.attrs["activations"] == own.attrs["activations"] == "shapes-val"
    with pytest.raises(KeyError, match="No read_with 'few'"):
        dvis.chains(store, LAYER, NAME, read_with="few")
    assert dvis.check_store(store) == []


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"name": "wild"}, KeyError, "Did you mean 'wide'"),
        ({"layer": "conv9"}, KeyError, "Did you mean 'conv1'"),
        ({"checkpoints": ("nowhere",)}, KeyError, "nowhere"),
        ({"read_with": "fewest"}, KeyError, "Did you mean 'fewer'"),
        ({"widths": (16,)}, ValueError, "16 latents for the 16 decoder rows above"),
        ({"widths": (), "depth": 3}, ValueError, "level 2 would have 1 latents, but k is 2"),
        ({"device": "cuda:7"}, ValueError, "No device 'cuda:7' here"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    store: Path, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        chain_saes(chain_options(store, **changes))
    with pytest.raises(dvis.SchemaError, match="run `dvis sae chain`"):
        dvis.chains(store, LAYER)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"on": "decoders"}, "Did you mean 'decoder'"),
        ({"depth": 3}, "depth is 3, but there are 2 widths"),
        ({"divide_by": 1.0}, "divide_by is 1; give a number above 1"),
        ({"seeds": ()}, "no seeds given"),
        ({"seeds": (1, 1)}, "give each once"),
        ({"tokens": "none"}, "tokens is 'none'"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        chain_options(Path("net.zarr"), **changes)


def test_without_activations_nothing_is_trained(store: Path) -> None:
    shutil.rmtree(store / "checkpoints" / "activations")
    with pytest.raises((ValueError, KeyError), match="activations"):
        chain_saes(chain_options(store))


def test_other_options_are_kept_unless_overwritten(own: Path) -> None:
    before = dvis.chains(own, LAYER, on="decoder").load()
    other = chain_options(own, seeds=(0,))
    with pytest.raises(ValueError, match=r"seeds.*--overwrite"):
        chain_saes(other)
    xr.testing.assert_identical(dvis.chains(own, LAYER, on="decoder").load(), before)
    assert chain_saes(replace(other, overwrite=True)).n_measured == 2
    assert dvis.chains(own, LAYER, on="decoder").seed.values.tolist() == [0]


def test_chains_of_another_autoencoder_are_kept_and_said(own: Path) -> None:
    weights = own / "checkpoints/saes" / LAYER / f"{NAME}.chain-decoder" / "source/weights/c/0"
    chunk = weights.read_bytes()
    group = dvis.chains(own, LAYER, on="decoder").load()
    for name in ("encoder", "decoder"):  # the second checkpoint's autoencoder is the first's now
        chunks = own / "checkpoints/saes" / LAYER / NAME / name / "c"
        shutil.rmtree(chunks / "1")
        shutil.copytree(chunks / "0", chunks / "1")
    report = chain_saes(chain_options(own))
    assert (report.n_measured, report.n_kept) == (0, 1)
    assert "of other weights" in " ".join(report.lines())
    xr.testing.assert_identical(dvis.chains(own, LAYER, on="decoder").load(), group)
    assert chain_saes(chain_options(own, overwrite=True)).n_measured == 1
    assert weights.read_bytes() != chunk
    assert chain_saes(chain_options(own)).n_kept == 0


def test_of_several_chains_one_is_named(trained: Path) -> None:
    with pytest.raises(ValueError, match=r"On what.*are on codes, decoder"):
        dvis.chains(trained, LAYER)
    with pytest.raises(KeyError, match=r"No on 'code'.*Did you mean 'codes'"):
        dvis.chains(trained, LAYER, on="code")  # type: ignore[arg-type]


@pytest.mark.parametrize("on", ["decoder", pytest.param("codes", marks=pytest.mark.slow)])
def test_killed_and_trained_again_is_an_unbroken_run(store: Path, trained: Path, on: Any) -> None:
    wanted = dvis.chains(trained, LAYER, on=on).load()
    n_written, options = 0, chain_options(store, on=on)
    while dies_writing(chain_saes, options, n_written):
        with suppress(dvis.SchemaError):
            found = dvis.chains(store, LAYER).load()
            is_there = found.status.values == 1
            np.testing.assert_array_equal(found.ev.values[is_there], wanted.ev.values[is_there])
        n_written += 31
    assert n_written > 31
    xr.testing.assert_equal(dvis.chains(store, LAYER).load(), wanted)
    assert dvis.check_store(store) == []


def test_checking_finds_weights_that_are_missing(own: Path) -> None:
    group = own / "checkpoints/saes" / LAYER / f"{NAME}.chain-codes"
    (chunk, *_) = [path for path in (group / "encoder/c/1").rglob("*") if path.is_file()]
    chunk.unlink()
    texts = " ".join(fault.message for fault in dvis.check_store(own))
    assert "encoder" in texts


def test_a_chain_that_ends_early_is_kept_and_said(store: Path) -> None:
    (label, _) = dvis.saes(store, LAYER).checkpoint.values.tolist()
    rows = np.eye(8)[:4]
    one = reading(np.vstack([rows, -rows, np.ones((2, 8))]), [0.1] + [-1e6] * 9)
    plant(store, LAYER, {label: one}, name="few", activations="shapes-val", model="net")
    report = chain_saes(chain_options(store, name="few", checkpoints=("last",)))
    assert "level 0 has 1 latent that fire" in " ".join(report.notes)
    found = dvis.chains(store, LAYER, "few").load()
    assert found.n_latents.values[0, 0].tolist() == [10, -1, -1]
    assert "no level 1" in found.stopped.values[0, 0]
    assert np.isnan(found.dvis.chain_trends().p_value).all()
    assert dvis.check_store(store) == []


def test_trends_leave_level_0_out(trained: Path) -> None:
    found = dvis.chains(trained, LAYER, on="decoder")
    trends = found.dvis.chain_trends()
    at = found.load().isel(checkpoint=1).sel(control="value")
    falls = np.sign(at.l0.sel(depth=2) - at.l0.sel(depth=1)).mean()
    assert float(trends.correlation.sel(statistic="l0")[1]) == pytest.approx(float(falls))
    assert (trends.smallest_p.dropna("statistic") >= 0.5).all()
    assert trends.p_value.isnull().all()
    assert "no p below 0.05 is possible" in str(trends.why_no_p.values[1, 0])
    assert trends.attrs["exchangeable"] == "depths of a chain, or signs of its steps"
    with pytest.raises(dvis.SchemaError, match=r"Open one with dvis\.chains"):
        dvis.saes(trained, LAYER).dvis.chain_trends()


def test_the_command_says_what_was_trained(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--layer", LAYER, "--name", NAME, "--on", "codes", "--widths", "6", "--k", "2"]
    how += ["--seeds", "0", "--tokens", "1k", "--batch-size", "256", "--split", "all"]
    with pytest.raises(SystemExit, match="0"):
        main(["sae", "chain", str(store), *how])
    said = capsys.readouterr().out
    assert "level 1: 6 latents, explained variance" in said
    assert "1 checkpoint measured" in said
    given: dict[str, Any] = {"on": "codes", "widths": (6,), "k": 2, "seeds": (0,), "split": "all"}
    given |= {"tokens": "1k", "batch_size": 256, "name": NAME}
    assert dvis.measure.chain_saes(store, LAYER, **given).n_measured == 0
