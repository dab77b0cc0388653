"""Probes: planted classes are found, what is lost is missed, shuffled labels give chance."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_latents import reading
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tiny_activations import LAYERS, options_of, store_of

import dvis
from dvis.analysis.control import controlled
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.measure import probes
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.probes import probed
from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions
from dvis.kinds.saes.words import PROBE_ACCURACIES

N_CLASSES, N_CHANNELS, N_TOKENS = 4, 12, 3
LAYER = LAYERS[0]
pytestmark = pytest.mark.usefixtures("one_thread")


def rows(seed: int, n_samples: int = 120, strength: float = 3.0, **other: Any) -> ArrayRows:
    """Noise, to which each class adds a channel: that of its own number."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_samples) % N_CLASSES
    values = rng.normal(size=(n_samples, N_TOKENS, N_CHANNELS))
    values[np.arange(n_samples), :, labels] += strength
    return ArrayRows(values, labels=labels, classes=tuple("abcd"), **other)


def of_channels(channels: Any, offset: float = 0.0) -> Autoencoder:
    """An autoencoder with a latent of each of these channels."""
    return reading(np.eye(N_CHANNELS)[np.asarray(channels)], offset)


def test_planted_classes_are_told_and_their_latents_found() -> None:
    # Latent 11 is of channel 0, 10 of 1, ... so that numbers of classes and latents differ.
    found = probed(of_channels(np.arange(N_CHANNELS)[::-1]), rows(0), rows(1))
    for name in ("accuracy", "accuracy_sae", "accuracy_retrained", "accuracy_codes"):
        assert found[f"probe_{name}"] > 0.95, name
    assert found.probe_chance == 1 / N_CLASSES
    assert found.probe_latent.values.tolist() == [11, 10, 9, 8]
    assert (found.probe_latent_auroc > 0.97).all()
    null = controlled(found, "probe_latent_auroc")
    assert null.exchanged == "labels of samples"
    assert (null.high < found.probe_latent_auroc).all()
    # Chosen on other samples than it is scored on, the best of many latents has no advantage.
    assert abs(found.null_probe_latent_auroc.mean() - 0.5) < 0.02
    assert (found.probe_train_samples, found.probe_held_out_samples) == (120, 120)
    assert (found.probe_classes, found.probe_seed) == (N_CLASSES, 0)
    for variable in found.data_vars.values():
        assert variable.attrs["long_name"]
        assert variable.attrs["units"] == "1"


def test_what_reconstructions_lose_costs_accuracy() -> None:
    lost = probed(of_channels(range(N_CLASSES, N_CHANNELS)), rows(0), rows(1))
    assert lost.probe_accuracy > 0.95
    for name in ("accuracy_sae", "accuracy_retrained", "accuracy_codes"):
        assert lost[f"probe_{name}"] < 0.45, name
    assert abs(lost.probe_latent_auroc.mean() - 0.5) < 0.12
    half = probed(of_channels([0, 1, *range(N_CLASSES, N_CHANNELS)]), rows(0), rows(1))
    assert 0.45 < half.probe_accuracy_retrained < 0.85
    assert half.probe_latent_auroc[:2].min() > 0.97 > half.probe_latent_auroc[2:].max()


def test_a_probe_that_is_trained_again_finds_what_has_moved() -> None:
    sae = of_channels(range(N_CHANNELS))
    moved = replace(sae, decoder=np.roll(sae.decoder, 1, axis=0))
    found = probed(moved, rows(0), rows(1))
    assert found.probe_accuracy_sae < 0.3
    assert min(found.probe_accuracy_retrained, found.probe_accuracy_codes) > 0.95


def test_against_means_of_all_tokens_and_a_plain_probe() -> None:
    sae, train, held_out = of_channels(range(N_CHANNELS), -0.5), rows(2, 60, 0.7), rows(3, 48, 0.7)
    found = probed(sae, train, held_out, n_shuffles=0)
    assert "null_probe_latent_auroc" not in found
    x, y = (next(each.ordered(1000))[1] for each in (train, held_out))
    scaler = StandardScaler().fit(x.mean(1))
    probe = LogisticRegression().fit(scaler.transform(x.mean(1)), train.labels)
    for name, values in (("accuracy", y), ("accuracy_sae", sae.reconstruct(y))):
        wanted = probe.score(scaler.transform(values.mean(1)), held_out.labels)
        assert 0.3 < wanted < 0.95
        assert found[f"probe_{name}"].item() == wanted


