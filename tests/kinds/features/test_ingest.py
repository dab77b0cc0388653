"""The importer: what it takes of a tree, and what it reports."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from trees import CHECKPOINTS, decoded, info_of, jpg_of, read_tree, write_tree, write_unit
from whole_stores import counts, unit

import dvis
from dvis.info import list_problems
from dvis.kinds.features import group
from dvis.schema import Status


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


def test_batches_in_an_epoch_tell_steps(sample_store: Path) -> None:
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
    dvis.ingest_tree(sample_tree, store=store, codec="raw", batches_per_epoch=1320)
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
    dvis.ingest_tree(sample_tree, store=store, workers=2, batches_per_epoch=1320)
    assert counts(store) == counts(sample_store)
    assert dvis.open(store).load().identical(dvis.open(sample_store).load())
    assert dvis.check_store(store) == []


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


def test_many_parameter_sets_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_MOST_PARAMETERS", 100)
    tree = tmp_path / "feature_images" / "resnet18"
    for channel in range(120):
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
    assert len(ds.attrs["parameters"]) == 100
    assert ds.seed.values.ravel().tolist() == list(range(120))
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
