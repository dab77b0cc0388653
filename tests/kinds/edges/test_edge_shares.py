"""Shares of a layer's inputs: sums, planted shares, what they must not depend on."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from tiny_architectures import lenet, seeded, swin
from tiny_models import seeded_net, transformer
from torch import Tensor, nn

from dvis.kinds.edges.input_layers import input_layers, norm_behind
from dvis.kinds.edges.measure import EdgeShares, EdgesTask
from dvis.kinds.edges.sums import LayerSums
from dvis.models.data import InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages, noise_images
from dvis.models.recalibration import Recalibrated

pytestmark = pytest.mark.usefixtures("one_thread")


def transform(size: int = 16) -> InputTransform:
    return InputTransform(size=size, mean=(0.5,) * 3, std=(0.25,) * 3)


def shapes(n_images: int = 12, size: int = 16) -> FixedImages:
    images = load_images("shapes", split="val", size=size, n_samples=n_images)
    return FixedImages.of(images, transform(size))


def measurement(images: FixedImages, batch_norm: str = "running", **changes: int) -> EdgeShares:
    made = EdgeShares(images=images, recalibrated=Recalibrated(images, batch_norm))
    return replace(made, **changes)


def shares_of(layer: nn.Module, *batches: Tensor) -> np.ndarray:
    """Shares of one layer of inputs."""
    sums = LayerSums()
    for batch in batches:
        sums.add(layer, (batch,), layer(batch))
    return sums.shares().values


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Means far from 0 and correlated channels: what covariances have to be told from.
    mixed = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return mixed + 3 + mixed.roll(1, 1) / 2


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "stride": lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1),
    "dilation": lambda: nn.Conv2d(6, 8, 3, dilation=2),
    "1x1": lambda: nn.Conv2d(6, 8, 1, bias=False),
    "even kernel": lambda: nn.Conv2d(6, 8, (2, 4), stride=(2, 3), padding=(0, 2)),
    "same": lambda: nn.Conv2d(6, 8, (2, 3), padding="same", dilation=(1, 2)),
    "valid": lambda: nn.Conv2d(6, 8, 3, padding="valid"),
    "groups": lambda: nn.Conv2d(6, 8, 3, groups=2, padding=1, stride=2),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, groups=6, padding=1),
    "circular": lambda: nn.Conv2d(6, 8, 3, padding=(1, 2), padding_mode="circular"),
    "reflect": lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"),
    "same replicate": lambda: nn.Conv2d(6, 8, 4, padding="same", padding_mode="replicate"),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_shares_sum_to_one_and_are_covariances_with_each_input_alone(name: str) -> None:
    torch.manual_seed(0)
    layer = CONVOLUTIONS[name]().double().requires_grad_(False)
    inputs = drawn(10, 6, 9, 11)
    shares = shares_of(layer, inputs[:3], inputs[3:])
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-12)
    whole = layer(inputs)
    centred = whole - whole.mean((0, 2, 3), keepdim=True)
    for channel in range(6):
        # The layer is linear: what one input alone adds to the output.
        without = inputs.clone()
        without[:, channel] = 0
        added = whole - layer(without)
        expected = (added * centred).mean((0, 2, 3)) / centred.square().mean((0, 2, 3))
        np.testing.assert_allclose(shares[:, channel], expected, atol=1e-12)


def test_inputs_of_other_groups_have_no_share() -> None:
    layer = nn.Conv2d(6, 8, 3, groups=2).double().requires_grad_(False)
    shares = shares_of(layer, drawn(5, 6, 8, 8))
    assert (shares[:4, 3:] == 0).all()
    assert (shares[4:, :3] == 0).all()
    assert (shares[:4, :3] != 0).all()


def test_a_linear_layer_is_regressed_on_its_inputs() -> None:
    layer = nn.Linear(5, 7).double().requires_grad_(False)
    tokens = drawn(20, 4, 5)
    shares = shares_of(layer, tokens)
    flat, outputs = tokens.flatten(0, 1).numpy(), layer(tokens).flatten(0, 1).numpy()
    for d in range(7):
        for c in range(5):
            weight = layer.weight[d, c].item()
            expected = weight * np.cov(flat[:, c], outputs[:, d])[0, 1] / outputs[:, d].var(ddof=1)
            assert shares[d, c] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-12)


def test_planted_weights_give_shares_of_four_to_one_to_one() -> None:
    torch.manual_seed(3)
    layer = nn.Conv2d(8, 1, 1, bias=False).double().requires_grad_(False)
    layer.weight.zero_()
    for channel, weight in ((1, 2.0), (4, 1.0), (6, -1.0)):
        layer.weight[0, channel] = weight
    shares = shares_of(layer, torch.randn(64, 8, 16, 16, dtype=torch.float64))[0]
    np.testing.assert_allclose(shares[[1, 4, 6]], [4 / 6, 1 / 6, 1 / 6], atol=0.01)
    assert (shares[[0, 2, 3, 5, 7]] == 0).all()


def test_a_dead_channel_has_no_shares_and_a_constant_one_neither() -> None:
    layer = nn.Conv2d(3, 4, 3).double().requires_grad_(False)
    layer.weight[1] = 0
    shares = shares_of(layer, drawn(4, 3, 6, 6))
    assert np.isnan(shares[1]).all()
    assert np.isfinite(shares[[0, 2, 3]]).all()
    single = nn.Linear(3, 2).requires_grad_(False)
    assert np.isnan(shares_of(single, torch.full((50, 3), 0.3))).all()


def test_means_cost_no_precision() -> None:
    layer = nn.Conv2d(4, 5, 3).requires_grad_(False)
    inputs = drawn(16, 4, 8, 8) + 300
    in_single = shares_of(layer, *inputs.float().split(5))
    np.testing.assert_allclose(in_single, shares_of(layer.double(), inputs), atol=2e-3)


def test_all_of_a_network_sums_to_one_and_leaves_it_as_it_was() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=5).eval().double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = shapes(8, size=32)
    shares = measurement(images, "recalibrate", batch_size=8).shares(model)
    assert len(shares) == 21
    for layer, of_layer in shares.items():
        sums = of_layer.sum("input_channel", skipna=False)
        np.testing.assert_allclose(sums.dropna("channel"), 1, atol=1e-12, err_msg=layer)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_batches_do_not_matter_and_noise_is_another_probe() -> None:
    model, images = seeded_net().double(), shapes(13)
    at_once = measurement(images, batch_size=13).shares(model)
    for size in (1, 5):
        for layer, shares in measurement(images, batch_size=size).shares(model).items():
            np.testing.assert_allclose(shares, at_once[layer], atol=1e-12)
    noise = FixedImages.of(noise_images(13, 0, transform()), transform())
    of_noise = measurement(noise).shares(model)
    np.testing.assert_allclose(of_noise["conv1"].sum("input_channel"), 1, atol=1e-12)
    # Colours of noise are independent, those of drawn shapes are not.
    weights = model.conv1.weight.detach().square().sum((2, 3))
    expected = weights / weights.sum(1, keepdim=True)
    assert np.abs(of_noise["conv1"] - expected.numpy()).max() < 0.1
    assert np.abs(at_once["conv1"] - expected.numpy()).max() > 0.2


def test_untrained_shares_are_those_of_their_weights_on_noise() -> None:
    """The control: random weights have no structure, and each input about its even share."""
    shares = shares_of(nn.Conv2d(64, 64, 3).requires_grad_(False), torch.randn(32, 64, 12, 12))
    assert np.median(shares) == pytest.approx(1 / 64, rel=0.2)
    assert shares.max() < 0.1


def test_scale_of_channels_and_batch_norm_behind_do_not_matter() -> None:
    model, images = seeded_net().double(), shapes()
    expected = measurement(images).shares(model)
    scaled = copy.deepcopy(model).requires_grad_(False)
    scaled.conv1.weight[3] *= 7.0  # of the channel, and taken back by the batch norm behind
    scaled.bn1.running_mean[3] *= 7.0
    scaled.bn1.running_var[3] *= 49.0
    scaled.bn1.eps = model.bn1.eps = 0.0
    scaled.bn1.weight[5] *= 0.2  # of what the next layer reads, and taken back by it
    scaled.bn1.bias[5] *= 0.2
    scaled.conv2.weight[:, 5] /= 0.2
    expected = measurement(images).shares(model)
    for layer, shares in measurement(images).shares(scaled).items():
        np.testing.assert_allclose(shares, expected[layer], atol=1e-12)


def test_folded_batch_norm_gives_the_same() -> None:
    model, images = seeded_net().double(), shapes()
    folded = copy.deepcopy(model).requires_grad_(False)
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
        fused = nn.utils.fuse_conv_bn_eval(getattr(folded, conv), getattr(folded, norm))
        setattr(folded, conv, fused)
        setattr(folded, norm, nn.Identity())
    expected = measurement(images).shares(model)
    for layer, shares in measurement(images).shares(folded).items():
        np.testing.assert_allclose(shares, expected[layer], atol=1e-12)


def test_permuting_channels_permutes_shares() -> None:
    model, images = seeded_net().double(), shapes()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    moved = copy.deepcopy(model).requires_grad_(False)
    moved.conv1.weight.copy_(model.conv1.weight[order])
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(moved.bn1, name).copy_(getattr(model.bn1, name)[order])
    moved.conv2.weight.copy_(model.conv2.weight[:, order])
    before, after = (measurement(images).shares(each) for each in (model, moved))
    np.testing.assert_allclose(after["conv1"], before["conv1"][order.numpy()], atol=1e-12)
    np.testing.assert_allclose(after["conv2"], before["conv2"][:, order.numpy()], atol=1e-12)


def test_recalibrated_statistics_are_used_and_change_later_layers_alone() -> None:
    model, images = seeded_net(), shapes()
    running, recalibrated = (
        measurement(images, batch_norm).shares(model) for batch_norm in ("running", "recalibrate")
    )
    np.testing.assert_allclose(running["conv1"], recalibrated["conv1"], atol=1e-6)
    assert np.abs(running["conv2"] - recalibrated["conv2"]).max() > 0.01


@pytest.mark.parametrize("factory", [transformer, lambda: seeded(swin), lambda: seeded(lenet)])
def test_tokens_and_windows_are_positions(factory: Callable[[], nn.Module]) -> None:
    model = factory().double()
    size = getattr(model, "image_size", 32)
    shares = measurement(shapes(6, size=size)).shares(model)
    for of_layer in shares.values():
        sums = of_layer.sum("input_channel", skipna=False).dropna("channel")
        assert sums.sizes["channel"]
        np.testing.assert_allclose(sums, 1, atol=1e-11)


class Shared(nn.Module):
    """One convolution that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(self.conv(images).relu())


