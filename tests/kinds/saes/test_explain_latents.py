"""Classifiers that people can read: planted rules are found, and chance is chance."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from labelled_latents import LAYER, NAME

import dvis
from dvis.analysis.control import controlled
from dvis.analysis.linear_probes import Splits
from dvis.cli import main
from dvis.kinds.saes.explain import share_interval
from dvis.kinds.saes.measure.simple_classifiers import (
    decision_tree,
    rules_of,
    sparse_classifier,
)

N_SAMPLES, N_INPUTS = 400, 9
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def splits() -> Splits:
    return Splits.drawn(N_SAMPLES, validation=0.25, held_out=0.25, seed=0)


@pytest.fixture
def scores() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((N_SAMPLES, N_INPUTS)) * (rng.random((N_SAMPLES, N_INPUTS)) < 0.7)


def test_a_planted_rule_is_found_and_no_deeper_tree(scores: np.ndarray, splits: Splits) -> None:
    labels = ((scores[:, 3] > 0.4) & (scores[:, 6] <= 0.5)).astype(np.int64)
    chosen = decision_tree(scores, labels, splits)
    assert chosen.setting == 2
    rules = rules_of(chosen.fit, scores, labels, splits)
    (planted,) = [rule for rule in rules if rule.label == 1]
    assert set(planted.bounds) == {3, 6}
    assert planted.bounds[3] == (pytest.approx(0.4, abs=0.05), np.inf)
    assert planted.bounds[6] == (-np.inf, pytest.approx(0.5, abs=0.05))
    held = splits.held_out
    inside = (scores[held, 3] > planted.bounds[3][0]) & (scores[held, 6] <= planted.bounds[6][1])
    assert planted.n_held_out == inside.sum()
    assert planted.examples == tuple(held[inside][:4])
    assert planted.n_right == labels[held][inside].sum()
    assert sum(rule.n_held_out for rule in rules) == len(held)
    assert sum(rule.n_train for rule in rules) == len(splits.train)


def test_few_weights_are_those_of_the_planted_inputs(scores: np.ndarray, splits: Splits) -> None:
    labels = (scores[:, [2, 5, 8]] * [1.0, 1.1, 1.2]).argmax(1)
    scores[:, 2] *= 1000  # whose unit is of no matter
    chosen = sparse_classifier(scores, labels, splits)
    used = set(np.flatnonzero((chosen.fit.coef_ != 0).any(0)).tolist())
    assert {2, 5, 8} <= used
    assert len(used) < N_INPUTS
    assert (chosen.predicted == labels)[splits.held_out].mean() > 0.8


def test_classes_of_noise_are_told_at_chance(scores: np.ndarray, splits: Splits) -> None:
    shares = []
    for seed in range(10):
        labels = np.random.default_rng(seed).integers(0, 2, N_SAMPLES)
        for fitter in (decision_tree, sparse_classifier):
            told = fitter(scores, labels, splits, seed=seed).predicted
            shares.append((told == labels)[splits.held_out].mean())
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)


def test_intervals_of_shares_hold_what_they_say() -> None:
    rng = np.random.default_rng(0)
    intervals = [share_interval(int(each), 20) for each in rng.binomial(20, 0.9, 1000)]
    assert 0.92 < np.mean([low <= 0.9 <= high for low, high in intervals]) < 0.99
    assert share_interval(0, 0) == (0, 1)


@pytest.fixture(scope="module")
def store(labelled_store: Path) -> Path:
    return labelled_store


@pytest.fixture(scope="module")
def explained(store: Path) -> xr.Dataset:
    return dvis.explain_latents(store, LAYER, n_shuffles=3)


def test_what_is_explained_stands_beside_its_null(explained: xr.Dataset) -> None:
    null = controlled(explained, "accuracy")
    assert null.exchanged == "classes of samples"
    assert (explained.accuracy > null.high).all()  # digits are told by any network's channels
    assert (explained.accuracy_se > 0).all()
    assert explained.majority < explained.accuracy.min()
    assert np.isnan(explained.model_accuracy)
    assert "give the layer of its logits" in explained.attrs["model_accuracy_of"]


def test_rules_hold_of_the_scores_that_they_are_of(store: Path, explained: xr.Dataset) -> None:
    assert explained.rule_n.sum() == explained.attrs["n_held_out"]
    of_tree = explained.accuracy.sel(classifier="tree", input="latents").item()
    assert explained.rule_right.sum() / explained.rule_n.sum() == pytest.approx(of_tree)
    first = explained.isel(rule=0)
    for latent in first.latent.values:
        low, high = (first[name].sel(latent=latent).item() for name in ("rule_low", "rule_high"))
        assert (f"latent {latent} > {low:.3g} " in f"{first.rule.item()} ") == np.isfinite(low)
        assert (f"latent {latent} <= {high:.3g} " in f"{first.rule.item()} ") == np.isfinite(high)
    again = dvis.explain_latents(store, LAYER, n_shuffles=3)
    xr.testing.assert_identical(again, explained)


def test_rules_are_drawn_beside_the_images_of_their_latents(
    store: Path, explained: xr.Dataset
) -> None:
    figure = dvis.latents(store, LAYER).dvis.latent_rules(explained, max_rules=2)
    words = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert words.count("IF ") == 2
    assert "of" in words
    assert any(axes.get_images() for axes in figure.axes)
    with pytest.raises(dvis.SchemaError, match=r"dvis\.explain_latents"):
        dvis.latents(store, LAYER).dvis.latent_rules(dvis.latents(store, LAYER))


def test_a_latent_that_is_to_be_low_is_never_shown_by_its_top_images(
    store: Path, explained: xr.Dataset
) -> None:
    """Beside such a rule are samples of it, with the numbers of the latents that it asks low."""
    of_store = dvis.latents(store, LAYER)
    captions = [axes.get_title() for axes in of_store.dvis.latent_rules(explained).axes]
    for place in range(min(6, explained.sizes["rule"])):
        rule = explained.isel(rule=place)
        low = [int(each) for each in rule.latent.values[np.isfinite(rule.rule_high)]]
        if low:
            said = f"low: {', '.join(map(str, low[:3]))}"
            assert any(said in each for each in captions)
    only_low = explained.isel(rule=[0]).copy(deep=True)
    only_low.rule_low.values[:], only_low.rule_high.values[:] = -np.inf, np.inf
    only_low.rule_high.values[0, 2] = 0.1
    titles = [axes.get_title() for axes in of_store.dvis.latent_rules(only_low).axes]
    assert not any("latent 2" in each for each in titles)
    assert sum("low: 2" in each for each in titles) == 1


def test_the_command_prints_rules_and_writes_the_picture(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rules.png"
    asked = ["sae", "explain", str(store), "--layer", LAYER, "--name", NAME, "--n-shuffles", "2"]
    with pytest.raises(SystemExit, match="0"):
        main([*asked, "--n-shown", "3", "--out", str(out)])
    said = capsys.readouterr().out
    assert said.count("IF latent") == 3
    assert "tree of channels" in said
    assert out.stat().st_size > 0
    with pytest.raises(SystemExit):
        main([*asked, "--logits", LAYER])
    assert "no logits of 10 classes; give the layer of logits" in capsys.readouterr().err
