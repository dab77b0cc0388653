"""dvis check: every kind of fault is found and named, and --fix leads to a whole store again."""

import shutil
from pathlib import Path
from typing import Any, get_args

import made_up_responses as made_up
import numpy as np
import pytest
import xarray as xr
import zarr
from made_up_responses import complete_unit, write_responses
from slowly import slowly
from trees import CHECKPOINTS, write_tree

import dvis
from dvis.kinds.responses.words import Of
from dvis.schema import Status
from dvis.store.writer import restructuring

GROUP = "checkpoints/features/average-0"
of_every_kind = pytest.mark.parametrize("kind", get_args(Of))


@pytest.fixture(scope="module")
def responses_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of sound responses of each kind."""
    folder = tmp_path_factory.mktemp("responses")
    for kind in get_args(Of):
        write_responses(folder / kind, kind)
    return folder


@pytest.fixture
def responses_store(responses_stores: Path, kind: Of, tmp_path: Path) -> Path:
    """A store of sound responses of a kind, to change."""
    return Path(shutil.copytree(responses_stores / kind, tmp_path / "s.zarr"))


def blocks(store: Path) -> list[Path]:
    folder = store / GROUP / "image" / "c"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def faults(store: Path) -> str:
    return "\n".join(map(str, dvis.check_store(store)))


def test_a_sound_store_has_no_faults(sample_store: Path) -> None:
    assert dvis.check_store(sample_store) == []


@pytest.mark.parametrize(
    ("damage", "codec"),
    [
        *(("gone", "raw"), ("cut", "jpeg"), ("empty", "jpeg")),
        *(slowly("gone", "jpeg"), slowly("cut", "raw"), slowly("empty", "raw")),
    ],
)
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


def test_fixing_a_store_that_lacks_a_variable_names_it(own_store: Path) -> None:
    del zarr.open_group(own_store, path=GROUP, mode="r+", use_consolidated=False)["loss"]
    assert "has no variable 'loss'" in "\n".join(map(str, dvis.check_store(own_store, fix=True)))


@of_every_kind
def test_sound_responses_have_no_faults(responses_store: Path, kind: Of) -> None:
    assert dvis.check_store(responses_store) == []
    assert dvis.check_store(responses_store, fix=True) == []


@of_every_kind
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("response", np.nan, "is complete, but not all of its responses are finite"),
        slowly("response", np.inf, "is complete, but not all of its responses are finite"),
        ("status", Status.ABSENT, "holds response, but is not done"),
        slowly("status", Status.FAILED, "holds response, but is not done"),
        ("status", Status.INCOMPLETE, "has status 2, which is none of its kind"),
        slowly("status", 9, "has status 9, which is none of its kind"),
        ("source/weights", 0, "does not say of which weights it is"),
    ],
)
def test_a_unit_whose_responses_cannot_be_trusted_is_marked_and_measured_again(
    responses_store: Path, kind: Of, name: str, value: Any, said: str
) -> None:
    store = responses_store
    before = dvis.responses(store).load()
    unit = complete_unit(kind)
    group = responses_group(store)
    group[name][(*unit, 0) if (name, kind) == ("response", "image") else unit] = value
    (fault,) = dvis.check_store(store)
    assert fault.unit == unit
    assert said in fault.message
    assert f"{made_up.LABELS[1]}, " in fault.place
    assert fault.place.endswith("layer2, channel 4")
    assert dvis.check_store(store, fix=True) == [fault]
    assert group["status"][unit] == Status.FAILED
    assert np.isnan(group["response"][unit]).all()
    assert group["source/problem"][unit] == f"failed: {fault.message}"
    assert int((dvis.responses(store).status == Status.FAILED).sum()) == 1
    assert dvis.check_store(store) == []
    write_responses(store, kind)
    xr.testing.assert_identical(dvis.responses(store).load(), before)


def test_a_response_to_no_known_image_is_marked(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    write_responses(store, "image_checkpoint")
    responses_group(store)["source/images"][2, 1, 4] = 0
    found = dvis.check_store(store, fix=True)
    assert [fault.unit for fault in found] == [(row, 2, 1, 4) for row in range(3)]
    assert all("does not say to which image it is" in fault.message for fault in found)
    assert f"image of {made_up.LABELS[2]}" in found[0].place
    write_responses(store, "image_checkpoint")
    assert dvis.check_store(store) == []


@of_every_kind
@pytest.mark.parametrize("damage", ["cut", *map(slowly, ("gone", "empty"))])
def test_a_damaged_file_of_responses_is_found_and_measured_again(
    responses_store: Path, kind: Of, damage: str
) -> None:
    store = responses_store
    before = dvis.responses(store).load()
    folder = store / made_up.GROUP / "response" / "c"
    file = sorted(path for path in folder.rglob("*") if path.is_file())[1]
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-5] if damage == "cut" else b"")
    found = dvis.check_store(store, fix=True)
    assert {fault.unit[-2] for fault in found if fault.unit} == {1}  # of one layer
    assert len(found) == 5 * (3 if kind == "image_checkpoint" else 1)
    assert dvis.check_store(store) == []
    write_responses(store, kind)
    xr.testing.assert_identical(dvis.responses(store).load(), before)


@of_every_kind
def test_faults_of_schema_and_labels_of_responses_are_named(
    responses_store: Path, kind: Of
) -> None:
    store = responses_store
    group = responses_group(store)
    for dim in ("checkpoint", "layer", kind):
        labels = group[dim][:]
        labels[0] = labels[1]
        group[dim][:] = labels
    group["channel"][:] = group["channel"][:][::-1]
    said = faults(store)
    for dim in ("checkpoint", "layer", kind):
        assert f"checkpoints, responses mine: {dim} '" in said
    assert said.count("is there more than once") == 3
    assert "channel is not 0, 1, 2" in said
    del group["source/weights"]
    group.create_array("step", shape=(3,), dtype="int32", dimension_names=("x",), overwrite=True)
    del group.attrs["aggregation"]
    said = faults(store)
    assert "has no variable 'source/weights'" in said
    assert "step has dims ('x',)" in said
    assert "does not say what of a channel's map" in said


def test_a_damaged_file_of_status_is_named_and_other_groups_are_checked(own_store: Path) -> None:
    write_responses(own_store, "image")
    (file,) = (own_store / GROUP / "status" / "c" / "0" / "0").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    responses_group(own_store)["status"][1, 1, 4] = 9
    named, first, second = map(str, dvis.check_store(own_store))
    assert named.startswith("checkpoints, feature images average-0: its status is damaged")
    assert first.startswith("checkpoints, feature images average-0: a file of it is damaged")
    assert "has status 9" in second


@pytest.mark.parametrize(
    ("group", "damage"),
    [(GROUP, "gone"), (made_up.GROUP, "cut"), slowly(made_up.GROUP, "gone")],
)
def test_units_that_lost_their_labels_are_never_thrown_away(
    own_store: Path, group: str, damage: str
) -> None:
    write_responses(own_store, "image")
    status = zarr.open_group(own_store, path=group, mode="r")["status"]
    before = status[:]
    file = own_store / group / "checkpoint" / "c" / "0"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-5])
    with restructuring(own_store):
        pass
    assert dvis.check_store(own_store, fix=True)
    if group == made_up.GROUP:
        with pytest.raises(dvis.SchemaError, match=r"labels are lost|cannot be read.*dvis check"):
            write_responses(own_store, "image")
    file.write_bytes(content)
    after = zarr.open_group(own_store, path=group, mode="r", use_consolidated=False)["status"]
    np.testing.assert_array_equal(after[:], before)
    assert dvis.check_store(own_store) == []


def responses_group(store: Path) -> zarr.Group:
    return zarr.open_group(store, path=made_up.GROUP, mode="r+", use_consolidated=False)
