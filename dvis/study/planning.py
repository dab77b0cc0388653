"""What a study would make: parts, bytes and time, by trying each step on one checkpoint.

A study's calls in, a table out. What is tried goes to a temporary store; the study's is only read.
"""

import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dvis.kinds.registry import KINDS
from dvis.models.model_reference import model_name
from dvis.models.scratch import scratch_folder
from dvis.progress import in_bytes, in_time, progress_bar
from dvis.study.calls import Call
from dvis.study.counting import Counts, Group, Sizes, counts_of
from dvis.sweep.rehearsal import Rehearsal, Tried, rehearsing

TRIED_SECONDS = 10.0  # of each sweep of a step
_TRIED_ROWS = 200_000  # on which an autoencoder is tried


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a step would take.

    Attributes
    ----------
    call : Call
        The step.
    unit : str
        What is counted.
    n_all, n_missing : int
        Parts, and those that the store lacks; 0 of what has no parts.
    n_bytes : float
        Bytes of the missing parts in the store.
    fixed, work : float
        Seconds that it takes whatever there is to do, and in all of its missing parts by one
        process.
    why_not : str
        Why it could not be tried, "" where it could.
    """

    call: Call
    unit: str = ""
    n_all: int = 0
    n_missing: int = 0
    n_bytes: float = 0.0
    fixed: float = 0.0
    work: float = 0.0
    why_not: str = ""

    def seconds(self, n_workers: int) -> float:
        """Time of the step on so many workers."""
        return self.fixed + self.work / max(1, n_workers)


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """What a study would take."""

    store: Path
    costs: Sequence[Cost]
    n_workers: int
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def n_bytes(self) -> float:
        """Bytes that it would add to the store."""
        return sum(cost.n_bytes for cost in self.costs)

    @property
    def seconds(self) -> float:
        """Time that it would take."""
        return sum(cost.seconds(self.n_workers) for cost in self.costs)

    def lines(self, budget: int | None = None) -> Iterator[str]:
        """A table of the steps; beyond the budget, they are marked."""
        rows: list[tuple[str, ...]] = [
            ("step", "missing of all", "bytes", "one process", f"{self.n_workers} workers", "")
        ]
        so_far = 0.0
        for cost in self.costs:
            so_far += cost.n_bytes
            is_over = budget is not None and so_far > budget and cost.n_bytes > 0
            rows.append(_row(cost, self.n_workers, "over the budget" if is_over else ""))
        total = ("in all", "", in_bytes(self.n_bytes), "", in_time(self.seconds), "")
        rows.append(total)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  ".join(map(str.ljust, row, widths)).rstrip()
        yield from self.notes
        for cost in self.costs:
            if cost.why_not:
                yield f"{cost.call.number} {cost.call.name} is not in these sums: {cost.why_not}"
        yield f"nothing was written to {self.store}"


def _row(cost: Cost, n_workers: int, remark: str) -> tuple[str, ...]:
    name = f"{cost.call.number} {cost.call.name}"
    if cost.why_not:
        return name, "?", "?", "?", "?", "not tried"
    counted = f"{cost.n_missing:,} of {cost.n_all:,}" if cost.n_all else "-"
    times = [in_time(cost.seconds(n)) for n in (1, n_workers)]
    return name, counted, in_bytes(cost.n_bytes), *times, remark


def plan_study(
    calls: Sequence[Call], *, seconds: float = TRIED_SECONDS, progress: bool = False
) -> StudyPlan:
    """What a study would take, by trying each of its steps on one checkpoint for some seconds.

    Parameters
    ----------
    calls : sequence of Call
        Its steps.
    seconds : float
        How long each sweep of a step is tried; a task that was begun is done.
    progress : bool
        Show a progress bar.
    """
    store = store_of_study(calls)
    there, costs = counts_of(store), []
    labels = {call.number: _labels_of(call.options) for call in calls}
    lists = [each for each in labels.values() if each]
    with (
        scratch_folder("plan") as folder,
        progress_bar(len(calls), "steps", "try each step", shown=progress) as bar,
    ):
        tried_store = folder / store.name
        common = _common(lists)
        for call in calls:
            n_labels = len(labels[call.number]) or len(lists[0] if lists else "-")
            costs.append(_tried(call, tried_store, common, n_labels, there, seconds))
            bar.update()
    return StudyPlan(store=store, costs=costs, n_workers=_workers_of(calls))


def store_of_study(calls: Sequence[Call]) -> Path:
    """The store that the first step that has one writes to."""
    stores = [_store_of(call.options) for call in calls if call.options is not None]
    return next((each for each in stores if each is not None), Path("stores"))


def _store_of(options: Any) -> Path | None:
    """The store that a step is to write to."""
    if hasattr(options, "store_of"):
        return Path(options.store_of(model_name(options.model)))
    store = getattr(options, "store", None)
    return None if store is None else Path(store).expanduser()


def _workers_of(calls: Sequence[Call]) -> int:
    """Processes that steps compute in, where they are told, else one for each core."""
    told = [getattr(call.options, "workers", None) for call in calls if call.options is not None]
    known = [max(1, n) for n in told if n is not None]
    return max(known, default=len(os.sched_getaffinity(0)))


def _labels_of(options: Any) -> list[str]:
    """Checkpoints that a step of a run is to measure, in training order."""
    if not hasattr(options, "checkpoint_patterns"):
        return []
    from dvis.sweep.run_facts import run_of

    return [checkpoint.label for checkpoint in run_of(options).checkpoints]


def _common(lists: Sequence[Sequence[str]]) -> str | None:
    """The last checkpoint that all steps measure, else the last of the first step."""
    if not lists:
        return None
    shared = [label for label in lists[0] if all(label in each for each in lists)]
    return (shared or list(lists[0]))[-1]


def _tried(
    call: Call,
    store: Path,
    label: str | None,
    n_labels: int,
    there: dict[Group, Counts],
    seconds: float,
) -> Cost:
    """What a step takes, by what it took on one checkpoint."""
    options = call.options
    if options is None or not hasattr(options, "store"):
        return Cost(call=call)  # such as a page: a look at what is there
    before, said = Sizes.of(store), io.StringIO()
    began = time.perf_counter()
    few, scale = _on_one(call, store, label)
    try:
        with rehearsing(seconds) as rehearsal, redirect_stdout(said), redirect_stderr(said):
            few()
    except (Exception, SystemExit) as err:  # whatever stops it, the others can be tried
        text = err.args[0] if isinstance(err, KeyError) and err.args else err
        return Cost(call=call, why_not=" ".join(str(text).split()) or type(err).__name__)
    took = time.perf_counter() - began
    grown = Sizes.of(store) - before
    if rehearsal.sweeps:
        return _of_sweeps(call, rehearsal, took, grown, n_labels, there)
    made = sum(_made_since(call, there))
    n_all = n_labels
    share = max(0, n_all - made) / n_all
    return Cost(
        call=call,
        n_all=n_all,
        n_missing=max(0, n_all - made),
        n_bytes=grown.own * n_labels * share + grown.shared,
        work=took * scale * n_labels * share,
    )


def _of_sweeps(
    call: Call,
    rehearsal: Rehearsal,
    took: float,
    grown: Sizes,
    n_labels: int,
    there: dict[Group, Counts],
) -> Cost:
    main: Tried = max(rehearsal.sweeps, key=lambda tried: tried.seconds)
    n_all = main.n_parts * n_labels
    made = max(_made_of(main, there), default=0)
    share = max(0, n_all - made) / n_all if n_all else 0.0
    done = main.n_done / main.n_parts if main.n_parts else 1.0
    return Cost(
        call=call,
        n_all=n_all,
        n_missing=max(0, n_all - made),
        n_bytes=(grown.own / max(done, 1e-9) * n_labels + grown.shared) * share,
        fixed=max(0.0, took - sum(tried.done_seconds for tried in rehearsal.sweeps)),
        work=sum(tried.seconds for tried in rehearsal.sweeps) * n_labels * share,
    )


def _made_of(sweep: Tried, there: dict[Group, Counts]) -> Iterator[int]:
    """Parts that a sweep's groups have: one, or some whose names begin with that of the plan."""
    for (kind, run, name), counts in there.items():
        is_named = name == sweep.name or name.startswith((f"{sweep.name}-", f"{sweep.name}/"))
        if is_named and (kind, run) == (sweep.kind, sweep.run):
            yield counts.made


