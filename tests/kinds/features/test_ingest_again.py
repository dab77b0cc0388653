"""The importer where there is a store already: what it reads again, keeps and replaces."""

import os
from pathlib import Path

import numpy as np
import pytest
from trees import CHECKPOINTS, decoded, info_of, jpg_of, read_tree, write_tree, write_unit
from whole_stores import counts, unit

import dvis
from dvis.info import list_problems
from dvis.schema import SchemaError, Status


def test_run_again_reads_nothing(tmp_path: Path) -> None:
    tree = write_tree(tmp_path)
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    (report,) = dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    assert (report.n_read, report.n_unchanged) == (0, len(CHECKPOINTS) * 6)


def test_what_is_new_finds_its_place_and_nothing_else_is_read(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    early = [CHECKPOINTS[0], CHECKPOINTS[5]]
    tree = write_tree(tmp_path, early)
    dvis.ingest_tree(tree, store=store)
    # Four checkpoints in the middle of training order.
    write_tree(tmp_path)
    for label in early:  # as they were: their files' times must not change
        for path in (tree / "checkpoints" / label).iterdir():
            os.utime(path, ns=(1, 1))
    dvis.ingest_tree(tree, store=store)
    (report,) = dvis.ingest_tree(tree, store=store)
    assert report.n_read == 0
    # A layer, a channel beyond the widest, a longer loss curve.
    folder = tree / "checkpoints" / CHECKPOINTS[2]
    write_unit(folder, "conv1", 0)
    write_unit(folder, "layer1", 9, info=info_of("layer1", 9, **{"Loss Values": [0.5] * 700}))
    (report,) = dvis.ingest_tree(tree, store=store)
    assert report.n_read == 2
    ds = dvis.open(store)
    assert ds.checkpoint.values.tolist() == CHECKPOINTS
    assert ds.layer.values.tolist() == ["conv1", "layer1", "layer2.0.conv1"]
    assert ds.sizes["channel"] == 10
    assert ds.n_channels.values.tolist() == [1, 10, 3]
    assert float(ds.loss.isel(checkpoint=2).sel(layer="layer1", channel=9).sum()) == 350
    assert int((ds.status == Status.COMPLETE).sum()) == 38
    export = dvis.export_tree(store, tmp_path / "out")
    assert read_tree(export.folder) == read_tree(tree)


def test_a_new_checkpoint_leaves_other_blocks_alone(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    labels = [f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(20)]
    tree = write_tree(tmp_path, labels[:10] + labels[11:], ("layer1",), 1)
    dvis.ingest_tree(tree, store=store)
    blocks = store / "checkpoints" / "features" / "average-0" / "image" / "c"
    before = {path: path.stat().st_mtime_ns for path in blocks.rglob("*") if path.is_file()}
    write_unit(tree / "checkpoints" / labels[10])
    dvis.ingest_tree(tree, store=store)
    after = {path: path.stat().st_mtime_ns for path in blocks.rglob("*") if path.is_file()}
    assert len(before) == 2
    assert sum(before[path] != after[path] for path in before) == 1
    assert dvis.open(store).checkpoint.values.tolist() == labels


def test_a_changed_unit_is_read_again(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2])
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    folder = tree / "checkpoints" / CHECKPOINTS[1]
    long = info_of("layer1", 1, Activation=9.0, **{"Loss Values": [1.0] * 600})
    write_unit(folder, "layer1", 1, jpg=jpg_of(77), info=long)
    (report,) = dvis.ingest_tree(tree, store=store)
    assert (report.n_read, report.n_unchanged) == (1, 11)
    found = unit(dvis.open(store), 1, "layer1", 1)
    np.testing.assert_array_equal(found.image, decoded(jpg_of(77)))
    assert float(found.activation) == 9
    # ... and a shorter curve leaves nothing of the longer one.
    write_unit(folder, "layer1", 1, info=info_of("layer1", 1))
    dvis.ingest_tree(tree, store=store)
    assert int(unit(dvis.open(store), 1, "layer1", 1).loss.notnull().sum()) == 3


def test_a_unit_that_changes_size_moves_to_the_variant_of_its_size(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2])
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    write_unit(tree / "checkpoints" / CHECKPOINTS[1], "layer1", 1, jpg=jpg_of(7, size=24))
    dvis.ingest_tree(tree, store=store)
    assert counts(store) == {
        ("checkpoints", "average-0"): (11, 0, 0),
        ("checkpoints", "average-0@24px"): (1, 0, 0),
    }
    (report,) = dvis.ingest_tree(tree, store=store)
    assert report.n_read == 0
    write_unit(tree / "checkpoints" / CHECKPOINTS[1], "layer1", 1, jpg=jpg_of(7))
    dvis.ingest_tree(tree, store=store)
    assert counts(store)["checkpoints", "average-0"] == (12, 0, 0)
    assert counts(store)["checkpoints", "average-0@24px"] == (0, 0, 0)


