"""Measurements in a process of their own that dies at a write, as one that is killed."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvis.store.group import Group

# Of a command in a slow test, at evenly chosen changes of its whole run.
N_KILLS = int(os.environ.get("DVIS_KILLS", "30"))
_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
_NEVER = 0
_Run = Callable[[Path], object]


def killed_and_run_again(begin: _Run, run: _Run, folder: Path) -> Iterator[Path]:
    """Folders in which a command was killed at a change of a file, and run again to its end.

    The changes are chosen evenly from those of an unbroken run. Processes are forked, so that torch
    is imported once.

    Parameters
    ----------
    begin : callable
        Puts into an empty folder what the command begins with.
    run : callable
        Runs the command in a folder.
    folder : Path
        Where the folders are made.
    """
    counted = folder / "counted"
    counted.mkdir()
    begin(counted)
    n_changes = changes_of(run, counted)
    assert n_changes >= N_KILLS, f"only {n_changes} changes of files"
    # Some changes depend on what is ready first: of the last there may be fewer another time.
    for nth in np.linspace(1, 0.95 * n_changes, N_KILLS).astype(int).tolist():
        own = folder / f"killed-{nth}"
        own.mkdir()
        begin(own)
        assert _forked(run, own, nth)[0] == -signal.SIGKILL, f"not killed at change {nth}"
        assert _forked(run, own, _NEVER)[0] == 0, f"killed at change {nth}, it does not go on"
        yield own


def changes_of(run: _Run, folder: Path) -> int:
    """How many changes of files below a folder a command makes, in a process of its own."""
    code, n_changes = _forked(run, folder, _NEVER)
    assert code == 0, "the unbroken run fails"
    return n_changes


def left_behind(folder: Path) -> list[str]:
    """Names of what only a process that is being killed leaves: unfinished files, and folders."""
    names = [path.name for path in folder.rglob("*")]
    return [n for n in names if n.endswith((".partial", ".training")) or ".removed-" in n]


def _forked(run: _Run, folder: Path, dies_at: int) -> tuple[int | None, int]:
    """Exit status of a run in a fork, and how many changes it made."""
    context = multiprocessing.get_context("fork")
    n_changes = context.Value("q", 0, lock=False)  # one that is killed would keep the lock
    process = context.Process(target=_run_and_die, args=(run, folder, dies_at, n_changes))
    process.start()
    process.join(600)
    assert process.exitcode is not None, "it does not end"
    return process.exitcode, n_changes.value


def _run_and_die(run: _Run, folder: Path, dies_at: int, n_changes: Any) -> None:
    within, counting = f"{folder}{os.sep}", threading.RLock()

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            is_change = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
        elif event in _CHANGES:
            path, is_change = arguments[0], True
        else:
            return
        if is_change and isinstance(path, str | os.PathLike) and str(path).startswith(within):
            with counting:
                n_changes.value += 1
                if n_changes.value == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    sys.addaudithook(look)  # which stays; this process ends
    run(folder)


def dies_writing(measure: Callable[..., object], options: Any, n_written: int) -> bool:
    """Measure in a fork that is killed when so many variables are written; whether it was.

    The kill falls between writes, also between data and their status.
    """
    process = multiprocessing.get_context("fork").Process(
        target=_measure, args=(measure, options, n_written)
    )
    process.start()
    process.join(120)
    assert process.exitcode in (-signal.SIGKILL, 0), "it failed by itself, or does not end"
    return process.exitcode != 0


def _measure(measure: Callable[..., object], options: Any, n_written: int) -> None:
    left, put = [n_written], Group.put

    def dying(self: Group, *arguments: Any) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        put(self, *arguments)

    Group.put = dying  # type: ignore[method-assign]  # this process ends
    torch.set_num_threads(1)
    measure(options)
