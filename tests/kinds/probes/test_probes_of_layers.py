"""Linear probes of a run: scores by hand, baselines, a store that grows and is resumed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from dying import dies_writing
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny_models import net, seeded_net, transformer, write_checkpoints
from tiny_probes import made_up_probes, probe_options
from torch import nn

import dvis
from dvis import measure
from dvis.analysis.control import controlled
from dvis.analysis.linear_probes import Splits
from dvis.kinds.probes.plan import train_probes
from dvis.models.data import InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.store.portable import nested

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probes")
    report = train_probes(probe_options(folder))
    assert (report.n_measured, report.n_failed) == (3 * 2 * 2, 0)
    return folder


def test_every_score_has_what_it_is_held_against(measured: Path) -> None:
    found = dvis.probes(measured / "net.zarr").load()
    assert found.layer.values.tolist() == ["bn1", "conv2"]
    assert found.target.values.tolist() == ["background", "size"]
    assert found.split.values.tolist() == ["train", "validation", "held-out"]
    assert found.metric.values.tolist() == ["accuracy", "r2"]
    assert found.chance.values.tolist() == [0.25, 0.0]
    assert found.n.values.tolist() == [[30, 12, 18]] * 2
    assert found.n_inputs.values.tolist() == [8, 16]
    assert bool((found.status == dvis.Status.COMPLETE).all())
    assert bool((found.is_converged == 1).all())
    for name in (
        *("score", "score_se", "null_score", "shuffled_score", "regularisation"),
        *("untrained_score", "untrained_score_se", "pixel_score", "pixel_score_se"),
        "majority_score",
    ):
        assert bool(np.isfinite(found[name]).all()), name
    control = controlled(found, "score")
    assert bool((control.low <= control.high).all())
    assert control.exchanged == "targets of samples"
    assert found.attrs["pool"] == "mean"
    assert dvis.check_store(measured / "net.zarr") == []


def test_scores_are_those_of_features_and_fits_by_hand(measured: Path) -> None:
    train_probes(probe_options(measured, batch_norm="running", name="running"))
    found = dvis.probes(measured / "net.zarr", name="running").load()
    shapes = load_images("shapes", split="val", size=16, n_samples=60)
    images = FixedImages.of(shapes, InputTransform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3))
    splits = Splits.drawn(60, validation=0.2, held_out=0.3, seed=0)
    labels = shapes.factors["background"]
    network, given = seeded_net(0), images.batch(0, 60, torch.zeros(()))
    with torch.no_grad():
        inputs = network.bn1(network.conv1(given)).mean((2, 3)).double().numpy()
    at = found.isel(checkpoint=0).sel(layer="bn1", target="background")
    fit = LogisticRegression(C=at.regularisation.item(), max_iter=500)
    model = make_pipeline(StandardScaler(), fit)
    model.fit(inputs[splits.train], labels[splits.train])
    by_hand = [model.score(inputs[each], labels[each]) for each in splits]
    np.testing.assert_allclose(at.score, by_hand, atol=1e-6)
    counts = np.bincount(labels[splits.train])
    is_commonest = labels[splits.held_out] == counts.argmax()
    majority = found.majority_score.sel(target="background", split="held-out")
    assert majority.item() == pytest.approx(is_commonest.mean())


def test_kept_weights_say_what_the_probe_says(measured: Path) -> None:
    options = probe_options(measured, name="weights", keep_weights=True, batch_norm="running")
    train_probes(replace(options, layers=("bn1",)))
    train_probes(options)  # of more channels
    found = dvis.probes(measured / "net.zarr", name="weights").load()
    assert dvis.check_store(measured / "net.zarr") == []
    assert nested(found.attrs["classes"])["background"][:2] == ["plain", "gradient"]
    assert (found.sizes["output"], found.sizes["input"]) == (4, 16)
    shapes = load_images("shapes", split="val", size=16, n_samples=60)
    images = FixedImages.of(shapes, InputTransform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3))
    splits = Splits.drawn(60, validation=0.2, held_out=0.3, seed=0)
    network = seeded_net(0)
    with torch.no_grad():
        hidden = network.bn1(network.conv1(images.batch(0, 60, torch.zeros(()))))
        wide = network.conv2(torch.relu(hidden))
    for layer, output in (("bn1", hidden), ("conv2", wide)):
        inputs = output.mean((2, 3)).double().numpy()
        at = found.isel(checkpoint=0, input=slice(inputs.shape[1])).sel(layer=layer)
        said = {
            target: inputs @ at.weights.sel(target=target).values.T
            + at.intercept.sel(target=target).values
            for target in found.target.values
        }
        is_right = said["background"].argmax(1) == shapes.factors["background"]
        score = is_right[splits.held_out].mean()
        assert at.score.sel(target="background", split="held-out").item() == pytest.approx(score)
        size, told = (each[splits.held_out] for each in (shapes.factors["size"], said["size"]))
        determined = 1 - ((size - told[:, 0]) ** 2).sum() / ((size - size.mean()) ** 2).sum()
        assert at.score.sel(target="size", split="held-out").item() == pytest.approx(
            determined, abs=1e-4
        )
    assert found.weights.sel(layer="bn1").isel(input=slice(8, None)).isnull().all()
    with pytest.raises(ValueError, match=r"settings: weights_kept.*Give another --name"):
        train_probes(replace(options, keep_weights=False))
    with pytest.raises(ValueError, match="of principal components, which are not kept"):
        replace(options, pool="flatten")


def test_untrained_is_the_drawn_network_or_the_checkpoint_that_is_given(
    measured: Path, tmp_path: Path
) -> None:
    drawn = dvis.probes(measured / "net.zarr", name="shapes-val").load()
    assert nested(drawn.attrs["untrained"]) == {"seed": "0"}
    options = probe_options(measured, store=tmp_path / "net.zarr")
    first = sorted((measured / "run").iterdir())[0]
    train_probes(replace(options, untrained=first))
    given = dvis.probes(tmp_path / "net.zarr").load()
    of_first = given.score.isel(checkpoint=0, drop=True)
    np.testing.assert_allclose(given.untrained_score, of_first, atol=1e-12)
    np.testing.assert_array_equal(given.pixel_score, drawn.pixel_score)
    assert not np.allclose(given.untrained_score, drawn.untrained_score)
    with pytest.raises(ValueError, match=r"settings: untrained.*Give another --name"):
        train_probes(options)


def test_a_module_as_it_is_has_no_untrained_baseline_and_says_so(tmp_path: Path) -> None:
    given = {"dataset": "shapes", "n_images": 40, "n_shuffles": 0, "input_size": 16, "workers": 0}
    given |= {"layers": "conv2", "targets": "x"}
    report = measure.probes(seeded_net(), store=tmp_path / "s.zarr", **given)
    assert any("nothing draws weights" in note for note in report.notes)
    found = dvis.probes(tmp_path / "s.zarr").load()
    assert found.untrained_score.isnull().all()
    assert found.null_score.isnull().all()
    assert found.pixel_score.notnull().all()
    assert measure.probes(seeded_net(), store=tmp_path / "s.zarr", **given).n_measured == 0


def test_killed_and_resumed_equals_an_unbroken_run_also_of_two_workers(
    measured: Path, tmp_path: Path
) -> None:
    expected = dvis.probes(measured / "net.zarr", name="shapes-val").load()
    options = probe_options(tmp_path)
    assert dies_writing(train_probes, options, 20)
    resumed = train_probes(options)
    assert 0 < resumed.n_measured < 12
    assert train_probes(options).n_measured == 0
    train_probes(replace(options, name="two", workers=None))  # a process for each core
    for name in ("shapes-val", "two"):
        found = dvis.probes(tmp_path / "net.zarr", name=name)
        xr.testing.assert_allclose(found, expected, rtol=1e-9)
    assert dvis.check_store(tmp_path / "net.zarr") == []


def test_layers_targets_and_checkpoints_are_added(measured: Path, tmp_path: Path) -> None:
    expected = dvis.probes(measured / "net.zarr", name="shapes-val").load()
    options = probe_options(tmp_path, layers=("conv2",), targets=("background",))
    assert train_probes(options).n_measured == 3
    assert train_probes(replace(options, targets=("size",))).n_measured == 3
    assert train_probes(probe_options(tmp_path)).n_measured == 6
    found = dvis.probes(tmp_path / "net.zarr").load()
    for name in ("score", "null_score", "untrained_score", "pixel_score", "n"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-12, err_msg=name)
    write_checkpoints(tmp_path / "run", 4)
    assert train_probes(probe_options(tmp_path)).n_measured > 0


def test_class_tokens_of_a_transformer_and_whole_outputs(tmp_path: Path) -> None:
    model, block = transformer(), "encoder.layers.encoder_layer_0"
    given: dict[str, Any] = {"dataset": "shapes", "n_images": 50, "n_shuffles": 0, "workers": 0}
    given |= {"input_size": 16, "targets": "background", "store": tmp_path / "s.zarr"}
    assert measure.probes(model, layers=[block, "heads"], pool="cls", **given).n_failed == 0
    found = dvis.probes(tmp_path / "s.zarr").load()
    shapes = load_images("shapes", split="val", size=16, n_samples=50)
    seen: list[torch.Tensor] = []
    handle = model.encoder.layers[0].register_forward_hook(lambda *given: seen.append(given[2]))
    with torch.no_grad():
        transform = InputTransform(size=16, mean=shapes.transform.mean, std=shapes.transform.std)
        told = nested(found.attrs["images"])["transform"]
        transform = InputTransform(size=16, mean=tuple(told["mean"]), std=tuple(told["std"]))
        model(FixedImages.of(shapes, transform).batch(0, 50, torch.zeros(())))
    handle.remove()
    inputs, labels = seen[0][:, 0].double().numpy(), shapes.factors["background"]
    splits = Splits.drawn(50, validation=0.2, held_out=0.3, seed=0)
    at = found.isel(checkpoint=0, target=0).sel(layer=block)
    pipe = make_pipeline(
        StandardScaler(), LogisticRegression(C=at.regularisation.item(), max_iter=500)
    )
    pipe.fit(inputs[splits.train], labels[splits.train])
    by_hand = [pipe.score(inputs[each], labels[each]) for each in splits]
    np.testing.assert_allclose(at.score, by_hand, atol=1e-6)
    with pytest.raises(ValueError, match="conv_proj of VisionTransformer has no class token"):
        measure.probes(model, layers="conv_proj", pool="cls", **given)
    measure.probes(model, layers="all", pool="cls", name="all", **given)
    layers = dvis.probes(tmp_path / "s.zarr", name="all").layer.values.tolist()
    assert block in layers
    assert "conv_proj" not in layers
    measure.probes(model, layers=["conv_proj", block], pool="flatten:9", **given)
    whole = dvis.probes(tmp_path / "s.zarr", name="shapes-val-flatten-9")
    assert whole.n_inputs.values.tolist() == [9, 9]
    assert whole.score.notnull().all()


def test_broken_weights_fail_and_the_others_are_there(tmp_path: Path) -> None:
    broken = seeded_net(0).state_dict()
    broken["conv2.weight"] = broken["conv2.weight"] * np.nan
    states = {"step_0": broken, "step_1": seeded_net(1).state_dict()}
    given: dict[str, Any] = {"dataset": "shapes", "n_images": 40, "n_shuffles": 0, "workers": 0}
    given |= {"layers": ["conv1", "conv2"], "targets": "size", "input_size": 16}
    report = measure.probes(net, states, store=tmp_path / "s.zarr", **given)
    assert (report.n_measured, report.n_failed) == (3, 1)
    assert "step_0, conv2, size: failed: an activation of conv2 is not finite" in report.notes[-1]
    found = dvis.probes(tmp_path / "s.zarr").load()
    assert found.status.values.ravel().tolist() == [1, 3, 1, 1]
    assert found.untrained_score.notnull().all()


def test_a_model_is_left_alone(tmp_path: Path) -> None:
    model = seeded_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given: dict[str, Any] = {"dataset": "shapes", "n_images": 40, "n_shuffles": 0, "workers": 0}
    measure.probes(
        model, layers="conv1", targets="x", input_size=16, store=tmp_path / "s.zarr", **given
    )
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"No target 'colr' in shapes/val.*Did you mean 'colour'"):
        train_probes(probe_options(tmp_path, targets=("colr",)))
    with pytest.raises(ValueError, match=r"noise has no labels.*--labels FILE.csv"):
        train_probes(probe_options(tmp_path, dataset=None, n_images=None, noise=30))
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        train_probes(probe_options(tmp_path, layers=("conv22",)))
    with pytest.raises(ValueError, match="is known of 6 images: 3 to train on, 1 for validation"):
        train_probes(probe_options(tmp_path, n_images=6))
    with pytest.raises(ValueError, match="pool is 'max'; give mean, cls, flatten or flatten:64"):
        probe_options(tmp_path, pool="max")
    with pytest.raises(ValueError, match="no layers given"):
        probe_options(tmp_path, layers=())
    with pytest.raises(ValueError, match="leave no images to train on"):
        probe_options(tmp_path, held_out=0.5, validation=0.5)
    with pytest.raises(ValueError, match="n_shuffles is 1; give 2 or more"):
        probe_options(tmp_path, n_shuffles=1)


def test_tells_from_has_bounds() -> None:
    scores = np.array([[0.1, 0.5], [0.25, 0.6], [0.22, 0.7], [0.5, 0.8], [0.6, np.nan], [0.7, 0.9]])
    made = made_up_probes(scores, error=0.05)
    found = made.dvis.tells_from().squeeze()
    assert found.from_checkpoint.values.tolist() == ["step_10", "step_0"]
    assert found.state.values.tolist() == ["tells", "always"]
    assert found.earliest_step.values.tolist() == [10, 0]
    assert found.latest_step.values.tolist() == [30, 0]
    wide = made_up_probes(scores, error=0.06).dvis.tells_from().squeeze()
    assert wide.earliest_step.values.tolist() == [0 if 0.1 + 1.96 * 0.06 > 0.2 else 10, 0]
    above = made.dvis.tells_from(above="untrained").squeeze()
    assert above.from_step.values.tolist() == [30, 0]
    never = made_up_probes(scores, error=0.05, upper=0.95).dvis.tells_from()
    assert never.state.values.ravel().tolist() == ["never", "never"]
    assert never.from_step.isnull().all()
    first = made.dvis.tells_from(above="first").squeeze()
    assert first.from_checkpoint.values.tolist() == ["step_10", "step_10"]
    assert first.latest_step.values.tolist() == [30, 20]  # 0.2 > 1.96 sqrt(2) 0.05 > 0.12
    flat = made_up_probes(np.array([[np.nan], [0.9], [0.8]]), error=0.5)
    assert flat.dvis.tells_from(above="first").state.item() == "never"
    assert flat.dvis.tells_from(above="first").earliest_step.item() == 20
    with pytest.raises(ValueError, match=r"No baseline 'pixel'.*Did you mean 'pixels'"):
        made.dvis.tells_from(above="pixel")


def test_births_and_change_points_work_on_scores(measured: Path) -> None:
    found = dvis.probes(measured / "net.zarr", name="shapes-val")
    held_out = found.sel(split="held-out")
    births = held_out.dvis.births(baseline="first")
    assert set(births.birth.dims) == {"layer", "target"}
    scores = np.concatenate([np.full((8, 1), 0.1), np.full((8, 1), 0.9)])
    made = made_up_probes(scores, error=0.05)
    changes = made.sel(target="shape", split="held-out").dvis.change_points()
    assert changes.step.isel(change=0).item() == 80
    assert changes.noise.item() == pytest.approx(0.05)
    assert made.dvis.births().birth_step.item() == 80
    one = held_out.sel(target="background")
    compared = one.dvis.compare(one.assign(score=one.score + 0.1), variables=["score"])
    np.testing.assert_allclose(compared.score_difference, 0.1)


class Coded(nn.Module):
    """Gives the mean of each colour, and of its square: what tells hues is read off it."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.same.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.same(images).mean((2, 3))


def test_what_is_there_is_told_and_noise_is_not(tmp_path: Path) -> None:
    """Grey levels of pictures are read off exactly; labels by lot are at chance."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    levels = rng.integers(0, 256, 200)
    from PIL import Image

    lines = ["sample,bright,lot"]
    for number, level in enumerate(levels.tolist()):
        name = f"{number:03d}.png"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (level, 255 - level, 9)).save(folder / name)
        lines.append(f"{name},{'yes' if level > 127 else 'no'},{rng.integers(0, 2)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    given: dict[str, Any] = {"images": folder, "labels": str(tmp_path / "labels.csv")}
    given |= {"layers": "same", "input_size": 8, "workers": 0, "store": tmp_path / "s.zarr"}
    measure.probes(Coded(), {"step_0": Coded()}, **given)
    found = dvis.probes(tmp_path / "s.zarr").load().squeeze()
    assert found.target.values.tolist() == ["bright", "lot"]
    bright, lot = (found.sel(target=name, split="held-out") for name in ("bright", "lot"))
    assert bright.score.item() > 0.97
    assert abs(lot.score.item() - 0.5) < 3 * lot.score_se.item()
    low, high = lot.null_score.values
    assert low < 0.5 < high < bright.score.item()
