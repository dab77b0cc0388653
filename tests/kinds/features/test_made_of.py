"""Which units' fingerprints are of files, and which of weights."""

from pathlib import Path

import numpy as np
import zarr
from recorded_stores import write_store

import dvis
from dvis.kinds.features.made_of import FILES, WEIGHTS, fingerprint_of
from dvis.kinds.features.read import parameters_of
from dvis.kinds.features.words import FINGERPRINT
from dvis.schema import Status


def kinds_of(store: Path) -> set[str]:
    ds = dvis.open(store)
    is_complete = ds.status.values == Status.COMPLETE
    return set(fingerprint_of(ds.params.values, parameters_of(ds))[is_complete].tolist())


def test_imported_units_are_of_files(sample_store: Path) -> None:
    assert kinds_of(sample_store) == {FILES}
    group = zarr.open_group(sample_store, mode="r")["checkpoints/features/average-0"]
    assert np.asarray(group[FINGERPRINT][:]).any()


def test_measured_units_are_of_weights(tmp_path: Path) -> None:
    assert kinds_of(write_store(tmp_path / "s.zarr", ["a", "b"], ["layer1"])) == {WEIGHTS}
