"""What a store holds of feature images, counted, and what was met at them.

A store in, counts and problems out. Counts read `status` alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvis.kinds.features.dead import NOTE_OF_DEAD
from dvis.kinds.features.words import KIND
from dvis.schema import SCALAR_CHUNK, SchemaError, Status
from dvis.store.contents import Entry, StoreLike, contents, open_group
from dvis.store.damage import NamedArray
from dvis.store.tally import n_checkpoints

# How the notes of a sweep begin, which name no file; those of an import begin with one.
_NOTES_OF_SWEEPS = (NOTE_OF_DEAD, "failed: ")


@dataclass(frozen=True, kw_only=True)
class UnitProblem:
    """What was met at one unit at one checkpoint; `text` names the unit or its file."""

    run: str
    variant: str
    checkpoint: str
    layer: str
    channel: int
    text: str


@dataclass(frozen=True)
class VariantCounts:
    """How much a variant of a run holds."""

    run: str
    variant: str
    n_checkpoints: int
    n_layers: int
    n_complete: int
    n_incomplete: int
    n_failed: int
    n_dead: int = 0


def count_units(store: str | Path) -> list[VariantCounts]:
    """Units of each run and variant by status.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    return [_count(store, entry) for entry in contents(store).of(KIND)]


def feature_table(store: StoreLike, entries: Sequence[Entry], _noun: str) -> list[str]:
    """Units of each run and variant by status, as a table."""
    return render_counts([_count(store, entry) for entry in entries]).splitlines()


def feature_problems(store: StoreLike, entry: Entry) -> Iterator[str]:
    """What was met at units of a variant, each with its path or its checkpoint and layer."""
    found = contents(store)
    for problem in _problems_of(store, entry, str(found.attrs["model"])):
        yield problem.text


def _count(store: StoreLike, entry: Entry) -> VariantCounts:
    group = open_group(store, entry)
    status = NamedArray(group["status"])
    counts = np.zeros(max(Status) + 1, np.int64)
    for layer in range(status.shape[1]):
        counts += np.bincount(
            np.asarray(status[:, layer, :]).ravel(),
            minlength=len(counts),
        )
    return VariantCounts(
        entry.run,
        entry.name,
        n_checkpoints(group),
        status.shape[1],
        int(counts[Status.COMPLETE]),
        int(counts[Status.INCOMPLETE]),
        int(counts[Status.FAILED]),
        int(counts[Status.DEAD]),
    )


def unit_problems(store: str | Path) -> list[UnitProblem]:
    """Problems of units, by their text.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    found = contents(store)
    problems = (
        problem
        for entry in found.of(KIND)
        for problem in _problems_of(store, entry, str(found.attrs["model"]))
    )
    return sorted(problems, key=lambda problem: problem.text)


def _problems_of(store: StoreLike, entry: Entry, model: str) -> Iterator[UnitProblem]:
    group = open_group(store, entry)
    labels = np.asarray(group["checkpoint"][:]).tolist()  # type: ignore[index]
    layers = np.asarray(group["layer"][:]).tolist()  # type: ignore[index]
    problem = NamedArray(group["source/problem"])
    for layer in range(problem.shape[1]):
        for start in range(0, len(labels), SCALAR_CHUNK[0]):
            texts = np.asarray(problem[start : start + SCALAR_CHUNK[0], layer, :])
            for row, channel in zip(*np.nonzero(texts != ""), strict=True):
                label, text = str(labels[start + row]), str(texts[row, channel])
                if text.startswith(_NOTES_OF_SWEEPS):
                    text = f"{layers[layer]}/channel {channel}: {text}"
                yield UnitProblem(
                    run=entry.run,
                    variant=entry.name,
                    checkpoint=label,
                    layer=str(layers[layer]),
                    channel=int(channel),
                    text=f"{model}/{entry.run}/{label}/{text}",
                )


def render_counts(counts: list[VariantCounts]) -> str:
    """The counts as a table of text."""
    if not counts:
        raise SchemaError("the store holds no feature images yet")
    header = ("run", "variant", "checkpoints", "layers", "complete", "incomplete", "failed", "dead")
    rows = [
        (
            c.run,
            c.variant,
            *map(str, (c.n_checkpoints, c.n_layers, *_totals(c))),
        )
        for c in counts
    ]
    if len(rows) > 1:
        totals = [sum(column) for column in zip(*(_totals(c) for c in counts), strict=True)]
        rows.append(("all", "", "", "", *map(str, totals)))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, tuple("-" * width for width in widths), *rows)
    ]
    return "\n".join(lines)


def _totals(counts: VariantCounts) -> tuple[int, int, int, int]:
    return counts.n_complete, counts.n_incomplete, counts.n_failed, counts.n_dead
