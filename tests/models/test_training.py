"""Training: names of checkpoints, what they hold, runs that repeat, and what is refused."""

import re
import resource
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import tyro
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import BATCHES_PER_EPOCH, STATES, TINY, assert_same_run, contents, run_tiny, same

from dvis.commands.training import train as train_command
from dvis.disk import DiskFullError
from dvis.models.architectures import load_model
from dvis.models.checkpoints import read_facts
from dvis.models.schedule import checkpoint_label, learning_rate, log_spaced_steps, time_for_label
from dvis.models.training import DivergedError, TrainingRun
from dvis.models.training_data import load_training_data
from dvis.models.training_settings import TrainingSettings
from dvis.models.training_state import classification_loss
from dvis.names import parse_checkpoint, training_steps

pytestmark = pytest.mark.usefixtures("one_thread")


def test_names_tell_the_exact_step_and_sort_into_training_order(finished_run: TrainingRun) -> None:
    names = [parse_checkpoint(path.name) for path in finished_run.checkpoints]
    steps = training_steps(names, BATCHES_PER_EPOCH)
    assert steps == [0, 1, 2, 4, 5, 6, 8, 12, 15] == finished_run.metrics.step.values.tolist()
    assert [read_facts(path)["step"] for path in finished_run.checkpoints] == steps
    assert [name.phase for name in names] == [
        *(["train"] * 5),
        *("end", "train", "end", "train"),
    ]
    assert [name.label for name in sorted(names, key=lambda name: name.sort_key)] == [
        path.name for path in finished_run.checkpoints
    ]


@given(st.integers(1, 10_000), st.integers(0, 200))
def test_log_spaced_steps_are_as_many_as_asked_and_never_one_twice(total: int, n: int) -> None:
    steps = log_spaced_steps(total, n)
    assert len(set(steps)) == len(steps) == min(n, total + 1)
    assert steps == sorted(steps)
    assert steps[-1:] == [total][:n]
    assert n < 2 or steps[0] == 0
    factors = np.divide(steps[2:], steps[1:-1]) if n > 2 else np.ones(1)
    gaps = np.diff(steps)
    # One factor, up to rounding, from where it is more than one step.
    even = factors[gaps[1:] > 5]
    assert not len(even) or even.max() / even.min() < 1.3


@given(
    st.permutations(list(range(14))),
    st.lists(st.integers(-3000, 3000), min_size=14, max_size=14),
)
def test_names_sort_by_step_whatever_the_clock_says_and_in_whatever_order_they_are_saved(
    order: list[int], minutes: list[int]
) -> None:
    saved: dict[int, str] = {}
    for step, shift in zip(order, minutes, strict=True):
        now = datetime(2026, 11, 1, 2, 30, 59) + timedelta(minutes=shift)
        names = [(other, parse_checkpoint(label)) for other, label in saved.items()]
        saved[step] = checkpoint_label(step, 4, time_for_label(step, now, names))
    by_name = sorted(saved, key=lambda step: parse_checkpoint(saved[step]).sort_key)
    assert by_name == sorted(saved)


def test_a_checkpoint_holds_what_others_expect_and_loads_without_running_code(
    finished_run: TrainingRun,
) -> None:
    content = torch.load(finished_run.checkpoints[-1], weights_only=True)
    assert (content["epoch"], content["phase_type"], content["batch_iteration"]) == (3, "train", 3)
    assert content["random_seed"] == 0
    assert content["batches_per_epoch"] == BATCHES_PER_EPOCH
    assert datetime.fromisoformat(content["timestamp"]).year >= 2026
    assert content["data"]["n_train"] == 100
    assert content["data"]["classes"][:2] == ["circle", "ring"]
    assert content["input"]["size"] == 16
    assert content["settings"]["batch_size"] == 16
    assert all(isinstance(value, float) for value in content["metrics"].values())
    assert torch.load(finished_run.checkpoints[5], weights_only=True)["phase_type"] == "end_epoch"


def test_metrics_are_those_of_the_saved_weights(finished_run: TrainingRun) -> None:
    settings = TrainingSettings(**TINY)
    model = load_model("tiny_models:convolutional", finished_run.checkpoints[-1])
    images, labels = zip(*load_training_data(settings).to_measure()["val"], strict=True)
    with torch.no_grad():
        logits = model(torch.cat(images))
    loss = torch.nn.functional.cross_entropy(logits, torch.cat(labels)).item()
    last = finished_run.metrics.isel(checkpoint=-1)
    assert float(last.val_loss) == pytest.approx(loss, rel=1e-5)
    assert float(last.val_accuracy) == (logits.argmax(1) == torch.cat(labels)).float().mean()
    assert float(finished_run.metrics.train_loss[0]) > float(last.train_loss)


