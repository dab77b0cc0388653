"""Layers stand in the order in which their model executes them, where that is known."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from made_up_responses import write_responses
from torch import Tensor, nn

import dvis
from dvis import measure
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.run_notes import finish_import
from dvis.models.hooks import trace_layers
from dvis.names import natural_key, parse_checkpoint
from dvis.store.depth import _of_torchvision
from dvis.store.writer import create_store, restructuring

QUICK: dict[str, Any] = {"max_iterations": 3, "min_iterations": 0, "input_size": 16, "workers": 0}


class Backwards(nn.Module):
    """Executes `z`, then `block`, whose parts are `b` and `a`, then `head`: no order of names."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.block = nn.Sequential()
        self.block.add_module("b", nn.Conv2d(4, 4, 3))
        self.block.add_module("a", nn.Conv2d(4, 4, 3))
        self.z = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block(self.z(images)).mean((2, 3)))
        return logits


IN_ORDER = ["z", "block.b", "block.a", "block", "head"]


@pytest.fixture
def states() -> dict[str, Any]:
    torch.manual_seed(0)
    return {f"step_{i}": Backwards().state_dict() for i in range(2)}


def made(store: Path, model: str, layers: list[str]) -> Path:
    """A store of a run with these layers and nothing in them, as an import of a tree makes it."""
    create_store(store, model)
    with restructuring(store):
        group = FeatureGroup.create(
            store, "checkpoints", "average-0", height=8, width=8, codec="raw"
        )
        group.grow_units([parse_checkpoint("step_0")], dict.fromkeys(layers, 2))
    finish_import(store)
    return store


def test_what_a_model_wrote_stands_in_its_order(states: dict[str, Any], tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    to: dict[str, Any] = {"store": store, **QUICK}
    measure.features(Backwards(), states, layers=["head", "block.a", "z"], channels=[0], **to)
    ds = dvis.open(store)
    assert ds.layer.values.tolist() == ["z", "block.a", "head"]
    assert ds.depth.values.tolist() == [0, 2, 4]
    assert ds.layer.attrs["order"] == "execution"
    measure.features(Backwards(), states, layers=["block.b", "block"], channels=[0], **to)
    ds = dvis.open(store)
    assert ds.layer.values.tolist() == IN_ORDER
    assert ds.depth.values.tolist() == [0, 1, 2, 3, 4]
    options = {"store": store, "input_size": 16, "workers": 0}
    measure.responses(Backwards(), states, layers=["head", "z"], noise=2, **options)
    assert dvis.responses(store).layer.values.tolist() == ["z", "head"]
    order = ds.dvis.births().dvis.birth_order()
    assert order.layer.values.tolist() == IN_ORDER
    assert order.attrs["order_of_layers"] == "execution"
    chosen = ds.isel(layer=[4, 0]).dvis.births().dvis.birth_order()
    assert chosen.layer.values.tolist() == ["z", "head"]
    assert dvis.check_store(store) == []
    ds.depth.to_netcdf(tmp_path / "depth.nc", engine="scipy")


def test_a_tree_of_a_torchvision_model_stands_in_its_order(tmp_path: Path) -> None:
    names = ["conv1", "fc", "layer1.0.conv2", "layer1.0.bn1", "layer4", "layer2"]
    ds = dvis.open(made(tmp_path / "r.zarr", "resnet50", names))
    in_order = ["conv1", "layer1.0.bn1", "layer1.0.conv2", "layer2", "layer4", "fc"]
    assert ds.layer.values.tolist() == in_order
    assert ds.layer.attrs["order"] == "execution"
    assert (np.diff(ds.depth) > 0).all()
    assert ds.dvis.births().dvis.birth_order().attrs["order_of_layers"] == "execution"


@pytest.mark.parametrize(
    ("model", "extra"), [("resnet50", "mine"), ("mine", "conv1")], ids=["layer", "model"]
)
def test_what_is_not_known_of_all_is_the_order_of_names(
    tmp_path: Path, model: str, extra: str
) -> None:
    ds = dvis.open(made(tmp_path / "r.zarr", model, ["fc", "layer10", "layer2", extra]))
    assert ds.layer.values.tolist() == sorted(["fc", extra, "layer2", "layer10"], key=natural_key)
    assert ds.layer.attrs["order"] == "names"
    assert "depth" not in ds.coords
    assert ds.dvis.births().dvis.birth_order().attrs["order_of_layers"] == "names"


def test_the_table_is_what_torchvision_executes() -> None:
    for name in ("resnet18", "vit_b_16", "squeezenet1_1"):
        with torch.device("meta"):
            model = torchvision.models.get_model(name, weights=None).eval()
            outputs = trace_layers(model, torch.zeros(1, 3, 224, 224))
        traced = {layer: output.depth for layer, output in outputs.items() if layer}
        assert _of_torchvision(name) == traced
    places = _of_torchvision("vit_b_16")
    blocks = [places[f"encoder.layers.encoder_layer_{i}"] for i in range(12)]
    assert places["conv_proj"] < blocks[0] < blocks[-1] < places["heads.head"]
    assert blocks == sorted(blocks)
    assert len(_of_torchvision("regnet_y_400mf")) > 100
    assert _of_torchvision("no_model") == {}


def test_a_store_without_depth_is_given_it_when_it_grows(tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).parents[1] / "data" / "old_layout.zip") as archive:
        archive.extractall(tmp_path)
    store = tmp_path / "net.zarr"
    before = dvis.open(store)
    assert "depth" not in before.coords
    assert before.layer.attrs["order"] == "names"
    with restructuring(store):
        group = FeatureGroup.existing(store, "checkpoints", "average-0")
        assert group is not None
        group.grow_units([parse_checkpoint("new")], {"conv1": 8}, {"conv1": 1, "conv2": 0})
    after = dvis.open(store)
    assert after.layer.values.tolist() == ["conv2", "conv1"]
    assert after.layer.attrs["order"] == "execution"
    assert after.sizes["checkpoint"] == before.sizes["checkpoint"] + 1
    assert dvis.check_store(store) == []
    np.testing.assert_array_equal(
        after.activation.sel(layer="conv1")[:3], before.activation.sel(layer="conv1")
    )


def test_responses_know_the_order_too(tmp_path: Path) -> None:
    write_responses(tmp_path / "s.zarr", "image")
    assert dvis.responses(tmp_path / "s.zarr").layer.attrs["order"] == "execution"
