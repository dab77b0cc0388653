"""A sweep on dask-jobqueue's Slurm cluster, whose `sbatch` runs the job script on this machine."""

import os
import re
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from tiny_models import write_checkpoints

import dvis
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize

SBATCH = """#!{python}
import subprocess, sys
script = open(sys.argv[-1]).read()
assert "#SBATCH" in script, script
job = subprocess.Popen(["bash", "-c", script], start_new_session=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
print("Submitted batch job", job.pid)
"""
SCANCEL = """#!{python}
import os, signal, sys
for job in sys.argv[1:]:
    try:
        os.killpg(int(job), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
NO_PORT_OF_ITS_OWN = {"dashboard_address": ":0"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's two commands that dask-jobqueue calls, for a cluster of this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, program in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(program.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # jobs find tiny_models


@pytest.mark.usefixtures("slurm")
def test_a_sweep_runs_as_slurm_jobs_also_after_one_is_cancelled(tmp_path: Path) -> None:
    from dask_jobqueue.slurm import SLURMCluster

    write_checkpoints(tmp_path / "run", 3)
    settings = feature_settings("default", {"max_iterations": 8, "min_iterations": 4})
    options = VisualizeOptions(
        model="tiny_models:net",
        checkpoint_path=(tmp_path / "run",),
        layers=("conv1", "conv2"),
        channels=(0, 1, 2, 3),
        store=tmp_path / "slurm.zarr",
        settings=settings,
    )
    with (
        SLURMCluster(
            cores=1,
            processes=1,
            memory="6GB",
            local_directory=str(tmp_path),
            log_directory=str(tmp_path / "logs"),
            scheduler_options={"dashboard_address": ":0"},
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=120)
        assert visualize(options, client=client).n_measured == 24
        cluster.scale(jobs=1)
        while len(client.scheduler_info()["workers"]) > 1:
            time.sleep(0.1)
        more = replace(options, store=tmp_path / "one_job.zarr")
        assert visualize(more, client=client).n_measured == 24
    here = replace(options, store=tmp_path / "here.zarr", workers=0)
    visualize(here)
    expected = dvis.open(here.store)
    for store in (options.store, more.store):
        given = dvis.open(store)
        for name in ("image", "activation", "status", "seed"):
            np.testing.assert_array_equal(given[name], expected[name], err_msg=name)


def blocks_of_the_page() -> list[str]:
    """What the page on clusters says to run on Slurm."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "clusters.md"
    return re.findall(r"needs Slurm -->\n\n```python\n(.*?)```", page.read_text(), re.DOTALL)


def run_lines(text: str, changed: dict[str, str]) -> None:
    """Run the lines of a page, on what is smaller than it says."""
    for said, here in changed.items():
        assert said in text
        text = text.replace(said, here)
    exec(compile(text, "clusters.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_what_the_page_says_of_slurm_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoints(tmp_path / "models" / "resnet50_checkpoints" / "1", 2)
    one_model, _ = blocks_of_the_page()
    few = 'layers=["conv1"], channels=[0, 1], max_iterations=4, feature_image_size=16'
    small = {
        '"resnet50"': '"tiny_models:net"',
        "jobs=20": "jobs=2",
        "cores=1": f"cores=1, scheduler_options={NO_PORT_OF_ITS_OWN}",
        "client=": f"{few}, client=",
    }
    run_lines(one_model, small)
    assert int((dvis.open("stores/net.zarr").status == 1).sum()) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_what_the_page_says_of_a_study_on_slurm_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoints(tmp_path / "run", 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "study.yaml").write_text(
        f"model: tiny_models:net\ncheckpoint_path: [run]\nscheduler: tcp://localhost:{port}\n"
        "layers: [conv1]\nimage_size: 16\nsteps:\n"
        "  - visualize: {channels: [0, 1], max_iterations: 4, feature_image_size: 16}\n"
        "  - respond: {noise: 4, name: noise}\n"
    )
    _, study = blocks_of_the_page()
    program = f'"{sys.executable}", "-m", "dvis.cli", "study"'
    options = {"port": port, **NO_PORT_OF_ITS_OWN}
    small = {'{"port": 8786}': str(options), '"dvis", "study"': program, "jobs=20": "jobs=2"}
    run_lines(study, small)
    assert int((dvis.open("stores/net.zarr").status == 1).sum()) == 4
    assert dvis.responses("stores/net.zarr", name="noise").sizes["image"] == 4