class Scaled(nn.Conv2d):
    """A convolution that is more than its weight times its input."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 3


def test_calls_of_a_layer_count_alike() -> None:
    model, images = Shared().double().requires_grad_(False), shapes()
    inputs = images.batch(0, 12, model.conv.weight)
    expected = shares_of(model.conv, torch.cat([inputs, model.conv(inputs).relu()]))
    np.testing.assert_allclose(measurement(images).shares(model)["conv"], expected, atol=1e-12)


def test_a_layer_that_is_no_plain_convolution_fails_by_itself() -> None:
    model = nn.Sequential(Scaled(3, 4, 3), nn.Conv2d(4, 2, 3)).requires_grad_(False)
    result = measurement(shapes()).measure(model, EdgesTask(("0", "1"), (0, 1)))
    failed, fine = result["error"].values.tolist()
    assert "do not sum to 1" in failed
    assert fine == ""


def test_unknown_and_unfit_layers_are_named() -> None:
    model, edges = seeded_net(), measurement(shapes())
    with pytest.raises(KeyError, match="Did you mean 'conv2'"):
        edges.outputs(model, ["conv3"])
    with pytest.raises(ValueError, match=r"'bn1' of TinyNet is a BatchNorm2d .* conv1, conv2, fc"):
        edges.outputs(model, ["bn1"])
    with pytest.raises(ValueError, match="no 2d convolution and no linear layer"):
        edges.outputs(nn.Sequential(nn.BatchNorm2d(3)))


def test_input_layers_of_networks_are_told_where_they_can_be() -> None:
    image = torch.rand(1, 3, 32, 32)
    resnet = torchvision.models.resnet18(num_classes=5).eval()
    names = ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.1.conv1", "fc"]
    names.append("layer2.0.downsample.0")
    assert input_layers(resnet, names, image) == {
        "conv1": "",
        "layer1.0.conv1": "maxpool",
        "layer1.0.conv2": "layer1.0.bn1",  # its activation runs twice
        "layer2.0.conv1": "layer1",
        "layer2.0.downsample.0": "layer1",
        "layer2.1.conv1": "layer2.0",
        "fc": "avgpool",
    }
    vit = transformer()
    told = input_layers(
        vit, ["heads.head", "encoder.layers.encoder_layer_1.mlp.3"], image[..., :16, :16]
    )
    assert told["heads.head"] == "encoder"
    assert told["encoder.layers.encoder_layer_1.mlp.3"].startswith(
        "encoder.layers.encoder_layer_1.mlp"
    )
    # Its activations are functions, and rows of its maps are flattened.
    assert set(input_layers(lenet().eval(), ["conv2", "fc1"], image).values()) == {""}


def test_the_norm_behind_a_layer_is_found() -> None:
    image = torch.rand(1, 3, 32, 32)
    resnet = torchvision.models.resnet18(num_classes=5).eval()
    assert norm_behind(resnet, "layer1.0.conv2", image) == "layer1.0.bn2"
    assert norm_behind(resnet, "layer2.0.downsample.0", image) == "layer2.0.downsample.1"
    assert norm_behind(resnet, "fc", image) == ""
