"""Models by name: the weights of a checkpoint come back in the model that it was saved from."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from slowly import slowly
from test_checkpoints import overwrite, save
from torch import Tensor, nn

from dvis.models.architectures import load_model
from dvis.models.building import build_model, seeded_model
from dvis.models.checkpoints import CheckpointError, find_checkpoints
from dvis.models.model_reference import GivenModel, model_name

pytestmark = pytest.mark.usefixtures("one_thread")


def random_model(model: str, n_classes: int, **options: Any) -> nn.Module:
    """A model whose every number differs from its constructor's, buffers included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build_model(model, n_classes, **options)
        for name, tensor in module.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                tensor.uniform_(0.5, 1.5)
    return module


def outputs(module: nn.Module, size: int) -> Tensor:
    image = torch.linspace(-1, 1, 3 * size * size).sin().reshape(1, 3, size, size)
    with torch.no_grad():
        result: Tensor = module(image)
    return result


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("resnet18", 32),
        slowly("resnet50", 32),
        ("inception_v3", 80),
        ("googlenet", 32),
        slowly("vgg11_bn", 32),
        slowly("mobilenet_v2", 32),
        ("mobilenet_v3_small", 32),
        ("mnasnet0_5", 32),
        slowly("convnext_tiny", 32),
        slowly("vit_b_32", 64),
        slowly("swin_t", 32),
        ("squeezenet1_1", 32),
        slowly("densenet121", 32),
        ("efficientnet_b0", 32),
        ("regnet_y_400mf", 32),
    ],
)
def test_loaded_model_computes_what_the_saved_one_did(
    tmp_path: Path, model: str, size: int
) -> None:
    saved_model = random_model(model, n_classes=7, image_size=size)
    path = save(tmp_path / "a.pth", {"model_state_dict": saved_model.state_dict()})
    loaded = load_model(model, path)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.state_dict().keys() == saved_model.state_dict().keys()
    result = outputs(loaded, size)
    assert result.shape == (1, 7)
    assert torch.equal(result, outputs(saved_model, size))
    path.unlink()  # some have half a gigabyte


@pytest.mark.parametrize("model", ["inception_v3", "googlenet"])
def test_auxiliary_heads_are_there_as_in_the_file(tmp_path: Path, model: str) -> None:
    state = random_model(model, 3).state_dict()
    bare = {name: t for name, t in state.items() if not name.lower().startswith("aux")}
    assert len(bare) < len(state)
    for weights in (state, bare):
        loaded = load_model(model, save(tmp_path / "a.pth", weights))
        assert loaded.state_dict().keys() == weights.keys()
        assert loaded.transform_input is False


def test_torchvision_models_hide_no_numbers_from_their_state() -> None:
    """An empty model is filled from the file alone: what the file cannot hold would stay empty."""
    families = (
        "swin_t",
        "swin_v2_t",
        "maxvit_t",
        "vit_b_16",
        "efficientnet_v2_s",
        "shufflenet_v2_x0_5",
    )
    for model in families:
        with torch.device("meta"):
            module = torchvision.models.get_model(model)
        assert dict(module.named_buffers()).keys() <= module.state_dict().keys()
        hidden = [v for m in module.modules() for v in vars(m).values() if isinstance(v, Tensor)]
        assert hidden == []


def test_loaded_weights_are_the_models_own(tmp_path: Path) -> None:
    state = random_model("squeezenet1_1", 3).state_dict()
    state["classifier.1.bias"] = torch.tensor([1.0, 2.0, 3.0])
    path = save(tmp_path / "a.pth", state)
    loaded = load_model("squeezenet1_1", path)
    overwrite(path, state["classifier.1.bias"], torch.zeros(3))
    assert loaded.get_parameter("classifier.1.bias").tolist() == [1, 2, 3]


def test_loading_leaves_torch_random_numbers_alone(tmp_path: Path) -> None:
    paths = {
        model: save(tmp_path / f"{model}.pth", random_model(model, 3).state_dict())
        for model in ("squeezenet1_1", "regnet_y_400mf")  # the second one is not built empty
    }
    before = torch.get_rng_state()
    for model, path in paths.items():
        load_model(model, path)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_and_wrapped_weights_load_as_float32(tmp_path: Path) -> None:
    model = random_model("squeezenet1_1", 3)
    state = nn.DataParallel(model).half().state_dict()
    loaded = load_model("squeezenet1_1", save(tmp_path / "a.pth", state))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_a_file_older_than_batch_counts_loads(tmp_path: Path) -> None:
    state = random_model("resnet18", 3).state_dict()
    old = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    loaded = load_model("resnet18", save(tmp_path / "a.pth", old))
    assert torch.equal(loaded.get_parameter("fc.weight"), state["fc.weight"])


def test_densenet_takes_the_names_of_torchvision_own_files(tmp_path: Path) -> None:
    model = random_model("densenet121", 3)
    state = {
        name.replace("norm1", "norm.1").replace("conv2", "conv.2"): tensor
        for name, tensor in model.state_dict().items()
    }
    loaded = load_model("densenet121", save(tmp_path / "a.pth", state))
    assert torch.equal(outputs(loaded, 32), outputs(model, 32))


