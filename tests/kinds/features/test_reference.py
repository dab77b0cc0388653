"""What units answer to reference images: the same as a plain loop, whoever asks and how often."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_models import TinyNet, seeded_net, transformer, write_checkpoints
from tiny_runs import run_tiny
from torch import Tensor, nn

import dvis
from dvis import measure
from dvis.check import check_store
from dvis.cli import main
from dvis.kinds.features.images.compaction import compact_store
from dvis.kinds.features.measure import FeatureTask, FeatureVisualisation
from dvis.kinds.features.measure.reference import ReferenceImages, answers
from dvis.kinds.features.options import feature_settings
from dvis.kinds.features.reference_images import find_reference
from dvis.kinds.features.tasks import ReferenceTask
from dvis.kinds.features.words import CONSTANT_MAX, OF_REFERENCE
from dvis.models.data import InputTransform
from dvis.models.data.image_set import chosen
from dvis.models.hooks import trace_layers
from dvis.models.training_data import images_of_training

TINY = InputTransform(size=16, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))
NAMES = (*OF_REFERENCE, CONSTANT_MAX)


def noise(n_images: int = 20, transform: InputTransform = TINY) -> ReferenceImages:
    return find_reference("noise", n_images, {}, transform)[0]


def by_a_plain_loop(model: nn.Module, layer: str, index: int, objective: str) -> dict[str, float]:
    """The numbers of one unit, of one image after the other."""
    images = noise()
    kept: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda *a: kept.append(a[2].clone()))
    constant = [np.full(images.levels.shape[1:], 255.0 * value) for value in (0, 0.5, 1)]
    values = []
    for levels in [*images.levels, *constant]:
        shape = (-1, 1, 1)
        image = (levels / 255 - np.reshape(TINY.mean, shape)) / np.reshape(TINY.std, shape)
        with torch.no_grad():
            model(torch.from_numpy(image)[None])
        given = kept.pop()[0]
        of_unit = given[index] if given.ndim != 2 else given[:, index]
        taken = {"average": of_unit.mean, "sum": of_unit.sum}.get(objective)
        values.append(float(of_unit[1, 2] if taken is None else taken()))
    hook.remove()
    of_set = np.array(values[:-3])
    numbers = of_set.mean(), of_set.std(ddof=1), of_set.max(), max(values[-3:])
    return dict(zip(NAMES, numbers, strict=True))


@pytest.mark.parametrize("objective", ["average", "sum", "neuron_1_2"])
def test_numbers_are_those_of_a_plain_loop(objective: str) -> None:
    model = seeded_net().double()
    outputs = trace_layers(model, torch.zeros(1, 3, 16, 16).double())
    layers = ["conv1", "conv2"]
    found, why = answers(model, outputs, layers, [objective], noise())
    assert not why
    for layer, index in (("conv1", 5), ("conv2", 11)):
        expected = by_a_plain_loop(model, layer, index, objective)
        got = {name: found[layer, objective][name][index] for name in NAMES}
        assert got == pytest.approx(expected, rel=1e-6)


def test_tokens_and_logits_have_numbers_too() -> None:
    model = transformer().double()
    outputs = trace_layers(model, torch.zeros(1, 3, 16, 16).double())
    layers = ["encoder.layers.encoder_layer_0", "heads"]
    found, _ = answers(model, outputs, layers, ["average"], noise())
    for layer in layers:
        expected = by_a_plain_loop(model, layer, 3, "average")
        got = {name: found[layer, "average"][name][3] for name in NAMES}
        assert got == pytest.approx(expected, rel=1e-6)


class OfBatch(nn.Module):
    """Batch norm without running statistics: what it gives of an image hangs on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.last = nn.Conv2d(4, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(images)).relu())


def test_images_are_alone_where_a_model_mixes_them() -> None:
    torch.manual_seed(0)
    model = OfBatch().double().eval()
    outputs = trace_layers(model, torch.zeros(1, 3, 16, 16).double())
    found, _ = answers(model, outputs, ["last"], ["average"], noise())
    got = {name: found["last", "average"][name][2] for name in NAMES}
    assert got == pytest.approx(by_a_plain_loop(model, "last", 2, "average"), rel=1e-6)


def visualisation(layers: Sequence[str], **changes: object) -> FeatureVisualisation:
    plain = FeatureVisualisation(
        settings=feature_settings("default", {"max_iterations": 1}),
        mean=TINY.mean,
        std=TINY.std,
        image_size=16,
        layers=tuple(layers),
        reference=noise(),
    )
    return replace(plain, **changes)


def numbers_of(result: xr.Dataset) -> dict[str, np.ndarray]:
    return {name: result[name].values for name in NAMES}


