"""Responses of a model's units: what a plain forward pass with hooks gives, at one pass."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import seeded_net, transformer
from torch import Tensor, nn

from dvis.kinds.responses.measure import FeatureImageResponses, FeatureImagesTask, ImageResponses
from dvis.models.data import InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages, images_of_files, noise_images

TRANSFORM = InputTransform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)

pytestmark = pytest.mark.usefixtures("one_thread")


def shapes(n_images: int = 10) -> FixedImages:
    images = load_images("shapes", split="val", size=16, n_samples=n_images)
    return FixedImages.of(images, TRANSFORM)


def plain_outputs(model: nn.Module, layers: list[str], inputs: Tensor) -> dict[str, Tensor]:
    """What layers give in a plain pass, by hooks of our own; copied, for ReLUs are in place."""
    outputs: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    handles = [
        modules[layer].register_forward_hook(
            lambda _module, _inputs, output, layer=layer: outputs.update({layer: output.clone()})
        )
        for layer in layers
    ]
    with torch.no_grad():
        model(inputs)
    for handle in handles:
        handle.remove()
    return outputs


def stacked(images: FixedImages) -> Tensor:
    """The images as the set itself prepares them."""
    return torch.stack([images.images[i][0] for i in range(len(images))])


def test_images_are_what_the_set_gives_to_the_last_bit() -> None:
    images = shapes()
    batch = images.batch(2, 7, torch.zeros(1))
    assert torch.equal(batch, stacked(images)[2:7])


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_responses_are_those_of_a_plain_pass_with_hooks(aggregation: str) -> None:
    model, images = seeded_net(), shapes()
    layers = ["conv1", "conv2", "bn1", "relu", "fc"]
    measurement = ImageResponses(images=images, aggregation=aggregation, batch_size=4)
    given = measurement.outputs(model, layers)
    widths = {layer: output.n_channels for layer, output in given.items()}
    assert widths == {"conv1": 8, "conv2": 16, "bn1": 8, "relu": 16, "fc": 4}
    result = measurement.measure(model, measurement.task(given))
    outputs = plain_outputs(model, layers, stacked(images))
    for layer in layers:
        maps = outputs[layer].flatten(2) if layer != "fc" else outputs[layer][..., None]
        expected = maps.mean(2) if aggregation == "mean" else maps.amax(2)
        of_layer = result.response.values[result.layer.values == layer]
        np.testing.assert_allclose(of_layer.T, expected, rtol=1e-6, atol=1e-6)


def test_responses_of_tokens_are_means_over_them() -> None:
    model, images = transformer(), shapes()
    layers = ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1.mlp", "heads.head"]
    measurement = ImageResponses(images=images, batch_size=3)
    result = measurement.measure(model, measurement.task(measurement.outputs(model, layers)))
    outputs = plain_outputs(model, layers, stacked(images))
    for layer in layers:
        expected = outputs[layer].mean(1) if outputs[layer].ndim == 3 else outputs[layer]
        of_layer = result.response.values[result.layer.values == layer]
        np.testing.assert_allclose(of_layer.T, expected, rtol=1e-6, atol=1e-6)


def test_one_pass_serves_all_layers_and_ends_after_the_last() -> None:
    model, images = seeded_net(), shapes(8)
    calls: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    measurement = ImageResponses(images=images, batch_size=4)
    task = measurement.task(measurement.outputs(model, ["conv1", "conv2"]))
    measurement.measure(model, task)  # which also sees, once, that images of a batch do not mix
    calls.clear()
    measurement.measure(model, task)
    assert calls.count("conv1") == calls.count("conv2") == 1 + 2  # one to see the shapes
    assert calls.count("fc") == 1


def test_the_model_is_left_as_it_was() -> None:
    model, images = seeded_net(), shapes()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measurement = ImageResponses(images=images)
    measurement.measure(model, measurement.task(measurement.outputs(model, ["conv1"])))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_class_has_the_mean_of_its_images() -> None:
    model, images = seeded_net(), shapes(30)
    each = ImageResponses(images=images, batch_size=7)
    means = replace(each, by_class=True)
    task = each.task(each.outputs(model, ["conv1", "fc"]))
    of_images = each.measure(model, task).response.values
    of_classes = means.measure(model, task).response
    assert of_classes.dims == ("unit", "class")
    labels = images.images.labels
    for label in range(len(images.images.classes)):
        expected = of_images[:, labels == label].mean(1) if (labels == label).any() else np.nan
        np.testing.assert_allclose(of_classes[:, label], expected, rtol=1e-6, atol=1e-6)


def test_part_of_the_units_responds_as_all_of_them_do() -> None:
    model, images = seeded_net(), shapes()
    measurement = ImageResponses(images=images)
    task = measurement.task(measurement.outputs(model, ["conv1", "conv2", "fc"]))
    whole = measurement.measure(model, task).response.values
    part = measurement.measure(model, task.with_parts((1, 9, 10, 27)))
    assert part.layer.values.tolist() == ["conv1", "conv2", "conv2", "fc"]
    assert part.channel.values.tolist() == [1, 1, 2, 3]
    np.testing.assert_array_equal(part.response, whole[[1, 9, 10, 27]])


@pytest.mark.parametrize("aggregation", ["average", "sum", "center", "neuron_2_5", "max"])
def test_each_feature_image_drives_its_own_channel(aggregation: str) -> None:
    model = seeded_net()
    inputs = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    units = (("a", 3), ("a", 0), ("b", 3), ("b", 7))
    task = FeatureImagesTask("conv1", units, (0, 1, 2, 3))
    measurement = FeatureImageResponses(aggregation=aggregation)
    result = measurement.measure(model, task, inputs.numpy())
    maps = plain_outputs(model, ["conv1"], inputs)["conv1"][range(4), [3, 0, 3, 7]]
    expected = {
        "average": maps.mean((1, 2)),
        "sum": maps.sum((1, 2)),
        "center": maps[:, 8, 8],
        "neuron_2_5": maps[:, 2, 5],
        "max": maps.amax((1, 2)),
    }[aggregation]
    np.testing.assert_allclose(result.response, expected, rtol=1e-6, atol=1e-6)
    assert result.image_checkpoint.values.tolist() == ["a", "a", "b", "b"]


def test_units_whose_responses_are_not_finite_have_an_error() -> None:
    model, images = seeded_net(), shapes(4)
    with torch.no_grad():
        model.conv1.weight[2] = torch.nan
    measurement = ImageResponses(images=images)
    result = measurement.measure(model, measurement.task(measurement.outputs(model, ["conv1"])))
    assert np.flatnonzero(result.error.values != "").tolist() == [2]


def test_a_wrong_layer_is_told_with_the_nearest() -> None:
    measurement = ImageResponses(images=shapes(2))
    with pytest.raises(KeyError, match="Did you mean 'conv1'"):
        measurement.outputs(seeded_net(), ["conv11"])


def test_files_are_named_by_their_paths_and_brought_to_the_models_size(tmp_path: Path) -> None:
    (tmp_path / "set" / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in {"b.png": (20, 30), "deep/a.png": (16, 16), "c.png": (8, 8)}.items():
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / name)
    (tmp_path / "set" / "notes.txt").write_text("no image")
    images = images_of_files([tmp_path / "set"], TRANSFORM)
    assert images.sample_ids == ("b.png", "c.png", "deep/a.png")
    assert FixedImages.of(images, TRANSFORM).batch(0, 3, torch.zeros(1)).shape == (3, 3, 16, 16)
    one = images_of_files([tmp_path / "set" / "b.png"], TRANSFORM)
    assert one.fingerprint != images.fingerprint
    with pytest.raises(FileNotFoundError, match=r"there is nothing\. Give image files"):
        images_of_files([tmp_path / "none"], TRANSFORM)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="a folder without"):
        images_of_files([tmp_path / "empty"], TRANSFORM)


def test_noise_is_the_same_for_the_same_seed_alone() -> None:
    few, more, other = (
        FixedImages.of(noise_images(n, seed, TRANSFORM), TRANSFORM)
        for n, seed in ((2, 0), (5, 0), (2, 1))
    )
    like = torch.zeros(1)
    assert torch.equal(few.batch(0, 2, like), more.batch(0, 2, like))
    assert not torch.equal(few.batch(0, 2, like), other.batch(0, 2, like))
    assert len({few.fingerprint, more.fingerprint, other.fingerprint}) == 3
