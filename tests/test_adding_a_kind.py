"""The worked example of CONTRIBUTING.md: a kind is added by one folder and one line."""

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import TinyNet, write_checkpoints

TESTS = Path(__file__).parent
# What the commands, the readers and the page of a dvis with one kind more say, as json.
LOOK = """
import json, sys
import dvis, dvis.cli
from dvis.page.documents import shown_units, unit
from dvis.page.plain import as_json
store = sys.argv[1]
moments = dvis.open(store, kind="moments")
shown = shown_units(store)
tree = dvis.tree(store)
print(json.dumps({
    "mean": moments["mean"].values.tolist(),
    "variance": moments["variance"].values.tolist(),
    "steps": moments["step"].values.tolist(),
    "tree": [path for path in tree.groups if "moments/" in path],
    "of_tree": tree["checkpoints/moments/noise"].to_dataset().equals(moments),
    "contents": str(dvis.contents(store)),
    "faults": list(map(str, dvis.check_store(store))),
    "parts": json.loads(as_json(unit(shown, 0, 0, 1)))["parts"],
    "has_torch": "torch" in sys.modules,
}))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of dvis with the folder of moments and a line in the registry."""
    house = tmp_path_factory.mktemp("house")
    shutil.copytree(TESTS.parent / "dvis", house / "dvis")
    shutil.copytree(TESTS / "moments", house / "dvis" / "kinds" / "moments")
    registry = house / "dvis" / "kinds" / "registry.py"
    line = '    "responses",\n'
    registry.write_text(registry.read_text().replace(line, f'{line}    "moments",\n'))
    return house


@pytest.fixture(scope="module")
def ran(house: Path, run_of_features: Path) -> Path:
    """A run with feature images of which moments were measured, by the command."""
    run = house / "run"
    shutil.copytree(run_of_features, run)
    command = ["moments", "--model", "tiny_models:net", "--checkpoint-path", str(run / "run")]
    command += ["--layers", "conv1", "fc", "--store", str(run / "net.zarr"), "--workers", "0"]
    said = dvis_of(house, *command)
    assert said.endswith("net.zarr, noise: 36 units measured, 0 failed\n")
    assert dvis_of(house, *command).endswith("noise: 0 units measured, 0 failed\n")
    return run


def run_of(house: Path, *arguments: str) -> str:
    paths = os.pathsep.join([str(house), str(TESTS)])
    ended = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=house,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def dvis_of(house: Path, *arguments: str) -> str:
    return run_of(house, "-m", "dvis.cli", *arguments)


@pytest.fixture(scope="module")
def look(house: Path, ran: Path) -> dict[str, Any]:
    looked: dict[str, Any] = json.loads(run_of(house, "-c", LOOK, str(ran / "net.zarr")))
    return looked


def test_one_folder_and_one_line_are_all_that_differs(house: Path) -> None:
    difference = filecmp.dircmp(TESTS.parent / "dvis", house / "dvis", ignore=["__pycache__"])
    kinds = difference.subdirs["kinds"]
    assert (kinds.right_only, kinds.diff_files) == (["moments"], ["registry.py"])
    assert difference.diff_files + difference.left_only + difference.right_only == []
    before, after = (
        (folder / "dvis" / "kinds" / "registry.py").read_text().splitlines()
        for folder in (TESTS.parent, house)
    )
    assert len(after) == len(before) + 1
    n_lines = sum(len(file.read_text().splitlines()) for file in (TESTS / "moments").glob("*.py"))
    assert n_lines < 150, "the worked example is short"


def test_moments_are_those_of_the_model(ran: Path, look: dict[str, Any]) -> None:
    paths = sorted((ran / "run").iterdir())
    noise = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)
    mean, variance = np.array(look["mean"]), np.array(look["variance"])
    for row, path in enumerate(paths):
        model = TinyNet(4).eval()
        model.load_state_dict(torch.load(path, weights_only=True)["model_state_dict"])
        with torch.no_grad():
            images = torch.from_numpy(noise)
            of_conv = model.conv1(images).mean((2, 3)).numpy()
            of_fc = model(images).numpy()
        for layer, values in ((0, of_conv), (1, of_fc)):
            n = values.shape[1]
            np.testing.assert_allclose(mean[row, layer, :n], values.mean(0), atol=1e-5)
            np.testing.assert_allclose(variance[row, layer, :n], values.var(0), atol=1e-5)
            assert np.isnan(mean[row, layer, n:]).all()