def test_numbers_do_not_depend_on_what_else_is_measured() -> None:
    model = seeded_net()
    task = FeatureTask("conv2", "average", (3, 7, 8))
    one = visualisation(["conv2"]).measure(model, task)
    both = visualisation(["conv1", "conv2"], batch_size=64, number_of_images=2)
    others = both.measure(seeded_net(), task)
    alone = both.measure(seeded_net(), ReferenceTask("conv2", "average", (3, 7, 8)))
    pixel = {"settings": feature_settings("original", {"max_iterations": 1})}
    of_pixels = visualisation(["conv2"], **pixel).measure(model, task)
    for result in (others, alone, of_pixels):
        for name, expected in numbers_of(one).items():
            np.testing.assert_allclose(result[name].values, expected, rtol=1e-5)
    assert "image" not in alone


def test_one_pass_serves_all_units_until_weights_change() -> None:
    model, batches = seeded_net(), []
    model.conv2.register_forward_hook(lambda *given: batches.append(len(given[2])))
    measured = visualisation(["conv1", "conv2"])
    first = measured.measure(model, ReferenceTask("conv1", "average", (0,)))
    n_calls = batches.count(16)
    assert n_calls == 1  # of 20 images and 3 constant ones
    measured.measure(model, ReferenceTask("conv2", "average", (0, 1, 2)))
    assert batches.count(16) == n_calls
    with torch.no_grad():
        model.conv1.weight.mul_(2)
    again = measured.measure(model, ReferenceTask("conv1", "average", (0,)))
    np.testing.assert_allclose(again.reference_sd, 2 * first.reference_sd, rtol=1e-5)


def test_a_layer_that_runs_for_some_images_alone_has_none_and_says_so() -> None:
    class Sleeper(TinyNet):
        def forward(self, images: Tensor) -> Tensor:
            hidden = self.conv1(images)
            return self.conv2(hidden) if images.mean() == 0 else hidden

    model = Sleeper(4).eval()
    task = ReferenceTask("conv2", "average", (0,))
    result = visualisation(["conv2"]).measure(model, task)
    assert np.isnan(result.reference_sd).all()
    assert "reference images were not measured" in result.attrs["notes"][0]


def test_noise_is_the_same_always_and_of_many_colours() -> None:
    few, many = noise(3), noise(8)
    np.testing.assert_array_equal(few.levels, many.levels[:3])
    assert few.description != many.description
    assert many.levels.mean((2, 3)).std() > 5  # levels of 255
    grey = InputTransform(size=9, mean=(0.5,), std=(0.5,), channels=1)
    assert noise(2, grey).levels.shape == (2, 1, 9, 9)


def test_reference_is_the_runs_own_data_where_it_is_to_be_had(tmp_path: Path) -> None:
    run_tiny(tmp_path / "run")
    facts = torch.load(next((tmp_path / "run").glob("*.pth.tar")), weights_only=True)
    own, note = find_reference("auto", 8, facts, TINY)
    assert not note
    assert own.name == "shapes/val"
    images = images_of_training(facts, "val", 16)
    first = images.picture(chosen(8, len(images), images.name, 0)[0])
    plain = (TINY(first) * torch.tensor(TINY.std)[:, None, None]).add(
        torch.tensor(TINY.mean)[:, None, None]
    )
    np.testing.assert_allclose(own.levels[0] / 255, plain, atol=0.003)
    gone = {"settings": {"dataset": "folder", "data_path": "/nowhere", "seed": 0}}
    instead, note = find_reference("auto", 8, gone, TINY)
    assert instead.name == "1/f noise"
    assert "not to be had" in note


def test_reference_of_a_folder_and_what_is_none(tmp_path: Path) -> None:
    from PIL import Image

    for i in range(3):
        Image.new("RGB", (20, 20), (80 * i, 0, 0)).save(tmp_path / f"{i}.png")
    found, _ = find_reference(str(tmp_path), 64, {}, TINY)
    assert (found.name, len(found)) == (tmp_path.name, 3)
    with pytest.raises(FileNotFoundError, match=r"--reference is 'nose'.*auto or noise"):
        find_reference("nose", 64, {}, TINY)
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").unlink()
    with pytest.raises(ValueError, match="has one image"):
        find_reference(str(tmp_path), 64, {}, TINY)


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    return write_checkpoints(tmp_path / "run", 3)


def visualize(checkpoints: list[Path], store: Path, **options: object) -> list[str]:
    given = {"layers": ["conv1", "conv2"], "max_iterations": 3, "workers": 0, **options}
    return measure.features("tiny_models:net", checkpoints, store=store, **given).lines()


