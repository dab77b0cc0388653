"""What asks for an extra's packages: without them it names the extra, with them it works.

Each case runs in a process of its own, in which packages cannot be imported.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from made_up_responses import write_responses

ROOT = Path(__file__).parents[2]
RUN = ["--model", "tiny_models:net", "--checkpoint-path", "run"]
PLAIN = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
COMMAND = "from dvis.cli import main; main({words!r})"
PYTHON = "from dvis.cli import _run; import dvis; _run(lambda: print({code}) or 0)"
TORCH = ("torch", "torchvision")
# What of an extra is absent, and what is asked for then: words of a command, or Python.
ASKED = [
    *(
        ("torch", TORCH, [command, *RUN])
        for command in (
            *("layers", "kernels", "visualize", "respond", "activations"),
            *("influence", "chimera", "sizes", "probe", "attributes"),
        )
    ),
    ("torch", TORCH, ["train", "--model", "resnet18", "--dataset", "shapes"]),
    ("torch", TORCH, ["sae", "train", "none.zarr", "--layer", "conv1"]),
    ("torch", TORCH, "dvis.measure.responses('tiny_models:net', 'run', noise=4)"),
    ("torch", ("safetensors",), "__import__('dvis.models.safetensors_files').models"
     ".safetensors_files.load_safetensors(__import__('pathlib').Path('net.safetensors'))"),
    ("torch", ("distributed",), ["respond", *RUN, "--noise", "4", "--scheduler", "tcp://no:1"]),
    ("torch", ("scipy",), "dvis.match_runs(*[dvis.responses('r.zarr')] * 2)"),
    ("torch", ("sklearn",), ["probe", *RUN, "--dataset", "digits"]),
    ("torch", ("sklearn",), ["respond", *RUN, "--dataset", "digits"]),
    ("torch", ("threadpoolctl",), ["probe", *RUN, "--dataset", "shapes"]),
    ("timm", ("timm",), ["layers", "--model", "timm:resnet18"]),
    ("open-clip", ("open_clip",), ["layers", "--model", "open_clip:ViT-B-32"]),
    ("page", ("jinja2",), ["page", "r.zarr", "--out", "page"]),
    *(("page", (name,), ["view", "r.zarr"]) for name in ("starlette", "uvicorn", "jinja2")),
    ("remote", ("fsspec", "obstore"), "dvis.open('memory://s.zarr')"),
    ("remote", ("aiohttp", "obstore"), "dvis.open('http://127.0.0.1:9/s.zarr')"),
]  # fmt: skip
# What each extra is for, done with all of its packages.
USED = {
    "torch": ["respond", *RUN, "--noise", "4", "--layers", "conv1", "--workers", "0",
              "--store", "own.zarr", "--image-size", "16"],
    "timm": ["layers", "--model", "timm:resnet18"],
    "open-clip": ["layers", "--model", "open_clip:ViT-B-32"],
    "page": ["page", "r.zarr", "--out", "page"],
    "remote": "__import__('fsspec').filesystem('memory').put('r.zarr', '/s.zarr', recursive=True)"
    " or dvis.responses('memory://s.zarr').sizes",
    # Who gives a client of a cluster imports it themselves: dvis never does.
    "slurm": "__import__('dask_jobqueue').SLURMCluster",
}  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import write_checkpoints

    made = tmp_path_factory.mktemp("extras")
    write_checkpoints(made / "run", 2)
    write_responses(made / "r.zarr", "image")
    np.save(made / "net.safetensors", np.zeros(1))  # damaged, where it can be read at all
    return made


def ended(
    folder: Path, blocked: tuple[str, ...], asked: list[str] | str
) -> subprocess.CompletedProcess[str]:
    code = COMMAND.format(words=asked) if isinstance(asked, list) else PYTHON.format(code=asked)
    paths = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'tests')]!r}\n"
    return subprocess.run(
        [sys.executable, "-c", paths + PLAIN.format(blocked=blocked) + code],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("extra", "blocked", "asked"), ASKED, ids=[f"{e}-{b[0]}-{a[0][:12]}" for e, b, a in ASKED]
)
def test_without_a_package_its_extra_is_named(
    extra: str, blocked: tuple[str, ...], asked: list[str] | str, folder: Path
) -> None:
    done = ended(folder, blocked, asked)
    assert f"pip install 'dvis[{extra}]'" in done.stderr, done.stdout + done.stderr
    (said,) = done.stderr.strip().splitlines()
    assert said.startswith("dvis: ")
    assert any(name.replace("sklearn", "scikit-learn") in said or name in said for name in blocked)


@pytest.mark.parametrize("extra", USED)
def test_with_its_packages_an_extra_does_what_it_is_for(extra: str, folder: Path) -> None:
    done = ended(folder, (), USED[extra])
    assert done.returncode == 0
    assert not [line for line in done.stderr.splitlines() if line.startswith("dvis:")], done.stderr


def test_every_extra_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*project["optional-dependencies"]} == {*USED}
    assert {*USED} - {"slurm"} == {extra for extra, _, _ in ASKED}


def test_reading_and_asking_need_no_extra(folder: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    names = {"scikit-learn": "sklearn", "open_clip_torch": "open_clip"}
    packages = [each.partition(">")[0] for packages in extras.values() for each in packages]
    blocked = tuple(names.get(each, each.replace("-", "_")) for each in packages)
    assert {"torch", "scipy", "fsspec", "distributed"} <= {*blocked}
    done = ended(folder, blocked, "dvis.responses('r.zarr').load().sizes")
    assert done.returncode == 0
    assert "image" in done.stdout, done.stderr
