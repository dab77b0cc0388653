"""Checkpoints: found and ordered, read without running anything, put into models that they fit."""

import io
import os
import pickle
import textwrap
import warnings
import zipfile
from argparse import Namespace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trees import CHECKPOINTS

from dvis.models.architectures import load_model
from dvis.models.checkpoints import (
    CheckpointError,
    find_checkpoints,
    fingerprint,
    load_checkpoint,
    read_facts,
)

HEAD = "tiny_models:head"
WEIGHTS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([0.5, -0.5])}


def save(path: Path, content: object, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    return path


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def overwrite(path: Path, old: Tensor, new: Tensor) -> None:
    """Change a tensor's numbers in its file, without making another file."""
    data = path.read_bytes()
    at = data.index(old.numpy().tobytes())
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new.numpy().tobytes())


# --- Finding


def test_checkpoints_come_in_training_order_and_other_files_are_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, *reversed(CHECKPOINTS), "full.pth", "last.pt")
    touch(tmp_path, "train.log", "metrics.json", f"{CHECKPOINTS[0]}.partial", ".hidden.pth")
    found = find_checkpoints([tmp_path])
    assert [file.label for file in found] == [*CHECKPOINTS, "full.pth", "last.pt"]
    assert [file.path for file in found] == [tmp_path / file.label for file in found]


def test_files_are_taken_whatever_they_are_called_and_once_each(tmp_path: Path) -> None:
    touch(tmp_path, "weights.bin", "a.pth")
    found = find_checkpoints([tmp_path / "weights.bin", tmp_path, tmp_path / "a.pth"])
    assert [file.label for file in found] == ["a.pth", "weights.bin"]


def test_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(touch(tmp_path, "run/a.pth")))
    assert find_checkpoints(["~/run"])[0].path == tmp_path / "run" / "a.pth"


def test_the_one_run_below_a_folder_is_taken_and_several_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1/a.pth", "logs/train.log")
    assert [file.path for file in find_checkpoints([tmp_path])] == [tmp_path / "1" / "a.pth"]
    touch(tmp_path, "2/b.pth")
    with pytest.raises(ValueError, match=r"2 runs.*: 1, 2\. Give one of them"):
        find_checkpoints([tmp_path])


def test_two_files_of_one_label_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1/a.pth", "2/a.pth")
    with pytest.raises(ValueError, match=r"the label 'a\.pth'"):
        find_checkpoints([tmp_path / "1", tmp_path / "2"])


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    touch(tmp_path, "resnet50_checkpoints/notes.txt")
    with pytest.raises(FileNotFoundError, match="Did you mean 'resnet50_checkpoints'"):
        find_checkpoints([tmp_path / "resnet50_checkpoint" / "1"])
    with pytest.raises(FileNotFoundError, match=r"there is: notes\.txt"):
        find_checkpoints([tmp_path / "resnet50_checkpoints"])


def test_no_path_stands_for_pretrained_weights() -> None:
    (only,) = find_checkpoints()
    assert (only.label, only.path) == ("pretrained", None)


@pytest.mark.parametrize("empty", [[], (), {}])
def test_an_empty_list_of_paths_stands_for_nothing(empty: Any) -> None:
    with pytest.raises(ValueError, match=r"no checkpoints were given.*leave them out"):
        find_checkpoints(empty)


# --- Reading


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        {"model_state_dict": WEIGHTS, "epoch": 1},
        {"state_dict": WEIGHTS},
        {"model": WEIGHTS, "args": Namespace(lr=0.1)},
        {"model": "resnet18", "model_state_dict": WEIGHTS},
        WEIGHTS,
        {f"module.{name}": tensor for name, tensor in WEIGHTS.items()},
        {"state_dict": {f"_orig_mod.module.{name}": t for name, t in WEIGHTS.items()}},
    ],
    ids=["dvis", "state_dict", "torchvision", "named", "bare", "parallel", "compiled"],
)
def test_every_form_gives_the_same_weights(tmp_path: Path, content: object, is_zip: bool) -> None:
    path = save(tmp_path / "a.pth.tar", content, _use_new_zipfile_serialization=is_zip)
    state = load_model(HEAD, path).state_dict()
    assert state.keys() == WEIGHTS.keys()
    assert all(torch.equal(state[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("is_zip", [True, False])
def test_facts_are_plain_values_without_weights_and_optimizer(tmp_path: Path, is_zip: bool) -> None:
    content = {
        "model_state_dict": WEIGHTS,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "model": "resnet18",
        "metrics": {"val_loss": np.float32(0.5), "n": np.int64(7), "good": np.bool_(True)},
        "best": torch.tensor(0.25),
        "timestamp": datetime(2024, 3, 25, 0, 28),
        "args": Namespace(lr=0.1, milestones=(1, 2)),
        "noise": torch.zeros(4),
        "mean": np.array([0.5, 0.25]),
        "where": Path("/data/a b"),
        "device": torch.device("cpu"),
        "took": timedelta(seconds=90),
    }
    path = save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=is_zip)
    facts = read_facts(path)
    assert facts == {
        "epoch": 3,
        "model": "resnet18",
        "metrics": {"val_loss": 0.5, "n": 7, "good": True},
        "best": 0.25,
        "timestamp": "2024-03-25T00:28:00",
        "args": {"lr": 0.1, "milestones": [1, 2]},
        "mean": [0.5, 0.25],
        "where": "/data/a b",
        "device": "cpu",
        "took": "0:01:30",
    }
    assert type(facts["metrics"]["val_loss"]) is float


def test_weights_stay_in_the_file_until_they_are_used(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"model_state_dict": {"w": torch.ones(3)}, "epoch": 2})
    state = load_checkpoint(path).states["model_state_dict"]
    overwrite(path, torch.ones(3), torch.full((3,), 2.0))
    weight = state["w"]
    assert weight is not None
    assert weight.tolist() == [2, 2, 2]


def test_torch_knows_no_stand_ins_after_a_load(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"model_state_dict": WEIGHTS, "loss": np.float64(1)})
    before = set(torch.serialization.get_safe_globals())
    assert read_facts(path) == {"loss": 1.0}
    assert set(torch.serialization.get_safe_globals()) == before


