"""The file at a store's root: damage of it is seen, and what other programs write there is taken."""

import json
import random
import shutil
import warnings
from pathlib import Path

import pytest
import zarr
from recorded_stores import write_store

import dvis
from dvis.schema import SchemaError
from dvis.store.root_file import DamagedRootError, is_whole


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two checkpoints."""
    return write_store(tmp_path_factory.mktemp("root") / "net.zarr", ["step_0", "step_1"], ["conv1"])


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(written, tmp_path / "net.zarr"))


def _set(store: Path, change: object) -> None:
    """Change the root's JSON, keeping the checksum that it has."""
    root = json.loads((store / "zarr.json").read_text())
    change(root)  # type: ignore[operator]
    (store / "zarr.json").write_text(json.dumps(root))


def test_root_is_stamped_and_the_stamp_is_not_shown(store: Path) -> None:
    data = (store / "zarr.json").read_bytes()
    assert b'"dvis_checksum"' in data
    assert is_whole(data)
    assert "dvis_checksum" not in dvis.contents(store).attrs
    assert "dvis_checksum" not in dvis.open(store).attrs


def test_a_flipped_bit_is_an_error_a_warning_or_no_difference(store: Path) -> None:
    root, rng = store / "zarr.json", random.Random(0)
    whole, data = dvis.open(store).load(), root.read_bytes()
    outcomes = set()
    for _ in range(150):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        root.write_bytes(flipped)
        if is_whole(flipped):  # a flip in the checksum's own name: nothing else is changed
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                assert dvis.open(store).load().identical(whole)
                outcomes.add("equal")
            except SchemaError:
                outcomes.add("error")
            except UserWarning:
                outcomes.add("warning")
    assert outcomes == {"error", "warning"}


def test_a_root_that_lies_of_an_array_is_written_anew_by_fix(store: Path) -> None:
    whole = dvis.open(store).load()

    def shorten(root: dict) -> None:
        nodes = root["consolidated_metadata"]["metadata"]
        path = next(path for path in nodes if path.endswith("/activation"))
        nodes[path]["fill_value"] = 7.0

    _set(store, shorten)
    with pytest.raises(DamagedRootError, match="activation it says what .*dvis check --fix"):
        dvis.open(store)
    with pytest.raises(DamagedRootError):
        dvis.check_store(store)
    assert dvis.check_store(store, fix=True) == []
    assert dvis.open(store).load().identical(whole)


def test_an_attribute_that_plain_zarr_sets_is_said_and_taken(store: Path) -> None:
    zarr.open_group(store, mode="r+", use_consolidated=True).attrs["note"] = "mine"
    with pytest.warns(UserWarning, match="changed by another program"):
        assert dvis.contents(store).attrs["note"] == "mine"
    assert [fault.place for fault in dvis.check_store(store)] == ["zarr.json"]
    dvis.check_store(store, fix=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dvis.contents(store).attrs["note"] == "mine"
    assert dvis.check_store(store) == []


def test_a_root_of_an_earlier_dvis_is_read(store: Path) -> None:
    _set(store, lambda root: root["attributes"].pop("dvis_checksum"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dvis.open(store).sizes["checkpoint"] == 2
    assert dvis.check_store(store) == []
