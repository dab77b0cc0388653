"""A study planned, carried out, stopped and gone on with, on a small network."""

import multiprocessing
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import tiny_models
import torch
import xarray as xr

import dvis
from dvis import cli
from dvis.cli import commands_for
from dvis.study.calls import Call, calls_of
from dvis.study.planning import plan_study
from dvis.study.running import run_study
from dvis.study.study_file import read_study

N_CHECKPOINTS = 4
TEXT = """\
model: tiny_models:net
checkpoint_path: [{folder}/run]
store: {folder}/net.zarr
workers: 0
image_size: 16
layers: [conv1, conv2]
steps:
  - visualize: {{channels: [0, 1], max_iterations: 3, feature_image_size: 16, n_reference: 8}}
  - respond: {{noise: 8, name: noise}}
  - sizes: {{layers: [nonesuch], noise: 4}}
  - activations:
      layers: [conv1]
      dataset: shapes
      n_images: 24
      keep: [values]
      name: shapes
  - sae train: {{layer: conv1, checkpoints: all, k: 2, expansion: 1, tokens: 5k, name: few}}
"""


def study_in(folder: Path) -> list[Call]:
    """The calls of a study whose third step fails."""
    if not (folder / "run").exists():
        tiny_models.write_checkpoints(folder / "run", N_CHECKPOINTS)
    (folder / "study.yaml").write_text(TEXT.format(folder=folder))
    return calls_of(read_study(folder / "study.yaml"), commands_for)


def everything(store: Path) -> dict[str, xr.Dataset]:
    tree = dvis.tree(store)
    return {node.path: node.to_dataset().load() for node in tree.subtree if node.variables}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a study that ran through, and what was said."""
    folder, said = tmp_path_factory.mktemp("unbroken"), []
    code = run_study(study_in(folder), folder / "net.zarr", folder / "log", say=said.append)
    assert code == 1  # of one step
    return folder, said


def test_a_step_that_fails_does_not_stop_the_others(unbroken: tuple[Path, list[str]]) -> None:
    folder, said = unbroken
    rows = {line.split("  ")[0]: line for line in said if re.match(r"\d ", line)}
    assert re.search(r"done +16 +0 ", rows["1 visualize"])
    assert "failed" in rows["3 sizes"]
    assert re.search(r"done +4 +0 ", rows["5 sae train few"])
    assert any("nonesuch" in line for line in said)
    log = (folder / "log").read_text()
    assert "16 units measured" in log
    assert "Traceback" in log  # for whoever looks into it
    assert dvis.saes(folder / "net.zarr", "conv1").sizes["checkpoint"] == N_CHECKPOINTS


def test_run_again_nothing_is_made_again(unbroken: tuple[Path, list[str]]) -> None:
    folder, _ = unbroken
    before, said = everything(folder / "net.zarr"), []
    run_study(study_in(folder), folder / "net.zarr", folder / "log", say=said.append)
    made = [line for line in said if re.match(r"\d .* (done|failed) +0 +0 ", line)]
    assert len(made) == 5
    after = everything(folder / "net.zarr")
    assert all(after[path].identical(before[path]) for path in before)


def test_a_plan_counts_what_is_missing_and_writes_nothing(
    unbroken: tuple[Path, list[str]], tmp_path: Path
) -> None:
    calls = study_in(tmp_path)
    plan = plan_study(calls, seconds=0.1)
    assert not (tmp_path / "net.zarr").exists()
    counts = [(cost.n_missing, cost.n_all) for cost in plan.costs]
    assert counts[0] == (16, 16)
    assert counts[3] == (N_CHECKPOINTS, N_CHECKPOINTS)
    assert counts[4] == (N_CHECKPOINTS, N_CHECKPOINTS)
    assert "nonesuch" in plan.costs[2].why_not
    folder, _ = unbroken
    files = [p for p in (folder / "net.zarr").rglob("*") if p.is_file()]
    taken = sum(path.stat().st_size for path in files)
    assert taken / 1.3 < plan.n_bytes < 1.3 * taken  # on so small a store
    assert all(cost.seconds(2) > 0 for cost in plan.costs if not cost.why_not)
    lines = list(plan.lines(budget=1))
    assert "over the budget" in lines[1]
    assert lines[-1].startswith("nothing was written")


def test_a_plan_of_what_is_there_has_nothing_left(unbroken: tuple[Path, list[str]]) -> None:
    folder, _ = unbroken
    before = everything(folder / "net.zarr")
    plan = plan_study(study_in(folder), seconds=0.1)
    assert [cost.n_missing for cost in plan.costs] == [0] * 5
    assert sum(cost.work for cost in plan.costs) == 0
    assert all(
        each.identical(before[path]) for path, each in everything(folder / "net.zarr").items()
    )


def test_a_study_that_is_interrupted_says_what_was_not_run(tmp_path: Path) -> None:
    calls, said = study_in(tmp_path), []

    def interrupted() -> int:
        raise KeyboardInterrupt

    object.__setattr__(calls[1], "function", lambda **_: interrupted())
    assert run_study(calls, tmp_path / "net.zarr", tmp_path / "log", say=said.append) == 130
    states = [re.sub(r".*(done|stopped|not run).*", r"\1", line) for line in said[-6:-1]]
    assert states == ["done", "stopped", "not run", "not run", "not run"]


def _run_to_a_kill(folder: Path, seconds: float) -> None:
    torch.set_num_threads(1)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    sys.stdout = sys.stderr = (folder / "said").open("a")
    run_study(study_in(folder), folder / "net.zarr", folder / "log", say=lambda _: None)


@pytest.mark.slow
def test_killed_ten_times_the_store_is_that_of_an_unbroken_run(
    unbroken: tuple[Path, list[str]], tmp_path: Path
) -> None:
    study_in(tmp_path)
    n_killed, seconds = 0, 0.3
    while n_killed < 10:
        process = multiprocessing.get_context("fork").Process(
            target=_run_to_a_kill, args=(tmp_path, seconds)
        )
        process.start()
        process.join(300)
        if process.exitcode == 0:  # it came to its end
            break
        assert process.exitcode == -signal.SIGKILL
        n_killed, seconds = n_killed + 1, seconds * 1.15
    run_study(study_in(tmp_path), tmp_path / "net.zarr", tmp_path / "log", say=lambda _: None)
    assert n_killed >= 5
    assert dvis.check_store(tmp_path / "net.zarr") == []
    whole, again = everything(unbroken[0] / "net.zarr"), everything(tmp_path / "net.zarr")
    assert whole.keys() == again.keys()
    for path, dataset in whole.items():
        # Batches are composed otherwise where one was killed, which rounds sums differently.
        xr.testing.assert_allclose(again[path], dataset, rtol=1e-4, atol=1e-5)


def test_init_writes_a_file_whose_steps_are_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_models.write_checkpoints(tmp_path / "run", 2)
    out = tmp_path / "study.yaml"
    arguments = ["study", "init", "--model", "tiny_models:net", "--dataset", "shapes"]
    arguments += ["--checkpoint-path", str(tmp_path / "run"), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
    assert "dvis study plan" in capsys.readouterr().out
    commands = [call.step.command for call in calls_of(read_study(out), commands_for)]
    assert commands[:4] == ["visualize", "respond", "probe", "activations"]
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "--overwrite" in capsys.readouterr().err
