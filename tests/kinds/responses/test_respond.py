"""Responses over checkpoints: into the store, resumed, refused, and read again."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from PIL import Image
from tiny_models import transformer, write_checkpoints
from tiny_responses import LAYERS, MODEL, loaded, of_features, options_of_shapes, store_of

import dvis
from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize
from dvis.kinds.responses.options import RespondOptions
from dvis.kinds.responses.plan import respond
from dvis.kinds.responses.read import response_names, responses
from dvis.models.architectures import load_model
from dvis.models.checkpoints import find_checkpoints
from dvis.models.data import InputTransform, load_images

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(run_of_features: Path, tmp_path: Path) -> RespondOptions:
    return options_of_shapes(run_of_features, tmp_path / "own")


def test_responses_of_every_checkpoint_are_in_the_store(options: RespondOptions) -> None:
    report = respond(options)
    assert (report.n_measured, report.n_failed) == (3 * (8 + 16 + 4), 0)
    dataset = loaded(options)
    assert dataset.response.dims == ("checkpoint", "layer", "channel", "image")
    assert dataset.response.shape == (3, 3, 16, 10)
    assert dataset.layer.values.tolist() == list(LAYERS)
    assert dataset.step.values.tolist() == [0, 10, 20]
    assert dataset.val_loss.values.tolist() == [2.0, 1.5, 1.0]
    is_there = dataset.channel < dataset.n_channels
    assert (dataset.response.notnull().all("image") == is_there).all()
    assert ((dataset.status == dvis.Status.COMPLETE) == is_there).all()
    file = find_checkpoints(options.checkpoint_path)[1]
    model = load_model(MODEL, file)
    transform = InputTransform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    images = load_images("shapes", split="val", size=16, n_samples=10)
    images = replace(images, transform=transform)
    with torch.no_grad():
        expected = model.conv1(torch.stack([images[i][0] for i in range(10)])).mean((2, 3))
    stored = dataset.response.sel(checkpoint=file.label, layer="conv1", channel=slice(0, 7))
    np.testing.assert_allclose(stored.T, expected, rtol=1e-6, atol=1e-6)
    assert dataset.image.values.tolist() == list(images.sample_ids)
    classes = [images.classes[label] for label in images.labels]
    assert dataset.image_class.values.tolist() == classes


def test_reading_is_lazy_and_needs_no_torch(options: RespondOptions) -> None:
    respond(options)
    program = (
        "import sys; from dvis.kinds.responses.read import responses; "
        f"ds = responses({str(options.store)!r}, chunks={{}}); "
        "assert ds.response.chunks; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    lazy, dask = responses(store_of(options)), responses(store_of(options), chunks={})
    assert not lazy.response.variable._in_memory
    xr.testing.assert_equal(lazy.load(), dask.load())


def test_a_second_run_measures_only_what_is_missing(options: RespondOptions) -> None:
    respond(options)
    before = loaded(options)
    assert respond(options).n_measured == 0
    write_checkpoints(options.checkpoint_path[0], 4)[3]
    report = respond(replace(options, layers=("conv1", "conv2", "fc", "relu")))
    assert report.n_kept == 2 * 28  # the checkpoints in between have moved
    assert report.n_measured == 4 * 16 + 28
    after = loaded(options)
    assert after.layer.values.tolist() == ["conv1", "relu", "conv2", "fc"]  # as they run
    old = after.sel(checkpoint=before.checkpoint, layer=before.layer)
    np.testing.assert_array_equal(old.response, before.response)
    assert respond(replace(options, overwrite=True)).n_measured == 2 * 28
    assert respond(options).n_kept == 0


def test_other_images_under_an_old_name_are_refused(options: RespondOptions) -> None:
    respond(options)
    before = loaded(options)
    for other in (
        replace(options, seed=1),
        replace(options, n_images=9),
        replace(options, image_size=20),
    ):
        with pytest.raises(ValueError, match=r"settings: images' .*Give another --name"):
            respond(other)
    with pytest.raises(ValueError, match="settings: aggregation"):
        respond(replace(options, aggregation="max", name="shapes-val"))
    xr.testing.assert_identical(loaded(options), before)
    respond(replace(options, seed=1, name="others"))
    assert response_names(store_of(options)) == ["others", "shapes-val"]
    respond(replace(options, n_images=9, overwrite=True))
    assert loaded(options, "shapes-val").sizes["image"] == 9
    with pytest.raises(ValueError, match="has responses by several names"):
        responses(store_of(options))
    with pytest.raises(KeyError, match="Did you mean 'others'"):
        responses(store_of(options), name="other")


def test_classes_files_and_noise_have_names_of_their_own(
    options: RespondOptions, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for name, side in (("cat", 40), ("dog", 12)):
        pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    respond(replace(options, by_class=True))
    none = {"dataset": None, "n_images": None}
    respond(replace(options, **none, images=(tmp_path / "photos",)))
    respond(replace(options, **none, noise=3, aggregation="max"))
    by_class = loaded(options, "shapes-val-by-class")
    assert by_class.response.dims == ("checkpoint", "layer", "channel", "class")
    assert by_class["class"].values.tolist()[:2] == ["circle", "ring"]
    photos = loaded(options, "photos")
    assert photos.image.values.tolist() == ["cat.png", "dog.png"]
    assert json.loads(photos.attrs["images"])["transform"]["size"] == 16
    noise = loaded(options, "noise-3-seed-0-max")
    assert (noise.attrs["aggregation"], noise.sizes["image"]) == ("max", 3)


def test_feature_images_of_the_last_checkpoint_drive_their_channels(
    options: RespondOptions,
) -> None:
    report = respond(of_features(options, "last"))
    assert report.n_measured == 3 * 2 * 4
    features = dvis.open(store_of(options)).load()
    last = str(features.checkpoint.values[-1])
    dataset = loaded(options, f"features-{last}")
    assert dataset.response.dims == ("checkpoint", "layer", "channel")
    assert dataset.image_checkpoint.item() == last
    of_last = features.sel(checkpoint=last)
    reached = dataset.response.sel(checkpoint=last)
    is_complete = of_last.status == dvis.Status.COMPLETE
    np.testing.assert_allclose(
        reached.where(is_complete), of_last.activation.where(is_complete), rtol=0.01
    )
    assert dataset.response.notnull().sum("checkpoint").where(is_complete, 0).sum() == 24
    model = load_model(MODEL, find_checkpoints(options.checkpoint_path)[0])
    given = features.dvis.model_input(last, "conv2", 5)
    outputs: list[torch.Tensor] = []
    model.conv2.register_forward_hook(lambda _m, _i, output: outputs.append(output.clone()))
    with torch.no_grad():
        model(torch.from_numpy(given.values)[None])
    first = dataset.response.sel(layer="conv2", channel=5).isel(checkpoint=0)
    assert float(first) == pytest.approx(float(outputs[0][0, 5].mean()), rel=1e-5, abs=1e-6)


def test_cross_responses_hold_activations_on_their_diagonal(options: RespondOptions) -> None:
    respond(of_features(options, "all", channels=(1, 5), batch_size=4))
    features = dvis.open(store_of(options)).load()
    cross = loaded(options, "features-all")
    assert cross.response.dims == ("checkpoint", "image_checkpoint", "layer", "channel")
    assert cross.image_checkpoint.values.tolist() == features.checkpoint.values.tolist()
    labels = xr.DataArray(features.checkpoint.values, dims="checkpoint")
    diagonal = cross.response.sel(checkpoint=labels, image_checkpoint=labels)
    units = {"layer": ["conv1", "conv2"], "channel": [1, 5]}
    np.testing.assert_allclose(diagonal.sel(units), features.activation.sel(units), rtol=0.01)
    assert int(cross.response.notnull().sum()) == 3 * 3 * 2 * 2
    last = str(features.checkpoint.values[-1])
    respond(of_features(options, last))
    column = loaded(options, f"features-{last}").response.sel(units)
    np.testing.assert_allclose(
        cross.response.sel(units).sel(image_checkpoint=last), column, rtol=1e-5, atol=1e-6
    )
    assert respond(of_features(options, "all")).n_measured == 3 * 3 * 2 * 2


def test_feature_images_of_another_run(options: RespondOptions) -> None:
    label = "full"
    folder = options.checkpoint_path[0].parent / "pretrained"
    folder.mkdir()
    shutil.copy(str(find_checkpoints(options.checkpoint_path)[2].path), folder / label)
    settings = feature_settings("default", {"max_iterations": 4, "min_iterations": 2})
    visualize(
        VisualizeOptions(
            model=MODEL,
            checkpoint_path=(folder / label,),
            layers=("conv1",),
            channels=(3,),
            store=options.store,
            run="pretrained",
            workers=0,
            settings=settings,
        )
    )
    assert respond(of_features(options, "pretrained/full")).n_measured == 3
    dataset = loaded(options, "features-pretrained-full")
    expected = dvis.open(store_of(options), run="pretrained").activation.sel(channel=3)
    found = dataset.response.sel(layer="conv1", channel=3).isel(checkpoint=-1)
    np.testing.assert_allclose(found, expected.squeeze(), rtol=0.01)
    with pytest.raises(KeyError, match="Did you mean 'pretrained'"):
        respond(of_features(options, "pretraine/full"))


def test_feature_images_that_were_made_again_are_refused(options: RespondOptions) -> None:
    which = of_features(options, "last")
    respond(which)
    group = zarr.open_group(store_of(options), path="checkpoints/features/average-0", mode="r+")
    group["seed"][2, 0, 1] += 1
    with pytest.raises(ValueError, match=r"1 feature images of .* were made again"):
        respond(which)
    assert respond(replace(which, overwrite=True)).n_measured == 3
    assert respond(which).n_measured == 0


def test_jpgs_whose_values_are_not_known_are_refused(
    options: RespondOptions, sample_store: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(sample_store, tmp_path / "resnet18.zarr"))
    given = of_features(options, "last", model="resnet18", store=store)
    with pytest.raises(ValueError, match=r"jpgs whose values are not known. Make some"):
        respond(given)


def test_wrong_names_are_told_with_the_nearest(options: RespondOptions) -> None:
    with pytest.raises(KeyError, match="Did you mean 'conv1'"):
        respond(replace(options, layers=("conv11",)))
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        respond(of_features(options, "last", layers=("conv22",)))
    label = str(dvis.open(store_of(options)).checkpoint.values[0])
    with pytest.raises(KeyError, match=r"No checkpoint .* Did you mean"):
        respond(of_features(options, label[:-3]))
    with pytest.raises(ValueError, match="no images given; give one of dataset"):
        replace(options, dataset=None, n_images=None)
    with pytest.raises(ValueError, match="dataset and noise given; give one of"):
        replace(options, noise=3)
    with pytest.raises(ValueError, match="channels goes with feature_images"):
        replace(options, channels=(1,))


def test_images_of_a_size_that_the_model_does_not_take_are_refused(
    options: RespondOptions, tmp_path: Path
) -> None:
    torch.save(transformer().state_dict(), tmp_path / "last.pth")
    given = replace(
        options,
        model="tiny_models:transformer",
        checkpoint_path=(tmp_path / "last.pth",),
        layers=("conv_proj",),
        store=tmp_path / "transformer.zarr",
        image_size=16,
    )
    with pytest.raises(ValueError, match=r"takes no images of 3 channels and 24 x 24 px.*16"):
        respond(replace(given, image_size=24))
    assert respond(given).n_measured == 12


def test_a_damaged_checkpoint_fails_alone_and_is_tried_again(options: RespondOptions) -> None:
    path = find_checkpoints(options.checkpoint_path)[1].path
    assert path is not None
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    report = respond(options)
    assert (report.n_measured, report.n_failed) == (2 * 28, 28)
    dataset = loaded(options)
    is_there = dataset.channel < dataset.n_channels
    failed = (dataset.status == dvis.Status.FAILED).isel(checkpoint=1)
    assert (failed == is_there).all()
    path.write_bytes(whole)
    assert respond(options).n_measured == 28
    assert (loaded(options).status != dvis.Status.FAILED).all()


def test_processes_give_what_one_process_gives(options: RespondOptions) -> None:
    respond(options)
    respond(replace(options, name="parallel", workers=None))
    one, other = loaded(options, "shapes-val"), loaded(options, "parallel")
    xr.testing.assert_equal(one, other)


def test_what_a_check_marks_is_measured_again(options: RespondOptions) -> None:
    cross = of_features(options, "all", name="cross")
    of_classes = replace(options, by_class=True, name="classes")
    for each in (options, cross, of_classes):
        respond(each)
    store = store_of(options)
    assert dvis.check_store(store) == []
    before = {name: loaded(options, name) for name in response_names(store)}
    for name in before:
        group = zarr.open_group(store, path=f"checkpoints/responses/{name}", mode="r+")
        group["response"][(1, slice(None), 1, 1) if name == "cross" else (1, slice(None), 1)] = (
            np.inf
        )
    found = dvis.check_store(store, fix=True)
    assert found
    assert dvis.check_store(store) == []
    assert sum(respond(each).n_measured for each in (options, cross, of_classes)) == len(found)
    for name, dataset in before.items():
        xr.testing.assert_equal(loaded(options, name), dataset)
