"""Training runs that stop, are killed, and go on where they stopped."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TINY, assert_same_run, contents, run_tiny, same

from dvis.disk import StoreLockedError, write_lock
from dvis.models.checkpoints import CheckpointError, read_facts
from dvis.models.training import TrainingRun, train
from dvis.models.training_settings import TrainingSettings

pytestmark = pytest.mark.usefixtures("one_thread")

TESTS = Path(__file__).parents[1]
LONG = {**TINY, "steps": 120, "every": 2, "augment": True, "n_val": 40, "optimizer": "adamw"}


def start(out: Path, *flags: str, **settings: Any) -> subprocess.Popen[str]:
    """A process that trains, by the flags of the command."""
    arguments = ["--out", str(out), *flags]
    for name, value in settings.items():
        flag = name.replace("_", "-")
        arguments += [f"--{flag}"] if value is True else [f"--{flag}", str(value)]
    code = "import sys, tyro\nfrom dvis.commands.training import train\nsys.exit(tyro.cli(train))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_checkpoints(folder: Path, n: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while len(list(folder.glob("*.pth.tar"))) < n:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_killed_run_goes_on_to_what_an_unbroken_one_gives(tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = start(broken, "--resume-from-checkpoint", str(broken), **LONG)
    wait_for_checkpoints(broken, 8, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    n_saved = len(contents(broken))  # all of them whole
    train(TrainingSettings(**LONG, out=broken, resume_from_checkpoint=broken))
    train(TrainingSettings(**LONG, out=whole))
    assert 8 <= n_saved < len(contents(whole))
    assert_same_run(broken, whole)
    assert not list(broken.glob("*.partial"))


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "a run"
    process = start(out, **{**LONG, "steps": 5000})
    wait_for_checkpoints(out, 3, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume-from-checkpoint {shlex.quote(str(out))}" in errors
    assert "Traceback" not in errors
    assert len(contents(out)) >= 3


def test_steps_saved_before_are_neither_overwritten_nor_saved_again(
    finished_run: TrainingRun, tmp_path: Path
) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    for path in finished_run.checkpoints[:-1]:  # as if saved at another minute
        name = path.name.replace(path.name[11:27], "2020-02-03-04h05")
        (folder / name).write_bytes(path.read_bytes())
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    first = next(path for path in before if path.name.endswith("_train_2.pth.tar"))
    saved: list[Path] = []
    settings = TrainingSettings(**TINY, every=4, resume_from_checkpoint=first)
    train(settings, on_checkpoint=saved.append)
    assert [read_facts(path)["step"] for path in saved] == [15]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert_same_run(finished_run.folder, folder)


def test_what_is_saved_between_old_checkpoints_sorts_between_them(
    finished_run: TrainingRun, tmp_path: Path
) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    for path in finished_run.checkpoints:
        (folder / path.name).write_bytes(path.read_bytes())
    resumed = run_tiny(
        None, every=1, resume_from_checkpoint=folder / finished_run.checkpoints[0].name
    )
    assert resumed.folder == folder
    assert resumed.metrics.step.values.tolist() == list(range(16))


def test_a_finished_run_is_left_as_it_is(finished_run: TrainingRun) -> None:
    again = run_tiny(None, every=4, resume_from_checkpoint=finished_run.folder)
    assert again.checkpoints == finished_run.checkpoints


def test_a_run_can_be_made_longer_where_its_rates_do_not_change(tmp_path: Path) -> None:
    constant = {"lr_schedule": "constant", "every": 5}
    run_tiny(tmp_path / "1", **constant)
    longer = run_tiny(None, **constant, steps=20, resume_from_checkpoint=tmp_path / "1")
    unbroken = run_tiny(tmp_path / "2", **constant, steps=20)
    last = [torch.load(each.checkpoints[-1], weights_only=True) for each in (longer, unbroken)]
    assert last[0]["step"] == 20
    assert same(last[0]["model_state_dict"], last[1]["model_state_dict"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch_size": 8}, "batch_size was 16 and is 8"),
        ({"optimizer": "adamw"}, "optimizer was 'sgd' and is 'adamw'"),
        ({"seed": 3}, "seed was 0 and is 3"),
        ({"n_train": 90}, "fingerprint was 'recipe-"),
        ({"image_size": 18}, "input size was 16 and is 18"),
        ({"model": "tiny_models:linear"}, "model was 'tiny_models:convolutional' and is"),
        ({"steps": 30}, "steps that the cosine spans was 15 and is 30"),
    ],
)
def test_going_on_with_other_settings_is_refused(
    finished_run: TrainingRun, change: dict[str, Any], told: str
) -> None:
    before = sorted(finished_run.folder.iterdir())
    with pytest.raises(ValueError, match="another run") as error:
        run_tiny(None, **change, resume_from_checkpoint=finished_run.folder)
    assert told in str(error.value)
    assert sorted(finished_run.folder.iterdir()) == before


def test_a_foreign_checkpoint_cannot_be_resumed(tmp_path: Path) -> None:
    torch.save({"model_state_dict": {"w": torch.zeros(1)}, "epoch": 1}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="not written by dvis train"):
        run_tiny(None, resume_from_checkpoint=tmp_path / "a.pth")


def test_runs_are_numbered_and_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "convolutional_checkpoints" / "7").mkdir(parents=True)
    first, second = run_tiny(None, steps=1), run_tiny(None, steps=1)
    assert first.folder == Path("models/convolutional_checkpoints/8")
    assert second.folder == Path("models/convolutional_checkpoints/9")
    with pytest.raises(FileExistsError, match="--resume-from-checkpoint"):
        run_tiny(first.folder, steps=1)


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    with write_lock(tmp_path / "1", "training"), pytest.raises(StoreLockedError, match="process"):
        run_tiny(tmp_path / "1")
