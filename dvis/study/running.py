"""A study carried out: its steps one after the other, a log, and a table of what came of each.

What is there is skipped by each command itself, so that a study that was stopped goes on.
"""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from dvis.progress import in_bytes, in_time
from dvis.study.calls import Call
from dvis.study.counting import Counts, Group, Sizes, counts_of

_DONE, _SOME_FAILED, _FAILED, _STOPPED, _NOT_RUN = (
    "done",
    "some parts failed",
    "failed",
    "stopped",
    "not run",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a step."""

    call: Call
    state: str
    made: int = 0
    failed: int = 0
    n_bytes: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        """Its line of the table."""
        name = f"{self.call.number} {self.call.name}"
        if self.state == _NOT_RUN:
            return name, self.state, "", "", "", ""
        size = in_bytes(self.n_bytes) if self.n_bytes > 0 else "-"
        took = in_time(self.seconds)
        return name, self.state, f"{self.made:,}", f"{self.failed:,}", size, took


def run_study(calls: Sequence[Call], store: Path, log: Path, *, say: Callable[[str], None]) -> int:
    """Carry out a study: everything that is missing, in its order.

    A step that fails does not stop the others; one that needs what it would have made fails too,
    and says what it lacks.

    Parameters
    ----------
    calls : sequence of Call
        Its steps.
    store : Path
        Whose growth is told.
    log : Path
        What steps say is added to it.
    say : callable
        Where headlines and the table go.

    Returns
    -------
    int
        0 where all is done, 1 where something failed, 130 where it was stopped.
    """
    outcomes: list[Outcome] = []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file, _logged(file):
        for call in calls:
            headline = f"step {call.number} of {len(calls)}: {call.name}"
            say(headline)
            file.write(f"\n{datetime.now(UTC).isoformat(timespec='seconds')} {headline}\n")
            outcomes.append(_carried_out(call, store, file))
            if outcomes[-1].error:
                say(f"  {outcomes[-1].error}")
            if outcomes[-1].state == _STOPPED:
                break
        there = {outcome.call.number for outcome in outcomes}
        outcomes += [Outcome(call=c, state=_NOT_RUN) for c in calls if c.number not in there]
        for line in table(outcomes):
            say(line)
            file.write(f"{line}\n")
    states = {outcome.state for outcome in outcomes}
    if _STOPPED in states:
        say("stopped; run the same command again to go on")
        return 130
    return 0 if states <= {_DONE} else 1


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What was made, failed and is left, a line a step."""
    rows = [("step", "", "made", "failed", "grown by", "time"), *(each.row for each in outcomes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def _carried_out(call: Call, store: Path, log: TextIO) -> Outcome:
    before, size, began = counts_of(store), Sizes.of(store), time.perf_counter()
    state, error = _DONE, ""
    try:
        with redirect_stdout(_Both(sys.stdout, log)):
            code = call()
        state = _DONE if code == 0 else _SOME_FAILED
    except KeyboardInterrupt:
        state = _STOPPED
    except (Exception, SystemExit) as err:  # a fault of one step is not the end of the others
        text = err.args[0] if isinstance(err, KeyError) and err.args else err
        state, error = _FAILED, f"failed: {text}"
        log.write(traceback.format_exc())
    made, failed = _difference(before, counts_of(store))
    grown = Sizes.of(store) - size
    return Outcome(
        call=call,
        state=state,
        made=made,
        failed=failed,
        n_bytes=grown.own + grown.shared,
        seconds=time.perf_counter() - began,
        error=error,
    )


def _difference(before: dict[Group, Counts], after: dict[Group, Counts]) -> tuple[int, int]:
    """Parts that were made, and those that failed in the groups that have changed."""
    changed = {g: counts for g, counts in after.items() if counts != before.get(g)}
    made = sum(c.made - before.get(g, Counts(0, 0)).made for g, c in changed.items())
    return made, sum(counts.failed for counts in changed.values())


class _Both:
    """A stream to two files."""

    def __init__(self, *files: TextIO) -> None:
        self._files = files

    def write(self, text: str) -> int:
        """Write to both."""
        for file in self._files:
            file.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush both."""
        for file in self._files:
            file.flush()


@contextmanager
def _logged(file: TextIO) -> Iterator[None]:
    """Warnings of steps go to the log too."""
    handler = logging.StreamHandler(file)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
