"""What is found of autoencoders in a store: the numbers of the measurement, kept with them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_activations import options_of, store_of

import dvis
from dvis.cli import main
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.saes.measure.evaluation import evaluate
from dvis.kinds.saes.measure.stored import autoencoder_at
from dvis.kinds.saes.plan import train_saes
from dvis.kinds.saes.plan_evaluation import evaluate_saes
from dvis.kinds.saes.store_options import EvaluateOptions, TrainOptions

LAYER, NAME = "conv1", "batchtopk-k2-x2"
pytestmark = pytest.mark.usefixtures("one_thread")


def train(store: Path, **changes: Any) -> None:
    given = {"layer": LAYER, "checkpoints": ("all",), "k": (2,), "expansion": (2.0,)}
    given |= {"store": store, "tokens": "10k", "batch_size": 256}
    train_saes(TrainOptions(**{**given, **changes}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = options_of(tmp_path_factory.mktemp("evaluated"))
    keep_activations(options)
    train(store_of(options))
    return store_of(options)


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "net.zarr"))


def test_what_is_kept_is_what_the_measurement_gives(store: Path) -> None:
    options = EvaluateOptions(
        store=store, layer=LAYER, split="train", n_top=4, scores=("max", "mean")
    )
    assert evaluate_saes(options).n_measured == 2
    found, saes = dvis.latents(store, LAYER).load(), dvis.saes(store, LAYER)
    assert (found.step == saes.step).all()
    for label in found.checkpoint.values.tolist():
        rows = ActivationRows.open(store, LAYER, label, split="train", batch_size=1)
        plain = evaluate(autoencoder_at(saes, label), rows, n_top=4, scores=("max", "mean"))
        at = found.sel(checkpoint=label)
        for name in plain.data_vars:
            if name != "top_position":
                np.testing.assert_array_equal(at[name].transpose(*plain[name].dims), plain[name])
    assert set(found.top_sample.values.ravel()) <= set(dvis.activations(store, LAYER).sample.values)
    assert dvis.check_store(store) == []


def test_what_is_evaluated_is_kept_and_what_is_trained_anew_is_evaluated_anew(store: Path) -> None:
    options = EvaluateOptions(store=store, layer=LAYER, split="all")
    assert evaluate_saes(options).n_measured == 2
    assert evaluate_saes(options).n_measured == 0
    train(store, name=NAME, seeds=(7,), overwrite=True, checkpoints=("last",))
    assert evaluate_saes(options).n_measured == 1
    with pytest.raises(ValueError, match=r"split \(all there, train asked for\)"):
        evaluate_saes(EvaluateOptions(store=store, layer=LAYER, split="train"))


def test_the_command_says_what_there_is(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(dvis.SchemaError, match="dvis sae evaluate"):
        dvis.latents(store, LAYER)
    with pytest.raises(SystemExit, match="0"):
        main(["sae", "evaluate", str(store), "--layer", LAYER, "--split", "all", "--n-top", "3"])
    assert f"{LAYER}/{NAME}: 2 autoencoders measured" in capsys.readouterr().out
    assert dvis.latents(store, LAYER).sizes["rank"] == 3
    assert dvis.saes(store, LAYER).attrs["k"] == 2  # the evaluation is no second one
    with pytest.raises(SystemExit, match="2"):
        main(["sae", "evaluate", str(store), "--layer", "conv8"])
    assert "Did you mean" in capsys.readouterr().err


def test_a_training_metric_of_the_same_name_hides_nothing(store: Path) -> None:
    from dvis.store.metrics import write_metrics

    labels = dvis.saes(store, LAYER).checkpoint.values.tolist()
    write_metrics(store, "checkpoints", {label: {"learning_rate": 0.5} for label in labels})
    ds = dvis.saes(store, LAYER)
    assert ds.learning_rate.dims == ("checkpoint", "log_step")
    assert (ds.training_learning_rate == 0.5).all()