def test_a_sweep_keeps_the_numbers_and_adds_to_them(checkpoints, tmp_path: Path) -> None:
    store, whole = tmp_path / "net.zarr", tmp_path / "whole.zarr"
    visualize(checkpoints[:2], store, channels=[0])
    before = dvis.open(store).load()
    visualize(checkpoints, store, channels=[0, 3, 5])
    visualize(checkpoints[::-1], whole, channels=[5, 3, 0], batch_size=16)
    grown, at_once = dvis.open(store), dvis.open(whole)
    for name in (*NAMES, "reference"):
        assert grown[name].sel(channel=[0, 3, 5]).notnull().all(), name
        kept = grown[name].sel(checkpoint=before.checkpoint, channel=[0])
        np.testing.assert_array_equal(kept, before[name].sel(channel=[0]))
        np.testing.assert_allclose(grown[name], at_once[name], rtol=1e-5)
    assert len(grown.attrs["references"]) == 1
    assert grown.dvis.births().attrs["measure"] == "standardised"
    assert "0 units measured" in visualize(checkpoints, store, channels=[0, 3, 5])[-1]
    assert not list(check_store(store))
    compact_store(store)
    np.testing.assert_array_equal(dvis.open(store).reference_sd, grown.reference_sd)


def test_images_that_were_there_are_held_against_it_without_being_made_again(
    checkpoints, tmp_path: Path
) -> None:
    store = tmp_path / "net.zarr"
    visualize(checkpoints, store, channels=[0, 1], n_reference=0)
    before = dvis.open(store).load()
    assert "reference_sd" not in before
    assert before.constant_max.sel(channel=[0, 1]).notnull().all()
    assert before.dvis.births().attrs["measure"] == "raw"
    said = visualize(checkpoints, store, channels=[0, 1], seed=7)  # kept: of another seed
    assert "units that are there are now held against reference images" in said[0]
    assert "0 units measured, 0 failed" in said[1]
    after = dvis.open(store)
    np.testing.assert_array_equal(after.activation, before.activation)
    np.testing.assert_array_equal(after.params, before.params)
    assert after.reference_sd.sel(channel=[0, 1]).notnull().all()


def test_two_reference_sets_in_a_group_are_told(checkpoints, tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    visualize(checkpoints, store, channels=[0])
    said = visualize(checkpoints, store, channels=[0, 1], n_reference=10)
    assert "6 units held against other reference images" in said[-1]
    found = dvis.open(store)
    comment = found.dvis.births().attrs["comment"]
    assert "2 different sets, which do not compare: 64 images of 1/f noise, 10" in comment
    assert "10 images of 1/f noise" in found.sel(channel=[1]).dvis.births().attrs["comment"]
    assert "sets" not in found.sel(channel=[1]).dvis.births().attrs["comment"]
    visualize(checkpoints, store, channels=[0, 1], n_reference=10, overwrite=True)
    assert "sets" not in dvis.open(store).dvis.births().attrs["comment"]


def test_numbers_go_with_the_image_that_they_were_of(checkpoints, tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    visualize(checkpoints, store, channels=[0])
    visualize(checkpoints, store, channels=[0], seed=3, overwrite=True, n_reference=0)
    found = dvis.open(store)
    assert found.activation.sel(channel=0).notnull().all()
    assert found.reference_sd.isnull().all()
    assert (found.reference == -1).all()
    assert found.constant_max.sel(channel=0).notnull().all()


def test_workers_give_the_same_numbers(checkpoints, tmp_path: Path) -> None:
    here, there = tmp_path / "here.zarr", tmp_path / "there.zarr"
    visualize(checkpoints, here, channels=[0, 9], layers=["conv2"])
    visualize(checkpoints, there, channels=[0, 9], layers=["conv2"], workers=None)
    for name in NAMES:
        np.testing.assert_allclose(dvis.open(here)[name], dvis.open(there)[name], rtol=1e-5)


def test_one_image_is_no_reference(checkpoints, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_reference is 1; it must be at least 2"):
        visualize(checkpoints, tmp_path / "net.zarr", n_reference=1)


def test_the_command_takes_the_runs_own_images(tmp_path: Path, capsys) -> None:
    run, store = tmp_path / "run", tmp_path / "net.zarr"
    run_tiny(run)
    command = [
        *("visualize", "--model", "tiny_models:convolutional", "--checkpoint-path", str(run)),
        *("--layers", "0", "--store", str(store), "--workers", "0", "--max-iterations", "2"),
    ]
    for channels in (["0"], ["0", "2"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--channels", *channels])
        assert not ended.value.code
    n_checkpoints = len(list(run.glob("*.pth.tar")))
    said = f"{n_checkpoints} units measured, 0 failed"
    assert capsys.readouterr().out.count(said) == 2
    dataset = dvis.open(store).sel(channel=[0, 2])
    assert '"name": "shapes/val", "n_images": 64' in dataset.attrs["references"][0]
    assert dataset.reference_sd.notnull().all()
    assert "64 images of shapes/val" in dataset.dvis.births().attrs["comment"]
    with pytest.raises(SystemExit):
        main([*command, "--reference", str(tmp_path / "none")])
    assert "auto or noise" in capsys.readouterr().err
