"""Imports that are killed, and their workers: nothing is lost, nothing wrong is shown."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_trees import RUN, Tree, assert_readers_are_safe, labels_of
from program_server import Server, seconds_of, wait_until
from slowly import slowly
from whole_stores import assert_same_state, state_of

from dvis.kinds.features.tree.ingest import ingest_tree
from dvis.store.writer import create_store


@pytest.mark.parametrize("n_kills", [5, slowly(30)])
def test_killed_imports_equal_an_unbroken_one(
    server: Server, mixed_tree: Tree, mixed_state: dict[str, Any], tmp_path: Path, n_kills: int
) -> None:
    rng = np.random.default_rng(1)
    duration_s = {
        workers: seconds_of(
            server,
            "ingest",
            tree=mixed_tree.root,
            store=tmp_path / f"timed-{workers}.zarr",
            workers=workers,
        )
        for workers in (1, 2)
    }
    n_killed = n_stores = 0
    while n_killed < n_kills:
        n_stores += 1
        store = tmp_path / f"{n_stores}.zarr"
        # The same store is killed again and again: each time further on, or at the same place.
        for nth in range(int(rng.integers(2, 7))):
            workers = 2 if n_killed % 3 == 0 else 1
            process = server.start("ingest", tree=mixed_tree.root, store=store, workers=workers)
            delay_s = rng.uniform(0, duration_s[workers])
            time.sleep(delay_s)
            if workers == 2 and n_killed % 2:
                process.kill_alone()  # its workers go on for a moment, beside the next import
            else:
                process.kill()
            is_killed = server.wait(process) == -signal.SIGKILL
            assert_readers_are_safe(store)
            n_killed += is_killed
            if not is_killed:
                if nth == 0:  # the machine has become faster
                    duration_s[workers] = delay_s
                break
        server.finish(server.start("ingest", tree=mixed_tree.root, store=store, workers=1))
        assert_same_state(store, mixed_state)


def test_killed_updates_equal_an_unbroken_import(server: Server, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    tree, labels = Tree(tmp_path), labels_of(range(0, 20 * 50, 50))
    tree.write(labels[::2], "layer1", range(8))
    before = tmp_path / "before.zarr"
    ingest_tree(tree.root, store=before)
    tree.write(labels[1::2], "layer1", range(8))
    tree.write(labels[::2], "layer1", range(5), version=1)
    tree.write(labels, "conv1", [0, 70])
    unbroken = tmp_path / "unbroken.zarr"
    ingest_tree(tree.root, store=unbroken)
    duration_s = seconds_of(
        server, "ingest", tree=tree.root, store=shutil.copytree(before, tmp_path / "timed.zarr")
    )
    store = Path(shutil.copytree(before, tmp_path / "killed.zarr"))
    for _ in range(4):
        process = server.start("ingest", tree=tree.root, store=store, workers=1)
        time.sleep(rng.uniform(0, duration_s))
        process.kill()
        server.wait(process)
        assert_readers_are_safe(store)
    server.finish(server.start("ingest", tree=tree.root, store=store, workers=1))
    assert_same_state(store, state_of(unbroken))


def test_import_ends_with_its_worker_and_goes_on_when_run_again(
    server: Server, mixed_tree: Tree, mixed_state: dict[str, Any], tmp_path: Path
) -> None:
    store = tmp_path / "store.zarr"
    process = server.start("ingest", tree=mixed_tree.root, store=store, workers=2)
    wait_until(lambda: len(process.children) == 2, "two workers")
    wait_until((store / RUN).exists, "work to do")
    os.kill(process.children[0], signal.SIGKILL)
    assert server.wait(process) == 1, process.log.read_text()
    assert "a reading process was killed" in process.log.read_text()
    assert process.members == {}
    server.finish(server.start("ingest", tree=mixed_tree.root, store=store, workers=2))
    assert_same_state(store, mixed_state)


@pytest.mark.parametrize("starts_afresh", [False, True], ids=["forked", "spawned"])
def test_no_worker_outlives_a_killed_import(
    server: Server, mixed_tree: Tree, tmp_path: Path, starts_afresh: bool
) -> None:
    rng = np.random.default_rng(4)
    other = tmp_path / "other.zarr"
    create_store(other, "other")
    how = {"workers": 2, "read_first": other if starts_afresh else None}
    # What is killed while it still imports dvis looks for its parent only after that.
    patience_s = 60.0 if starts_afresh else 2.0
    for i in range(1 if starts_afresh else 3):
        process = server.start("ingest", tree=mixed_tree.root, store=tmp_path / f"{i}.zarr", **how)
        wait_until(lambda: len(process.children) >= 2, "two workers")  # noqa: B023
        time.sleep(rng.uniform(0, 3 if starts_afresh else 1))
        process.kill_alone()
        server.wait(process)
        wait_until(lambda: not process.members, "the end of all workers", patience_s)  # noqa: B023
        assert process.members == {}
