"""The importer: what it takes of a tree, what it reports, what it does when run again."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from trees import CHECKPOINTS, decoded, info_of, jpg_of, read_tree, write_tree, write_unit

import dvis
from dvis.report import count_units, list_problems
from dvis.schema import SchemaError, Status


def counts(store: Path) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {
        (c.run, c.variant): (c.n_complete, c.n_incomplete, c.n_failed) for c in count_units(store)
    }


def unit(ds: Any, i: int, layer: str, channel: int) -> Any:
    return ds.isel(checkpoint=i).sel(layer=layer, channel=channel)


def test_sample_tree_gives_the_counts_of_its_readme(sample_store: Path) -> None:
    assert counts(sample_store) == {
        ("checkpoints", "average-0"): (162, 4, 1),
        ("checkpoints", "average-0@64px"): (1, 0, 0),
        **{
            ("pretrained", variant): (8, 0, 0)
            for variant in ("average-0", "average-1", "center-0", "neuron_3_4-0", "sum-0")
        },
    }
    ds = dvis.open(sample_store)
    assert (ds.sizes["checkpoint"], ds.sizes["layer"], ds.sizes["channel"]) == (14, 3, 4)
    assert int((ds.status == Status.ABSENT).sum()) == 1


@pytest.mark.parametrize(
    ("place", "status", "has_image", "has_activation"),
    [
        ((2, "layer4", 3), Status.INCOMPLETE, False, True),  # jpg cut in half
        ((3, "layer4", 2), Status.INCOMPLETE, True, False),  # json cut in half
        ((4, "layer1", 1), Status.INCOMPLETE, True, False),  # jpg without json
        ((5, "layer1", 2), Status.INCOMPLETE, False, True),  # json without jpg
        ((6, "layer2.0.conv1", 0), Status.COMPLETE, True, False),  # activation NaN
        ((7, "layer1", 0), Status.FAILED, False, False),  # json says channel 3
        ((8, "layer4", 0), Status.COMPLETE, True, True),  # grey jpg
        ((9, "layer4", 1), Status.ABSENT, False, False),  # 64 px: in a variant of its own
    ],
)
def test_damage_of_the_sample_is_taken_as_its_readme_says(
    sample_store: Path,
    place: tuple[int, str, int],
    status: Status,
    has_image: bool,
    has_activation: bool,
) -> None:
    found = unit(dvis.open(sample_store), *place)
    assert int(found.status) == status
    assert bool(found.image.values.any()) == has_image
    assert bool(np.isfinite(found.activation)) == has_activation


def test_damage_of_the_sample_is_listed_with_its_paths(sample_store: Path) -> None:
    problems = list_problems(sample_store)
    assert len(problems) == 5
    for name in (
        "epoch_0_train_40.pth.tar/layer_layer4_channel_3_average.jpg",
        "epoch_0_train_60.pth.tar/layer_layer4_channel_2_average.info.json",
        "epoch_0_train_80.pth.tar/layer_layer1_channel_1_average.jpg",
        "epoch_0_train_140.pth.tar/layer_layer1_channel_2_average.info.json",
        "epoch_0_train_400.pth.tar/layer_layer1_channel_0_average.info.json",
    ):
        assert sum(name in problem for problem in problems) == 1


def test_every_image_is_that_of_its_file(sample_store: Path, sample_tree: Path) -> None:
    ds = dvis.open(sample_store)
    for i, label in enumerate(ds.checkpoint.values):
        for layer in ds.layer.values:
            for channel in ds.channel.values:
                found = unit(ds, i, layer, channel)
                if int(found.status) != Status.COMPLETE:
                    continue
                stem = sample_tree / "checkpoints" / label / f"layer_{layer}_channel_{channel}"
                jpg = stem.with_name(stem.name + "_average.jpg").read_bytes()
                record = json.loads(stem.with_name(stem.name + "_average.info.json").read_text())
                np.testing.assert_array_equal(found.image, decoded(jpg))
                np.testing.assert_equal(float(found.activation), record["Activation"])
                np.testing.assert_array_equal(
                    found.loss.dropna("step_in_run"), record["Loss Values"]
                )
                assert int(found.stop_step) == record["Convergence Iteration"]
                assert int(found.seed) == record["Parameters"]["seed"]


def test_grey_jpg_becomes_rgb(sample_store: Path) -> None:
    image = unit(dvis.open(sample_store), 8, "layer4", 0).image.values
    assert image.shape == (112, 112, 3)
    assert (image[..., 0] == image[..., 1]).all()


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


def test_the_newer_of_two_files_of_a_unit_wins(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1], ("layer1",), 1)
    folder = tree / "checkpoints" / CHECKPOINTS[0]
    old = write_unit(folder, kind="average", jpg=jpg_of(1))
    new = write_unit(folder, kind="average-0", jpg=jpg_of(2))
    for stem, time in ((old, 1000), (new, 2000)):
        for suffix in (".jpg", ".info.json"):
            os.utime(stem.with_name(stem.name + suffix), (time, time))
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    np.testing.assert_array_equal(dvis.open(store).image.squeeze(), decoded(jpg_of(2)))
    (problem,) = list_problems(store)
    assert "average-0" in problem
    assert "newer" in problem


def test_a_folder_of_models_makes_a_store_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1], ("layer1",), 1)
    tree.with_name("my_net").mkdir()
    write_unit(tree.with_name("my_net") / "1" / "full")
    monkeypatch.chdir(tmp_path)
    reports = dvis.ingest_tree("feature_images")
    assert [str(report.store) for report in reports] == [
        "stores/my_net.zarr",
        "stores/resnet18.zarr",
    ]
    assert dvis.runs("stores/my_net.zarr") == ["1"]


def test_every_folder_beside_a_known_model_is_a_model(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1], ("layer1",), 1)
    mixed = tmp_path / "mixed"
    tree.parent.rename(mixed)
    write_unit(mixed / "my_resnet" / "1" / "full")
    reports = dvis.ingest_tree(mixed, store=tmp_path / "stores")
    assert [report.model for report in reports] == ["my_resnet", "resnet18"]
    # A project's folder may have a model's name without being one.
    project = tmp_path / "resnet50" / "feature_images"
    write_unit(project / "net_a" / "1" / "full")
    write_unit(project / "net_b" / "1" / "full")
    reports = dvis.ingest_tree(project, store=tmp_path / "stores")
    assert [report.model for report in reports] == ["net_a", "net_b"]


def test_the_size_of_most_pictures_gives_the_plain_variant(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:4], ("layer1", "layer2"), 3)
    for label in CHECKPOINTS[:4]:
        write_unit(tree / "checkpoints" / label, "layer1", 0, jpg=jpg_of(1, size=8))
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    assert counts(tmp_path / "s.zarr") == {
        ("checkpoints", "average-0"): (20, 0, 0),
        ("checkpoints", "average-0@8px"): (4, 0, 0),
    }


def test_a_store_keeps_its_codec(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1])
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr", codec="raw")
    write_tree(tmp_path, CHECKPOINTS[:2], run="another")
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    assert dvis.open(tmp_path / "s.zarr", "another").attrs["image_codec"] == "raw"
    with pytest.raises(ValueError, match="keeps its images as raw, not jpeg"):
        dvis.ingest_tree(tree, store=tmp_path / "s.zarr", codec="jpeg")


def test_a_part_of_a_tree_goes_into_its_models_store(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:2], run="seeds/run 1")
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree / "seeds" / "run 1" / CHECKPOINTS[1], store=store)
    assert dvis.runs(store) == ["seeds/run 1"]
    assert dvis.open(store).checkpoint.values.tolist() == CHECKPOINTS[1:2]


def test_features_directly_below_the_model_belong_to_the_default_run(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, CHECKPOINTS[:1], run=".")
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    assert dvis.runs(store) == ["checkpoints"]
    assert read_tree(dvis.export_tree(store, tmp_path / "out").folder) == read_tree(tree)


def test_step_is_read_off_the_times_of_the_checkpoints(sample_store: Path) -> None:
    ds = dvis.open(sample_store)
    assert ds.step.values[-4:].tolist() == [1780, 2940, 4860, 8000]
    assert ds.step.values[:3].tolist() == [0, 20, 40]


def test_step_is_unknown_where_the_times_do_not_tell(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, [*CHECKPOINTS, "final"])
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    np.testing.assert_array_equal(dvis.open(store).step, [0, 200, 1000] + [np.nan] * 4)
    dvis.ingest_tree(tree, store=store, batches_per_epoch=1200)
    steps = [0, 200, 1000, 1200, 1200, 1400, np.nan]
    np.testing.assert_array_equal(dvis.open(store).step, steps)
    dvis.ingest_tree(tree, store=store)
    np.testing.assert_array_equal(dvis.open(store).step, steps)


def test_raw_codec_holds_the_same_pixels(
    sample_tree: Path, sample_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "raw.zarr"
    dvis.ingest_tree(sample_tree, store=store, codec="raw")
    assert counts(store) == counts(sample_store)
    for run in dvis.runs(store):
        for variant in dvis.variants(store, run):
            raw, jpeg = (dvis.open(path, run, variant) for path in (store, sample_store))
            raw.attrs = jpeg.attrs
            assert raw.load().identical(jpeg.load())


def test_several_processes_give_the_same_store(
    sample_tree: Path, sample_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(sample_tree, store=store, workers=2)
    assert counts(store) == counts(sample_store)
    assert dvis.open(store).load().identical(dvis.open(sample_store).load())
    assert dvis.check_store(store) == []


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


def test_nothing_to_import_is_an_error_that_helps(tmp_path: Path) -> None:
    (tmp_path / "feature_images" / "resnet18").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="resnet18"):
        dvis.ingest_tree(tmp_path / "feature_images" / "resnet19", store=tmp_path / "s.zarr")
    with pytest.raises(FileNotFoundError, match="no folder there holds files like"):
        dvis.ingest_tree(tmp_path, store=tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()
    with pytest.raises(ValueError, match="'jpeg' or 'raw'"):
        dvis.ingest_tree(tmp_path, codec="png")
    with pytest.raises(ValueError, match="workers is 0"):
        dvis.ingest_tree(tmp_path, workers=0)


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
        f"checkpoint_2024-03-25-{h:02d}h00_epoch_{h // 6}_train_{h % 6 * 20}.pth.tar"
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
    assert dvis.open(store, variant="sum-0").step.values.tolist() == [3 * 120 + 40]


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    tree = write_tree(tmp_path, CHECKPOINTS[:1])
    folder = tree / "checkpoints" / CHECKPOINTS[0]
    (folder / "1_0_result.pkl").write_bytes(pickle.dumps(Bomb()))
    (folder / "layer_layer1_channel_8_average.jpg").write_bytes(pickle.dumps(Bomb()))
    (folder / "layer_layer1_channel_8_average.info.json").write_bytes(pickle.dumps(Bomb()))
    dvis.ingest_tree(tree, store=tmp_path / "s.zarr")
    dvis.open(tmp_path / "s.zarr").load()
    assert not (tmp_path / "exploded").exists()
    assert counts(tmp_path / "s.zarr")["checkpoints", "average-0"] == (6, 0, 1)


def test_many_parameter_sets_stay_apart(tmp_path: Path) -> None:
    tree = tmp_path / "feature_images" / "resnet18"
    for channel in range(1100):
        parameters = {"seed": channel, "learning_rate": channel / 7}
        write_unit(
            tree / "checkpoints" / "full",
            channel=channel,
            jpg=b"\xff\xd8",
            info=info_of("layer1", channel, Parameters=parameters),
        )
    store = tmp_path / "s.zarr"
    dvis.ingest_tree(tree, store=store)
    ds = dvis.open(store)
    assert len(ds.attrs["parameters"]) == 1000
    assert ds.seed.values.ravel().tolist() == list(range(1100))
    out = dvis.export_tree(store, tmp_path / "out").folder
    assert read_tree(out) == {
        name: content for name, content in read_tree(tree).items() if name.endswith(".json")
    }


def test_store_is_plain_zarr_with_its_metadata_at_the_root(sample_store: Path) -> None:
    root = zarr.open_group(sample_store, mode="r")
    assert dict(root.attrs)["model"] == "resnet18"
    assert dict(root.attrs)["default_run"] == "checkpoints"
    assert dict(root["checkpoints"].attrs)["default_variant"] == "average-0"
    assert root["checkpoints/features/average-0/image"].chunks == (16, 1, 64, 112, 112, 3)
