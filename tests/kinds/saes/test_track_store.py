"""Tracks in a store: found once, with a second seed beside, gone on with after a kill."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from dying import dies_writing
from tiny_activations import options_of, store_of

import dvis
from dvis.cli import main
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.parts import Asked
from dvis.kinds.saes.listed import listed_latents
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrackOptions, TrainOptions
from dvis.kinds.saes.tracks.plan import track_saes

LAYER, N_CHECKPOINTS = "conv1", 3
METHODS = ("warm", "match", "shared", "cross")
HOW: dict[str, Any] = {"k": (2,), "expansion": (2.0,), "tokens": "2k", "batch_size": 256}
pytestmark = pytest.mark.usefixtures("one_thread")


def train(store: Path, name: str, **changes: Any) -> None:
    given = {**HOW, "checkpoints": ("all",), "name": name, **changes}
    train_saes(TrainOptions(store=store, layer=LAYER, **given))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with autoencoders of three checkpoints, by a warm start and apart."""
    folder = tmp_path_factory.mktemp("tracks")
    options = options_of(folder, N_CHECKPOINTS, layers=(LAYER, "fc"))
    keep_activations(options)
    store = store_of(options)
    train(store, "warm", warm_start=True)
    train(store, "cold")
    return store


@pytest.fixture(scope="module")
def tracked(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with tracks by all methods, beside second seeds."""
    store = Path(shutil.copytree(measured, tmp_path_factory.mktemp("tracked") / "net.zarr"))
    for method in METHODS:
        report = track_saes(options_for(store, method, controls=True))
        assert report.n_measured == N_CHECKPOINTS
    return store


@pytest.fixture
def own(tracked: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(tracked, tmp_path / "tracked.zarr"))


@pytest.fixture
def store(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "net.zarr"))


def options_for(store: Path, method: Any = "warm", **changes: Any) -> TrackOptions:
    name = "warm" if method == "warm" else "cold"
    given = {"store": store, "layer": LAYER, "name": name, "method": method, "split": "all"}
    return TrackOptions(**{**given, **changes})


@pytest.mark.parametrize("method", METHODS)
def test_a_method_gives_the_one_form(tracked: Path, method: Any) -> None:
    options = options_for(tracked, method, controls=True)
    found = dvis.tracks(tracked, LAYER, options.name, method=method).load()
    assert found.attrs["method"] == method
    assert found.attrs["exchangeable"]
    assert found.attrs["cannot_tell"]
    labels = found.checkpoint.values.tolist()
    latent, is_there = found.latent.values, found.latent.values >= 0
    for name in ("frequency", "decoder_norm", "drift"):
        np.testing.assert_array_equal(np.isfinite(found[name].values), is_there, err_msg=name)
    for row in latent:
        there = row[row >= 0]
        assert len(set(there)) == len(there)  # a latent is of one track
    np.testing.assert_array_equal(found.n_latents, is_there.sum(1))
    for track in range(found.sizes["track"]):
        places = np.flatnonzero(is_there[:, track])
        first, last = labels[places[0]], places[-1]
        assert (np.diff(places) == 1).all()
        assert found.drift.values[places[0], track] == pytest.approx(0, abs=1e-6)
        assert found.birth.values[track] == ("" if places[0] == 0 else first)
        after = labels[last + 1] if last + 1 < len(labels) else ""
        assert found.death.values[track] == after
    assert np.isfinite(found.null_similarity.values).any()
    np.testing.assert_allclose(found.null_drift, 1 - found.null_cosine)


def test_what_is_tracked_is_sound_and_not_tracked_again(tracked: Path) -> None:
    assert dvis.check_store(tracked) == []
    assert not (tracked.parent / ".net.zarr.training").exists()
    for method in ("warm", "cross"):
        assert track_saes(options_for(tracked, method, controls=True)).n_measured == 0


def test_drift_and_norm_are_those_of_the_decoders(tracked: Path) -> None:
    found = dvis.tracks(tracked, LAYER, "warm").load()
    trained = dvis.saes(tracked, LAYER, "warm").load()
    decoder = trained.decoder.values
    stays = np.flatnonzero((found.latent.values >= 0).all(0))
    assert len(stays)
    latent = found.latent.values[0, stays]
    assert (found.latent.values[:, stays] == latent).all()
    np.testing.assert_allclose(
        found.decoder_norm.values[:, stays], np.linalg.norm(decoder, axis=2)[:, latent], rtol=1e-6
    )
    cosine = (decoder[0, latent] * decoder[2, latent]).sum(1)
    np.testing.assert_allclose(found.drift.values[2, stays], 1 - cosine, atol=1e-5)


def test_a_copy_that_does_not_change_matches_fully(store: Path) -> None:
    """The autoencoder and activations of a checkpoint in the place of those of the others."""
    for group in (store / "checkpoints/activations").rglob("values/c"):
        for each in ("1", "2"):
            shutil.rmtree(group / each)
            shutil.copytree(group / "0", group / each)
    for name in ("encoder", "decoder", "encoder_bias", "decoder_bias", "threshold"):
        chunks = store / "checkpoints/saes" / LAYER / "cold" / name / "c"
        for each in ("1", "2"):
            shutil.rmtree(chunks / each)
            shutil.copytree(chunks / "0", chunks / each)
    track_saes(options_for(store, "match"))
    found = dvis.tracks(store, LAYER).load()
    assert set(found.birth.values.tolist()) == set(found.death.values.tolist()) == {""}
    np.testing.assert_allclose(found.similarity[1:], 1)
    np.testing.assert_allclose(found.drift, 0, atol=1e-6)


@pytest.mark.slow
def test_a_second_seed_that_is_there_stands_beside(store: Path) -> None:
    without = track_saes(options_for(store, "match"))
    assert "no drift is a finding" in " ".join(without.notes)
    assert "null_drift" not in dvis.tracks(store, LAYER)
    train(store, "other", seeds=(7,))
    assert track_saes(options_for(store, "match")).n_measured == N_CHECKPOINTS
    found = dvis.tracks(store, LAYER).load()
    assert found.attrs["second"] == "other"
    assert np.isfinite(found.null_drift.values).any()


def test_controls_train_a_second_seed_as_the_first(tracked: Path) -> None:
    store = tracked
    first, second = (dvis.saes(store, LAYER, name) for name in ("warm", "warm-seed1"))
    assert second.began_from.values.tolist() == first.began_from.values.tolist()
    alike = {key for key in first.attrs if first.attrs[key] == second.attrs.get(key)}
    assert set(first.attrs) - alike == {"seed", "name"}


@pytest.mark.slow
def test_selectivity_is_there_once_they_are_evaluated(own: Path) -> None:
    assert "selectivity" not in dvis.tracks(own, LAYER, "warm")
    evaluate_saes(EvaluateOptions(store=own, layer=LAYER, name="warm", split="all", n_top=2))
    assert track_saes(options_for(own)).n_measured == 0
    found = dvis.tracks(own, LAYER, "warm").load()
    wanted = dvis.latents(own, LAYER, "warm").selectivity.load()
    is_there = found.latent.values >= 0
    for place, track in np.argwhere(is_there):
        value = wanted.values[place, found.latent.values[place, track]]
        np.testing.assert_equal(found.selectivity.values[place, track], value)
    assert dvis.check_store(own) == []


@pytest.mark.slow
def test_a_shared_autoencoder_is_one_of_each_checkpoint(own: Path) -> None:
    name = "cold.shared"
    evaluate_saes(EvaluateOptions(store=own, layer=LAYER, name=name, split="all", n_top=2))
    track_saes(options_for(own, "shared"))
    found, latents = (
        dvis.tracks(own, LAYER, "cold", method="shared").load(),
        dvis.latents(own, LAYER, name),
    )
    is_there = found.latent.values >= 0
    for place, track in np.argwhere(is_there):
        latent = found.latent.values[place, track]
        assert found.frequency.values[place, track] == latents.frequency.values[place, latent]
    assert np.isfinite(found.selectivity.values[is_there]).any()
    dvis.latent_units(own, LAYER, name).dvis.births()  # its latents keep their numbers


def test_a_crosscoder_keeps_its_weights(store: Path) -> None:
    track_saes(options_for(store, "cross", k=3, expansion=1.5, tokens="1k"))
    found = dvis.tracks(store, LAYER).load()
    assert found.decoder.shape == (N_CHECKPOINTS, 12, 8)
    rows = {
        label: dvis.activations(store, LAYER).sel(checkpoint=label)["values"].values.reshape(-1, 8)
        for label in found.checkpoint.values
    }
    pre = found.encoder_bias.values + sum(
        (rows[label] - found.decoder_bias.sel(checkpoint=label).values)
        @ found.encoder.sel(checkpoint=label).values.T
        for label in rows
    )
    fires = (pre > found.code_threshold.values).mean(0)
    is_there = found.latent.values >= 0
    latent = found.latent.values.max(0)
    np.testing.assert_allclose(
        found.frequency.values.max(0, where=is_there, initial=0), fires[latent], atol=2e-3
    )
    assert (found.strength >= 0).all()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"checkpoints": ("last",)}, ValueError, "at 1 checkpoint, and a track needs two"),
        ({"name": "worm"}, KeyError, "Did you mean 'warm'"),
        ({"layer": "conv9"}, KeyError, "Did you mean 'conv1'"),
        ({"checkpoints": ("nowhere",)}, KeyError, "nowhere"),
        ({"name": "cold"}, ValueError, "trained anew at each checkpoint.*--method match"),
        ({"second": "warm"}, ValueError, "which is what is tracked"),
        ({"second": "narrow"}, ValueError, "have 16 latents and 'narrow' 8"),
        ({"second": "none"}, KeyError, "No name 'none'"),
        ({"device": "cuda:7"}, ValueError, "No device 'cuda:7' here"),
    ],
)
def test_what_cannot_be_tracked_is_refused(
    store: Path, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    if changes.get("second") == "narrow":
        train(store, "narrow", expansion=(1.0,))
    with pytest.raises(error, match=text):
        track_saes(options_for(store, **changes))
    with pytest.raises(dvis.SchemaError, match="run `dvis sae track`"):
        dvis.tracks(store, LAYER)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"method": "wram"}, "Did you mean 'warm'"),
        ({"level": 1.0}, "level is 1.0"),
        ({"k": 3}, "k is of --method shared or cross"),
        ({"method": "cross", "second": "other"}, "trains its own"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        options_for(Path("net.zarr"), **changes)


def test_without_activations_nothing_is_tracked(store: Path) -> None:
    shutil.rmtree(store / "checkpoints" / "activations")
    with pytest.raises((ValueError, KeyError), match="activations"):
        track_saes(options_for(store))


def test_other_options_are_kept_unless_overwritten(store: Path) -> None:
    track_saes(options_for(store))
    before = dvis.tracks(store, LAYER).load()
    other = options_for(store, level=0.2)
    with pytest.raises(ValueError, match=r"level.*--overwrite"):
        track_saes(other)
    xr.testing.assert_identical(dvis.tracks(store, LAYER).load(), before)
    assert track_saes(replace(other, overwrite=True)).n_measured == N_CHECKPOINTS
    assert dvis.tracks(store, LAYER).attrs["level"] == 0.2


def test_of_several_methods_one_is_named(tracked: Path) -> None:
    with pytest.raises(ValueError, match=r"Which method.*are by cross, match, shared"):
        dvis.tracks(tracked, LAYER, "cold")
    assert dvis.tracks(tracked, LAYER, "cold", method="match").attrs["method"] == "match"
    with pytest.raises(KeyError, match="No method 'warm'"):
        dvis.tracks(tracked, LAYER, "cold", method="warm")


@pytest.mark.parametrize("method", ["match", pytest.param("shared", marks=pytest.mark.slow)])
def test_killed_and_tracked_again_is_an_unbroken_run(
    store: Path, measured: Path, tmp_path: Path, method: Any
) -> None:
    whole = Path(shutil.copytree(measured, tmp_path / "whole.zarr"))
    track_saes(options_for(whole, method))
    wanted = dvis.tracks(whole, LAYER).load()
    n_written = 0
    options = options_for(store, method)
    while dies_writing(track_saes, options, n_written):
        with suppress(dvis.SchemaError):
            assert not (dvis.tracks(store, LAYER).status.values == 1).any()
        n_written += 9
    assert n_written
    found = dvis.tracks(store, LAYER).load()
    xr.testing.assert_equal(found, wanted)
    assert dvis.check_store(store) == []


def test_the_command_says_what_was_found(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--layer", LAYER, "--name", "warm", "--split", "all"]
    with pytest.raises(SystemExit, match="0"):
        main(["sae", "track", str(store), *how])
    said = capsys.readouterr().out
    assert "over 3 checkpoints" in said
    assert "3 checkpoints measured" in said
    report = dvis.measure.track_saes(store, LAYER, name="warm", split="all")
    assert report.n_measured == 0


def test_so_few_samples_that_births_mean_nothing_are_said(store: Path, tmp_path: Path) -> None:
    report = track_saes(options_for(store, split="held_out"))
    assert any("(held_out) alone" in note for note in report.notes)
    assert any("births are no finding" in note for note in report.notes) == (
        dvis.tracks(store, LAYER, "warm").n_latents[0].item() == 0
    )
    (tmp_path / "many").mkdir()
    many = options_of(tmp_path / "many", N_CHECKPOINTS, layers=(LAYER,), n_images=40)
    keep_activations(many)
    train(store_of(many), "warm", warm_start=True)
    report = track_saes(options_for(store_of(many)))
    assert not any("alone" in note for note in report.notes)


def test_the_page_of_a_latent_has_its_track_and_its_film(own: Path) -> None:
    evaluate_saes(EvaluateOptions(store=own, layer=LAYER, name="cold", split="all", n_top=3))
    asked = Asked(store=own, contents=dvis.contents(own), run="checkpoints")
    (listed,) = (each for each in listed_latents(asked) if each.key.name == "cold")
    (tracked,) = (each for each in listed.tracks if each.entry.attrs["method"] == "match")
    # None is linked in so small a store: one is made up that has another number each time.
    tracks, numbers = dvis.tracks(own, LAYER, "cold", method="match").load(), [-1, 3, 5]
    tracks["latent"] = tracks.latent.where(~tracks.latent.isin([3, 5]), -1)
    tracks["latent"][:, 7] = numbers
    tracks["similarity"][:, 7] = [np.nan, np.nan, 0.8]
    vars(tracked)["tracks"] = tracks
    of_match = [part for part in listed.parts([5])[0] if "Track 7 by match" in part.title]
    assert [part.shape for part in of_match] == ["curves", "curves", "pictures"]
    np.testing.assert_array_equal(of_match[0].lines[0].values, tracks.similarity[:, 7])
    film, found = of_match[2], dvis.latents(own, LAYER, "cold").isel(score=0).load()
    assert film.empty[0] == "not there"
    for row, number in enumerate(numbers[1:], 1):
        top = found.isel(checkpoint=row).sel(latent=number)
        wanted = top.top_sample.where(top.top_value > 0, "").values.tolist()
        assert film.samples[row].tolist() == wanted
        assert f"latent {number}" in film.note
    assert not any("by match" in part.title for part in listed.parts([6])[0])  # of one checkpoint
