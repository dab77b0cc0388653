"""The weights in a file are those whose names the model has, whatever wrapped it in training."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from test_checkpoints import save
from tiny_models import named_like_wrappers, net
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dvis.models.architectures import load_fitted, load_model
from dvis.models.checkpoints import CheckpointError, find_checkpoints
from dvis.sweep.run_facts import read_run

pytestmark = pytest.mark.usefixtures("one_thread")
NET = "tiny_models:net"
State = dict[str, Tensor]


def trained(seed: int = 1) -> nn.Module:
    """A network whose every number differs from another seed's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = net(5)
        for name, tensor in module.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                tensor.uniform_(0.5, 1.5)
    return module.eval()


def assert_same(path: Path, model: nn.Module, key: str | None = None) -> tuple[str, ...]:
    """Check that a file gives the outputs of a model; return what was left of it."""
    (file,) = find_checkpoints(path, weights_key=key)
    loaded, left = load_fitted(NET, file)
    images = torch.linspace(-1, 1, 3 * 64).sin().reshape(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(loaded(images), model(images), atol=1e-6)
    return left


def prefixed(before: str, state: State) -> State:
    return {before + name: tensor for name, tensor in state.items()}


def lightning(model: nn.Module) -> Any:
    state = {**prefixed("model.", model.state_dict()), "criterion.weight": torch.ones(5)}
    state["val_acc.correct"] = torch.zeros(())
    optimizer = torch.optim.Adam(model.parameters())
    return {"epoch": 3, "global_step": 70, "state_dict": state, "optimizer_states": [optimizer]}


def trainer(model: nn.Module) -> Any:
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    content = {"state": {"model": model.state_dict(), "optimizers": optimizer.state_dict()}}
    model.zero_grad()
    return {**content, "optimizer": optimizer.state_dict()}


def dino(model: nn.Module) -> Any:
    state = prefixed("module.backbone.", model.state_dict())
    return {"student": {}, "teacher": {**state, "module.head.mlp.0.weight": torch.ones(3)}}


def moco(model: nn.Module) -> Any:
    return {"arch": "net", "state_dict": prefixed("module.encoder_q.", model.state_dict())}


def compiled(model: nn.Module) -> Any:
    return torch.compile(nn.DataParallel(model)).state_dict()


def compiled_within(model: nn.Module) -> Any:
    state = model.state_dict()
    words = ("_orig_mod", "module", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
    layers = ("conv1", "bn1", "conv2", "fc")
    for word, layer in zip(words, layers, strict=True):
        state = {name.replace(f"{layer}.", f"{layer}.{word}."): t for name, t in state.items()}
    return prefixed("_forward_module.", state)


def averaged(model: nn.Module) -> Any:
    return {"model_ema": AveragedModel(model).state_dict()}


def with_extra_state(model: nn.Module) -> Any:
    state = {**model.state_dict(), "fc._extra_state": None, "_extra_state": torch.zeros(3)}
    return {"net": state, "step": 7}


RECIPES: dict[Callable[[nn.Module], Any], tuple[str, ...]] = {
    lightning: ("criterion.weight", "val_acc.correct"),
    trainer: (),
    dino: ("module.head.mlp.0.weight",),
    moco: (),
    compiled: (),
    compiled_within: (),
    averaged: ("n_averaged",),
    with_extra_state: ("fc._extra_state", "_extra_state"),
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_weights_of_a_recipe_compute_what_the_model_did(
    tmp_path: Path, recipe: Callable[[nn.Module], Any]
) -> None:
    model = trained()
    content = recipe(model)
    if "optimizer_states" in content:
        content["optimizer_states"] = [each.state_dict() for each in content["optimizer_states"]]
    assert assert_same(save(tmp_path / "a.pth", content), model) == RECIPES[recipe]


@pytest.mark.parametrize("before", ["", "module.", "model.module.", "_orig_mod.", "net."])
def test_a_child_that_is_called_like_a_wrapper_stays(tmp_path: Path, before: str) -> None:
    model = named_like_wrappers(6)
    path = save(tmp_path / "a.pth", {"model": prefixed(before, model.state_dict())})
    loaded = load_model("tiny_models:named_like_wrappers", path)
    assert torch.equal(loaded(torch.ones(1, 3)), model(torch.ones(1, 3)))


def test_of_several_that_fit_one_is_asked_for(tmp_path: Path) -> None:
    plain, ema = trained(1), trained(2)
    path = save(tmp_path / "a.pth", {"model": plain.state_dict(), "ema": ema.state_dict()})
    with pytest.raises(
        CheckpointError, match=r"2 weights that fit .*: model, ema\. .*--weights-key"
    ):
        load_model(NET, path)
    assert_same(path, plain, "model")
    assert_same(path, ema, "ema")
    with pytest.raises(CheckpointError, match=r"No weights key 'emma' in .*Did you mean 'ema'"):
        assert_same(path, ema, "emma")


def test_two_encoders_are_told_apart_by_the_words_before_their_names(tmp_path: Path) -> None:
    query, key = trained(1), trained(2)
    state = {
        **prefixed("module.encoder_q.", query.state_dict()),
        **prefixed("module.encoder_k.", key.state_dict()),
        "module.queue": torch.zeros(4, 8),
    }
    path = save(tmp_path / "a.pth", {"epoch": 1, "state_dict": state})
    with pytest.raises(CheckpointError, match=r"state_dict\.module\.encoder_q, state_dict\.module"):
        load_model(NET, path)
    for asked in ("encoder_q", "module.encoder_q", "state_dict.module.encoder_q"):
        assert len(assert_same(path, query, asked)) == len(key.state_dict()) + 1
    assert_same(path, key, "encoder_k")


def test_what_lacks_weights_or_has_others_shapes_is_not_asked_about(tmp_path: Path) -> None:
    model = trained()
    state = model.state_dict()
    trainable = {name: tensor.clone() for name, tensor in model.named_parameters()}
    wide = {**state, "conv1.weight": torch.zeros(8, 3, 5, 5)}
    content = {"ema": trainable, "wide": wide, "model": state, "again": OrderedDict(state)}
    assert_same(save(tmp_path / "a.pth", content), model)


def test_another_head_or_another_model_is_a_misfit(tmp_path: Path) -> None:
    state = trained().state_dict()
    head = {"fc.0.weight": torch.zeros(8, 16), "fc.2.weight": torch.zeros(4, 8)}
    other = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")} | head
    for prefix in ("", "module.encoder_q."):
        path = save(tmp_path / "a.pth", {"state_dict": prefixed(prefix, other)})
        with pytest.raises(CheckpointError) as error:
            load_model(NET, path)
        assert "2 that the model has are missing (fc.weight, fc.bias)" in str(error.value)
        assert "2 are not the model's (fc.0.weight, fc.2.weight)" in str(error.value)
    foreign = torchvision.models.squeezenet1_1(num_classes=3).state_dict()
    path = save(tmp_path / "a.pth", prefixed("module.", foreign))
    with pytest.raises(CheckpointError, match="those of a squeezenet1_1"):
        load_model("vgg11", path)


def test_what_is_left_is_said_once_of_a_run(tmp_path: Path) -> None:
    for n in (1, 2):
        save(tmp_path / f"step_{n}.pth", averaged(trained(n)))
    run = read_run(find_checkpoints(tmp_path))
    assert run.first_model(NET)[1] == "step_1.pth"
    assert run.notes == ["left aside, as not the model's: 1 entry of step_1.pth (n_averaged)"]


def test_other_weights_of_the_same_files_have_other_fingerprints(tmp_path: Path) -> None:
    save(tmp_path / "a.pth", {"model": trained(1).state_dict(), "ema": trained(2).state_dict()})
    prints = [
        read_run(find_checkpoints(tmp_path, weights_key=key)).fingerprints["a.pth"]
        for key in (None, "model", "ema")
    ]
    assert len(set(prints)) == 3
