"""Maps of units over training for the page: places of all units at all checkpoints, on fixed axes.

A kind whose groups say how units answer to the same things gives maps of them; the page draws the
points, and knows nothing of what they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dvis.kinds.shown import Document


@dataclass(frozen=True, kw_only=True)
class UnitMap:
    """Where units lie.

    Parameters
    ----------
    layers : sequence of str, (unit,)
        Layer of each unit.
    units : sequence of int, (unit,)
        Its number there.
    checkpoints : sequence of Document
        In training order.
    position : array, (checkpoint, unit, component)
        Places on two axes, NaN where there is none.
    explained : array, (component,)
        Share of the variance along each axis.
    birth : array, (unit,), optional
        Place of the checkpoint at which each is born, NaN of none.
    classes : sequence of str
        Names of classes.
    best_class : array, (checkpoint, unit), optional
        The class that a unit answers to most, -1 of none.
    notes : mapping of int to str
        What is written about some units, by their places among all.
    remarks : sequence of str
        What is to be said of the whole.
    """

    layers: Sequence[str]
    units: Sequence[int]
    checkpoints: Sequence[Document]
    position: np.ndarray
    explained: np.ndarray
    birth: np.ndarray | None = None
    classes: Sequence[str] = ()
    best_class: np.ndarray | None = None
    notes: Mapping[int, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class MapSource:
    """What there is a map of, which is computed when it is looked at.

    Parameters
    ----------
    run, name : str
        The run, and what the map is called in addresses.
    noun : str
        What a unit is called.
    list_name : str
        The list of a layer that has these units, "" of channels.
    distance : str
        A sentence on what the distance of two units means.
    make : callable
        Computes the map; a ValueError or SchemaError says why there is none.
    """

    run: str
    name: str
    noun: str
    list_name: str = ""
    distance: str
    make: Callable[[], UnitMap]