def test_it_learns(tmp_path: Path) -> None:
    digits = {"dataset": "digits", "n_train": None, "n_val": 150}
    run = run_tiny(tmp_path / "1", **digits, steps=150, learning_rate=0.1)
    assert float(run.metrics.val_accuracy[0]) < 0.3
    assert float(run.metrics.val_accuracy[-1]) > 0.8


def test_saving_and_measuring_more_often_changes_no_weight(
    finished_run: TrainingRun, tmp_path: Path
) -> None:
    often = run_tiny(tmp_path / "1", every=1, n_val=50)
    rarely = run_tiny(tmp_path / "2", n_checkpoints=0, epoch_ends=False)
    last = [
        torch.load(each.checkpoints[-1], weights_only=True)
        for each in (finished_run, often, rarely)
    ]
    assert [len(each.checkpoints) for each in (finished_run, often, rarely)] == [9, 16, 1]
    for key in STATES[:2]:
        assert same(last[0][key], last[1][key])
        assert same(last[0][key], last[2][key])


def test_a_run_repeats_bit_for_bit_and_leaves_the_callers_state_alone(
    finished_run: TrainingRun, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    expected, state = torch.rand(3), torch.manual_seed(5).get_state()
    torch.set_num_threads(2)
    run_tiny(tmp_path / "1", every=4)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.rand(3), expected)
    assert_same_run(finished_run.folder, tmp_path / "1")


def test_another_seed_is_another_run(finished_run: TrainingRun, tmp_path: Path) -> None:
    other = run_tiny(tmp_path / "1", seed=1)
    first, second = (
        torch.load(each.checkpoints[0], weights_only=True) for each in (finished_run, other)
    )
    assert not same(first["model_state_dict"], second["model_state_dict"])


def test_loader_processes_change_nothing(finished_run: TrainingRun, tmp_path: Path) -> None:
    run_tiny(tmp_path / "1", workers=1, augment=True)
    run_tiny(tmp_path / "2", augment=True)
    assert_same_run(tmp_path / "1", tmp_path / "2")
    plain = torch.load(finished_run.checkpoints[-1], weights_only=True)
    changed = contents(tmp_path / "1")[15]
    assert not same(plain["model_state_dict"], changed["model_state_dict"])


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_sound_checkpoints(
    tmp_path: Path,
) -> None:
    with pytest.raises(DivergedError, match="lower --learning-rate"):
        run_tiny(tmp_path / "1", learning_rate=1e30, every=1)
    saved = contents(tmp_path / "1")
    assert 0 in saved
    for content in saved.values():
        assert all(value.isfinite().all() for value in content["model_state_dict"].values())


def test_early_stopping_counts_epochs_without_a_lower_validation_loss(tmp_path: Path) -> None:
    frozen = {"model": "tiny_models:linear", "learning_rate": 1e-30, "weight_decay": 0.0}
    run = run_tiny(tmp_path / "1", **frozen, steps=60, patience=3, epoch_ends=False)
    assert run.stopped_early
    assert int(run.metrics.step[-1]) == 4 * BATCHES_PER_EPOCH
    again = run_tiny(None, **frozen, steps=60, patience=3, resume_from_checkpoint=run.folder)
    assert again.stopped_early
    assert again.checkpoints == run.checkpoints


