"""dvis check: every kind of fault is found and named, and --fix leads to a whole store again."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from trees import CHECKPOINTS, write_tree

import dvis
from dvis.schema import Status

GROUP = "checkpoints/features/average-0"


def blocks(store: Path) -> list[Path]:
    folder = store / GROUP / "image" / "c"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def faults(store: Path) -> str:
    return "\n".join(map(str, dvis.check_store(store)))


def test_a_sound_store_has_no_faults(sample_store: Path) -> None:
    assert dvis.check_store(sample_store) == []


@pytest.mark.parametrize("codec", ["jpeg", "raw"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_damaged_block_is_found_marked_and_made_again(
    tmp_path: Path, codec: str, damage: str
) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:3])
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store, codec=codec)
    before = dvis.open(store).load()
    block = blocks(store)[1]
    if damage == "gone":
        block.unlink()
    else:
        block.write_bytes(block.read_bytes()[:-30] if damage == "cut" else b"")
    found = dvis.check_store(store, fix=True)
    assert len(found) == 9
    assert all(fault.unit is not None and fault.unit[1] == 1 for fault in found)
    ds = dvis.open(store)
    assert (ds.status.isel(layer=1) == Status.FAILED).all()
    assert (ds.status.isel(layer=0) == Status.COMPLETE).all()
    (report,) = dvis.ingest_tree(tree, store=store)
    assert report.n_read == 9
    assert dvis.open(store).load().identical(before)
    assert dvis.check_store(store) == []


def test_one_changed_byte_costs_one_unit(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:3])
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    (first, _) = blocks(store)
    data = bytearray(first.read_bytes())
    data[100] ^= 255
    first.write_bytes(data)
    report = dvis.export_tree(store, tmp_path / "out")
    assert len(report.faults) == 1
    assert report.n_images == 17
    (fault,) = dvis.check_store(store, fix=True)
    assert fault.unit is not None
    ds = dvis.open(store)
    assert int((ds.status == Status.FAILED).sum()) == 1
    assert int(ds.activation.isnull().sum()) == 1
    assert ds.image.values.any()  # the others can be read again
    assert dvis.check_store(store) == []
    dvis.ingest_tree(tree, store=store)
    assert (dvis.open(store).status == Status.COMPLETE).all()


def test_faults_of_schema_and_labels_are_named(own_store: Path) -> None:
    group = zarr.open_group(own_store, path=GROUP, mode="r+", use_consolidated=False)
    group["status"][0, 0, 0] = 9
    group["params"][1, 0, 1] = 55
    labels = group["checkpoint"][:]
    labels[1] = labels[0]
    group["checkpoint"][:] = labels
    group["channel"][:] = np.array([0, 1, 3, 2])
    said = faults(own_store)
    assert "has status 9" in said
    assert "points to parameters that the group does not have" in said
    assert "is there more than once" in said
    assert "channel is not 0, 1, 2" in said


def test_a_variable_of_another_kind_is_named(own_store: Path) -> None:
    group = zarr.open_group(own_store, path=GROUP, mode="r+", use_consolidated=False)
    del group["loss"]
    group.create_array(
        "activation",
        shape=(14, 3, 4),
        dtype="float64",
        dimension_names=("checkpoint", "layer", "channel"),
        overwrite=True,
    )
    said = faults(own_store)
    assert "has no variable 'loss'" in said
    assert "activation is float64" in said