def test_equal_for_equal_seeds_and_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, train, held_out = of_channels(range(N_CHANNELS)), rows(0, 80, 0.5), rows(1, 80, 0.5)
    whole = probed(sae, train, held_out, seed=3)
    monkeypatch.setattr(probes, "_CELLS", 5 * N_CLASSES)
    assert whole.identical(probed(sae, train, held_out, seed=3))
    assert not whole.equals(probed(sae, train, held_out, seed=4))


def test_dead_latents_tell_nothing() -> None:
    found = probed(of_channels(range(N_CHANNELS), -1e6), rows(0), rows(1))
    assert (found.probe_latent == -1).all()
    assert np.isnan(found.probe_latent_auroc).all()
    assert np.isnan(found.null_probe_latent_auroc).all()
    for name in ("sae", "retrained", "codes"):
        assert found[f"probe_accuracy_{name}"] == found.probe_chance


def test_of_many_samples_some_of_each_class_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_MOST", 40)
    read: list[int] = []
    ordered = ArrayRows.ordered

    def counted(self: ArrayRows, *how: Any) -> Any:
        read.append(self.n_samples)
        return ordered(self, *how)

    monkeypatch.setattr(ArrayRows, "ordered", counted)
    found = probed(of_channels(range(N_CHANNELS)), rows(0), rows(1, 90))
    assert read == [40, 40]
    assert found.probe_train_samples == 40
    assert found.probe_latent.values.tolist() == [0, 1, 2, 3]


def test_rare_classes_are_left_out_and_one_class_is_no_question() -> None:
    sae, train, held_out = of_channels(range(N_CHANNELS)), rows(0), rows(1)
    rare = held_out.taken(np.flatnonzero((held_out.labels != 3) | (np.arange(120) < 16)))
    found = probed(sae, train, rare)
    assert found.probe_classes == 3
    assert found.probe_latent.values.tolist() == [0, 1, 2, -1]
    assert np.isnan(found.probe_latent_auroc.values).tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match=r"of 4 classes 1 class has 5 samples both.*more samples"):
        probed(sae, train, held_out.taken(np.flatnonzero(held_out.labels == 0)))
    with pytest.raises(ValueError, match="n_shuffles is -1"):
        probed(sae, train, held_out, n_shuffles=-1)


def store_with(folder: Path, n_images: int) -> Path:
    options = options_of(folder, layers=(LAYER,), n_images=n_images, batch_size=64)
    keep_activations(options)
    given = {"k": (2,), "expansion": (2.0,), "tokens": "2k", "batch_size": 256}
    train_saes(TrainOptions(store=store_of(options), layer=LAYER, checkpoints=("all",), **given))
    return store_of(options)


def test_a_store_keeps_what_the_function_gives(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(probes, "_LEAST", 2)
    store = store_with(tmp_path, 150)
    first, last = dvis.saes(store, LAYER).checkpoint.values.tolist()
    options = EvaluateOptions(store=store, layer=LAYER, n_shuffles=3, probes=False)
    evaluate_saes(options)
    assert "probe_accuracy" not in dvis.latents(store, LAYER)
    with_probes = replace(options, probes=True)
    report = evaluate_saes(replace(with_probes, checkpoints=(last,)))
    assert (report.n_measured, report.notes) == (1, [])
    found = dvis.latents(store, LAYER).load()
    assert np.isnan(found.probe_accuracy.sel(checkpoint=first))
    plain = probed(
        autoencoder_at(dvis.saes(store, LAYER), last),
        *(ActivationRows.open(store, LAYER, last, split=s) for s in ("train", "held_out")),
        n_shuffles=3,
    )
    for name in plain.data_vars:
        np.testing.assert_array_equal(found[name].sel(checkpoint=last), plain[name])
        assert found[name].attrs["long_name"]
    for name, told in plain.attrs.items():
        assert found.attrs[name] == told
    assert found.probe_train_samples + found.probe_held_out_samples <= 150
    assert controlled(found, "probe_latent_auroc").exchanged == "labels of samples"
    assert evaluate_saes(with_probes).n_measured == 1
    assert evaluate_saes(with_probes).n_measured == 0
    assert dvis.check_store(store) == []


def test_without_labels_numbers_are_absent_and_it_is_said_once(tmp_path: Path) -> None:
    store = store_with(tmp_path, 23)
    report = evaluate_saes(EvaluateOptions(store=store, layer=LAYER, split="all"))
    assert report.n_measured == 2
    (note,) = report.notes
    assert note.startswith("no probes: of 10 classes no class has 5 samples both in the training")
    found = dvis.latents(store, LAYER).load()
    for name in (*PROBE_ACCURACIES, "probe_latent_auroc"):
        assert np.isnan(found[name]).all()
    assert (found.probe_latent == -1).all()
    assert dvis.check_store(store) == []
