"""The private copy of a model: the same values and gradients for less work, in any architecture."""

from typing import Any

import pytest
import torch
import torchvision
from slowly import slowly
from torch import Tensor, nn

from dvis.kinds.features.measure.objectives import Objective, ObjectiveBatch, channel, neuron
from dvis.kinds.features.measure.prepared import Prepared, prepare
from dvis.kinds.features.measure.rewrites import BlockedConvolution
from dvis.models.hooks import stopping, trace_layers

SIZE = 96


def random_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {"init_weights": False} if name == "googlenet" else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.double().eval()


def values_and_gradient(evaluate: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_()
    values = evaluate(images)
    (gradient,) = torch.autograd.grad(values.sum(), [images])
    return values.detach(), gradient


def compare(model: nn.Module, objectives: list[Objective], images: Tensor) -> Prepared:
    """See that the copy gives what the model gives, also when images leave the batch."""
    outputs = trace_layers(model, images[:1])
    (layer,) = objectives[0].layers
    dims = {layer: outputs[layer].channel_dim}
    with stopping(model, {layer: outputs[layer].n_calls}) as forward:
        whole = ObjectiveBatch(objectives, dims, images.device)
        expected = values_and_gradient(lambda seen: whole(forward(seen)), images)
    ready = prepare(model, outputs, objectives, images[:1])
    for i, given in enumerate(values_and_gradient(ready, images)):
        torch.testing.assert_close(given, expected[i], rtol=1e-7, atol=1e-12)
    kept = [2, 0]
    ready.keep(kept)
    for i, given in enumerate(values_and_gradient(ready, images[kept])):
        torch.testing.assert_close(given, expected[i][kept], rtol=1e-7, atol=1e-12)
    return ready


@pytest.mark.parametrize(
    ("name", "layer", "n_narrowed"),
    [
        ("resnet18", "conv1", 1),
        ("resnet18", "bn1", 0),  # the stem works on blocks
        ("resnet18", "layer1.0.bn2", 1),
        ("resnet18", "maxpool", 0),
        slowly("resnet18", "layer2", 1),
        ("resnet18", "layer2.0", 2),  # the block's and the shortcut's
        slowly("resnet50", "layer1", 1),
        slowly("resnet50", "layer3.0.conv2", 1),
        slowly("vgg11_bn", "features.8", 1),
        ("mobilenet_v3_small", "features.4", 1),
        ("mobilenet_v3_small", "features.4.block.2", 1),  # the scale of a channel
        ("shufflenet_v2_x0_5", "stage2", 0),  # channels are shuffled
        ("googlenet", "inception3a", 0),  # branches are joined
        slowly("densenet121", "features.denseblock1", 0),
        ("convnext_tiny", "features.1", 0),  # channels are last and normalised
        ("efficientnet_b0", "features.2", 1),
    ],
)
def test_a_copy_gives_the_same_values_and_gradients(name: str, layer: str, n_narrowed: int) -> None:
    torch.manual_seed(1)
    images = torch.randn(3, 3, SIZE, SIZE, dtype=torch.float64)
    ready = compare(random_model(name), [channel(layer, index) for index in (3, 11, 3)], images)
    assert len(ready.own_channels) == n_narrowed


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("kernel", [3, 4, 7])
@pytest.mark.parametrize("size", [31, 32])
def test_a_stem_over_blocks_gives_the_same(stride: int, kernel: int, size: int) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(3, 8, kernel, stride, padding=kernel // 2), nn.Tanh(), nn.Conv2d(8, 4, 3)
    )
    images = torch.randn(3, 3, size, size + 1, dtype=torch.float64)
    ready = compare(model.double().eval(), [channel("2", index) for index in (0, 3, 1)], images)
    assert isinstance(ready.model[0], BlockedConvolution)


@pytest.mark.parametrize("position", [(0, 0), (9, 10), *map(slowly, [(19, 19), (3, 17)])])
def test_a_neuron_sees_its_receptive_field_alone(position: tuple[int, int]) -> None:
    torch.manual_seed(3)
    images = torch.randn(3, 3, 160, 160, dtype=torch.float64)
    objectives = [neuron("layer2", index, *position) for index in (5, 7, 5)]
    ready = compare(random_model("resnet18"), objectives, images)
    assert ready.crop is not None
    n_rows, n_columns = ready.crop(images).shape[2:]
    # The field has 99 pixels, and begins at a multiple of 8; the stem sees 8 pixels for 7.
    assert n_rows <= 99 + 7 + 1
    assert n_columns <= 99 + 7 + 1


def test_a_neuron_of_a_model_that_looks_everywhere_sees_the_whole_image() -> None:
    torch.manual_seed(4)
    model = random_model("mobilenet_v3_small")
    images = torch.randn(3, 3, SIZE, SIZE, dtype=torch.float64)
    ready = compare(model, [neuron("features.4", index, 2, 2) for index in (5, 7, 5)], images)
    assert ready.crop is None


def test_what_changes_outside_the_field_of_a_neuron_changes_nothing() -> None:
    model = random_model("resnet18")
    images = torch.randn(3, 3, 160, 160, dtype=torch.float64)
    ready = compare(model, [neuron("layer1", index, 20, 20) for index in (5, 7, 5)], images)
    assert ready.crop is not None
    other = torch.randn_like(images)
    other[:, :, ready.crop.rows, ready.crop.columns] = ready.crop(images)
    outputs = [trace_and_read(model, seen) for seen in (images, other)]
    assert torch.equal(*outputs)


def trace_and_read(model: nn.Module, images: Tensor) -> Tensor:
    with stopping(model, {"layer1": 1}) as forward, torch.no_grad():
        return forward(images)["layer1"][:, :, 20, 20]
