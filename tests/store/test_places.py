"""Steps that a user told a store: kept, shown by every opening, and whence all of them come."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from made_up_responses import write_responses
from recorded_stores import write_store

import dvis
from dvis.cli import main
from dvis.disk import write_lock
from dvis.info import describe
from dvis.store.writer import restructuring

LABELS = ["a.pt", "b.pt", "c.pt"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "s.zarr", LABELS, ["conv1"])


def test_told_steps_order_every_opening_and_nothing_on_disk_moves(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = zarr.open_group(store, path="checkpoints/features/average-0", mode="r")["step"][:]
    images = dvis.open(store).image.load()
    (tmp_path / "s.json").write_text(json.dumps({"c.pt": 5, "b.pt": {"step": 7, "epoch": 2}}))
    with pytest.raises(SystemExit, match="0"):
        main(["steps", str(store), str(tmp_path / "s.json")])
    assert "told by the user (2)" in capsys.readouterr().out
    ds = dvis.open(store)
    assert ds.checkpoint.values.tolist() == ["a.pt", "c.pt", "b.pt"]
    assert ds.step.values.tolist() == [0, 5, 7]
    np.testing.assert_array_equal(ds.epoch, [np.nan, np.nan, 2])
    np.testing.assert_array_equal(ds.image, images.sel(checkpoint=ds.checkpoint.values))
    assert ds.dvis.births().birth_step.max() <= 7
    (axes,) = ds.dvis.trajectory("conv1", [0], x="step").axes
    assert axes.get_lines()[0].get_xdata().tolist() == [0, 5, 7]
    on_disk = zarr.open_group(store, path="checkpoints/features/average-0", mode="r")["step"][:]
    np.testing.assert_array_equal(on_disk, before)
    assert dvis.check_store(store) == []
    assert "told by the user (2), the files (1)" in describe(store)[0]


def test_later_told_steps_win_and_others_stay(store: Path) -> None:
    dvis.set_steps(store, {"a.pt": 30, "b.pt": {"step": 7, "epoch": 2}})
    dvis.set_steps(store, {"b.pt": 40})
    ds = dvis.open(store)
    assert dict(zip(ds.checkpoint.values, ds.step.values, strict=True)) == {
        "c.pt": 20,
        "a.pt": 30,
        "b.pt": 40,
    }
    assert ds.epoch.sel(checkpoint="b.pt") == 2


def test_groups_of_every_kind_have_told_steps_and_image_checkpoints_follow(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    write_responses(store, "image_checkpoint")
    labels = dvis.responses(store).checkpoint.values.tolist()
    told = {label: 10 * (len(labels) - n) for n, label in enumerate(labels)}
    dvis.set_steps(store, told)
    ds = dvis.responses(store)
    assert ds.checkpoint.values.tolist() == labels[::-1]
    assert ds.step.values.tolist() == sorted(told.values())
    if "image_checkpoint" in ds.dims:
        assert ds.image_checkpoint.values.tolist() == labels[::-1]


def test_steps_are_told_while_a_sweep_holds_its_groups(store: Path) -> None:
    with write_lock(store, "checkpoints/features"):
        telling = threading.Thread(target=dvis.set_steps, args=(store, {"a.pt": 99}))
        telling.start()
        telling.join(30)
        assert not telling.is_alive()
    assert dvis.open(store).checkpoint.values[-1] == "a.pt"


def test_wrong_steps_leave_a_store_as_it_was(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No checkpoint 'd.pt' in .*s.zarr, run 'checkpoints'"):
        dvis.set_steps(store, {"a.pt": 1, "d.pt": 2})
    with pytest.raises(KeyError, match="No run 'other'"):
        dvis.set_steps(store, {"a.pt": 1}, run="other")
    with pytest.raises(FileNotFoundError, match="No store at"):
        dvis.set_steps(tmp_path / "none.zarr", {"a.pt": 1})
    write_store(store, LABELS, ["conv1"], run="second")
    with pytest.raises(ValueError, match="several runs: checkpoints, second; name one"):
        dvis.set_steps(store, {"a.pt": 1})
    assert dvis.open(store, "checkpoints").step.values.tolist() == [0, 10, 20]


def test_a_store_of_names_that_were_not_understood_opens_in_order(tmp_path: Path) -> None:
    labels = ["epoch=10-step=100.ckpt", "epoch=9-step=90.ckpt", "init.ckpt", "last.ckpt"]
    store = write_store(tmp_path / "s.zarr", labels, ["conv1"])
    group = zarr.open_group(store, path="checkpoints/features/average-0", mode="r+")
    for column in ("epoch", "step"):
        array: Any = group[column]
        array.with_config({"write_empty_chunks": True})[:] = -1
    order = ["init.ckpt", "epoch=9-step=90.ckpt", "epoch=10-step=100.ckpt", "last.ckpt"]
    assert dvis.open(store).checkpoint.values.tolist() == order


@pytest.mark.parametrize("told", [3, {"a.pt": 3}, {"a.pt": ["x", None]}, {"a.pt": [1, 2, 3]}])
def test_told_places_that_are_none_are_refused(store: Path, told: object) -> None:
    with restructuring(store):
        group = zarr.open_group(store, path="checkpoints", mode="r+", use_consolidated=False)
        group.update_attributes({"told_places": told})
    with pytest.raises(dvis.SchemaError, match="an attribute told_places that tells no steps"):
        dvis.open(store)
