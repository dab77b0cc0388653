"""What a store holds, counted, and what is wrong with it: the table and list of `dvis info`.

A store in, counts and problems out. Counts read `status` alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvis.kinds.llc.joined import LLCEntry, open_traces
from dvis.kinds.llc.settings import ChainStatus
from dvis.names import natural_key
from dvis.opening import Contents, FeatureEntry, contents, open_group, resolve
from dvis.schema import CHECKPOINT, LAYER, SCALAR_CHUNK, SchemaError, Status, counted

# How the notes of a sweep begin, which name no file; those of an import begin with one.
_NOTES_OF_SWEEPS = ("dead: ", "failed: ")


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


def count_units(store: str | Path) -> list[VariantCounts]:
    """Units of each run and variant by status.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    found = contents(store)
    return [_count(store, entry) for entry in sorted_entries(found)]


def sorted_entries(found: Contents) -> list[FeatureEntry]:
    """Feature groups by run and variant."""
    return [
        entry
        for run in found.runs
        for variant in found.variants(run)
        for entry in found.features
        if (entry.run, entry.variant) == (run, variant)
    ]


def _count(store: str | Path, entry: FeatureEntry) -> VariantCounts:
    status = open_group(store, entry)["status"]
    counts = np.zeros(max(Status) + 1, np.int64)
    for layer in range(status.shape[1]):  # type: ignore[union-attr]
        counts += np.bincount(
            np.asarray(status[:, layer, :]).ravel(),  # type: ignore[index]
            minlength=len(counts),
        )
    return VariantCounts(
        entry.run,
        entry.variant,
        status.shape[0],  # type: ignore[union-attr]
        status.shape[1],  # type: ignore[union-attr]
        int(counts[Status.COMPLETE]),
        int(counts[Status.INCOMPLETE]),
        int(counts[Status.FAILED]),
    )


def describe_llc(store: str | Path) -> list[str]:
    """Chains of each run and name by status, in a line each.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    found = contents(store)
    runs = sorted({entry.run for entry in found.llc}, key=natural_key)
    entries = [entry for run in runs for entry in found.llc_of_run(run)]
    return [_describe_chains(store, entry) for entry in entries]


def _describe_chains(store: str | Path, entry: LLCEntry) -> str:
    status = open_traces(resolve(store, None), entry, str(store))["status"]
    counts = np.bincount(status.values.ravel(), minlength=len(ChainStatus))
    n_checkpoints = status.sizes[CHECKPOINT]
    text = f"LLC of {entry.run}: {entry.name}, {counted(n_checkpoints, 'checkpoint')}, "
    text += f"{counts[ChainStatus.DONE]} of {counted(status.size, 'chain')}"
    for kind in (ChainStatus.DIVERGED, ChainStatus.FAILED):
        text += f", {counts[kind]} {kind.name.lower()}" if counts[kind] else ""
    return text


def list_problems(store: str | Path) -> list[str]:
    """Problems that imports and sweeps met, each with its place below the model's folder's parent.

    That is the path of an import's file, and of a sweep's unit checkpoint, layer and channel.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    return [problem.text for problem in unit_problems(store)] + tree_problems(store)


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
        for entry in sorted_entries(found)
        for problem in _problems_of(store, entry, str(found.attrs["model"]))
    )
    return sorted(problems, key=lambda problem: problem.text)


def tree_problems(store: str | Path) -> list[str]:
    """Problems that imports met at files of no unit.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    found = contents(store)
    listed = list(found.attrs.get("import_problems", []))
    hidden = int(found.attrs.get("n_import_problems", 0)) - len(listed)
    return [*listed, f"... and {hidden} more like these"] if hidden > 0 else listed


def _problems_of(store: str | Path, entry: FeatureEntry, model: str) -> Iterator[UnitProblem]:
    group = open_group(store, entry)
    labels = np.asarray(group[CHECKPOINT][:]).tolist()  # type: ignore[index]
    layers = np.asarray(group[LAYER][:]).tolist()  # type: ignore[index]
    problem = group["source/problem"]
    for layer in range(problem.shape[1]):  # type: ignore[union-attr]
        for start in range(0, len(labels), SCALAR_CHUNK[0]):
            texts = np.asarray(problem[start : start + SCALAR_CHUNK[0], layer, :])  # type: ignore[index]
            for row, channel in zip(*np.nonzero(texts != ""), strict=True):
                label, text = str(labels[start + row]), str(texts[row, channel])
                if text.startswith(_NOTES_OF_SWEEPS):
                    text = f"{layers[layer]}/channel {channel}: {text}"
                yield UnitProblem(
                    run=entry.run,
                    variant=entry.variant,
                    checkpoint=label,
                    layer=str(layers[layer]),
                    channel=int(channel),
                    text=f"{model}/{entry.run}/{label}/{text}",
                )


def render_counts(counts: list[VariantCounts]) -> str:
    """The counts as a table of text."""
    if not counts:
        raise SchemaError("the store holds no feature images yet")
    header = ("run", "variant", "checkpoints", "layers", "complete", "incomplete", "failed")
    rows = [
        (
            c.run,
            c.variant,
            *map(str, (c.n_checkpoints, c.n_layers, c.n_complete, c.n_incomplete, c.n_failed)),
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


def _totals(counts: VariantCounts) -> tuple[int, int, int]:
    return counts.n_complete, counts.n_incomplete, counts.n_failed
