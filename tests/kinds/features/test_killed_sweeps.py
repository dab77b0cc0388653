"""Sweeps that are killed, interrupted or out of disk space, and go on."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import Command, fill_the_disk, run_command
from slowly import slowly
from tiny_models import write_checkpoints
from whole_stores import assert_equal_stores

import dvis
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize
from dvis.kinds.features.record import FeatureRecorder
from dvis.sweep.executors import worker_context

MODEL = "tiny_models:net"
TESTS = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("one_thread")


def _run(options: VisualizeOptions) -> None:
    torch.set_num_threads(1)
    visualize(options)


@pytest.mark.parametrize(("n_kills", "n_checkpoints"), [(3, 3), slowly(20, 14)])
def test_killed_often_and_resumed_equals_an_unbroken_run(
    options: VisualizeOptions, tmp_path: Path, n_kills: int, n_checkpoints: int
) -> None:
    write_checkpoints(tmp_path / "run", n_checkpoints)
    channels = tuple(range(8))
    options = replace(options, layers=("conv1", "conv2", "relu"), channels=channels, batch_size=4)
    started = time.monotonic()
    unbroken = replace(options, store=tmp_path / "unbroken.zarr")
    visualize(unbroken)
    whole = time.monotonic() - started
    context = worker_context()
    rng = np.random.default_rng(0)
    n_killed = 0
    for _ in range(n_kills):
        process = context.Process(target=_run, args=(options,))
        process.start()
        process.join(0.2 + rng.uniform(0, whole / 6))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            n_killed += 1
        process.join()
    visualize(options)
    assert n_killed > n_kills // 3
    assert dvis.check_store(options.store) == []
    assert_equal_stores(options.store, unbroken.store)


def test_a_killed_dask_worker_loses_nothing(
    options: VisualizeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client, LocalCluster

    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    write_checkpoints(tmp_path / "run", 8)
    unbroken = replace(options, store=tmp_path / "unbroken.zarr")
    visualize(unbroken)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        pids = list(client.run(os.getpid).values())
        client.run(lambda: __import__("torch").set_num_threads(1))
        killer = threading.Timer(1.0, os.kill, (pids[0], signal.SIGKILL))
        killer.start()
        report = visualize(options, client=client)
        killer.join()
    assert report.n_failed == 0
    assert_equal_stores(options.store, unbroken.store)


def test_a_killed_local_worker_loses_nothing(
    options: VisualizeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = replace(options, store=tmp_path / "unbroken.zarr")
    visualize(unbroken)
    killed: list[int] = []
    record = FeatureRecorder.record

    def kill_once(self: FeatureRecorder, *arguments: Any) -> list[str]:
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)
        return record(self, *arguments)

    monkeypatch.setattr(FeatureRecorder, "record", kill_once)
    assert visualize(replace(options, workers=None)).n_failed == 0
    assert killed
    assert_equal_stores(options.store, unbroken.store)


def has_complete(store: Path) -> bool:
    """Whether a unit of a store that is being made is complete."""
    try:
        return bool((dvis.open(store).status == dvis.Status.COMPLETE).any())
    except (FileNotFoundError, dvis.SchemaError):
        return False


def test_an_interrupted_run_ends_cleanly_and_goes_on(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    store = tmp_path / "interrupted.zarr"
    arguments = [
        *("visualize", "--model", MODEL, "--layers", "conv1", "conv2", "--max-iterations", "40"),
        *("--checkpoint-path", str(options.checkpoint_path[0]), "--stop-rule", "never"),
        *("--channels", *"01234", "--batch-size", "2", "--store", str(store)),
    ]

    process = Command(*arguments)
    while not has_complete(store):
        assert process.poll() is None, process.ended()
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    interrupted = process.ended(60)
    assert interrupted.returncode == 130
    assert "Traceback" not in interrupted.stderr
    n_complete = int((dvis.open(store).status == dvis.Status.COMPLETE).sum())
    assert 0 < n_complete < 30
    again = run_command(*arguments, "--workers", "0")
    assert again.returncode == 0, again.stderr
    assert f"{30 - n_complete} units measured, 0 failed" in again.stdout
    settings = feature_settings("default", {"max_iterations": 40, "stop_rule": "never"})
    visualize(replace(options, channels=tuple(range(5)), batch_size=2, settings=settings))
    assert_equal_stores(store, options.store)


def test_a_full_disk_ends_a_run_and_what_was_made_is_kept(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    store = tmp_path / "full.zarr"
    arguments = [
        *("visualize", "--model", MODEL, "--layers", "conv1", "conv2", "--max-iterations", "4"),
        *("--checkpoint-path", str(options.checkpoint_path[0]), "--workers", "0"),
        *("--store", str(store), "--feature-image-size", "64"),
    ]
    # The first layer's 8 images take 98 kB, the second's 16 twice as many.
    full = run_command(*arguments, before=partial(fill_the_disk, 150_000))
    assert full.returncode == 2
    assert "Make space and run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    complete = (dvis.open(store).status == dvis.Status.COMPLETE).values
    assert 0 < complete.sum() < 72
    assert dvis.check_store(store) == []
    again = run_command(*arguments)
    assert again.returncode == 0, again.stderr
    assert f"{72 - complete.sum()} units measured, 0 failed" in again.stdout
