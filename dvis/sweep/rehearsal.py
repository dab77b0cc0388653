"""A measurement tried for a few seconds, so that it can be told what all of it would take.

While a `Rehearsal` is on, `carry_out` does tasks in an order of chance and in this process, stops
taking new ones when the time is over, and notes what each took.
"""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from dvis.sweep.plan import n_counted

_CURRENT: ContextVar["Rehearsal | None"] = ContextVar("rehearsal", default=None)


@dataclass(kw_only=True)
class Tried:
    """A sweep, and what its first tasks took.

    Attributes
    ----------
    kind, run, name : str
        The group that it measures.
    n_parts : int
        Parts of all of its tasks.
    took : list of (float, int)
        Seconds and parts of each task that was done.
    """

    kind: str
    run: str
    name: str
    n_parts: int
    took: list[tuple[float, int]] = field(default_factory=list)

    @property
    def n_done(self) -> int:
        """Parts that were measured."""
        return sum(n for _, n in self.took)

    @property
    def done_seconds(self) -> float:
        """Seconds that these took."""
        return sum(seconds for seconds, _ in self.took)

    @property
    def seconds(self) -> float:
        """Seconds that all parts take, by the tasks after the first, which finds things out too."""
        counted = self.took[1:] if len(self.took) > 2 else self.took
        n = sum(n for _, n in counted)
        return sum(seconds for seconds, _ in counted) / n * self.n_parts if n else 0.0


@dataclass(kw_only=True)
class Rehearsal:
    """How long sweeps may take, and what they took.

    Attributes
    ----------
    seconds : float
        After so long a sweep takes no new task, once one is done.
    sweeps : list of Tried
        The sweeps that a command makes, one after the other.
    """

    seconds: float
    sweeps: list[Tried] = field(default_factory=list)
    _began: float = 0.0
    _mark: float = 0.0

    def begin(self, group: tuple[str, str, str], tasks: Sequence[Any], n_checkpoints: int) -> None:
        """Note what a sweep is; its time runs from now on."""
        kind, run, name = group
        n_parts = sum(map(n_counted, tasks)) * n_checkpoints
        self.sweeps.append(Tried(kind=kind, run=run, name=name, n_parts=n_parts))
        self._began = self._mark = time.perf_counter()

    def note(self, task: Any) -> None:
        """Note that a task was done."""
        now = time.perf_counter()
        self.sweeps[-1].took.append((now - self._mark, n_counted(task)))
        self._mark = now

    def is_over(self) -> bool:
        """Whether the sweep takes no new task."""
        return bool(self.sweeps[-1].took) and time.perf_counter() - self._began > self.seconds


def current() -> Rehearsal | None:
    """The rehearsal that is on, None where all is meant."""
    return _CURRENT.get()


def in_any_order(tasks: Sequence[Any]) -> list[Any]:
    """Tasks in an order of chance, always the same: the first few stand for all layers."""
    return random.Random(0).sample(list(tasks), len(tasks))


@contextmanager
def rehearsing(seconds: float) -> Iterator[Rehearsal]:
    """Let measurements be tried for some seconds each instead of carried out."""
    rehearsal = Rehearsal(seconds=seconds)
    token = _CURRENT.set(rehearsal)
    try:
        yield rehearsal
    finally:
        _CURRENT.reset(token)
