"""What is released: an sdist and the wheel that it builds, and how it asks to be cited."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# The editable install and a checkout on the path would both be taken for the wheel.
WITHOUT_PATHS = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
ASSETS = {".j2", ".js", ".css", ".gz"}


def run(*words: str | Path, folder: Path) -> str:
    done = subprocess.run(
        [*map(str, words)], cwd=folder, env=WITHOUT_PATHS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of this checkout, and the wheel made of that sdist alone."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", out,
        folder=ROOT)  # fmt: skip
    (sdist,) = out.glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index",
        "--wheel-dir", out, sdist, folder=out)  # fmt: skip
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_the_wheel_holds_dvis_whole_and_nothing_else(built: tuple[Path, Path]) -> None:
    inside = {name for name in zipfile.ZipFile(built[1]).namelist() if not name.endswith("/")}
    metadata = {name for name in inside if name.split("/")[0].endswith(".dist-info")}
    tracked = run("git", "ls-files", "dvis", folder=ROOT).splitlines()
    assert inside - metadata == {*tracked}
    assert {Path(name).suffix for name in tracked} >= ASSETS
    for name in ("dvis/py.typed", "dvis/reporting/report.css", "dvis/page/assets/page.html.j2"):
        assert name in inside
    assert "dvis/store/execution_order.json.gz" in inside
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


@pytest.mark.slow
def test_the_sdist_says_what_it_is(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "pyproject.toml"} <= inside
    assert not {name for name in inside if name.startswith(("tests", "demo", "stores"))}


@pytest.mark.slow
def test_the_wheel_runs_where_there_is_no_checkout(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", folder=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    run(sys.executable, "-m", "pip", "--python", binaries / "python", "install", "--no-deps",
        "--no-index", built[1], folder=tmp_path)  # fmt: skip
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # A path that a .pth adds has its own .pth files left out: the editable dvis is not found by it.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    said = run(binaries / "python", "-c", "import dvis; print(dvis.__file__)", folder=tmp_path)
    assert Path(said) == packages / "dvis" / "__init__.py"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(binaries / "dvis", "--version", folder=tmp_path) == f"dvis {version}"
    assert "--max-iterations" in run(binaries / "dvis", "visualize", "--help", folder=tmp_path)


def test_who_cites_dvis_is_told_the_version_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()  # what CFF 1.2 asks for
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] == "software"
    assert cited["version"] == project["version"]
    assert cited["license"] == project["license"]
    assert sorted(cited["keywords"]) == sorted(project["keywords"])
    holder = (ROOT / "LICENSE").read_text().split("Copyright (c) ")[1].splitlines()[0]
    assert [author["name"] for author in cited["authors"]] == [holder.partition(" ")[2]]
