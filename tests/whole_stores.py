"""All that a store holds, in a form that can be compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import dvis
from dvis.check import check_store
from dvis.kinds.features.read import parameters_of
from dvis.kinds.features.tally import count_units
from dvis.kinds.features.words import SOURCES
from dvis.schema import TEXT, UNIT_DIMS
from dvis.store.contents import contents, open_group


def counts(store: Path) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Complete, incomplete and failed units of each run and variant."""
    return {
        (c.run, c.variant): (c.n_complete, c.n_incomplete, c.n_failed) for c in count_units(store)
    }


def unit(ds: Any, i: int, layer: str, channel: int) -> Any:
    return ds.isel(checkpoint=i).sel(layer=layer, channel=channel)


def everything(store: Path) -> dict[str, np.ndarray]:
    """Every value of a store's default group, with NaN where none is."""
    dataset = dvis.open(store).load()
    return {name: variable.values for name, variable in dataset.variables.items()}


def assert_equal_stores(one: Path, other: Path) -> None:
    first, second = everything(one), everything(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=str(name))


def state_of(store: Path) -> dict[str, xr.Dataset]:
    """All that a store holds, by run and variant, in training order, the parameters as text."""
    found = contents(store)
    state = {}
    for entry in found.of("features"):
        dataset = dvis.open(store, entry.run, entry.name).load()
        # The table of parameters is in order of arrival.
        table = [json.dumps(p, sort_keys=True) for p in parameters_of(dataset)] + [""]
        dataset.attrs.pop("parameters", None)
        dataset["params"] = dataset["params"].dims, np.array(table)[dataset["params"].values]
        group = open_group(store, entry)
        rows, layers = (
            [np.asarray(group[dim][:]).tolist().index(label) for label in dataset[dim].values]
            for dim in ("checkpoint", "layer")
        )
        for name in filter(group.__contains__, SOURCES):
            values = np.asarray(group[name][:])[rows][:, layers]
            if values.dtype == TEXT:
                values = np.array(values.tolist(), dtype=str)
            dataset[name] = UNIT_DIMS, values
        state[f"{entry.run}, {entry.name}"] = dataset.assign_attrs(found.run_attrs[entry.run])
    return state


def assert_same_state(store: Path, expected: dict[str, xr.Dataset]) -> None:
    state = state_of(store)
    assert list(state) == list(expected)
    for name, dataset in state.items():
        xr.testing.assert_identical(dataset, expected[name])
    assert check_store(store) == []
