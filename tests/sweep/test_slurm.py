"""A sweep on dask-jobqueue's Slurm cluster, whose `sbatch` runs the job script on this machine."""

import os
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
