"""Attributes of a run: a store that grows and is resumed, any model, and errors that help."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from dying import dies_writing
from planted_latents import plant, reading
from tiny_attributes import attribute_options, stimuli_of
from tiny_models import net, seeded_net, transformer, write_checkpoints

import dvis
from dvis import measure
from dvis.analysis.control import controlled
from dvis.kinds.attributes.parts import attribute_parts
from dvis.kinds.attributes.plan import measure_attributes
from dvis.kinds.attributes.statistics import separations
from dvis.kinds.parts import Asked, Unit
from dvis.models.architectures import load_model
from dvis.models.checkpoints import find_checkpoints
from dvis.models.data.pairs import Contrast, paired_images
from dvis.store.contents import contents
from dvis.store.portable import nested

pytestmark = pytest.mark.usefixtures("one_thread")
NUMBERS = ("score", "null_score", "tells", "tells_se", "null_tells", "uses", "uses_se", "null_uses")
NUMBERS += ("told", "lost", "squared", "response", "pixel_tells", "pixel_tells_se")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attributes")
    report = measure_attributes(attribute_options(folder))
    assert (report.n_measured, report.n_failed) == (3 * 2 * 2, 0)
    return folder


def test_every_number_has_what_it_is_held_against(measured: Path) -> None:
    found = dvis.attributes(measured / "net.zarr").load()
    assert found.layer.values.tolist() == ["bn1", "conv2"]
    assert found.attribute.values.tolist() == ["colour", "size"]
    assert found.first_value.values.tolist() == ["0.0", "0.26"]
    assert found.n_channels.values.tolist() == [8, 16]
    assert bool((found.status == dvis.Status.COMPLETE).all())
    for name in NUMBERS[1:]:
        assert bool(np.isfinite(found[name]).all()), name
    is_there = np.isfinite(found.score).all(["checkpoint", "attribute"])
    assert is_there.sum("channel").values.tolist() == [8, 16]
    for name in ("score", "tells", "uses"):
        control = controlled(found, name)
        assert bool((control.low <= control.high).all()), name
    assert controlled(found, "tells").exchanged == "sides of pairs"
    assert controlled(found, "uses").exchanged == "directions of a layer"
    np.testing.assert_allclose(found.tells, found.told.mean("pair"), atol=1e-6)
    shares = found.lost.sum("pair") / found.squared.sum("pair")
    np.testing.assert_allclose(found.uses, shares, atol=1e-5)
    assert "drawn pairs" in found.attrs["cannot_tell"].lower()
    assert dvis.check_store(measured / "net.zarr") == []


def test_pictures_of_pairs_are_kept_as_they_are_drawn(measured: Path) -> None:
    found = dvis.attributes(measured / "net.zarr").load()
    assert found.picture.shape == (2, 4, 2, 16, 16, 3)
    pairs = paired_images([Contrast.parse("colour")], 12, size=16)
    expected = np.stack([np.asarray(pairs.picture(number)) for number in range(8)])
    kept = found.picture.sel(attribute="colour").values.reshape(expected.shape)
    np.testing.assert_array_equal(kept, expected)
    assert found.fingerprint.sel(attribute="colour").item() == pairs.fingerprint


def test_pairs_are_of_the_size_that_a_model_takes_and_nothing_is_cropped(tmp_path: Path) -> None:
    options = attribute_options(tmp_path, image_size=None, layers=("fc",), attributes=("place",))
    for file in (tmp_path / "run").iterdir():
        kept = torch.load(file, weights_only=True)
        torch.save({**kept, "input": {**kept["input"], "resize": 40}}, file)
    measure_attributes(options)
    found = dvis.attributes(tmp_path / "net.zarr")
    assert nested(found.attrs["transform"])["resize"] is None
    assert nested(found.attrs["images"])["transform"]["resize"] == 40
    assert found.sizes["x"] == 16


def test_killed_and_resumed_equals_an_unbroken_run_also_of_two_workers(
    measured: Path, tmp_path: Path
) -> None:
    expected = dvis.attributes(measured / "net.zarr", name="pairs").load()
    options = attribute_options(tmp_path)
    assert dies_writing(measure_attributes, options, 20)
    resumed = measure_attributes(options)
    assert 0 < resumed.n_measured < 12
    assert measure_attributes(options).n_measured == 0
    measure_attributes(replace(options, name="two", workers=None))  # a process for each core
    for name in ("pairs", "two"):
        found = dvis.attributes(tmp_path / "net.zarr", name=name)
        xr.testing.assert_allclose(found, expected, rtol=1e-5)
    assert dvis.check_store(tmp_path / "net.zarr") == []


def test_layers_attributes_and_checkpoints_are_added(measured: Path, tmp_path: Path) -> None:
    expected = dvis.attributes(measured / "net.zarr", name="pairs").load()
    options = attribute_options(tmp_path, layers=("bn1",), attributes=("size",))
    assert measure_attributes(options).n_measured == 3
    assert measure_attributes(replace(options, attributes=("colour",))).n_measured == 3
    assert measure_attributes(attribute_options(tmp_path)).n_measured == 6
    found = dvis.attributes(tmp_path / "net.zarr").load().sel(attribute=["colour", "size"])
    for name in NUMBERS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6, err_msg=name)
    write_checkpoints(tmp_path / "run", 4)
    assert measure_attributes(attribute_options(tmp_path)).n_measured > 0
    with pytest.raises(ValueError, match=r"settings: n_pairs.*Give another --name"):
        measure_attributes(attribute_options(tmp_path, n_pairs=13))


def test_a_transformer_and_all_of_its_layers(tmp_path: Path) -> None:
    given: dict[str, Any] = {"n_pairs": 10, "n_shuffles": 2, "n_random": 2, "workers": 0}
    given |= {"attributes": ["place", "shape:triangle:star"], "input_size": 16}
    model = transformer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = measure.attributes(model, layers="all", store=tmp_path / "s.zarr", **given)
    assert report.n_failed == 0
    found = dvis.attributes(tmp_path / "s.zarr").load()
    assert "encoder.layers.encoder_layer_1" in found.layer.values.tolist()
    assert found.second_value.values.tolist() == ["0.7", "star"]
    assert found.uses.notnull().all()
    # Behind the last layer nothing is left of what it gave along the direction.
    last = found.sel(layer="heads")
    assert (last.uses > 0.2).all()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not [each for each in model.modules() if each._forward_hooks]


def test_batch_norm_is_measured_on_shapes_or_what_is_given(tmp_path: Path) -> None:
    options = attribute_options(tmp_path, dataset=None, n_images=None, layers=("conv2",))
    measure_attributes(options)
    measure_attributes(replace(options, name="noise", noise=20))
    measure_attributes(replace(options, name="running", batch_norm="running"))
    found = {n: dvis.attributes(tmp_path / "net.zarr", name=n) for n in ("pairs", "noise")}
    assert "shapes/val" in found["pairs"].attrs["images"]
    assert found["pairs"].attrs["n_statistics"] == 256
    assert '"name": "noise"' in found["noise"].attrs["images"]
    assert not np.array_equal(found["pairs"].lost, found["noise"].lost)


def test_latents_have_scores_beside_channels(tmp_path: Path) -> None:
    options = attribute_options(tmp_path, latents="wide", batch_norm="running")
    labels = [file.label for file in find_checkpoints(options.checkpoint_path)]
    eye = np.eye(16, dtype=np.float32)
    both = np.concatenate([eye, -eye])  # a latent for each sign of each channel
    plant(tmp_path / "net.zarr", "conv2", {labels[0]: reading(both)}, room=labels)
    report = measure_attributes(options)
    assert (report.n_measured, report.n_failed) == (12, 0)
    assert any("bn1, colour: there is no autoencoder of it" in note for note in report.notes)
    found = dvis.attributes(tmp_path / "net.zarr", name="pairs-wide").load()
    at = found.isel(checkpoint=0).sel(layer="conv2", attribute="colour")
    # A latent of a channel's positive part tells what that part's mean tells.
    model = load_model(options.model, find_checkpoints(options.checkpoint_path)[0], "cpu")
    stimuli = stimuli_of("colour")
    with torch.no_grad():
        images = stimuli.batch(0, 24, torch.zeros(()))
        maps = model.conv2(torch.relu(model.bn1(model.conv1(images))))
        parts = torch.cat([maps.relu(), (-maps).relu()], 1).mean((2, 3)).double().numpy()
    expected = separations(parts, np.zeros((1, 12), bool))[0]
    np.testing.assert_allclose(at.latent_score, expected, atol=0.02)
    assert at.null_latent_score.notnull().all()
    assert found.latent_score.isel(checkpoint=[1, 2]).isnull().all()
    assert found.latent_score.sel(layer="bn1").isnull().all()
    given = contents(tmp_path / "net.zarr")
    unit = Unit(layer="conv2", channel=20, list_name="wide")
    asked = Asked(store=tmp_path / "net.zarr", contents=given, run="checkpoints", unit=unit)
    (curves,) = attribute_parts(asked)
    of_unit = found.latent_score.sel(layer="conv2", attribute="colour", latent=20)
    np.testing.assert_array_equal(curves.lines[0].values, of_unit)
    measure_attributes(replace(options, latents=None))
    plain = dvis.attributes(tmp_path / "net.zarr", name="pairs").load()
    assert "latent_score" not in plain
    for name in NUMBERS:
        np.testing.assert_allclose(plain[name], found[name], atol=1e-6, err_msg=name)
    assert dvis.check_store(tmp_path / "net.zarr") == []
    with pytest.raises(ValueError, match=r"no autoencoder 'wide' is of these layers.*conv2; name"):
        measure_attributes(replace(options, layers=("bn1",), name="other"))


def test_broken_weights_fail_and_the_others_are_there(tmp_path: Path) -> None:
    broken = seeded_net(0).state_dict()
    broken["conv2.weight"] = broken["conv2.weight"] * np.nan
    states = {"step_0": broken, "step_1": seeded_net(1).state_dict()}
    given: dict[str, Any] = {"layers": ["conv1", "conv2"], "attributes": "size", "n_pairs": 10}
    given |= {"n_shuffles": 2, "n_random": 2, "input_size": 16, "workers": 0}
    report = measure.attributes(net, states, store=tmp_path / "s.zarr", **given)
    assert (report.n_measured, report.n_failed) == (2, 2)
    said = " ".join(report.notes)
    assert "step_0, conv2, size: failed: an activation of conv2 is not finite" in said
    assert "step_0, conv1, size: failed: an output of the network is not finite" in said
    found = dvis.attributes(tmp_path / "s.zarr").load()
    assert found.status.values.ravel().tolist() == [3, 3, 1, 1]
    assert found.tells.isel(checkpoint=0).isnull().all()
    assert found.dvis.attribute_dates().state.shape == (2, 2, 1)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"No attribute 'color'.*Did you mean 'colour'"):
        measure_attributes(attribute_options(tmp_path, attributes=("color",)))
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        measure_attributes(attribute_options(tmp_path, layers=("conv22",)))
    with pytest.raises(ValueError, match=r"layer 'relu' runs 2 times in a pass.*name a layer"):
        measure_attributes(attribute_options(tmp_path, layers=("relu",)))
    with pytest.raises(ValueError, match="no layers given"):
        attribute_options(tmp_path, layers=())
    with pytest.raises(ValueError, match="no attributes given; give some"):
        attribute_options(tmp_path, attributes=())
    with pytest.raises(ValueError, match="attributes are size size; give each once"):
        attribute_options(tmp_path, attributes=("size", "size"))
    for name, least in (("n_pairs", 10), ("n_shuffles", 2), ("n_random", 2)):
        with pytest.raises(ValueError, match=f"{name} is 1; it must be at least {least}"):
            attribute_options(tmp_path, **{name: 1})
    assert not (tmp_path / "net.zarr").exists()
    with pytest.raises(KeyError, match="No option 'n_pair'"):
        measure.attributes(net, layers="conv1", n_pair=3)


def test_faults_are_found(measured: Path, tmp_path: Path) -> None:
    import shutil

    import zarr

    copy = tmp_path / "net.zarr"
    shutil.copytree(measured / "net.zarr", copy)
    group = zarr.open_group(copy, mode="r+")["checkpoints/attributes/pairs"]
    for name, at, value in (
        ("tells", (0, 0, 0), np.nan),
        ("tells", (1, 0, 0), 1.5),
        ("uses_se", (1, 1, 0), -1.0),
        ("score", (2, 0, 1, 3), 7.0),
        ("null_uses", (2, 1, 0, 0), 1e9),
    ):
        values = group[name][:]
        values[at] = value
        group[name][:] = values
    said = [str(fault) for fault in dvis.check_store(copy)]
    for text in (
        "is complete, but tells nothing",
        "tells a share that is not 0 to 1",
        "has a standard error of uses below 0",
        "has a score beyond -1 to 1",
        "has a null of uses whose lower end is above its upper",
    ):
        assert sum(text in each for each in said) == 1, text