def _on_one(call: Call, store: Path, label: str | None) -> tuple[Call, float]:
    """A step on one checkpoint and a temporary store, and how many times as much there is to do."""
    names = {each.name for each in fields(call.options)}
    changed: dict[str, Any] = {"store": store}
    scale = 1.0
    if "workers" in names:
        changed |= {"workers": 0, "scheduler": None}
    if "checkpoint_patterns" in names:
        changed["checkpoint_patterns"] = () if label is None else (label,)
    elif "checkpoints" in names:
        changed["checkpoints"] = ("all",)
    tokens = getattr(call.options, "tokens", None)
    if tokens is not None and hasattr(call.options, "n_steps"):
        n_steps = call.options.n_steps
        few = call.with_options(tokens=str(_TRIED_ROWS)).options.n_steps
        if few < n_steps:
            changed["tokens"], scale = str(_TRIED_ROWS), n_steps / few
    return call.with_options(**changed), scale


def _made_since(call: Call, there: dict[Group, Counts]) -> Iterator[int]:
    """Parts of the groups that a step without sweeps makes, as far as their names tell."""
    name = getattr(call.options, "name", None)
    layer = getattr(call.options, "layer", None)
    first = call.step.command.split()[0]
    kinds = [kind.name for kind in KINDS.values() if first in kind.commands]
    for (kind, _, of_name), counts in there.items():
        if kind in kinds and name and of_name == f"{layer}/{name}":
            yield counts.made
