"""Temporary folders: those of the living stay, of the dead they go, and nothing else does."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dvis.models.scratch import scratch_folder

_HOLDS_ONE = """
import time
from dvis.models.scratch import scratch_folder
with scratch_folder("tried") as folder:
    (folder / "weights.pth").write_bytes(b"weights")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    os.utime(folder, (time.time() - 3600,) * 2)


def test_it_is_empty_and_gone_at_the_end(tmp_path: Path) -> None:
    with scratch_folder("tried") as folder:
        assert list(folder.iterdir()) == []
        (folder / "a").write_bytes(b"a")
    with pytest.raises(RuntimeError), scratch_folder("tried"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_next_one_removes_what_a_killed_process_left_and_leaves_the_living(
    tmp_path: Path,
) -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", _HOLDS_ONE], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        killed, living = (Path(each.stdout.readline().strip()) for each in holders)
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        assert killed.exists()
        for folder in (killed, living):
            age(folder.parent)
        with scratch_folder("tried"):
            assert not killed.parent.exists()
            assert (living / "weights.pth").read_bytes() == b"weights"
    finally:
        for each in holders:
            each.kill()
            each.communicate()


def test_links_young_folders_and_others_names_are_left(tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    (tmp_path / "dvis-tried-link").symlink_to(elsewhere)
    (tmp_path / "dvis-tried-young").mkdir()
    (tmp_path / "dvis-other-old").mkdir()
    age(tmp_path / "dvis-other-old")
    with scratch_folder("tried"):
        pass
    assert {each.name for each in tmp_path.iterdir()} == {
        "mine",
        "dvis-tried-link",
        "dvis-tried-young",
        "dvis-other-old",
    }
