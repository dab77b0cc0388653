"""Which files and folders are taken for checkpoints, and what they are called."""

import json
import pickle
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_checkpoints import WEIGHTS, save, touch

from dvis.models.checkpoints import find_checkpoints, load_checkpoint


def labels(*paths: Path) -> list[str]:
    return [file.label for file in find_checkpoints(paths)]


@pytest.mark.parametrize(
    "suffix", [".pth", ".pt", ".pth.tar", ".th", ".ckpt", ".torch", ".pyth", ".safetensors"]
)
def test_these_suffixes_are_checkpoints_by_name(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"epoch=2-step=20{suffix}", f"epoch=1-step=10{suffix}", "config.yaml")
    assert labels(tmp_path) == [f"epoch=1-step=10{suffix}", f"epoch=2-step=20{suffix}"]


@pytest.mark.parametrize("suffix", [".tar", ".bin", ".pkl", ""])
@pytest.mark.parametrize("is_zip", [True, False])
def test_these_are_if_torch_wrote_them(tmp_path: Path, suffix: str, is_zip: bool) -> None:
    for name in ("loss=0.25", "step_2"):
        save(tmp_path / (name + suffix), WEIGHTS, _use_new_zipfile_serialization=is_zip)
    save_file(WEIGHTS, tmp_path / f"step_1{suffix}")
    (tmp_path / f"data{suffix}").write_bytes(pickle.dumps({"lr": 0.1}))
    touch(tmp_path, f"empty{suffix}", "LICENSE", "step_3.part")
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        archive.add(tmp_path / "LICENSE", "LICENSE")
    assert sorted(labels(tmp_path)) == [f"{n}{suffix}" for n in ("loss=0.25", "step_1", "step_2")]


COMPANIONS = [
    *("optimizer.pt", "optimizer_0.pt", "epoch_3_optimizer.pt", "optim.pth", "model_optim.pth"),
    *("zero_pp_rank_0_mp_rank_00_optim_states.pt", "scheduler.pt", "lr_scheduler.pt", "scaler.pt"),
    *("rng_state.pth", "rng_state_0.pth", "random_states_0.pkl", "training_args.bin"),
    *("sampler.bin", "custom_checkpoint_0.pkl", "dataloader.pt", ".hidden.pth"),
]


def test_what_lies_beside_checkpoints_is_none(tmp_path: Path) -> None:
    for name in COMPANIONS:
        save(tmp_path / "run" / name, {"x": torch.zeros(1)})
    touch(
        tmp_path,
        "run/.sync/a.pth",
        "run/__MACOSX/a.pth",
        "run/optimizer.bin.index.json",
        "run/trainer_state.json",
    )
    with pytest.raises(FileNotFoundError, match="No checkpoints in"):
        find_checkpoints([tmp_path])
    names = ["optimal_1.pth", "step_1.pth", "sgd_optimizer_study_epoch_2.pth"]
    touch(tmp_path / "run", *names)
    assert sorted(labels(tmp_path)) == sorted(names)


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("checkpoint-{}", "model.safetensors"),
        ("checkpoint-{}", "model.safetensors.index.json"),
        ("checkpoint_{:06d}", "checkpoints"),
        ("step_{}", "model.pth"),
        ("training_{}", "teacher_checkpoint.pth"),
        ("global_step{}", "mp_rank_00_model_states.pt"),
        ("epoch={}", "pytorch_model.bin"),
    ],
)
def test_a_folder_that_is_a_checkpoint_gives_its_name(
    tmp_path: Path, folder: str, file: str
) -> None:
    run = tmp_path / "run"
    names = [folder.format(n) for n in (10, 200)]
    for name in names:
        write(run / name / file)
        for companion in ("optimizer.pt", "rng_state_0.pth", "training_args.bin"):
            save(run / name / companion, {"x": torch.zeros(1)})
    folders = [run / name for name in names]
    for given in ([run], [tmp_path], folders, [f / file for f in folders]):
        found = find_checkpoints(given)
        assert sorted(each.label for each in found) == sorted(names)
        assert {each.path for each in found} == {f / file for f in folders}
        assert load_checkpoint(str(found[0].path)).states[""].keys() == WEIGHTS.keys()
    write(run / "model.safetensors")  # of the end, as trainers of Hugging Face save it
    assert sorted(labels(run)) == sorted([*names, "model.safetensors"])


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".index.json"):
        shards = {name: f"model-0000{i}-of-00002.safetensors" for i, name in enumerate(WEIGHTS, 1)}
        for name, shard in shards.items():
            save_file({name: WEIGHTS[name]}, path.with_name(shard))
        path.write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    elif path.suffix == ".safetensors":
        save_file(WEIGHTS, path)
    else:
        save(path, WEIGHTS)


def test_one_set_of_weights_in_two_formats_is_one_checkpoint(tmp_path: Path) -> None:
    for n in (1, 2):
        write(tmp_path / f"checkpoint-{n}" / "model.safetensors")
        write(tmp_path / f"checkpoint-{n}" / "pytorch_model.bin")
    assert {file.path for file in find_checkpoints(tmp_path)} == {
        tmp_path / f"checkpoint-{n}" / "model.safetensors" for n in (1, 2)
    }


def test_folders_of_runs_are_no_checkpoints(tmp_path: Path) -> None:
    touch(tmp_path, "lr_0.1/model.pth", "lr_0.01/model.pth", "step_3/1.pth", "step_3/2.pth")
    with pytest.raises(ValueError, match=r"3 runs.*: lr_0\.01, lr_0\.1, step_3\. Give one"):
        find_checkpoints(tmp_path)
    assert labels(tmp_path / "step_3") == ["1.pth", "2.pth"]
    touch(tmp_path, "version_0/checkpoints/last.ckpt")
    assert labels(tmp_path / "version_0") == ["last.ckpt"]
