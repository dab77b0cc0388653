"""Parts of the page: plain data in a few shapes, which the page draws without knowing their kind.

A kind gives parts of a run and of a unit; the page's scripts know the shapes alone. Numbers may be
arrays or lists; what is not finite is not known.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import xarray as xr

from dvis.schema import SchemaError
from dvis.store.contents import Contents, Entry, StoreLike
from dvis.store.reader import Reader

Numbers: TypeAlias = np.ndarray | Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of curves: a value a checkpoint.

    Parameters
    ----------
    label : str
        What it is called beside the others.
    values : numbers, (checkpoint,)
        Its values.
    low, high : numbers, (checkpoint,), optional
        Bounds of its band.
    remarks : sequence of str, (checkpoint,)
        What is to be said of a value; those with a text are crossed.
    beside_slider : str
        What the value is called beside the slider, "" where it is not told there.
    """

    label: str
    values: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    remarks: Sequence[str] = ()
    beside_slider: str = ""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Lines over the checkpoints of a run, with bands where they have some.

    Parameters
    ----------
    title : str
        What they are of.
    checkpoints : sequence of str
        Labels; the page puts each value at its own place on its axis.
    lines : sequence of Line
        The lines.
    band, remark : str
        What a band and a cross stand for, such as `± standard error`.
    with_zero : bool
        Whether the vertical axis begins at 0.
    null_low, null_high : numbers, (checkpoint,), optional
        Where the null of all lines lies, which the page draws as a grey band behind them.
    null_text : str
        What the null exchanges, such as `90 % of pairs of different units`.
    """

    shape: ClassVar[str] = "curves"
    title: str
    checkpoints: Sequence[str]
    lines: Sequence[Line]
    band: str = ""
    remark: str = ""
    with_zero: bool = False
    null_low: Numbers | None = None
    null_high: Numbers | None = None
    null_text: str = ""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Numbers over rows and the checkpoints of a run.

    Parameters
    ----------
    title, note : str
        What they are, in a few words and in a sentence.
    row_title : str
        What a row is: `images`.
    rows, checkpoints : sequence of str
        Labels.
    values : numbers, (row, checkpoint)
        The numbers.
    rows_are_checkpoints : bool
        Whether labels of rows are checkpoints too: the page names them so, and marks the diagonal.
    """

    shape: ClassVar[str] = "matrix"
    title: str
    note: str
    row_title: str
    rows: Sequence[str]
    checkpoints: Sequence[str]
    values: np.ndarray | Sequence[Numbers]
    rows_are_checkpoints: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Words and numbers in columns."""

    shape: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Numbers over rows at the checkpoint that the page's slider is at, the highest first.

    Parameters
    ----------
    title, note : str
        What they are, in a few words and in a sentence.
    rows, checkpoints : sequence of str
        Labels.
    values : numbers, (row, checkpoint)
        The numbers.
    bound : numbers, (checkpoint,), optional
        What a number has to exceed to be more than chance.
    empty : sequence of str, (checkpoint,), optional
        What is said of a checkpoint at which no row has a number, "" that nothing is known.
    """

    shape: ClassVar[str] = "bars"
    title: str
    note: str
    rows: Sequence[str]
    checkpoints: Sequence[str]
    values: np.ndarray
    bound: Numbers | None = None
    empty: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class PictureRows:
    """Samples of an image set, a row a checkpoint, with where in each it is that they are for.

    Parameters
    ----------
    title, note : str
        What they are, in a few words and in a sentence.
    image_set : str
        What the set is called in the store; the page takes thumbnails and classes from there.
    checkpoints : sequence of str
        Labels.
    samples : ndarray, (checkpoint, rank), str
        Ids of samples, the best first; "" where there are no more.
    values : ndarray, (checkpoint, rank)
        What they are ranked by.
    maps : ndarray, (checkpoint, rank, y, x), uint8, optional
        Where in each sample, on one scale of all.
    empty : sequence of str, (checkpoint,), optional
        What is said of a checkpoint that has no samples, "" that nothing is known.
    """

    shape: ClassVar[str] = "pictures"
    title: str
    note: str
    image_set: str
    checkpoints: Sequence[str]
    samples: np.ndarray
    values: np.ndarray
    maps: np.ndarray | None = None
    empty: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a graph: what it is called, and whose units its nodes are.

    Parameters
    ----------
    label : str
        What it is called.
    layer : str
        Layer of its nodes.
    list_name : str
        List of the layer whose units they are, "" where they are its channels.
    """

    label: str
    layer: str
    list_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Units in columns, and how strongly each acts on others at the slider's checkpoint.

    Nodes stand where they are at all checkpoints: in their column, in the order in which they come.

    Parameters
    ----------
    title, note : str
        What it is, in a few words and in sentences.
    checkpoints : sequence of str
        Labels.
    columns : sequence of Column
        Columns, from left to right.
    column, channel : sequence of int, (node,)
        Number of each node's column, and of the unit.
    root : int
        The node that it is of.
    source, target, rank : sequence of int, (edge,)
        The nodes that an edge joins, and how many edges at the same end are stronger.
    strength, spread : ndarray, (edge, checkpoint)
        How wide an edge is, and how far that is off.
    direction : ndarray, (edge, checkpoint)
        Below or above 0, at most 1.
    null : sequence of numbers, (node,) of (checkpoint,)
        How strong an edge to a node usually is, empty where none is drawn.
    strength_text, spread_text, null_text, low_text, high_text : str
        What these are, and what an edge below and above 0 does.
    said : sequence of str, (checkpoint,)
        What is to be said of a checkpoint.
    """

    shape: ClassVar[str] = "graph"
    title: str
    note: str
    checkpoints: Sequence[str]
    columns: Sequence[Column]
    column: Sequence[int]
    channel: Sequence[int]
    root: int
    source: Sequence[int]
    target: Sequence[int]
    rank: Sequence[int]
    strength: np.ndarray
    spread: np.ndarray
    direction: np.ndarray
    null: Sequence[Numbers]
    strength_text: str
    spread_text: str
    null_text: str
    low_text: str
    high_text: str
    said: Sequence[str] = ()


Part: TypeAlias = Curves | Matrix | Table | Bars | PictureRows | Graph


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of a run whose parts are asked for: a channel, or a latent of its layer's list."""

    layer: str
    channel: int
    list_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What parts are asked for: of a run as a whole, or of one of its units.

    `contents` is what the store holds, which thus is read once for all kinds; `opened` are groups
    that were opened for another unit, by their paths.
    """

    store: StoreLike
    contents: Contents
    run: str
    unit: Unit | None = None
    opened: dict[str, xr.Dataset] = field(default_factory=dict)

    def groups(
        self, reader: Reader, of: Callable[[Entry], bool] = lambda _: True
    ) -> Iterator[tuple[Entry, xr.Dataset]]:
        """The run's groups of a reader's kind, or some of them, but not those that are half grown.

        The next command that measures them repairs those.
        """
        for entry in filter(of, self.contents.of(reader.kind, self.run)):
            try:
                yield entry, self.group(reader, entry)
            except SchemaError:
                continue

    def group(self, reader: Reader, entry: Entry) -> xr.Dataset:
        """A group, which is opened once for all units.

        Raises
        ------
        SchemaError
            When it is half grown.
        """
        if entry.group not in self.opened:
            self.opened[entry.group] = reader.open_entry(self.store, self.contents, entry)
        return self.opened[entry.group].copy()  # whose values are not kept for the next unit
