"""Births of units, read for pictures: where each is born, or why it is not."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from dvis.analysis.births import ABSENT, BORN, NEVER, UNSTABLE
from dvis.analysis.births import births as find_births
from dvis.analysis.deaths import deaths
from dvis.analysis.requirements import require_births
from dvis.plots.time_axis import TimeAxis
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, SchemaError

# What a unit can be that is not born, in the order in which pictures show it.
UNBORN = (UNSTABLE, NEVER, ABSENT)
DEAD = "dead"  # of what is absent: at every checkpoint at which it was tried


@dataclass(frozen=True, kw_only=True)
class BirthMarks:
    """Births of some units.

    Attributes
    ----------
    positions : ndarray of float
        Where each unit is born on a time axis; NaN where it is not born, or not on the axis.
    places : ndarray of int
        The same as a place along the axis' checkpoints, -1 where it is not.
    states : list of str
        "born", "never", "unstable" or "absent".
    criterion : str
        How births were found, for the margin.
    """

    positions: np.ndarray
    places: np.ndarray
    states: list[str]
    criterion: str


def refuse_births(dataset: xr.Dataset) -> None:
    """Raise where births are given in place of the Dataset that they are of.

    Raises
    ------
    SchemaError
        When these are births.
    """
    if "birth_checkpoint" in dataset and CHECKPOINT not in dataset:
        raise SchemaError(
            "These are births, which hold no checkpoints to draw them over. Give them to the "
            "Dataset that they are of, such as ds.dvis.births_by_layer(births=births)"
        )


def births_of(dataset: xr.Dataset, births: xr.Dataset | None, variable: str | None) -> xr.Dataset:
    """Births as given, or of a variable, or by the usual measure; read into memory.

    Raises
    ------
    SchemaError
        When what is given are no births.
    """
    births = find_births(dataset, variable=variable) if births is None else births
    require_births(births, "birth_checkpoint", "state", LAYER, CHANNEL)
    named = ("birth", "birth_checkpoint", "birth_step", "state", "first_level", "final_level")
    return births[[name for name in named if name in births]].load()


def birth_marks(births: xr.Dataset, axis: TimeAxis, units: list[tuple[str, int]]) -> BirthMarks:
    """Where units are born on an axis; units of which births say nothing are absent."""
    places = {label: i for i, label in enumerate(axis.labels)}
    table = births
    for dim in (LAYER, CHANNEL):
        if dim not in table.dims:
            table = table.expand_dims(dim)
    rows = {str(layer): row for row, layer in enumerate(table[LAYER].values)}
    columns = {int(channel): column for column, channel in enumerate(table[CHANNEL].values)}
    names = table["birth_checkpoint"].transpose(LAYER, CHANNEL).values
    states = table["state"].transpose(LAYER, CHANNEL).values
    born_at, found = [], []
    for layer, channel in units:
        known = layer in rows and channel in columns
        at = (rows[layer], columns[channel]) if known else (0, 0)
        found.append(str(states[at]) if known else ABSENT)
        born_at.append(places.get(str(names[at]), -1) if found[-1] == BORN else -1)
    indices = np.array(born_at, int)
    positions = np.where(indices >= 0, axis.positions[indices], np.nan)
    return BirthMarks(
        positions=positions, places=indices, states=found, criterion=_criterion(births)
    )


def with_dead(states: list[str], dataset: xr.Dataset, units: list[tuple[str, int]]) -> list[str]:
    """States in which units that are absent from births are dead, where they always were."""
    found = deaths(dataset)
    if found is None:
        return states
    is_dead = found["is_throughout"]
    for dim in (LAYER, CHANNEL):
        if dim not in is_dead.dims:
            is_dead = is_dead.expand_dims(dim)
    table = is_dead.transpose(LAYER, CHANNEL).values
    rows = {str(layer): row for row, layer in enumerate(is_dead[LAYER].values)}
    columns = {int(channel): column for column, channel in enumerate(is_dead[CHANNEL].values)}
    return [
        DEAD if state == ABSENT and table[rows[layer], columns[channel]] else state
        for state, (layer, channel) in zip(states, units, strict=True)
    ]


def _criterion(births: xr.Dataset) -> str:
    attrs = births.attrs
    if "fraction" not in attrs:
        return ""
    variable = str(attrs.get("variable", "value")).replace("_", " ")
    return f"born: {variable} stays above {float(attrs['fraction']):.0%} of its final level"
