"""Measuring from Python: modules and state dicts in memory, as a notebook has them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import TinyNet, net, seeded_net
from torch import Tensor, nn

import dvis
from dvis import measure
from dvis.cli import main
from dvis.kinds.features import plan
from dvis.kinds.features.verify import verify_store
from dvis.kinds.influence.options import InfluenceOptions
from dvis.kinds.llc.options import EstimateOptions
from dvis.kinds.saes.store_options import TrainOptions
from dvis.measure.given import as_fields
from dvis.models.model_reference import GivenModel
from dvis.sweep.executors import travels_to_processes

FAST: dict[str, Any] = {"layers": ("conv2",), "input_size": 16, "workers": 0}
QUICK = {"max_iterations": 3, "min_iterations": 0, **FAST}


class GreyNet(nn.Module):
    """One channel in, and a module of its own for weight norm's computed weights."""

    def __init__(self) -> None:
        super().__init__()
        with pytest.warns(FutureWarning, match="deprecated"):
            self.conv2 = nn.utils.weight_norm(nn.Conv2d(1, 4, 3))
        self.fc = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv2(images).relu().mean((2, 3)))
        return out


@pytest.fixture
def states() -> dict[str, Any]:
    return {f"step_{10 * i}": seeded_net(i).state_dict() for i in range(5)}


def test_a_notebook(states: dict[str, Any], tmp_path: Path) -> None:
    net = TinyNet(4).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    store, labelled = tmp_path / "net.zarr", (torch.rand(24, 3, 16, 16), torch.arange(24) % 4)
    to: dict[str, Any] = {"store": store, "workers": 0}
    told = {"layers": ["conv2"], "input_size": 16}
    measure.features(net, states, channels=[4, 5], max_iterations=3, **told, **to)
    measure.responses(net, states, noise=4, **told, **to)
    measure.llc(net, states, data=labelled, chains=2, draws=6, burn_in=2, epsilon=(1e-4,), **to)
    ds = dvis.open(store)
    assert ds.checkpoint.values.tolist() == list(states)
    assert bool((ds.status == dvis.Status.COMPLETE).sel(channel=[4, 5]).all())
    assert bool(ds.llc.notnull().all())
    assert dvis.responses(store).response.sizes["checkpoint"] == 5
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    loaded = seeded_net(3)
    of_unit = ds.dvis.model_input("step_30", "conv2", 5)
    maps = torch.relu(loaded.bn1(loaded.conv1(torch.from_numpy(of_unit.values)[None])))
    reached = loaded.conv2(maps)[0, 5].mean().item()
    assert reached == pytest.approx(
        ds.activation.sel(checkpoint="step_30", layer="conv2", channel=5).item(), rel=1e-4
    )


def test_local_processes_are_given_the_module_and_the_states(
    states: dict[str, Any], tmp_path: Path
) -> None:
    stores = [tmp_path / "one.zarr", tmp_path / "two.zarr"]
    two = {label: states[label] for label in ("step_0", "step_10")}
    for store, n_workers in zip(stores, (0, 2), strict=True):
        report = measure.features(
            seeded_net(9), two, channels=(0, 1), store=store, **{**QUICK, "workers": n_workers}
        )
        assert (report.n_measured, report.n_failed) == (2 * 2, 0)
    alone, together = (dvis.open(store).activation.load() for store in stores)
    np.testing.assert_allclose(alone, together, rtol=1e-4)


def test_a_class_that_no_other_process_finds_is_measured_here(
    states: dict[str, Any], tmp_path: Path
) -> None:
    class Local(TinyNet):
        pass

    two = dict(list(states.items())[:2])
    here = {name: value for name, value in QUICK.items() if name != "workers"}
    report = measure.features(Local(4), two, store=tmp_path / "net.zarr", batch_size=2, **here)
    assert report.n_measured == 2 * 16
    assert not travels_to_processes(GivenModel.of(Local(4)))
    assert travels_to_processes(GivenModel.of(TinyNet(4)))


def test_the_weights_of_a_module_are_its_checkpoint(tmp_path: Path) -> None:
    measure.responses(seeded_net(1), noise=2, store=tmp_path / "own.zarr", **FAST)
    responses = dvis.responses(tmp_path / "own.zarr")
    assert responses.checkpoint.values.tolist() == ["model"]
    assert responses.attrs["model"] == "own"
    assert responses.attrs["made_with_model"] == "own (given from Python)"


