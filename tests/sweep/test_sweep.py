"""Sweeps over checkpoints: resumed, with other options, with damaged checkpoints among them."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image
from recorded_stores import recording_features
from tiny_models import write_checkpoints
from whole_stores import assert_equal_stores, everything

import dvis
from dvis.info import list_problems
from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.measure import FeatureTask
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize
from dvis.kinds.features.read import parameters_of
from dvis.kinds.features.verify import verify_store
from dvis.models.checkpoints import CheckpointError
from dvis.names import parse_checkpoint
from dvis.sweep.record import OTHER_WEIGHTS

MODEL = "tiny_models:net"

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_second_run_makes_only_what_is_missing(options: VisualizeOptions) -> None:
    assert visualize(options).n_measured == 24
    before = everything(options.store)
    assert visualize(options).n_measured == 0
    more = replace(options, channels=(0, 1, 2, 3, 4, 5))
    assert visualize(more).n_measured == 12
    dataset = dvis.open(options.store)
    assert (dataset.status == dvis.Status.COMPLETE).sum() == 36
    image = dataset.image.isel(channel=slice(4)).values
    np.testing.assert_array_equal(image, before["image"][:, :, :4])
    write_checkpoints(options.checkpoint_path[0], 4)[3]
    assert visualize(options).n_measured == 8


def test_store_has_steps_metrics_and_the_layers_whole_width(options: VisualizeOptions) -> None:
    visualize(options)
    dataset = dvis.open(options.store)
    assert dataset.step.values.tolist() == [0, 10, 20]
    assert dataset.val_loss.values.tolist() == [2.0, 1.5, 1.0]
    assert dataset.n_channels.values.tolist() == [8, 16]
    assert dvis.check_store(options.store) == []


def test_units_made_with_other_options_are_kept_and_told(options: VisualizeOptions) -> None:
    visualize(options)
    before = everything(options.store)
    other = replace(options, settings=replace(options.settings, seed=1))
    assert visualize(other).kept["of other options"] == 24
    np.testing.assert_array_equal(everything(options.store)["image"], before["image"])
    assert visualize(replace(other, overwrite=True)).n_measured == 24
    assert (everything(options.store)["image"] != before["image"]).any()


def test_units_of_other_weights_under_an_old_label_are_told(options: VisualizeOptions) -> None:
    visualize(options)
    before = everything(options.store)["image"][:, :, :4]
    paths = write_checkpoints(options.checkpoint_path[0], 3)
    assert visualize(options).n_kept == 0  # the same weights, saved again
    paths[1].write_bytes(paths[2].read_bytes())
    more = replace(options, channels=(0, 1, 2, 3, 4))
    assert visualize(more).kept[OTHER_WEIGHTS] == 8
    np.testing.assert_array_equal(everything(options.store)["image"][:, :, :4], before)
    assert visualize(replace(more, overwrite=True)).n_measured == 10 - 2  # channel 4 is of them
    dataset = dvis.open(options.store)
    np.testing.assert_array_equal(dataset.image[1], dataset.image[2])
    assert visualize(more).n_kept == 0


def test_images_of_several_origins_start_each_from_its_own_values(
    options: VisualizeOptions,
) -> None:
    one, other = replace(options, channels=(0, 1)), replace(options, channels=(2, 3))
    pixels = feature_settings("original", {"max_iterations": 3, "min_iterations": 2})
    visualize(one)
    visualize(replace(other, settings=pixels))
    inputs = {}
    with recording_features(
        options.store, "net", "checkpoints", image_size=16, number_of_images=1, parameters={}
    ) as recorder:
        label = dvis.open(options.store).checkpoint.values[0]
        layer = FeatureTask("conv1", "average", (0, 1, 2, 3))
        names = [parse_checkpoint(label)]
        recorder.prepare(names, {}, {"n_channels": {"conv1": 8}}, [layer], {})
        inputs = recorder.start_from(label, layer)
    assert inputs is not None
    dataset = dvis.open(options.store)
    for channel in layer.channels:
        expected = dataset.dvis.model_input(label, "conv1", channel)
        np.testing.assert_allclose(inputs[0, channel], expected, rtol=1e-6)


def test_weights_are_loaded_once_per_checkpoint_and_worker(
    options: VisualizeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "loads"
    monkeypatch.setenv("DVIS_TEST_LOADS", str(log))
    counted = replace(
        options,
        model="tiny_models:counted_net",
        workers=None,
        batch_size=1,
        cross_check=False,  # which goes over the checkpoints once more
    )
    with_one = replace(counted, workers=0, store=tmp_path / "one.zarr")
    assert visualize(with_one).n_measured == 24
    assert len(log.read_text().split()) == 1 + 3  # the first is that of who submits
    log.unlink()
    assert visualize(counted).n_measured == 24
    loads = log.read_text().split()
    assert len(set(loads)) >= 2
    assert max(loads.count(worker) for worker in set(loads)) <= 3


def test_what_looks_again_at_images_is_done_by_the_same_workers(
    options: VisualizeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "loads"
    monkeypatch.setenv("DVIS_TEST_LOADS", str(log))
    visualize(replace(options, model="tiny_models:counted_net", workers=None, number_of_seeds=2))
    workers = set(log.read_text().split()) - {str(os.getpid())}
    assert 1 <= len(workers) <= len(os.sched_getaffinity(0))


def test_images_can_start_from_the_checkpoint_before(options: VisualizeOptions) -> None:
    settings = replace(options.settings, max_iterations=1, learning_rate=1e-9, min_iterations=0)
    visualize(replace(options, init_from="previous", settings=settings))
    image = dvis.open(options.store).image.isel(channel=slice(4)).values.astype(int)
    assert abs(image[1] - image[0]).max() <= 1
    assert abs(image[2] - image[0]).max() <= 2


def test_images_can_start_from_folders_with_a_fallback(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    visualize(options)
    dvis.export_tree(options.store, tmp_path / "tree")
    folder = tmp_path / "tree" / "net" / "checkpoints"
    settings = replace(options.settings, max_iterations=1, learning_rate=1e-9, min_iterations=0)
    again = replace(
        options,
        store=tmp_path / "again.zarr",
        settings=settings,
        init_images_dir=(tmp_path / "nothing", folder),
    )
    visualize(again)
    first = dvis.open(options.store).image.isel(channel=slice(4)).values.astype(int)
    second = dvis.open(again.store).image.isel(channel=slice(4)).values.astype(int)
    assert np.median(abs(first - second)) <= 4  # what a jpg loses


def test_maco_images_have_the_spectrum_of_the_users_images(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        noise = rng.integers(0, 256, (20, 24, 3), np.uint8)  # white: as much at each frequency
        Image.fromarray(noise).save(flat / f"{i}.png")
    settings = feature_settings("default", {"max_iterations": 2, "param": "maco"})
    natural = replace(options, settings=settings)
    visualize(natural)
    steep = dvis.open(options.store).image.values.astype(float)
    assert visualize(replace(natural, maco_images=flat)).kept["of other options"] == 24
    visualize(replace(natural, maco_images=flat, overwrite=True))
    white = dvis.open(options.store).image.values.astype(float)

    def roughness(images: np.ndarray) -> float:
        return float(np.abs(np.diff(images, axis=3)).mean())

    assert roughness(white) > 1.5 * roughness(steep)
    with pytest.raises(FileNotFoundError, match="no pictures below"):
        visualize(replace(natural, maco_images=tmp_path / "run"))
    with pytest.raises(ValueError, match="maco_images is for param maco"):
        replace(options, maco_images=flat)


def test_half_precision_reaches_about_the_same(options: VisualizeOptions, tmp_path: Path) -> None:
    visualize(options)
    half = replace(options, precision="bfloat16", store=tmp_path / "half.zarr")
    visualize(half)
    stores = [dvis.open(store) for store in (options.store, half.store)]
    assert [parameters_of(store)[0]["precision"] for store in stores] == [
        "float32",
        "bfloat16",
    ]
    np.testing.assert_allclose(*(s.activation.values for s in stores), rtol=0.1, atol=0.05)
    report = verify_store(half.store, MODEL, checkpoint_path=half.checkpoint_path[0])
    assert report.faults == []


def test_where_images_begin_is_an_option_like_others(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    visualize(options)
    chained = replace(options, init_from="previous")
    assert visualize(chained).kept["of other options"] == 24
    assert visualize(replace(chained, overwrite=True)).n_measured == 24
    assert parameters_of(dvis.open(options.store))[-1]["init_from"] == "previous"
    empty = tmp_path / "empty"
    empty.mkdir()
    report = visualize(replace(options, init_images_dir=(empty,), store=tmp_path / "s.zarr"))
    assert "24 images began at random" in report.notes[0]


def test_several_images_and_neurons_are_variants(options: VisualizeOptions) -> None:
    visualize(replace(options, channels=(0,), number_of_images=2, neurons="3,4;0,1"))
    assert dvis.variants(options.store) == [
        "neuron_0_1-0", "neuron_0_1-1", "neuron_3_4-0", "neuron_3_4-1",
    ]  # fmt: skip


def test_damaged_checkpoints_fail_alone(options: VisualizeOptions, tmp_path: Path) -> None:
    paths = sorted((tmp_path / "run").iterdir())
    paths[1].write_bytes(paths[1].read_bytes()[:2000])
    report = visualize(options)
    assert (report.n_measured, report.n_failed) == (16, 8)
    dataset = dvis.open(options.store)
    failed = (dataset.status == dvis.Status.FAILED).isel(channel=slice(4))
    assert failed.all(["layer", "channel"]).values.tolist() == [False, True, False]
    assert any(paths[1].name in problem for problem in list_problems(options.store))
    write_checkpoints(tmp_path / "run", 3)
    assert visualize(options).n_measured == 8
    assert not list_problems(options.store)


def test_a_task_that_fails_leaves_complete_units_alone(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    visualize(options)
    before = everything(options.store)
    path = sorted((tmp_path / "run").iterdir())[1]
    path.write_bytes(path.read_bytes()[:2000])
    other = replace(options, settings=replace(options.settings, seed=1), overwrite=True)
    assert visualize(other).n_failed == 8
    after = everything(options.store)
    np.testing.assert_array_equal(after["status"], before["status"])
    np.testing.assert_array_equal(after["image"][1], before["image"][1])


def test_a_checkpoint_that_would_run_code_is_refused(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(marker),)

    path = tmp_path / "evil.pth.tar"
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError):
        visualize(replace(options, checkpoint_path=(path,)))
    assert not marker.exists()


def test_a_checkpoint_of_another_architecture_is_refused(
    options: VisualizeOptions, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save(torch.nn.Conv2d(3, 4, 1).state_dict(), path)
    with pytest.raises(CheckpointError, match="bn1"):
        visualize(replace(options, checkpoint_path=(path,)))


def test_no_such_device(options: VisualizeOptions) -> None:
    with pytest.raises(ValueError, match="No device 'cuda:7' here"):
        visualize(replace(options, device="cuda:7"))


def test_processes_give_what_one_process_gives(options: VisualizeOptions, tmp_path: Path) -> None:
    visualize(options)
    parallel = replace(options, store=tmp_path / "parallel.zarr", workers=None)
    visualize(parallel)
    assert_equal_stores(options.store, parallel.store)


def test_verify_finds_the_unit_whose_image_is_another(options: VisualizeOptions) -> None:
    visualize(options)
    path = options.checkpoint_path
    report = verify_store(options.store, MODEL, checkpoint_path=path)
    assert (report.n_verified, report.n_unknown, report.faults) == (24, 0, [])
    group = FeatureGroup.existing(options.store, "checkpoints", "average-0")
    group.array("image")[1, 0, 2] = 0
    (fault,) = verify_store(options.store, MODEL, checkpoint_path=path).faults
    assert "train_10" in fault
    assert "channel 2" in fault


def test_model_input_gives_the_activation(options: VisualizeOptions) -> None:
    visualize(options)
    dataset = dvis.open(options.store)
    label = str(dataset.checkpoint.values[0])
    image = dataset.dvis.model_input(label, "conv1", 3)
    assert image.dims == ("rgb", "y", "x")
    conv = tiny_models.seeded_net(0).conv1
    with torch.no_grad():
        reached = conv(torch.from_numpy(image.values)[None])[0, 3].mean().item()
    stored = dataset.activation.sel(checkpoint=label, layer="conv1", channel=3).item()
    assert reached == pytest.approx(stored, rel=1e-4)
