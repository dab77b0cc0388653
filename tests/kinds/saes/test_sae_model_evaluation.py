"""Controls, and what autoencoders do to the model, in a store: the numbers of the functions."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_activations import N_IMAGES, options_of
from tiny_models import TinyNet, net

import dvis
from dvis.analysis.control import controlled
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.measure.codes import image_scores
from dvis.kinds.saes.measure.controls import with_controls
from dvis.kinds.saes.measure.downstream import downstream, logit_effects
from dvis.kinds.saes.measure.embeddings import penultimate
from dvis.kinds.saes.measure.mono_score import mono_score
from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.kinds.saes.options import PassOptions, SaeOptions
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions
from dvis.models.data import load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.models.data.transform import InputTransform

LAYER = "conv2"
INPUT = {"size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3, "channels": 3}
pytestmark = pytest.mark.usefixtures("one_thread")


def shapes() -> Any:
    return load_images("shapes", split="val", size=16, n_samples=N_IMAGES)


def network(seed: int) -> TinyNet:
    """A network with a logit for each class of the shapes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return net(len(shapes().classes)).eval()


def write_run(folder: Path, n_checkpoints: int = 2, first_seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    for number in range(n_checkpoints):
        state = network(first_seed + number).state_dict()
        facts = {"step": 10 * number, "input": INPUT}
        torch.save({"model_state_dict": state, **facts}, folder / f"step_{10 * number}.pth")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_run(folder / "run")
    keep_activations(options_of(folder, layers=(LAYER,)))
    store = folder / "net.zarr"
    given = {"checkpoints": ("all",), "k": (2,), "expansion": (2.0,), "batch_size": 128}
    train_saes(TrainOptions(store=store, layer=LAYER, tokens="4k", **given))
    return store


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained.parent / "run", tmp_path / "run")
    return Path(shutil.copytree(trained, tmp_path / "net.zarr"))


def options(store: Path, **changes: Any) -> EvaluateOptions:
    given = {"layer": LAYER, "split": "all", "n_shuffles": 3, "n_top": 2, "probes": False}
    return EvaluateOptions(store=store, **{**given, **changes})


def of_model(store: Path, **changes: Any) -> EvaluateOptions:
    given = {"model": "tiny_models:net", "checkpoint_path": (store.parent / "run",)}
    return options(store, **{**given, **changes})


def rows_of(store: Path, label: str, split: str = "all", batch_size: int = 1) -> ActivationRows:
    return ActivationRows.open(store, LAYER, label, split=split, batch_size=batch_size)


def test_controls_are_those_of_the_function_and_an_untrained_network(store: Path) -> None:
    first, last = dvis.saes(store, LAYER).checkpoint.values.tolist()
    asked = options(store, controls=True, untrained=first, checkpoints=(last,))
    assert evaluate_saes(asked).n_measured == 1
    found = dvis.latents(store, LAYER).load()
    one = autoencoder_at(dvis.saes(store, LAYER), last)
    plain = with_controls(
        one,
        SaeOptions(k=2, expansion=2.0),
        rows_of(store, last, "train", 128),
        PassOptions(n_steps=32),
        held_out=rows_of(store, last),
    )
    at = found.sel(checkpoint=last, control=plain.control.values)
    for name in plain.data_vars:
        np.testing.assert_array_equal(at[f"control_{name}"], plain[name])
    assert found.control.values[0] == "value"
    assert at.control_ev.sel(control="value") == found.ev.sel(checkpoint=last)
    untrained = found.sel(checkpoint=last, control="untrained network")
    assert 0 < untrained.control_l0 < 32
    assert np.isfinite(untrained.control_mean_max_cosine)
    null = controlled(found, "control_ev")
    others = found.control_ev.sel(checkpoint=last).values[1:]
    assert (null.low.sel(checkpoint=last), null.high.sel(checkpoint=last)) == (
        others.min(),
        others.max(),
    )
    assert "another seed" in null.exchanged
    assert not (store.parent / ".net.zarr.training").exists()
    assert dvis.check_store(store) == []


def test_what_the_model_says_is_what_the_functions_say(store: Path) -> None:
    assert evaluate_saes(of_model(store, n_effects=5)).n_measured == 2
    found = dvis.latents(store, LAYER).load()
    fixed = FixedImages.of(shapes(), InputTransform(**INPUT))
    images = fixed.batch(0, N_IMAGES, torch.zeros(1))
    for number, label in enumerate(found.checkpoint.values.tolist()):
        one, rows = autoencoder_at(dvis.saes(store, LAYER), label), rows_of(store, label)
        batches = [(images, torch.from_numpy(shapes().labels))]
        plain = downstream(one, network(number), LAYER, batches, mean=rows.mean)
        at = found.sel(checkpoint=label)
        for name in plain.data_vars:
            np.testing.assert_allclose(at[name], plain[name], rtol=1e-6)
        chosen = np.sort(np.argsort(-at.frequency.values, kind="stable")[:5])
        moved = logit_effects(one, network(number), LAYER, images, latents=chosen)
        effect = at.effect.sel(latent=chosen, control=moved.control.values)
        np.testing.assert_allclose(effect, moved.effect, rtol=1e-3, atol=1e-6)
        assert np.isnan(at.effect.drop_sel(latent=chosen)).all()
        np.testing.assert_array_equal(at.n_effect_images.sel(latent=chosen), moved.n_images)
        embeddings, layer = penultimate(network(number), [images])
        scores = mono_score(image_scores(one, rows), embeddings, n_shuffles=3)
        assert (layer, embeddings.shape) == ("fc", (N_IMAGES, 16))
        np.testing.assert_allclose(at.mono_score, scores.mono_score, rtol=1e-5)
        np.testing.assert_allclose(at.null_mono_score, scores.null_mono_score, rtol=1e-5)
    assert list(found.effect["class"].values) == list(shapes().classes)
    assert "last layer" in found.attrs["embedding"]
    assert dvis.check_store(store) == []


