"""Commands of dvis in processes of their own, which a process that has loaded torch forks."""

import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dvis.sweep.executors import worker_context

_SAID = "stdout", "stderr"


@dataclass(frozen=True)
class Ended:
    """What a command that has ended said, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """`dvis ARGUMENTS` in a process of its own, on one thread.

    Parameters
    ----------
    *arguments
        Of the command.
    before
        What the process does first; a function of a module.
    """

    def __init__(self, *arguments: str | Path, before: Callable[[], object] | None = None) -> None:
        self._folder = TemporaryDirectory()
        told = list(map(str, arguments)), Path(self._folder.name), before
        self._process = worker_context().Process(target=_run, args=told)
        self._process.start()

    def poll(self) -> int | None:
        """The exit status, None while the command runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        os.kill(self._process.pid or 0, number)

    def ended(self, timeout: float = 300) -> Ended:
        """What the command has said, once it has ended."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it does not end"
        with self._folder as folder:
            texts = [(Path(folder) / name).read_text() for name in _SAID]
        return Ended(self._process.exitcode, *texts)


def run_command(*arguments: str | Path, before: Callable[[], object] | None = None) -> Ended:
    """What a command said in a process of its own."""
    return Command(*arguments, before=before).ended()


def fill_the_disk(n_bytes: int) -> None:
    """Let no file grow beyond so many bytes: the kernel refuses the write as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))


def _run(arguments: list[str], folder: Path, before: Callable[[], object] | None) -> None:
    import torch

    from dvis.cli import main

    for number, name in enumerate(_SAID, 1):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    if before is not None:
        before()
    main(arguments)
