"""Metadata, files and names that no store has end in one error, and ask for no memory or time."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from recorded_stores import write_store

import dvis
from dvis.schema import SchemaError
from dvis.store.metrics import write_metrics
from dvis.store.root_file import stamped

GROUP = "checkpoints/features/average-0"
NAMES = (
    *("loss", "activation", "status", "step", "checkpoint", "layer", "llc", "a/b", "", ".", ".."),
    *("zarr.json", "__x", "c", "é", "x y", "val\nloss", "x" * 300, "x" * 299 + "y"),
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(tmp_path / "s.zarr", ["step_0", "step_1"], ["conv1"])
    return tmp_path / "s.zarr"


def change(store: Path, array: str, **changes: Any) -> None:
    """Change what the root says of an array."""
    root = json.loads((store / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"][f"{GROUP}/{array}"] |= changes
    (store / "zarr.json").write_bytes(stamped(json.dumps(root).encode()))  # as a forger would


@pytest.mark.parametrize(
    ("array", "changes"),
    [
        ("checkpoint", {"shape": [2**40]}),
        ("activation", {"shape": [2, 1, 3, 4]}),
        ("activation", {"dimension_names": ["checkpoint", "layer", "layer"]}),
        ("epoch", {"data_type": "float64"}),
        ("channel", {"dimension_names": None}),
        ("step", {"attributes": {"units": 5, "calendar": [1]}}),
    ],
)
def test_metadata_that_no_store_has_are_one_error(store: Path, array: str, changes: Any) -> None:
    change(store, array, **changes)
    try:
        opened = dvis.open(store)
    except SchemaError:
        return
    assert opened.sizes["checkpoint"] == 2  # what does no harm is as well


def test_a_file_of_sixteen_gigabytes_is_refused(store: Path) -> None:
    chunks = {"name": "regular", "configuration": {"chunk_shape": [2**31, 1, 8]}}
    change(store, "activation", chunk_grid=chunks)
    with pytest.raises(SchemaError, match="which no store has"):
        dvis.open(store)


@pytest.mark.parametrize("what", ["pipe", "folder"])
def test_what_is_no_file_does_not_hang(store: Path, what: str) -> None:
    path = next(p for p in (store / GROUP / "activation" / "c").rglob("*") if p.is_file())
    path.unlink()
    os.mkfifo(path) if what == "pipe" else path.mkdir()
    with pytest.raises(SchemaError, match="is no file"):
        dvis.open(store).activation.load()
    assert dvis.check_store(store)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_any_name_are_kept_and_replace_nothing(store: Path, name: str) -> None:
    before = dvis.open(store).load()
    write_metrics(store, "checkpoints", {"step_0": {name: 0.25}, "step_1": {name: 0.75}})
    after = dvis.open(store).load()
    (added,) = set(after.variables) - set(before.variables)
    xr.testing.assert_identical(after.drop_vars(added), before)
    np.testing.assert_array_equal(after[added].values, [0.25, 0.75])
    assert after[added].attrs["metric"] == name
    assert dvis.check_store(store) == []
    write_metrics(store, "checkpoints", {"step_1": {name: 1.0}})
    np.testing.assert_array_equal(dvis.open(store)[added].values, [0.25, 1.0])
