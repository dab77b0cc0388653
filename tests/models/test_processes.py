"""Processes that dvis starts run nothing that lies in the current folder."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from recorded_stores import write_store
from slowly import slowly
from trees import CHECKPOINTS, write_tree

from dvis.models.processes import safely_started
from dvis.sweep.executors import in_processes, worker_context
from dvis.sweep.loaded_once import load

SET_BY_TESTS = {"PYTHONSAFEPATH", "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD"}
# Modules of Python's own that multiprocessing and asyncio import as a process begins.
SHADOWED = ("runpy", "pickle", "socket", "signal", "threading", "asyncio", "numpy", "orjson")

SWEEP = """
import sys
from dvis.sweep.executors import in_processes, on_cluster
if __name__ == "__main__":
    with {"processes": in_processes, "cluster": on_cluster}[sys.argv[1]](1) as (pool, _):
        print(pool.submit(int, "3").result())
"""
IMPORT = """
import sys
import dvis
from dvis.store.contents import contents
if __name__ == "__main__":
    import zarr, asyncio
    tree, store = sys.argv[1:]
    zarr.create_group(store + ".other")  # whose thread makes processes begin afresh
    dvis.ingest_tree(tree, store=store, workers=2)
    print(len(contents(store).entries))
"""
DRIFT = """
import asyncio, sys
from dvis.kinds.features.shown.selection import ShownStore
from dvis.page.drift_process import DriftProcess
if __name__ == "__main__":
    store = ShownStore(sys.argv[1])
    drift = DriftProcess(store).document(0, 0, "version")
    print(len(asyncio.run(drift)) > 2)
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder, such as one with a downloaded store, of files that tell when they are imported."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in SHADOWED:
        text = f"open({str(tmp_path / 'run')!r}, 'a').write({name!r})\nraise ImportError('evil')\n"
        (folder / f"{name}.py").write_text(text)
    return folder


def output_of(program: str, *arguments: str | Path, cwd: Path) -> str:
    script = cwd.parent / "script.py"
    script.write_text(program)
    ended = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={name: value for name, value in os.environ.items() if name not in SET_BY_TESTS},
    )
    assert not (cwd.parent / "run").exists(), (cwd.parent / "run").read_text()
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_workers_of_a_sweep_import_nothing_from_there(where: str, elsewhere: Path) -> None:
    assert output_of(SWEEP, where, cwd=elsewhere) == "3"


def test_processes_of_an_import_import_nothing_from_there(elsewhere: Path, tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2], ("layer1",), 2)
    assert output_of(IMPORT, tree, tmp_path / "s.zarr", cwd=elsewhere) == "1"


def test_the_process_of_drift_imports_nothing_from_there(elsewhere: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0", "step_1"], ["conv1"])
    assert output_of(DRIFT, store, cwd=elsewhere) == "True"


@pytest.mark.parametrize("before", [None, "", "1"])
def test_the_environment_is_as_before(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    first, second = safely_started(), safely_started()
    for enter in (first, second):
        enter.__enter__()
        assert os.environ["PYTHONSAFEPATH"] == "1"
    first.__exit__(None, None, None)  # one pool ends while another lives
    assert os.environ["PYTHONSAFEPATH"] == "1"
    second.__exit__(None, None, None)
    assert os.environ.get("PYTHONSAFEPATH") == before


def _hold_a_worker(pid: Connection) -> None:
    with in_processes(1) as (pool, _):
        pid.send(pool.submit(os.getpid).result())
        time.sleep(300)


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, slowly(signal.SIGTERM)])
def test_no_worker_of_a_sweep_outlives_it(ended_by: int) -> None:
    context = worker_context()
    told, pid = context.Pipe(duplex=False)
    process = context.Process(target=_hold_a_worker, args=(pid,))
    process.start()
    worker = told.recv()
    os.kill(worker, 0)  # is there
    os.kill(process.pid or 0, ended_by)
    process.join()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline, f"process {worker} lives on"
        time.sleep(0.02)


def test_a_module_that_cannot_be_loaded_ends_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unfit.py").write_text("raise RuntimeError('operator nms does not exist')")
    (tmp_path / "fit.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    load(["unfit", "nowhere", "fit"])
    assert "fit" in sys.modules
    assert "unfit" not in sys.modules