def test_what_is_asked_for_later_is_added_and_nothing_done_twice(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_saes(options(store))
    before = dvis.latents(store, LAYER).load()
    assert "loss_sae" not in before
    monkeypatch.setattr("dvis.kinds.saes.plan_evaluation.evaluate", None)  # which is not called
    last = str(before.checkpoint.values[-1])
    later = of_model(store, n_effects=2, checkpoints=(last,))
    assert evaluate_saes(later).n_measured == 1
    after = dvis.latents(store, LAYER).load()
    assert np.isnan(after.recovered.values[0])
    assert np.isfinite(after.loss_sae.values[1])
    np.testing.assert_array_equal(after.ev, before.ev)
    assert np.isfinite(after.effect.sel(checkpoint=last, control="value")).any()
    assert evaluate_saes(later).n_measured == 0
    # Controls are further labels along the dim that effects brought.
    assert evaluate_saes(replace(later, controls=True)).n_measured == 1
    found = dvis.latents(store, LAYER).load()
    assert np.isfinite(
        found.control_ev.sel(checkpoint=last, control=["value", "second seed"])
    ).all()
    np.testing.assert_array_equal(found.effect.sel(control=after.control), after.effect)
    np.testing.assert_array_equal(found.mono_score, after.mono_score)
    assert dvis.check_store(store) == []
    np.save(store.parent / "dino.npy", np.eye(N_IMAGES, 3) + 1)
    other = options(store, embeddings=store.parent / "dino.npy")
    with pytest.raises(
        ValueError, match=r"by another embedding .*dino\.npy asked for.*--overwrite"
    ):
        evaluate_saes(other)
    monkeypatch.undo()
    evaluate_saes(replace(other, overwrite=True))
    assert dvis.latents(store, LAYER).attrs["embedding"] == "dino.npy"
    assert np.isfinite(dvis.latents(store, LAYER).mean_cosine).all()


def test_another_number_of_effects_or_another_control_is_said(store: Path) -> None:
    last = str(dvis.saes(store, LAYER).checkpoint.values[-1])
    asked = of_model(store, n_effects=2, controls=True, checkpoints=(last,))
    evaluate_saes(asked)
    with pytest.raises(ValueError, match=r"n_effects \(2 there, 3 asked for\).*--overwrite"):
        evaluate_saes(replace(asked, n_effects=3))
    with pytest.raises(ValueError, match=r"untrained \(none told there, step_0\.pth asked for\)"):
        evaluate_saes(replace(asked, untrained="step_0.pth"))
    evaluate_saes(replace(asked, n_effects=3, overwrite=True))
    effect = dvis.latents(store, LAYER).effect.sel(checkpoint=last, control="value")
    assert int(np.isfinite(effect).any("class").sum()) == 3


def test_other_weights_are_refused_at_their_checkpoint_and_said(store: Path) -> None:
    first, last = dvis.saes(store, LAYER).checkpoint.values.tolist()
    state = {"model_state_dict": network(9).state_dict(), "step": 10, "input": INPUT}
    path = store.parent / "run/step_10.pth"
    torch.save(state, path)
    report = evaluate_saes(of_model(store))
    found = dvis.latents(store, LAYER).load()
    assert np.isfinite(found.loss_clean.sel(checkpoint=first))
    assert np.isfinite(found.ev).all()
    for name in ("loss_clean", "effect", "mono_score"):
        assert np.isnan(found[name].sel(checkpoint=last)).all()
    said = [note for note in report.notes if note.startswith(last)]
    assert len(said) == 3
    assert all("are not those that the activations of" in note for note in said)
    # The same weights, saved with another fact beside them.
    torch.save({**state, "model_state_dict": network(1).state_dict(), "by": "hand"}, path)
    (note, *_) = evaluate_saes(of_model(store, checkpoints=(last,))).notes
    assert "contents of files are compared, not tensors" in note


def test_other_pictures_and_classes_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pictures of digits/val are not those.*--dataset"):
        evaluate_saes(of_model(store, dataset="digits"))
    with pytest.raises(ValueError, match=r"recorded|give --model too"):
        options(store, n_effects=3)
    with pytest.raises(KeyError, match="No run or checkpoint 'step_1'"):
        evaluate_saes(options(store, controls=True, untrained="step_1"))


def test_python_takes_the_model_itself(tmp_path: Path) -> None:
    store, model = tmp_path / "net.zarr", network(1)
    of_set = {"dataset": "shapes", "n_images": N_IMAGES, "workers": 0, "input_size": 16}
    dvis.measure.activations(model, layers=[LAYER], store=store, thumbnail_size=0, **of_set)
    dvis.measure.saes(store, LAYER, k=2, expansion=2.0, tokens="1k", batch_size=128)
    how = {"split": "all", "n_shuffles": 2, "n_effects": 0, "probes": False}
    report = dvis.measure.evaluate_saes(store, LAYER, model, **how)
    assert (report.n_measured, report.notes) == (1, [])
    found = dvis.latents(store, LAYER)
    assert np.isfinite(found.loss_sae).all()
    assert np.isfinite(found.mean_cosine).all()