def test_moments_are_opened_listed_and_checked_like_any_kind(look: dict[str, Any]) -> None:
    assert look["steps"] == [0, 10, 20]
    assert look["tree"] == ["/checkpoints/moments/noise"]
    assert look["of_tree"]
    assert "moments" in look["contents"]
    assert look["faults"] == []
    assert not look["has_torch"]


def test_the_page_shows_a_units_moments(look: dict[str, Any]) -> None:
    (part,) = [part for part in look["parts"] if part["title"] == "Moments, noise"]
    assert part["shape"] == "curves"
    mean = np.array(look["mean"])[:, 0, 1]
    np.testing.assert_allclose(part["lines"][0]["values"], mean, rtol=1e-4)


def test_info_and_check_tell_of_moments(house: Path, ran: Path, tmp_path: Path) -> None:
    store = shutil.copytree(ran / "net.zarr", tmp_path / "net.zarr")
    assert "moments of checkpoints: noise, 3 checkpoints, 36 complete" in dvis_of(
        house, "info", str(store)
    )
    (file,) = (store / "checkpoints/moments/noise/mean/c/0/0").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    code = "import dvis, sys; print(*dvis.check_store(sys.argv[1], fix=True), sep='\\n')"
    said = run_of(house, "-c", code, str(store)).splitlines()
    assert len(said) == 3 * 8
    assert "conv1, channel 0: its mean is damaged" in said[0]
    assert "24 failed" in dvis_of(house, "info", str(store))


def test_its_options_do_what_their_help_says(house: Path, ran: Path, tmp_path: Path) -> None:
    first, second, _ = (path.name for path in sorted((ran / "run").iterdir()))
    (tmp_path / "steps.csv").write_text(f"name,step\n{first},5\n{second},70\n")
    code = (
        "import sys, dvis; from pathlib import Path\n"
        "from dvis.kinds.moments.kind import MomentsOptions as Options\n"
        "from dvis.kinds.moments.plan import measure_moments\n"
        "run, here = map(Path, sys.argv[1:3])\n"
        "def measured(**more):\n"
        "    given = dict(model='tiny_models:net', checkpoint_path=(run,), layers=('conv1',))\n"
        "    given |= dict(store=here / 'a.zarr', workers=0, steps=here / 'steps.csv')\n"
        "    try: measure_moments(Options(**given | more))\n"
        "    except (KeyError, ValueError) as err: print(err.args[0])\n"
        "measured(checkpoint_patterns=('nope*',))\n"
        "measured(layers=('conv9',))\n"
        "measured(checkpoint_patterns=sys.argv[3:])\n"
        "print(dvis.open(here / 'a.zarr', kind='moments').step.values.tolist())\n"
    )
    said = run_of(house, "-c", code, str(ran / "run"), str(tmp_path), first, second).splitlines()
    assert "nope*" in said[0]
    assert said[1].startswith("No layer 'conv9' in tiny_models:net. Layers: conv1")
    assert said[2] == "[5, 70]"


def test_a_checkpoint_that_comes_later_is_measured_alone(house: Path, ran: Path) -> None:
    write_checkpoints(ran / "run", 4)
    command = ["moments", "--model", "tiny_models:net", "--checkpoint-path", str(ran / "run")]
    command += ["--layers", "conv1", "fc", "--store", str(ran / "net.zarr"), "--workers", "0"]
    said = dvis_of(house, *command)
    # The weights of the checkpoints in between have moved with the length of the run.
    assert "12 units measured" in said
    assert "kept: 24 units of other weights under the same label" in said