def test_two_models_do_not_share_a_store(tmp_path: Path) -> None:
    store = tmp_path / "two.zarr"
    given: dict[str, Any] = {"noise": 2, "store": store, **FAST}
    measure.responses(seeded_net(1), **given)
    measure.responses(TinyNet(7), {"of other classes": TinyNet(7)}, **given)
    wider = seeded_net(1)
    wider.conv2 = nn.Conv2d(wider.conv2.in_channels, 16, 5, padding=2)
    for other, kind in ((wider, measure.responses), (GreyNet(), measure.features)):
        options = given if kind is measure.responses else {**QUICK, "store": store}
        with pytest.raises(ValueError, match=r"another model that is called 'two' too.*Give"):
            kind(other, {"other": other}, **options)
    assert dvis.responses(store).checkpoint.values.tolist() == ["model", "of other classes"]


def test_a_factory_and_files_by_label(tmp_path: Path) -> None:
    torch.save({"state_dict": seeded_net(1).state_dict(), "lr": 0.1}, tmp_path / "a.pth")
    given = {"first": seeded_net(0), "second": tmp_path / "a.pth"}
    report = measure.responses(net, given, noise=2, store=tmp_path / "s.zarr", **FAST)
    assert (report.n_measured, report.n_failed) == (2 * 16, 0)
    assert dvis.responses(tmp_path / "s.zarr").checkpoint.values.tolist() == ["first", "second"]


def test_the_same_weights_are_known_again(states: dict[str, Any], tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    measure.responses(net, states, noise=2, store=store, **FAST)
    again = measure.responses(net, dict(states), noise=2, store=store, **FAST)
    assert (again.n_measured, again.n_kept) == (0, 0)
    others = {label: seeded_net(7).state_dict() for label in states}
    assert measure.responses(net, others, noise=2, store=store, **FAST).n_kept == 5 * 16


def test_a_grey_module_with_computed_weights(tmp_path: Path) -> None:
    module = GreyNet()
    module(torch.zeros(1, 1, 16, 16))  # its computed weight now hangs on a graph
    store = tmp_path / "grey.zarr"
    report = measure.features(module, store=store, **QUICK)
    assert any("mean 0.449" in note and "assumed" in note for note in report.notes)
    ds = dvis.open(store)
    assert ds.attrs["input_source"] == "size: options; mean and std: assumed (ImageNet's)"
    inputs = ds.dvis.model_input("model", "conv2", 1)
    assert (inputs.dims, inputs.shape) == (("rgb", "y", "x"), (1, 16, 16))


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"model": 3}, TypeError, "the model is a int; give a name"),
        ({"model": lambda: TinyNet(4)}, ValueError, "names no store; give store="),
        ({"model": seeded_net(0), "checkpoints": {}}, ValueError, "no checkpoints were given"),
        ({"model": seeded_net(0), "checkpoints": iter([])}, ValueError, "leave them out"),
        ({"checkpoints": {"a": 3}}, TypeError, "checkpoint 'a' is a int; give a state dict"),
        ({"checkpoints": {3: {}}}, TypeError, "label is 3; give text, such as 'step_3'"),
        ({"checkpoints": [{}]}, TypeError, "given as a dict without its label; give a mapping"),
        ({"checkpoints": seeded_net(0)}, TypeError, "given as a TinyNet without its label"),
        ({"weights_key": "ema"}, ValueError, "No weights key 'ema' in checkpoint 'a'.*itself"),
        ({"layers": "conv9"}, (KeyError, ValueError), "'conv9'"),
        ({"input_mean": 0.5, "input_std": 58}, ValueError, "input_std is 58; .* by 255"),
        ({"input_mean": [127] * 3, "input_std": [0.5] * 3}, ValueError, "input_mean is 127 127"),
        ({"nois": 3}, KeyError, "Did you mean 'noise'"),
    ],
)
def test_what_cannot_be_measured(given: dict[str, Any], error: type, text: str) -> None:
    asked = {"model": net, "checkpoints": {"a": seeded_net(0)}, "noise": 2, **FAST, **given}
    with pytest.raises(error, match=text):
        measure.responses(**asked)


