"""Probes of activations that a store keeps: the same as of its images, without the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tiny_activations import options_of
from tiny_models import write_checkpoints
from tiny_probes import probe_options

import dvis
from dvis.kinds.activations.plan import keep_activations
from dvis.kinds.probes.options import LinearProbeOptions
from dvis.kinds.probes.plan import train_probes

pytestmark = pytest.mark.usefixtures("one_thread")
LAYERS = ("conv2", "fc")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two checkpoints, and a store with activations of 80 images."""
    folder = tmp_path_factory.mktemp("kept")
    keep_activations(options_of(folder, layers=LAYERS, n_images=80, dtype="float32"))
    return folder


def asked(folder: Path, **changes: object) -> LinearProbeOptions:
    given = {"dataset": None, "n_images": None, "targets": (), "layers": ("all",)}
    return probe_options(folder, **{**given, "from_activations": "shapes-val", **changes})


def test_they_are_those_of_scikit_learn_by_hand_and_need_no_model_file(
    kept: Path, tmp_path: Path
) -> None:
    options = asked(kept, checkpoint_path=(tmp_path / "gone",))
    report = train_probes(options)
    assert (report.n_measured, report.n_failed) == (2 * len(LAYERS), 0)
    assert any("no baselines" in note for note in report.notes)
    found = dvis.probes(kept / "net.zarr").load()
    assert found.sizes["target"] == 1
    assert found.layer.values.tolist() == [*LAYERS]
    values = dvis.activations(kept / "net.zarr", "conv2").load()
    labels = values.label.values
    order = np.random.default_rng(options.seed).permutation(80)
    held, _validation, train = np.split(order, [24, 40])
    assert found.n.values.ravel().tolist() == [40, 16, 24]
    for checkpoint in found.checkpoint.values:
        read = values["values"].sel(checkpoint=checkpoint).mean("token").values
        cell = found.sel(checkpoint=checkpoint, layer="conv2").squeeze("target")
        scaler = StandardScaler().fit(read[np.sort(train)].astype(float))
        inputs = scaler.transform(read.astype(float))
        by_hand = LogisticRegression(C=cell.regularisation.item(), max_iter=2000, tol=1e-8)
        by_hand.fit(inputs[np.sort(train)], labels[np.sort(train)])
        score = by_hand.score(inputs[held], labels[held])
        assert cell.score.sel(split="held-out").item() == pytest.approx(score, abs=1e-6)
    assert found.untrained_score.isnull().all()
    assert train_probes(options).n_measured == 0
    assert dvis.check_store(kept / "net.zarr") == []


def test_pictures_and_dates_say_that_there_are_no_baselines(kept: Path) -> None:
    train_probes(asked(kept))
    found = dvis.probes(kept / "net.zarr", name="shapes-val")
    figure = found.dvis.accuracy_over_training()
    said = " ".join(text.get_text() for text in figure.texts)
    assert "no baseline" in said
    assert (found.dvis.tells_from(above="untrained").state == "absent").all()
    assert set(np.unique(found.dvis.tells_from().state)) <= {"tells", "never", "always"}


def test_all_tokens_can_be_flattened(kept: Path) -> None:
    options = asked(kept, pool="flatten:6", layers=("conv2",))
    assert train_probes(options).n_measured == 2
    assert dvis.probes(kept / "net.zarr", name="shapes-val-flatten-6").n_inputs.item() == 6


def test_probes_of_other_weights_are_kept_until_they_are_to_be_overwritten(tmp_path: Path) -> None:
    collected = options_of(tmp_path, layers=LAYERS, n_images=60)
    keep_activations(collected)
    options = asked(tmp_path, layers=("conv2",), keep_weights=True)
    assert train_probes(options).n_measured == 2
    before = dvis.probes(tmp_path / "net.zarr").load()
    write_checkpoints(tmp_path / "run", 3)[2].unlink()  # the second is half way now
    keep_activations(replace(collected, overwrite=True))
    report = train_probes(options)
    assert report.n_measured == 0
    assert report.n_kept == 1
    assert train_probes(replace(options, overwrite=True)).n_measured == 1
    new = dvis.probes(tmp_path / "net.zarr").load()
    xr.testing.assert_equal(new.weights[0], before.weights[0])
    assert not new.weights[1].equals(before.weights[1])


def test_labels_of_ones_own(kept: Path, tmp_path: Path) -> None:
    ids = dvis.activations(kept / "net.zarr", "conv2").sample.values.tolist()
    lines = [f"{each},{'odd' if n % 2 else 'even'}" for n, each in enumerate(ids)]
    (tmp_path / "own.csv").write_text("\n".join(["sample,parity", *lines]))
    train_probes(asked(kept, labels=tmp_path / "own.csv", name="own"))
    found = dvis.probes(kept / "net.zarr", name="own")
    assert found.target.values.tolist() == ["parity"]
    assert found.n_classes.item() == 2


def test_what_is_not_there_is_said(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="Did you mean 'shapes-val'"):
        train_probes(asked(kept, from_activations="shapes-vol"))
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        train_probes(asked(kept, layers=("conv3",)))
    with pytest.raises(ValueError, match="conv2 keeps no class token"):
        train_probes(asked(kept, layers=("conv2",), pool="cls"))
    with pytest.raises(ValueError, match="dataset and from_activations given"):
        asked(kept, dataset="shapes")
    with pytest.raises(ValueError, match="n_images goes with dataset, not with from_activations"):
        asked(kept, n_images=20)
    with pytest.raises(ValueError, match=r"the model is 'other', and .* is of 'net'; give --model"):
        train_probes(asked(kept, model="tiny_models:other"))
    assert train_probes(asked(kept, checkpoint_patterns=("*_10.*",), name="last")).n_measured == 2
    with pytest.raises(KeyError, match="No run 'other'"):
        train_probes(asked(kept, run="other"))
    with pytest.raises(FileNotFoundError):
        train_probes(asked(kept, store=tmp_path / "none.zarr"))
    keep_activations(options_of(kept, layers=("conv2",), n_images=80, keep=("top:4",), name="top"))
    with pytest.raises(ValueError, match="keeps top images alone"):
        train_probes(asked(kept, from_activations="top", layers=("conv2",)))
