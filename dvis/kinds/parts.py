"""Parts of the page: plain data in a few shapes, which the page draws without knowing their kind.

A kind gives parts of a run and of a unit; the page's scripts know the shapes alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

Numbers: TypeAlias = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a curve part: a value a checkpoint, None where there is none."""

    label: str
    values: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    remarks: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Lines over the checkpoints of a run, with bands where they have some.

    `checkpoints` are labels: the page puts each value at its own place on its axis. `band` is what
    a band says, such as `± standard error`.
    """

    shape: ClassVar[str] = "curves"
    title: str
    checkpoints: Sequence[str]
    lines: Sequence[Line]
    band: str = ""
    notes: Sequence[str] = ()
    with_zero: bool = False


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Numbers over rows and the checkpoints of a run.

    Where rows are checkpoints too, `rows_are_checkpoints` says so, and the page marks the diagonal.
    """

    shape: ClassVar[str] = "matrix"
    title: str
    note: str
    rows: Sequence[str]
    checkpoints: Sequence[str]
    values: Sequence[Numbers]
    rows_are_checkpoints: bool = False
    n_rows_in_all: int = 0


@dataclass(frozen=True, kw_only=True)
class Table:
    """Words and numbers in columns."""

    shape: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()


Part: TypeAlias = Curves | Matrix | Table


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of a run whose parts are asked for."""

    layer: str
    channel: int


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What parts are asked for: of a run as a whole, or of one of its units."""

    store: Any
    run: str
    unit: Unit | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
