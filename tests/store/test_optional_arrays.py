"""Arrays that a group has only once a writer asks for them."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import dvis
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.run_notes import finish_import
from dvis.kinds.features.words import COMPARED
from dvis.names import parse_checkpoint
from dvis.store.making import add_arrays
from dvis.store.writer import create_store, restructuring

STEP = "step_0"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one group, as an import of a tree makes it."""
    store = tmp_path / "r.zarr"
    create_store(store, "r")
    with restructuring(store):
        group = FeatureGroup.create(store, "a", "average-0", height=8, width=8, codec="raw")
        group.grow_units([parse_checkpoint(STEP)], {"conv": 2})
    finish_import(store)
    return store


def measured(store: Path, step: str, n: int) -> None:
    """Put one unit of a checkpoint into the store, whose `reference_sd` is asked for."""
    with restructuring(store):
        group = FeatureGroup.existing(store, "a", "average-0")
        assert group is not None
        group.add_arrays(["reference_sd"])
        group.grow_units([parse_checkpoint(step)], {"conv": n})
    units = {"channel": [n - 1], "checkpoint": step, "layer": "conv"}
    values = {"activation": 2.0, "reference_sd": 0.5}
    of_units = {name: ("channel", np.array([value])) for name, value in values.items()}
    image = ("channel", "y", "x", "rgb"), np.zeros((1, 8, 8, 3), np.uint8)
    group.commit(xr.Dataset({**of_units, "image": image}, units))
    finish_import(store)


def test_what_nobody_asked_for_is_not_there(store: Path) -> None:
    assert not set(COMPARED) & set(dvis.open(store).variables)
    assert dvis.check_store(store) == []


def test_what_a_writer_asks_for_is_there_and_grows(store: Path) -> None:
    measured(store, "step_1", 2)
    ds = dvis.open(store)
    assert set(COMPARED) & set(ds.variables) == {"reference_sd"}
    assert ds.reference_sd.values.tolist()[1][0][1] == 0.5
    assert np.isfinite(ds.reference_sd.values).sum() == 1
    measured(store, "step_2", 5)
    ds = dvis.open(store)
    assert ds.reference_sd.shape == ds.activation.shape == (3, 1, 5)
    assert np.isfinite(ds.reference_sd.values).sum() == 2
    assert dvis.check_store(store) == []


def test_only_arrays_that_are_lacking_are_made(store: Path) -> None:
    with restructuring(store):
        group = FeatureGroup.existing(store, "a", "average-0")
        assert group is not None
        names = ["activation", "held_out_mean"]
        assert add_arrays(group.zarr, group.words, names[:1]) == []
        group.add_arrays(names)
        assert "held_out_mean" in group.words.arrays
        assert "restart_sd" not in group.words.arrays
