"""Places in training of an import's checkpoints: from their names, told, or read off times."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from trees import CHECKPOINTS, info_of, write_tree, write_unit

import dvis
from dvis.cli import main
from dvis.info import describe
from dvis.store.writer import restructuring

TIMED = [
    f"checkpoint_2024-03-25-{h:02d}h00_epoch_{h // 6}_train_{h % 6 * 20 + 20}.pth.tar"
    for h in range(24)
]


def tree_of(folder: Path, labels: list[str]) -> Path:
    return write_tree(folder, labels, ("layer1",), 1)


def said(report: list[str], word: str) -> str:
    return next(line for line in report if word in line)


def test_words_stand_at_their_places_and_births_are_right(tmp_path: Path) -> None:
    model = tmp_path / "resnet18"
    levels = {"init.pt": 0.0, "epoch_1.pt": 0.1, "epoch_2.pt": 2.0, "final.pt": 2.0}
    for label, level in levels.items():
        write_unit(model / "1" / label, info=info_of("layer1", 0, Activation=level))
    dvis.ingest_tree(model, store=tmp_path / "s.zarr")
    ds = dvis.open(tmp_path / "s.zarr")
    assert ds.checkpoint.values.tolist() == list(levels)
    assert ds.epoch.values[1:3].tolist() == [1, 2]
    assert ds.step.values[0] == 0
    assert ds.dvis.births().birth_checkpoint.item() == "epoch_2.pt"
    lines = describe(tmp_path / "s.zarr")
    assert "not known (3), the names (1)" in lines[0]
    assert "1 checkpoint without a place in training, at the end: final.pt" in lines[1]


def test_names_of_epochs_alone_get_no_steps_from_batches_and_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, store = tree_of(tmp_path, ["epoch_0", "epoch_1"]), tmp_path / "s.zarr"
    with pytest.raises(SystemExit, match="0"):
        main(["ingest", str(tree), "--store", str(store), "--batches-per-epoch", "100"])
    assert "do not say whether epochs count from 0 or 1" in capsys.readouterr().out
    assert np.isnan(dvis.open(store).step).all()


def test_too_few_batches_in_an_epoch_are_refused_before_a_store_is_made(tmp_path: Path) -> None:
    tree, store = tree_of(tmp_path, CHECKPOINTS), tmp_path / "s.zarr"
    with pytest.raises(ValueError, match="must be at least 1000"):
        dvis.ingest_tree(tree, store=store, batches_per_epoch=500)
    assert not store.exists()


def test_steps_read_off_times_are_called_estimated_everywhere(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree_of(tmp_path, TIMED), store=store)
    ds = dvis.open(store)
    assert ds.step.values.tolist() == [20 * h + 20 for h in range(24)]
    assert "estimated" in ds.step.attrs["long_name"]
    assert "estimated from times" in ds.step.attrs["source"]
    assert "estimated" in ds.dvis.births().birth_step.attrs["long_name"]
    assert "estimated from times" in said(describe(store), "steps of")


def test_estimated_steps_that_are_not_believed_any_more_are_withdrawn(tmp_path: Path) -> None:
    tree, store = tree_of(tmp_path, CHECKPOINTS), tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store, batches_per_epoch=1200)
    with restructuring(store):  # as an import wrote it that took validation for training
        group = zarr.open_group(store, path="checkpoints", mode="r+", use_consolidated=False)
        group.update_attributes({"is_estimated": True})
    assert "estimated" in dvis.open(store).step.attrs["source"]
    dvis.ingest_tree(tree, store=store)
    ds = dvis.open(store)
    np.testing.assert_array_equal(ds.step, [0, 200, 1000, np.nan, np.nan, np.nan])
    assert ds.step.attrs["source"] == "not known (3), the names (3)"


def test_told_steps_order_a_run_and_stay_with_later_imports(tmp_path: Path) -> None:
    tree, store = tree_of(tmp_path, ["a", "b", "c"]), tmp_path / "s.zarr"
    (tmp_path / "steps.csv").write_text("name,step,epoch\nc,10,1\na,20,2\n")
    dvis.ingest_tree(tree, store=store, steps=tmp_path / "steps.csv")
    for _ in range(2):
        ds = dvis.open(store)
        assert ds.checkpoint.values.tolist() == ["c", "a", "b"]
        np.testing.assert_array_equal(ds.step, [10, 20, np.nan])
        np.testing.assert_array_equal(ds.epoch, [1, 2, np.nan])
        assert ds.step.attrs["source"] == "told by the user (2), not known (1)"
        dvis.ingest_tree(tree, store=store)
    assert dvis.check_store(store) == []
    with pytest.raises(ValueError, match=r"No checkpoint 'd' in the tree. Checkpoints: a, b, c"):
        dvis.ingest_tree(tree, store=store, steps={"d": 3})


def test_patterns_choose_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, store = tree_of(tmp_path, ["epoch_1", "epoch_2", "old_3"]), tmp_path / "s.zarr"
    arguments = ["ingest", str(tree), "--store", str(store), "--checkpoints"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "epoch_*"])
    assert dvis.open(store).checkpoint.values.tolist() == ["epoch_1", "epoch_2"]
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "step_*"])
    assert "like 'step_*'; there are: epoch_1, epoch_2, old_3" in capsys.readouterr().err
