"""What a report holds, before it is drawn: its sections, its caveats, what the store lacks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dvis.kinds.parts import Asked
from dvis.kinds.registry import KINDS
from dvis.kinds.told import Caveat, Section, ToldTable
from dvis.reporting.run import absent_table, run_section, training_section
from dvis.schema import SchemaError
from dvis.store.contents import Contents, contents

_ORDER = {"wrong": 0, "doubt": 1, "note": 2}


@dataclass(frozen=True, kw_only=True)
class Told:
    """A report before it is drawn.

    Parameters
    ----------
    title : str
        What it is of.
    sections : list of Section
        Its sections, the run's first.
    caveats : list of Caveat
        Of all sections, the worst first, each with the section that it is of.
    absent : ToldTable
        What the store lacks.
    """

    title: str
    sections: list[Section]
    caveats: list[tuple[str, Caveat]]
    absent: ToldTable


def told_of(store: str | Path, run: str | None = None) -> Told:
    """All that a report of a run tells.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    KeyError
        When the store has no such run.
    """
    found = contents(store)
    asked = Asked(store=str(store), contents=found, run=_chosen(found, run))
    sections = list(_sections(asked))
    caveats = [(section.title, each) for section in sections for each in section.caveats]
    caveats.sort(key=lambda pair: _ORDER[pair[1].severity])
    model = str(found.attrs.get("model", "a model"))
    return Told(
        title=f"{model}, run {asked.run}" if asked.run else f"{model}: nothing is measured yet",
        sections=sections,
        caveats=caveats,
        absent=absent_table(asked),
    )


def _chosen(found: Contents, run: str | None) -> str:
    runs = list(dict.fromkeys(entry.run for entry in found.entries))
    if run is not None:
        return found.only_run(run)
    if not runs:
        return next(iter(found.run_attrs), "")
    default = found.attrs.get("default_run")
    return str(default) if default in runs else runs[0]


def _sections(asked: Asked) -> Iterator[Section]:
    yield run_section(asked)
    training = training_section(asked)
    if training is not None:
        yield training
    for kind in KINDS.values():
        if kind.told is None:
            continue
        try:
            yield from kind.told(asked)
        except SchemaError as err:
            yield Section(
                title=f"{kind.noun[:1].upper()}{kind.noun[1:]}",
                caveats=[Caveat(f"{kind.noun}: not told, for {err}", "wrong")],
            )
