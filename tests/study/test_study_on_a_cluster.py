"""A study on dask's own scheduler and workers, each a process, one of which comes and goes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_models
import xarray as xr
from distributed import Client

import dvis

N_CHECKPOINTS = 6
N_KILLS = 3
TEXT = """\
model: tiny_models:net
checkpoint_path: [run]
store: net.zarr
{place}
layers: [conv1, conv2]
image_size: 16
steps:
  - visualize: {{channels: [0, 1, 2, 3], max_iterations: 24, feature_image_size: 16}}
  - respond: {{noise: 16, name: noise}}
  - probe: {{dataset: shapes, n_images: 80, targets: [shape, colour], name: shapes}}
"""


def program(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A process of this Python with this dvis, whose output is kept in the folder."""
    paths = [str(Path(__file__).parents[1]), str(Path(dvis.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    with (folder / f"{arguments[1]}.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def running(folder: Path, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """The same, killed at the end."""
    process = program(folder, *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """Address of a scheduler that is a process of this machine."""
    told = folder / "scheduler.json"
    where = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    with running(folder, "dask", "scheduler", *where, "--scheduler-file", str(told)):
        deadline = time.monotonic() + 60
        found = None
        while found is None:
            assert time.monotonic() < deadline, (folder / "scheduler.txt").read_text()
            time.sleep(0.1)
            found = re.search(r"tcp://[\d.:]+", told.read_text() if told.exists() else "")
        yield found[0]


def worker(folder: Path, address: str, name: str) -> "subprocess.Popen[bytes]":
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name)
    return program(folder, "dask", "worker", address, *options, "--local-directory", str(folder))


def killed_while_it_computes(
    client: Client, folder: Path, address: str, study: "subprocess.Popen[bytes]"
) -> bool:
    """Start a worker, kill it as soon as it has a task; whether it came so far."""
    process = worker(folder, address, "fleeting")
    try:
        while study.poll() is None:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            there = [at for at, each in workers.items() if each["name"] == "fleeting"]
            if any(client.processing(there).values()):
                return True
            time.sleep(0.1)
        return False
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def everything(store: Path) -> dict[str, xr.Dataset]:
    tree = dvis.tree(store)
    return {node.path: node.to_dataset().load() for node in tree.subtree if node.variables}


def study_in(folder: Path, place: str) -> Path:
    tiny_models.write_checkpoints(folder / "run", N_CHECKPOINTS)
    (folder / "study.yaml").write_text(TEXT.format(place=place))
    return folder / "study.yaml"


@pytest.mark.slow
def test_a_worker_that_comes_and_goes_changes_nothing(tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
    study_in(alone, "workers: 0")
    with running(alone, "dvis.cli", "study", "run", "study.yaml") as whole:
        assert whole.wait(300) == 0, (alone / "study.txt").read_text()
    with scheduler(shared) as address, Client(address) as client:
        study_in(shared, f"scheduler: {address}")
        steady = worker(shared, address, "steady")
        try:
            client.wait_for_workers(1, timeout=60)
            with running(shared, "dvis.cli", "study", "run", "study.yaml") as study:
                n_killed = 0
                while n_killed < N_KILLS and study.poll() is None:
                    n_killed += killed_while_it_computes(client, shared, address, study)
                assert study.wait(300) == 0, (shared / "study.txt").read_text()
        finally:
            steady.kill()
            steady.wait()
    assert n_killed >= 2
    assert dvis.check_store(shared / "net.zarr") == []
    expected, given = everything(alone / "net.zarr"), everything(shared / "net.zarr")
    assert given.keys() == expected.keys()
    for path, dataset in expected.items():
        xr.testing.assert_identical(given[path], dataset)
