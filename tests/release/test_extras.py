"""What asks for an extra's packages: without them it names the extra, with them it works.

Each case runs in a process of its own, in which packages cannot be imported.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from made_up_responses import write_responses

ROOT = Path(__file__).parents[2]
Asked: TypeAlias = list[str] | str  # words of a command, or Python
RUN = ["--model", "tiny_models:net", "--checkpoint-path", "run"]
NOISE = [*RUN, "--noise", "4"]
SHAPES = [*RUN, "--dataset", "shapes"]
DIGITS = [*RUN, "--dataset", "digits", "--workers", "0"]
UNIT = ["--layer", "conv1", "--channel", "0"]
SAFETENSORS = "safetensors_files.load_safetensors(pathlib.Path('net.safetensors'))"
# Of each extra: what is absent, and what is asked for then.
ABSENT: dict[str, tuple[tuple[str, ...], list[Asked]]] = {
    "torch": (
        ("torch", "torchvision"),
        [
            ["layers", "tiny_models:net"],
            ["train", "--model", "resnet18", "--dataset", "shapes"],
            ["visualize", *RUN],
            *([command, *NOISE] for command in ("respond", "influence", "probe")),
            ["activations", *SHAPES],
            ["kernels", *RUN, *UNIT],
            "dvis.measure.responses('tiny_models:net', 'run', noise=4)",
        ],
    ),
    "torch, safetensors": (("safetensors",), [SAFETENSORS]),
    "torch, distributed": (
        ("distributed",),
        [["respond", *NOISE, "--layers", "conv1", "--scheduler", "tcp://127.0.0.1:1"]],
    ),
    "torch, scipy": (("scipy",), ["dvis.match_runs(*[dvis.responses('r.zarr')] * 2)"]),
    "torch, sklearn": (("sklearn",), [["probe", *SHAPES], ["respond", *DIGITS]]),
    "torch, threadpoolctl": (("threadpoolctl",), [["probe", *SHAPES]]),
    "timm": (("timm",), [["layers", "timm:resnet18"]]),
    "open-clip": (("open_clip",), [["layers", "open_clip:ViT-B-32"]]),
    "page": (("jinja2",), [["page", "s.zarr", "page"], ["view", "s.zarr"]]),
    "page, starlette": (("starlette",), [["view", "s.zarr"]]),
    "page, uvicorn": (("uvicorn",), [["view", "s.zarr"]]),
    # dask brings fsspec along, so that it is never absent.
    "remote": (("aiohttp", "obstore"), ["dvis.open('http://127.0.0.1:9/s.zarr')"]),
}
# What each extra is for, done with all of its packages.
USED: dict[str, Asked] = {
    "torch": [*("respond", *NOISE, "--layers", "conv1", "--workers", "0", "--store", "own.zarr")],
    "timm": ["layers", "timm:resnet18"],
    "open-clip": ["layers", "open_clip:ViT-B-32"],
    "page": ["page", "s.zarr", "page"],
    "remote": "__import__('fsspec').filesystem('memory').put('r.zarr', '/r.zarr', recursive=True)"
    " or dvis.responses('memory://r.zarr').sizes",
    # Who gives a client of a cluster imports it themselves: dvis never does.
    "slurm": "__import__('dask_jobqueue').SLURMCluster",
}
PROGRAM = """
import contextlib, io, json, pathlib, sys

paths, blocked, asked = json.loads(sys.argv[1])
sys.path[:0] = paths

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import dvis
from dvis.cli import _run, main

def evaluated(code):
    def shown():
        names = {"dvis": dvis, "pathlib": pathlib}
        if "safetensors" in code:
            from dvis.models import safetensors_files
            names["safetensors_files"] = safetensors_files
        print(eval(code, names))
        return 0
    sys.exit(_run(shown))

ended = []
for each in asked:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(each) if isinstance(each, list) else evaluated(each)
        except SystemExit as exited:
            ended.append([exited.code, out.getvalue(), err.getvalue()])
print("\\n" + json.dumps(ended))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from recorded_stores import write_store
    from tiny_models import write_checkpoints

    made = tmp_path_factory.mktemp("extras")
    write_checkpoints(made / "run", 2)
    write_responses(made / "r.zarr", "image")
    write_store(made / "s.zarr", ["step_0", "step_5"], ["conv1"])
    return made


def ended(folder: Path, blocked: tuple[str, ...], asked: list[Asked]) -> list[list[Any]]:
    """Exit code, output and errors of each."""
    given = json.dumps([[str(ROOT), str(ROOT / "tests")], blocked, asked])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, given],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", ABSENT)
def test_without_a_package_its_extra_is_named(case: str, folder: Path) -> None:
    blocked, asked = ABSENT[case]
    called = ["scikit-learn" if name == "sklearn" else name for name in blocked]
    found = ended(folder, blocked, asked)
    assert len(found) == len(asked)
    for each, (code, _, said) in zip(asked, found, strict=True):
        assert code == 2, (each, said)
        assert f"pip install 'dvis[{case.partition(',')[0]}]'" in said, (each, said)
        assert said.startswith("dvis: "), each
        assert len(said.splitlines()) == 1, (each, said)
        assert any(name in said for name in (*called, *blocked)), (each, said)


@pytest.mark.parametrize("extra", USED)
def test_with_its_packages_an_extra_does_what_it_is_for(extra: str, folder: Path) -> None:
    ((code, _, said),) = ended(folder, (), [USED[extra]])
    assert code == 0, said


def of_pyproject() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]


def test_every_extra_is_tried() -> None:
    assert {*of_pyproject()} == {*USED}
    assert {*USED} - {"slurm"} == {case.partition(",")[0] for case in ABSENT}


def test_reading_and_asking_need_no_extra(folder: Path) -> None:
    names = {"scikit-learn": "sklearn", "open_clip_torch": "open_clip"}
    packages = [each.partition(">")[0] for of in of_pyproject().values() for each in of]
    there = [name for name in packages if name != "fsspec"]  # dask brings it along
    blocked = tuple(names.get(each, each.replace("-", "_")) for each in there)
    assert {"torch", "scipy", "distributed"} <= {*blocked}
    ((code, out, said),) = ended(folder, blocked, ["dvis.responses('r.zarr').load().sizes"])
    assert code == 0, said
    assert "image" in out
