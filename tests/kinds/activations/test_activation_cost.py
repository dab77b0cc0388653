"""What keeping activations would cost, told before anything is written, and the command."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_activations import loaded, options_of, store_of, value_files

from dvis.cli import main
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.plan import keep_activations

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(tmp_path: Path) -> ActivationOptions:
    return options_of(tmp_path)


def test_a_plan_writes_nothing_and_tells_what_is_written(options: ActivationOptions) -> None:
    lines = keep_activations(replace(options, plan=True)).notes
    assert not store_of(options).exists()
    assert lines[0].startswith(
        "conv1: 23 samples x 256 tokens x 8 channels at 2 checkpoints: 11,776 rows, 188 kB, "
    )
    assert "in all: 14,766 rows, 283 kB in 6 files" in lines[-1]
    assert "nothing was written" in lines[-1]
    keep_activations(options)
    written = sum(map(len, value_files(store_of(options)).values()))
    n_files = 2 * 3  # each with a checksum
    assert written == 2 * 23 * 2 * (256 * 8 + 64 * 16 + 4) + 4 * n_files


def test_a_budget_is_held_before_anything_runs(options: ActivationOptions) -> None:
    with pytest.raises(ValueError, match=r"would be 283 kB, and the budget is 200 kB.*random:16"):
        keep_activations(replace(options, budget="200kB"))
    assert not store_of(options).exists()
    keep_activations(replace(options, budget="200kB", tokens="mean", name="mean"))
    assert loaded(options, "conv1")["values"].shape == (2, 23, 1, 8)


def test_the_command_plans_and_keeps(
    options: ActivationOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "tiny_models:net", "--checkpoint-path", str(tmp_path / "run")]
    arguments += ["--layers", "conv2", "--dataset", "shapes", "--n-images", "10"]
    arguments += ["--store", str(store_of(options)), "--workers", "0"]
    for more in (["--plan"], []):
        with pytest.raises(SystemExit) as ended:
            main(["activations", *arguments, *more])
        assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "in all: 1,280 rows" in printed
    assert "2 blocks measured, 0 failed" in printed
    assert loaded(options, "conv2").sizes["sample"] == 10


def test_the_script_is_the_command() -> None:
    script = Path(__file__).parents[3] / "scripts" / "activations.py"
    done = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True
    )
    assert "--budget" in done.stdout
