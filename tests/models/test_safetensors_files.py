"""Checkpoints of safetensors: read, sharded, told apart, and refused where damaged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_checkpoint_paths import write
from test_checkpoints import HEAD, WEIGHTS

from dvis.models.architectures import load_model
from dvis.models.checkpoints import CheckpointError, fingerprint, load_checkpoint, read_facts

HALF = {name: tensor.half() for name, tensor in WEIGHTS.items()}


def test_weights_and_their_texts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(HALF, path, {"format": "pt", "epoch": "3", "loss": "0.5"})
    loaded = load_model(HEAD, path)
    assert torch.equal(loaded.get_parameter("fc.weight"), WEIGHTS["fc.weight"])
    assert loaded.get_parameter("fc.weight").dtype == torch.float32
    assert read_facts(path) == {"format": "pt", "epoch": 3, "loss": 0.5}
    path.unlink()
    assert torch.isfinite(loaded.get_parameter("fc.weight")).all()


def test_shards_are_one_checkpoint_with_a_fingerprint_of_all(tmp_path: Path) -> None:
    index = tmp_path / "checkpoint-3" / "model.safetensors.index.json"
    write(index)
    (index.parent / "trainer_state.json").write_text(
        json.dumps({"epoch": 1.5, "global_step": 30, "log_history": [{"loss": 1}]})
    )
    loaded = load_model(HEAD, index)
    assert torch.equal(loaded.get_parameter("fc.bias"), WEIGHTS["fc.bias"])
    assert read_facts(index) == {"epoch": 1.5, "global_step": 30}
    before = fingerprint(index)
    assert before == fingerprint(index)
    shard = index.with_name("model-00002-of-00002.safetensors")
    save_file({"fc.bias": torch.tensor([0.5, -0.25])}, shard)
    assert fingerprint(index) != before
    shard.unlink()
    for read in (load_checkpoint, fingerprint):
        with pytest.raises(CheckpointError, match=r"1 are missing \(model-00002-of-00002"):
            read(index)


def test_fingerprints_tell_weights_of_one_file_apart(tmp_path: Path) -> None:
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file(WEIGHTS, path)
    save_file(WEIGHTS, other)
    assert fingerprint(path) == fingerprint(other) != fingerprint(path, "student")
    assert fingerprint(path, "student") != fingerprint(path, "teacher")
    save_file(HALF, other)
    assert fingerprint(path) != fingerprint(other)


@pytest.mark.parametrize(
    "named", ["../a.pth", "/etc/passwd", 3, "", "model.safetensors.index.json"]
)
def test_an_index_leads_nowhere_else(tmp_path: Path, named: object) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"fc.weight": named}}))
    with pytest.raises(CheckpointError, match="is no index of shards"):
        load_checkpoint(path)


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged: .*Save or fetch"):
        load_checkpoint(path)