def test_a_full_disk_is_said_and_leaves_no_half_checkpoint(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(DiskFullError):
            run_tiny(tmp_path / "1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "1").iterdir())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"device": "cuda:77"}, "No device 'cuda:77' here. Devices: cpu"),
        ({"amp": "bf16"}, "needs a GPU"),
        ({"model": "resnet19"}, "Did you mean 'resnet1"),
        ({"dataset": "digit"}, "Did you mean 'digits'"),
        ({"model": "vgg11", "image_size": 8}, "images of 3 x 8 x 8: "),
        ({"val_fraction": 0.001}, "leaves images"),
        ({"dataset": "digits", "n_train": 3000}, "which has"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        run_tiny(tmp_path / "1", **change)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 1, "steps": 1},
        {"batch_size": 0},
        {"momentum": 1.0},
        {"learning_rate": 0.0},
        {"lr_min": 1.0},
        {"nesterov": True, "optimizer": "adamw"},
        {"val_fraction": 1.5},
    ],
)
def test_settings_out_of_range_say_what_to_give(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        TrainingSettings(model="resnet18", dataset="shapes", **change)


# -- the parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.1] * 5),
        ("cosine", [0.1, 0.0853553, 0.05, 0.0146447, 0.0]),
        ("step", [0.1, 0.1, 0.01, 0.01, 0.001]),
        ("exponential", [0.1, 0.0316228, 0.01, 0.00316228, 0.001]),
    ],
)
def test_learning_rates_are_those_of_the_formulas(schedule: Any, rates: list[float]) -> None:
    settings = TrainingSettings(
        **{**TINY, "steps": 44, "learning_rate": 0.1, "lr_schedule": schedule},
        lr_warmup_steps=4,
        lr_decay_epochs=2,
    )
    found = [
        learning_rate(settings, step, total_steps=44, batches_per_epoch=10) for step in range(45)
    ]
    assert found[:4] == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert found[4::10] == pytest.approx(rates, abs=1e-7)


def test_the_rate_that_is_reported_is_the_rate_that_is_used(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "1", every=1, lr_warmup_steps=3)
    used = [
        content["optimizer_state_dict"]["param_groups"][0]["lr"]
        for _, content in sorted(contents(tmp_path / "1").items())
    ]
    assert used[1:] == run.metrics.learning_rate.values[:-1].tolist()


def test_options_of_the_step_change_it(finished_run: TrainingRun, tmp_path: Path) -> None:
    weights = [torch.load(finished_run.checkpoints[-1], weights_only=True)["model_state_dict"]]
    for number, change in enumerate(
        [
            {"nesterov": True},
            {"weight_decay": 0.1},
            {"label_smoothing": 0.2},
            {"clip_gradient_norm": 0.1},
            {"momentum": 0.0},
        ]
    ):
        other = run_tiny(tmp_path / str(number), n_checkpoints=0, **change)
        weights.append(torch.load(other.checkpoints[-1], weights_only=True)["model_state_dict"])
    last = [state["6.weight"] for state in weights]
    assert all(not torch.equal(last[0], other) for other in last[1:])


def test_auxiliary_heads_are_trained_by_their_weight(tmp_path: Path) -> None:
    class InceptionOutputs(NamedTuple):
        logits: torch.Tensor
        aux_logits: torch.Tensor

    logits, labels = torch.eye(3), torch.tensor([0, 1, 2])
    alone = classification_loss(logits, labels)
    both = classification_loss(InceptionOutputs(logits, logits), labels)
    assert both.item() == pytest.approx(1.4 * alone.item())

    settings = {"image_size": 64, "batch_size": 2, "n_val": 2, "steps": 1, "epoch_ends": False}
    run = run_tiny(tmp_path / "1", model="googlenet", n_checkpoints=2, **settings)
    before, after = (
        torch.load(path, weights_only=True)["model_state_dict"] for path in run.checkpoints
    )
    for name in ("fc.weight", "aux1.fc2.weight", "aux2.conv.conv.weight"):
        assert not torch.equal(before[name], after[name]), name


def test_a_part_of_the_training_images_can_be_kept_for_validation(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "1", val_fraction=0.25, steps=1)
    data = read_facts(run.checkpoints[-1])["data"]
    assert (data["n_train"], data["n_val"]) == (75, 25)


# -- the command ---------------------------------------------------------------------------------


def test_the_command_has_the_settings_as_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(TrainingSettings(**TINY), steps=2, n_checkpoints=2)
    arguments = [f"--out={tmp_path / '1'}"]
    for name in TINY:
        arguments += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    assert tyro.cli(train_command, args=arguments) == 0
    assert "2 checkpoints, 2 of them new\nvalidation images: accuracy" in capsys.readouterr().out


def test_help_explains_each_flag_and_loads_no_torch() -> None:
    code = (
        "import sys, tyro\nfrom dvis.commands.training import train\n"
        "try:\n    tyro.cli(train, args=['--help'])\n"
        "finally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().endswith("False")
    for words in ("--resume-from-checkpoint", "--lr-warmup-steps", "Optimizer steps, in place of"):
        assert words in done.stdout
