"""A page that replaces another: one of the two is there whole, whenever its writer is killed."""

import os
import signal
import sys
from pathlib import Path

import pytest

from dvis.page import swap
from dvis.page.swap import clear_up, place_beside, put_in_place

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")


def make(folder: Path, text: str) -> Path:
    (folder / "data").mkdir(parents=True)
    for name in ("index.html", "data/a.js", "data/b.js"):
        (folder / name).write_text(text)
    return folder


def texts_in(folder: Path) -> set[str]:
    return {path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(place: Path, text: str) -> None:
    clear_up(place)
    put_in_place(make(place_beside(place), text), place)


def killed_at(change: int, place: Path, text: str) -> bool:
    """Write in a fork that is killed before a change, counted from 1; whether it was."""
    if not (pid := os.fork()):
        left = [change]

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event in CHANGES or (event == "open" and str(arguments[1]).startswith("w")):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        write(place, text)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks
@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_page_is_whole_after_a_kill_at_any_change(
    tmp_path: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(swap, "_exchanged", lambda made, folder: False)
    place = make(tmp_path / "page", "old")
    n_killed, before = 0, "old"
    while killed_at(n_killed + 1, place, text := f"new {n_killed}"):
        n_killed += 1
        if not can_exchange:
            clear_up(place)  # as the next command does
        assert texts_in(place) in ({before}, {text})
        assert len(list(place.rglob("*"))) == 4
        before = texts_in(place).pop()
    assert n_killed > 8
    assert texts_in(place) == {text}
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_what_those_that_live_are_making_is_left_alone(tmp_path: Path) -> None:
    place, host = tmp_path / "page", swap._host()
    kept = [f".page.partial-{host}-{os.getppid()}", ".page.partial-elsewhere-999999999", ".page.x"]
    gone = [f".page.partial-{host}-999999999", ".page.old-999999999", ".page.partial-999999999"]
    for name in [*kept, *gone]:
        make(tmp_path / name, "x")
    make(place, "whole")
    clear_up(place)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "page"}


def test_a_page_that_was_taken_away_is_put_back(tmp_path: Path) -> None:
    make(tmp_path / ".page.old-999999999", "whole")
    clear_up(tmp_path / "page")
    assert texts_in(tmp_path / "page") == {"whole"}
    assert len(list(tmp_path.iterdir())) == 1
