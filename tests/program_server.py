"""Starting, killing and waiting for the programs of `concurrency_programs`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import concurrency_programs as programs

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Process:
    """A process of the server's, the leader of its own group."""

    pid: int
    log: Path

    def kill(self) -> None:
        """SIGKILL to it and to all of its children."""
        os.killpg(self.pid, signal.SIGKILL)

    def kill_alone(self) -> None:
        """SIGKILL to it; its children are left to themselves."""
        os.kill(self.pid, signal.SIGKILL)

    @property
    def members(self) -> dict[int, int]:
        """Living processes of its group, and the parent of each."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent, group = path.read_text().rsplit(")", 1)[1].split()[:3]
            except OSError:  # it has just ended
                continue
            if int(group) == self.pid and state not in "ZX":
                found[int(path.parent.name)] = int(parent)
        return found

    @property
    def children(self) -> list[int]:
        return [pid for pid, parent in self.members.items() if parent == self.pid]


class Server:
    """Starts programs by forking a process that has imported dvis; see concurrency_programs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._n_started = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, programs.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # It answers, here that it has no such program, once it has imported dvis: the seconds of
        # that would otherwise count as the first program's.
        self.wait(self.start("none"))

    def start(self, program: str, **arguments: Any) -> Process:
        self._n_started += 1
        log = self._folder / f"{self._n_started}-{program}.log"
        log.touch()
        texts = {key: str(v) if isinstance(v, Path) else v for key, v in arguments.items()}
        pid = self._ask({"program": program, "log": str(log), "arguments": texts})
        return Process(pid, log)

    def wait(self, process: Process) -> int:
        """Exit status, negative for a signal."""
        status = self._ask({"pid": process.pid, "timeout_s": PATIENCE_S})
        assert status is not None, f"{process} still runs:\n{process.log.read_text()}"
        return int(status)

    def finish(self, process: Process) -> None:
        """Wait for a process that must end well."""
        assert self.wait(process) == 0, process.log.read_text()

    def is_running(self, process: Process) -> bool:
        return self._ask({"pid": process.pid, "timeout_s": 0}) is None

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE_S)

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def wait_until(is_so: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < until, f"{what}: not within {patience_s} s"
        time.sleep(0.002)


def wait_for_polls(polled: Path, n_more: int) -> None:
    """Wait until a reader has polled so many times more."""

    def count() -> int:
        return int(polled.read_text() or 0) if polled.exists() else 0

    before = count()
    wait_until(lambda: count() >= before + n_more, "polls")


def seconds_of(server: Server, program: str, **arguments: Any) -> float:
    """How long an unbroken program takes."""
    started = time.monotonic()
    server.finish(server.start(program, **arguments))
    return time.monotonic() - started