def test_names_of_settings_are_options_too() -> None:
    with pytest.raises(KeyError, match="Did you mean 'max_iterations'"):
        measure.features(net, max_iteration=2)


def test_a_factory_that_raises_is_named() -> None:
    def broken() -> nn.Module:
        raise RuntimeError("no such block")

    with pytest.raises(ValueError, match=r"broken, which is.* RuntimeError: no such block"):
        measure.layers(broken)


def test_one_value_is_one_of_several(tmp_path: Path) -> None:
    one: dict[str, Any] = {"layers": "conv2", "channels": 0, "store": tmp_path / "s.zarr"}
    report = measure.features(net, {"a": seeded_net(0)}, **{**QUICK, **one})
    assert report.n_measured == 1


def test_a_name_without_a_file_has_no_weights_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no pretrained weights.*Give the path"):
        measure.responses("timm:test_resnet", noise=2, store=tmp_path / "s.zarr", **FAST)


def test_all_units_of_many_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_MAX_UNASKED", 40)
    states = {str(step): seeded_net(0) for step in range(2)}
    to: dict[str, Any] = {"store": tmp_path / "s.zarr", "input_size": 16, "workers": 0}
    with pytest.raises(ValueError, match=r"24 units in 2 layers: 48 images at 2 .*--all"):
        measure.features(net, states, **to)
    assert not (tmp_path / "s.zarr").exists()
    few = measure.features(net, states, channels=(0,), max_iterations=1, **to)
    assert few.n_measured == 2 * 2
    assert measure.features(net, states, all=True, max_iterations=1, **to).n_measured == 2 * 22


def test_verify_and_info_say_what_the_store_was_made_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, store = tmp_path / "model", tmp_path / "resnet18.zarr"
    torch.save(seeded_net(2).state_dict(), file)
    measure.features(net, file, store=store, **QUICK)
    with pytest.raises(ValueError, match=r"made with, which it says is 'resnet18 \(given"):
        verify_store(store, checkpoint_path=[file])
    report = verify_store(store, GivenModel.of(net), checkpoint_path=[file])
    assert (report.n_verified, report.faults) == (16, [])
    with pytest.raises(SystemExit):
        main(["info", str(store)])
    said = capsys.readouterr().out
    assert "nobody told how the model takes images" in said
    assert "checkpoints/features/average-0" in said


def test_layers_of_a_module_and_of_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    module = TinyNet(4)
    table = measure.layers(module, input_size=16)
    assert table.loc["conv2"].to_dict() == {
        "type": "Conv2d",
        "shape": "16 x 8 x 8",
        "channels": 16,
        "tokens": "",
    }
    assert table.index.tolist() == ["conv1", "bn1", "relu", "conv2", "bn2", "fc"]
    classes = measure.layers(net, seeded_net(0).state_dict(), input_size=16)
    assert classes.loc["fc", "channels"] == 4
    with pytest.raises(SystemExit) as end:
        main(["layers", "timm:test_vit", "--input-size", "160"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "type", "shape", "channels", "tokens"]
    assert any(line.startswith("blocks.0 ") and "class, 10 x 10 patches" in line for line in lines)


def test_the_face() -> None:
    assert set(dir(dvis)) == {*dvis.__all__, "__version__"}
    assert {"open", "measure", "responses", "llc"} <= set(dir(dvis))
    assert all(hasattr(dvis, name) for name in dir(dvis))


def test_texts_and_numbers_are_what_commands_take(tmp_path: Path) -> None:
    given = as_fields(TrainOptions, {"store": "a.zarr", "tokens": 40_000, "k": 3, "seeds": [0, 1]})
    assert given == {"store": Path("a.zarr"), "tokens": "40000", "k": (3,), "seeds": (0, 1)}
    assert as_fields(InfluenceOptions, {"images": "i", "channels": 2, "n_images": 3}) == {
        "images": (Path("i"),),
        "channels": (2,),
        "n_images": 3,
    }
    assert as_fields(EstimateOptions, {"epsilon": "auto", "gamma": 10.0}) == {
        "epsilon": "auto",
        "gamma": (10.0,),
    }
    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    asked = {"images": str(tmp_path), "store": str(tmp_path / "s.zarr"), **FAST}
    measure.responses(net, {"a": seeded_net(0)}, **asked)
    assert dvis.responses(tmp_path / "s.zarr").image.values.tolist() == ["red.png"]
