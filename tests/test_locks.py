"""One writer really is one: by whatever path, of whatever name, and beside who removes a store."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zarr
from recorded_stores import write_store

import dvis
from dvis.disk import StoreLockedError, whole_store_lock, write_lock
from dvis.store.guarded import GuardedStore
from dvis.store.writer import writing

HOLD = """
import sys
from pathlib import Path
from dvis.disk import write_lock
with write_lock(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""
RUNS = (
    "实验组/学习率零点一/批量大小二五六/随机种子编号之第一",
    "实验组/学习率零点一/批量大小二五六/随机种子编号之第二",
)


@contextmanager
def held(store: Path, name: str) -> Iterator[None]:
    """Another process that holds a lock."""
    command = [sys.executable, "-c", HOLD, str(store), name]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "real" / "m.zarr"
    path.mkdir(parents=True)
    return path


def test_a_store_is_the_same_by_every_path(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = store.parents[1] / "link.zarr"
    link.symlink_to(store)
    (store.parents[1] / "folder").symlink_to(store.parent)
    monkeypatch.chdir(store)
    ways = [link, store.parent / ".." / "real" / "m.zarr", store.parents[1] / "folder" / "m.zarr"]
    with held(store, "checkpoints/features"):
        for way in [*ways, Path(), Path(os.path.relpath(store))]:
            with (
                pytest.raises(StoreLockedError),
                write_lock(way, "checkpoints/features", wait=False),
            ):
                pass


def test_names_that_begin_alike_are_told_apart(store: Path) -> None:
    first, second = (f"{run}/features" for run in RUNS)
    with held(store, first):
        with write_lock(store, second, wait=False):
            pass
        with pytest.raises(StoreLockedError), write_lock(store, first, wait=False):
            pass


@pytest.mark.parametrize("part", ["checkpoints/llc", "checkpoints/saes/latents", RUNS[0], "store"])
def test_a_whole_store_is_held_by_one_alone(store: Path, part: str) -> None:
    with held(store, part), pytest.raises(StoreLockedError), whole_store_lock(store):
        pass
    with whole_store_lock(store):
        pass


def test_a_store_that_chains_are_written_to_is_not_overwritten(
    own_store: Path, sample_tree: Path
) -> None:
    whole = dvis.open(own_store).load()
    with held(own_store, "checkpoints/llc"), pytest.raises(StoreLockedError):
        dvis.ingest_tree(sample_tree, store=own_store, workers=1, overwrite=True)
    assert dvis.open(own_store).load().identical(whole)


def test_what_a_killed_overwrite_left_goes_with_the_next_writer(
    own_store: Path, sample_tree: Path
) -> None:
    left = own_store.with_name(f".{own_store.name}.removed-0a0a0a0a")
    shutil.copytree(own_store, left)
    dvis.ingest_tree(sample_tree, store=own_store, workers=1)
    assert not left.exists()


def _die_at_a_rename(store: Path, path: str) -> None:
    """Be killed with a file written that has not got its place yet."""

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and f"{store}{os.sep}" in str(arguments[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    with writing(store, "net", "1", "features"):
        zarr.open_group(GuardedStore(store), path=path, mode="r+").update_attributes({"a": 1})


def _write_again(store: Path) -> None:
    with writing(store, "net", "1", "features"):
        pass


def _fix(store: Path) -> None:
    dvis.check_store(store, fix=True)


@pytest.mark.parametrize("then", [_write_again, dvis.compact_store, _fix])
@pytest.mark.parametrize("path", ["", "1", "1/features/average-0"])
def test_what_a_killed_writer_had_not_put_in_place_goes_with_the_next(
    then: Callable[[Path], object], path: str, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "s.zarr", ["step_0"], ["conv1"], run="1")
    whole = dvis.open(store).load()
    process = multiprocessing.get_context("fork").Process(
        target=_die_at_a_rename, args=(store, path)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert [*store.rglob("*.partial")]
    then(store)
    assert not [*store.rglob("*.partial")]
    assert dvis.open(store).load().equals(whole)