# --- Fingerprints


@pytest.mark.parametrize("is_zip", [True, False])
def test_fingerprint_is_of_the_content_and_not_of_the_name(tmp_path: Path, is_zip: bool) -> None:
    options = {"_use_new_zipfile_serialization": is_zip}
    first = fingerprint(save(tmp_path / "a.pth", {"state_dict": WEIGHTS}, **options))
    again = fingerprint(save(tmp_path / "b" / "c.pt", {"state_dict": WEIGHTS}, **options))
    changed = {name: tensor.clone() for name, tensor in WEIGHTS.items()}
    changed["fc.bias"][1] += 1e-6
    other = fingerprint(save(tmp_path / "a.pth", {"state_dict": changed}, **options))
    assert first == again != other
    assert 0 <= first < 2**64


def test_fingerprint_sees_a_changed_weight_in_a_file_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        first = fingerprint(save(tmp_path / "a.pth", {"w": torch.zeros(3)}))
        other = fingerprint(save(tmp_path / "a.pth", {"w": torch.ones(3)}))
    finally:
        torch.serialization.set_crc32_options(True)
    assert first != other


# --- Files that are refused


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    marker = tmp_path / "marker"
    content = {"model_state_dict": WEIGHTS, "epoch": Hostile(marker)}
    path = tmp_path / "a.pth.tar"
    if form == "plain pickle":
        path.write_bytes(pickle.dumps({"state_dict": {}, "epoch": Hostile(marker)}))
    else:
        save(path, content, _use_new_zipfile_serialization=form == "zip")
    for read in (load_checkpoint, read_facts, lambda p: load_model("resnet18", p)):
        with pytest.raises(CheckpointError, match=r"system|is no checkpoint"):
            read(path)
    fingerprint(path)
    assert not marker.exists()
    if form == "plain pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()  # it would have run


def test_a_numpy_scalar_cannot_smuggle_an_object_in(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"model_state_dict": WEIGHTS, "x": np.datetime64("2024")})
    with pytest.raises(CheckpointError, match=r"numpy\.dtype"):
        load_checkpoint(path)


def test_a_refusal_says_what_is_asked_for_and_its_recipe_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(3, 2)
    schedule = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), 0.1), 2)
    content = {"state_dict": model.state_dict(), "whole": model, "schedule": schedule}
    content |= {"epoch": 3, "global_step": np.int64(70), "args": Namespace(data=Path("x"))}
    path = save(tmp_path / "a.pth", content)
    with pytest.raises(CheckpointError, match=r"StepLR.* to be loaded, which may run") as refusal:
        load_checkpoint(path)
    run_recipe(refusal.value, tmp_path / "converted", monkeypatch)
    converted = load_checkpoint(tmp_path / "converted" / "a.pth")
    for state in (converted.states["state_dict"], converted.states["whole"]):
        weight = state["weight"]
        assert weight is not None
        assert torch.equal(weight, model.weight)
    assert converted.facts["epoch"] == 3
    assert converted.facts["global_step"] == 70
    assert "data" in converted.facts["args"]


def test_the_way_out_for_a_program_works_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(3, 2)
    path = tmp_path / "a.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out
        torch.jit.trace(model, torch.zeros(1, 3)).save(str(path))
        with pytest.raises(CheckpointError, match="is a TorchScript program") as refusal:
            load_checkpoint(path)
        run_recipe(refusal.value, tmp_path / "converted", monkeypatch)
    weight = load_checkpoint(tmp_path / "converted" / "a.pth").states["model_state_dict"]["weight"]
    assert weight is not None
    assert torch.equal(weight, model.weight)


def run_recipe(refusal: BaseException, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code that an error prints, word for word, in a folder of its own."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    exec(textwrap.dedent(str(refusal).partition("\n")[2]), {})


def zip_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "hello")
    return buffer.getvalue()


def saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello world\n", "is no checkpoint: it begins with b'hello wo'"),
        (saved({"state_dict": WEIGHTS})[:-100], "is cut short: it ends after"),
        (saved(WEIGHTS, _use_new_zipfile_serialization=False)[:-8], "is damaged: unexpected EOF"),
        (zip_of("a/b.txt"), "is a zip that torch.save did not write"),
        (zip_of("archive/constants.pkl"), "is a TorchScript program"),
        (saved([1, 2]), "holds a list, no weights"),
        (
            saved({"epoch": 1}),
            r"no weights: no dict of tensors.* holds: epoch\. .* model_state_dict",
        ),
        (saved({"model_state_dict": {}}), "holds no weights"),
        (saved(nn.Linear(2, 2)), r"asks for torch\.nn\.modules\.linear\.Linear"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_checkpoint_says_why(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=reason) as refusal:
        load_checkpoint(path)
    assert str(refusal.value).startswith((str(path), f"The weights in {path}"))


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(tmp_path)
    for read in (load_checkpoint, read_facts, fingerprint):
        with pytest.raises(FileNotFoundError, match="missing"):
            read(tmp_path / "missing.pth")
