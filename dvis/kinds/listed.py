"""Units that the page lists: numbers of all of them at a checkpoint, and the parts of each.

A kind whose groups have units of their own gives lists of them; the page shows, sorts and searches
them, or writes them to files, and knows nothing of what they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from dvis.kinds.parts import Part
from dvis.kinds.shown import Document


class ListKey(NamedTuple):
    """What a list is of: the group called so among those of a layer, of a run."""

    run: str
    layer: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """Something that is known of each unit at a checkpoint.

    Parameters
    ----------
    name, title : str
        Its name among the numbers, and what the page calls it.
    is_log : bool
        Whether its histogram is over powers of ten.
    null : str
        Name of the numbers that it has to exceed to be more than chance, "" where there are none.
    null_title : str
        What those are.
    categories : sequence of str
        Where a number stands for one of these; -1 is none of them.
    """

    name: str
    title: str
    is_log: bool = False
    null: str = ""
    null_title: str = ""
    categories: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ListHead:
    """What a list is of.

    Parameters
    ----------
    key : ListKey
        Run, layer and name.
    title : str
        What the list is of.
    units : sequence of int
        Their numbers.
    checkpoints : sequence of Document
        In training order.
    columns : sequence of Column
        What is known of each.
    remarks : sequence of str
        What is to be said of the whole.
    image_set : str
        Of which their top samples are, "" where they have none.
    pictured : str
        Variant of the run's shown units whose channels are some of these units, "" where there is
        none.
    facts : mapping of str to array, (checkpoint,)
        Numbers of the whole, by what they are called beside the slider.
    names : mapping of int to str
        What programs called some of the units.
    """

    key: ListKey
    title: str
    units: Sequence[int]
    checkpoints: Sequence[Document]
    columns: Sequence[Column]
    remarks: Sequence[str] = ()
    image_set: str = ""
    pictured: str = ""
    facts: Mapping[str, np.ndarray]
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Units that are most like each of some: (unit, neighbour), the nearest first."""

    units: np.ndarray
    likeness: np.ndarray


class ListedUnits(Protocol):
    """Units of a group as the page lists them; of a group as it was when the list was made."""

    @property
    def key(self) -> ListKey:
        """What it is a list of."""

    @property
    def noun(self) -> str:
        """What a unit is called."""

    @property
    def about(self) -> str:
        """What is to be said of the group in a few words."""

    @property
    def labels(self) -> Sequence[str]:
        """Checkpoints, in training order."""

    def head(self) -> ListHead:
        """What there is of them."""

    def notes(self) -> Mapping[int, str]:
        """What people wrote about some of them."""

    def numbers(self, checkpoint: int) -> Mapping[str, np.ndarray]:
        """Columns, and what some of them have to exceed, of all units at a checkpoint: (unit,)."""

    def top(self, checkpoint: int, units: Sequence[int]) -> np.ndarray:
        """Ids of the best samples of some units at a checkpoint, (unit, rank); "" for none."""

    def parts(self, units: Sequence[int]) -> Sequence[Sequence[Part]]:
        """Parts of each of some units."""

    def select(self, unit: int) -> str:
        """The line of Python that selects a unit."""

    def nearest(self, checkpoint: int, units: Sequence[int]) -> Nearest | None:
        """Units most like each of some at a checkpoint, None where that is not known."""

    def keep_note(self, unit: int, text: str) -> None:
        """Keep what somebody wrote about a unit."""
