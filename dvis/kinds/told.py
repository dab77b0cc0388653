"""What a kind tells of a run in a report: text, figures, tables and caveats, as plain data.

A figure is made by the line of Python that stands below it, so that the two cannot differ. Whoever
renders a report knows these shapes and no kind.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

Severity: TypeAlias = Literal["wrong", "doubt", "note"]
LEVEL = 0.05  # of tests, above which nothing is claimed


@dataclass(frozen=True)
class Call:
    """A function or method by its dotted name, and what it is given."""

    name: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    def __str__(self) -> str:
        given = [*map(_written, self.arguments)]
        given += [f"{name}={_written(value)}" for name, value in self.keywords.items()]
        return f"{self.name}({', '.join(given)})"


@dataclass(frozen=True)
class Code:
    """An expression of Python: calls one after the other, of which the first is of `dvis`.

    Examples
    --------
    >>> print(Code().then("open", "net.zarr", "run").then("dvis.timeline", layer="fc", channel=0))
    dvis.open('net.zarr', 'run').dvis.timeline(layer='fc', channel=0)
    """

    calls: tuple[Call, ...] = ()

    def then(self, name: str, *arguments: Any, **keywords: Any) -> "Code":
        """The same, and a call of what that gives."""
        given = {key: value for key, value in keywords.items() if value is not None}
        return Code((*self.calls, Call(name, arguments, given)))

    def run(self, root: Any) -> Any:
        """What the expression gives, where `dvis` stands for `root`."""
        found = root
        for call in self.calls:
            for name in call.name.split("."):
                found = getattr(found, name)
            arguments = [_run(value, root) for value in call.arguments]
            found = found(*arguments, **{k: _run(v, root) for k, v in call.keywords.items()})
        return found

    def __str__(self) -> str:
        return ".".join(["dvis", *map(str, self.calls)])


def _run(value: Any, root: Any) -> Any:
    return value.run(root) if isinstance(value, Code) else value


def _written(value: Any) -> str:
    if isinstance(value, Code):
        return str(value)
    return repr(value.item() if isinstance(value, np.generic) else value)


@dataclass(frozen=True, kw_only=True)
class ToldFigure:
    """A picture, the line that makes it, and the numbers beside it.

    Parameters
    ----------
    title, caption : str
        What it is, in a few words and in sentences that a stranger understands.
    code : Code
        Gives a matplotlib Figure.
    numbers : callable
        The numbers that it shows, as a table.
    """

    title: str
    caption: str
    code: Code
    numbers: Callable[[], pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class ToldTable:
    """Words and numbers in columns, and what is to be said of them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Caveat:
    """What speaks against taking a number as it stands."""

    text: str
    severity: Severity = "doubt"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report.

    Parameters
    ----------
    title : str
        What it is about.
    finding : str
        What was found, with its control, in a sentence or two: these open the report.
    texts : sequence of str
        Paragraphs.
    shown : sequence of ToldFigure or ToldTable
        What is shown below them.
    caveats : sequence of Caveat
        What is to be told of these numbers where all caveats stand.
    """

    title: str
    finding: str = ""
    texts: Sequence[str] = ()
    shown: Sequence[ToldFigure | ToldTable] = ()
    caveats: Sequence[Caveat] = field(default_factory=tuple)


def number(value: float, digits: int = 3) -> str:
    """A number as text has it; "–" where it is not known.

    Examples
    --------
    >>> number(0.123456), number(1234567.0), number(-2.0), number(float("nan"))
    ('0.123', '1,234,567', '−2', '–')
    """
    if not np.isfinite(value):
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return text.replace("-", "−")


def p_text(p_value: float) -> str:
    """A p-value as text has it.

    Examples
    --------
    >>> p_text(0.31), p_text(0.0001)
    ('p = 0.31', 'p = 0.0001')
    """
    return f"p = {p_value:.2g}"


def long_list(names: Sequence[str], most: int = 10) -> str:
    """Names in a row, at most so many.

    Examples
    --------
    >>> long_list(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    text = ", ".join(names[:most])
    return f"{text} and {len(names) - most} more" if len(names) > most else text