def test_weights_that_do_not_fit_say_which_and_whose_they_are(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", random_model("resnet34", 3).state_dict())
    reason = r"80 are not the model's \(layer1\.2\.conv1\.weight, .*, \.\.\.\).*those of a resnet34"
    with pytest.raises(CheckpointError, match=reason):
        load_model("resnet18", path)
    state = random_model("resnet18", 3).state_dict()
    del state["bn1.bias"]
    state["own.weight"] = torch.zeros(1)
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    with pytest.raises(CheckpointError) as error:
        load_model("resnet18", save(path, state))
    assert "1 that the model has are missing (bn1.bias)" in str(error.value)
    assert "1 are not the model's (own.weight)" in str(error.value)
    assert "conv1.weight (64, 3, 3, 3) for (64, 3, 7, 7)" in str(error.value)


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'resnet50'"):
        build_model("resnet51")


# --- Factories

NETWORKS = """
import functools
from torch import nn

class Tied(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("scale", nn.Parameter().new_full((1,), 2.0), persistent=False)
        self.classes = nn.Linear(3, num_classes)
    def forward(self, x):
        return self.classes(self.second(self.first(x)) * self.scale)

def tied(num_classes):
    return Tied(num_classes)

def fixed():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 2))

def words():
    return "no module"

def deep(num_classes, depth):
    return nn.Linear(depth, num_classes)

def passed_on(**options):
    return fixed(**options)

def bare(size):
    return nn.Linear(size, size)

halved = functools.partial(deep)
layers = [fixed]
"""


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module in the current folder, which is not among those that Python imports from."""
    name = "networks_of_test_checkpoints"
    (tmp_path / f"{name}.py").write_text(NETWORKS)
    (tmp_path / f"{name}_broken.py").write_text("import there_is_no_such_module")
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_factory_is_found_in_the_current_folder(networks: str, tmp_path: Path) -> None:
    path_before = list(sys.path)
    saved_model = build_model(f"{networks}:tied", 5)
    loaded = load_model(f"{networks}:tied", save(tmp_path / "a.pth", saved_model.state_dict()))
    assert torch.equal(loaded(torch.ones(1, 3)), saved_model(torch.ones(1, 3)))
    assert loaded.first.weight is loaded.second.weight
    assert sys.path == path_before


def test_a_factory_without_a_number_of_classes_is_called_with_nothing(networks: str) -> None:
    assert build_model(f"{networks}:fixed", 5)[1].out_features == 2
    assert build_model(f"{networks}:Tied").classes.out_features == 4
    assert model_name(f"{networks}:Tied") == "Tied"


def test_a_factory_that_cannot_be_used_says_why(networks: str) -> None:
    with pytest.raises(ValueError, match="Did you mean 'tied'"):
        build_model(f"{networks}:tide")
    with pytest.raises(ValueError, match=r"returned a str\. Give a factory that returns"):
        build_model(f"{networks}:words")
    with pytest.raises(ValueError, match=r"layers is a list\. Give a function or a class"):
        build_model(f"{networks}:layers")
    with pytest.raises(ModuleNotFoundError, match="Run from the folder that holds it"):
        build_model("networks_that_are_not:net")
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
        build_model(f"{networks}_broken:net")
    with pytest.raises(CheckpointError, match="has no pretrained weights"):
        load_model(f"{networks}:tied", None)


@pytest.mark.parametrize(
    ("call", "reason", "takes"),
    [
        ("deep(num_classes=5)", "missing 1 required positional argument: 'depth'", "num_classes, "),
        ("passed_on(num_classes=5)", "got an unexpected keyword argument 'num_classes'", "**opt"),
        ("bare()", "missing 1 required positional argument: 'size'", "size"),
        ("halved(num_classes=5)", "missing 1 required positional argument: 'depth'", "num_classes"),
    ],
)
def test_a_factory_that_cannot_be_called_says_how_it_was_and_what_it_takes(
    networks: str, call: str, reason: str, takes: str
) -> None:
    name, _, _ = call.partition("(")
    with pytest.raises(ValueError, match="Give a factory that takes num_classes alone") as error:
        build_model(f"{networks}:{name}", 5)
    assert str(error.value).startswith(f"{networks}:{call} makes no model: ")
    assert f"{reason}. It takes ({takes}" in str(error.value)


# --- Pretrained weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps downloads, empty, on a machine whose way out is closed."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hub" / "checkpoints"


def test_offline_the_error_says_where_the_file_belongs(
    hub: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConnectionError) as error:
        load_model("resnet18", find_checkpoints()[0])
    assert str(hub / "resnet18-f37072fd.pth") in str(error.value)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(error.value)
    assert capfd.readouterr() == ("", "")
    assert list(hub.iterdir()) == []


def test_pretrained_weights_that_are_there_are_taken(hub: Path) -> None:
    model = random_model("googlenet", 1000)
    save(hub / "googlenet-1378be20.pth", model.state_dict())
    loaded = load_model("googlenet", None)
    assert torch.equal(loaded.get_parameter("fc.weight"), model.get_parameter("fc.weight"))
    assert loaded.transform_input is True  # as torchvision's own


def test_seeded_models_are_drawn_in_the_shape_of_weights() -> None:
    shapes = {n: t.shape for n, t in random_model("squeezenet1_1", 3).state_dict().items()}
    first, again, other = (seeded_model("squeezenet1_1", shapes, seed) for seed in (4, 4, 5))
    assert first is not None
    assert again is not None
    assert other is not None
    assert {n: t.shape for n, t in first.state_dict().items()} == shapes
    assert not first.training
    for one, same, another in zip(
        first.parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(one, same)
        assert not one.std() or not torch.equal(one, another)
    before = torch.random.get_rng_state()
    seeded_model("squeezenet1_1", shapes, 4)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_draws_no_weights_has_no_seeded_model() -> None:
    model = nn.Linear(3, 2)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert seeded_model(GivenModel.of(model), shapes, 0) is None
    assert seeded_model(GivenModel.of(lambda: model, "same"), shapes, 0) is None
    assert seeded_model(GivenModel.of(lambda: nn.Linear(3, 2), "drawn"), shapes, 0) is not None
