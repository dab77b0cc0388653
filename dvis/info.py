"""What a store holds of every kind, and what was met at it: the lines of `dvis info`.

A store in, lines of text out. Counts read status alone.
"""

from pathlib import Path

from dvis.kinds.registry import KINDS
from dvis.models.input_options import ASSUMED
from dvis.schema import counted
from dvis.store.contents import Contents, contents
from dvis.store.places import describe_places


def describe(store: str | Path) -> list[str]:
    """Where the steps of each run come from, and how much there is of each kind, by group.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    found = contents(store)
    lines = []
    for run, attrs in found.run_attrs.items():
        batches = attrs.get("batches_per_epoch")
        if batches:
            source = ", read off the checkpoints' times" if attrs.get("is_estimated") else ""
            lines.append(f"run {run}: {counted(batches, 'batch', 'batches')} in an epoch{source}")
        lines += describe_places(store, found, run)
    for kind in KINDS.values():
        entries = found.of(kind.name)
        if entries:
            lines += kind.describe(store, entries, kind.noun)
    lines += _assumed_inputs(found)
    unknown = sorted({entry.kind for entry in found.entries if entry.kind not in KINDS})
    lines += [f"groups of the kind {name}, which this dvis does not know" for name in unknown]
    return lines or ["nothing is measured yet"]


def _assumed_inputs(found: Contents) -> list[str]:
    """A line on what was measured while nobody told how the model takes images, if anything was."""
    assumed = [
        f"{entry.run}/{entry.kind}/{entry.name}"
        for entry in found.entries
        if ASSUMED in str(entry.attrs.get("input_source", ""))
    ]
    if not assumed:
        return []
    text = "nobody told how the model takes images; what is usual for ImageNet was assumed"
    return [f"{text}: {', '.join(assumed)}"]


def list_problems(store: str | Path) -> list[str]:
    """What imports and measurements met, each with its place.

    That is the path of an import's file, and of a measured part its run, group and labels.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    found = contents(store)
    problems = [
        problem
        for entry in found.entries
        if entry.kind in KINDS
        for problem in KINDS[entry.kind].problems(store, entry)
    ]
    return sorted(problems) + found.import_problems