def test_a_complete_unit_is_kept_when_its_files_go(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2])
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    stem = tree / "checkpoints" / CHECKPOINTS[0] / "layer_layer1_channel_1_average"
    stem.with_name(stem.name + ".jpg").unlink()
    (report,) = dvis.ingest_tree(tree, store=store)
    assert report.n_kept == 1
    assert any("keeps the complete unit" in problem for problem in list_problems(store))
    found = unit(dvis.open(store), 0, "layer1", 1)
    assert int(found.status) == Status.COMPLETE
    np.testing.assert_array_equal(found.image, decoded(jpg_of(0, 0, 1)))


def test_a_store_keeps_its_codec(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1])
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr", codec="raw")
    write_tree(tmp_path, CHECKPOINTS[:2], run="another")
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    assert dvis.open(tmp_path / "s.zarr", "another").attrs["image_codec"] == "raw"
    with pytest.raises(ValueError, match="keeps its images as raw, not jpeg"):
        dvis.ingest_tree(tree, store=tmp_path / "s.zarr", codec="jpeg")


def test_overwrite_starts_anew(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2])
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    (report,) = dvis.ingest_tree(tree / "checkpoints" / CHECKPOINTS[1], store=store, overwrite=True)
    assert report.n_read == 6
    assert dvis.open(store).sizes["checkpoint"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".s.zarr.locks",
        "feature_images",
        "s.zarr",
    ]


def test_another_models_store_is_left_alone(sample_store: Path, tmp_path: Path) -> None:
    tree = write_tree(tmp_path)
    with pytest.raises(SchemaError, match="is the store of 'resnet18', not of 'resnet50'"):
        dvis.ingest_tree(tree, store=sample_store, model="resnet50")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(SchemaError, match=r"no dvis store|other things in it"):
            dvis.ingest_tree(tree, store=tmp_path / "other", overwrite=overwrite)
    assert (tmp_path / "other" / "thesis.txt").exists()


def test_problems_of_one_part_outlive_the_import_of_another(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1], run="1")
    write_tree(tmp_path, CHECKPOINTS[:1], run="2")
    for run in ("1", "2"):
        (tree / run / "loop").symlink_to(tree)
        dvis.ingest_tree(tree / run, store=tmp_path / "s.zarr")
    problems = list_problems(tmp_path / "s.zarr")
    assert [problem.split(":")[0] for problem in problems] == [
        "resnet18/1/loop",
        "resnet18/2/loop",
    ]
    (tree / "1" / "loop").unlink()
    dvis.ingest_tree(tree / "1", store=tmp_path / "s.zarr")
    assert len(list_problems(tmp_path / "s.zarr")) == 1


def test_steps_of_all_variants_come_from_all_checkpoints(tmp_path: Path) -> None:
    labels = [
        f"checkpoint_2024-03-25-{h:02d}h00_epoch_{h // 6}_train_{h % 6 * 20 + 20}.pth.tar"
        for h in range(24)
    ]
    tree = write_tree(tmp_path, labels, ("layer1",), 1)
    write_unit(
        tree / "checkpoints" / labels[20],
        kind="sum",
        info=info_of("layer1", 0, Aggregation="sum"),
    )
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree / "checkpoints" / labels[20], store=store)
    assert np.isnan(dvis.open(store, variant="sum-0").step).all()
    dvis.ingest_tree(tree, store=store)
    assert dvis.open(store, variant="sum-0").step.values.tolist() == [3 * 120 + 60]
