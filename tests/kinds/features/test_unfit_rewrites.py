"""Models that a rewrite does not fit, though one image would not show it: all stays theirs."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tiny_architectures import seeded
from torch import Tensor, nn

from dvis.kinds.features.measure.objectives import Objective, channel, neuron
from dvis.kinds.features.measure.prepared import Prepared, prepare
from dvis.models.hooks import stopping, trace_layers

SIZE = 24

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """Two convolutions, a batch norm, and a way through them that is a function's."""

    def __init__(self, way: Callable[["Net", Tensor], Tensor], kernel: int = 3) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(6), nn.ReLU()
        self.pool, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.last = nn.Conv2d(6, 6, kernel, padding=kernel // 2)
        self.wide = nn.Conv2d(3, 6, 13, padding=6)
        self.out = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.way(self, images))


def norm_of_domain(net: Net, images: Tensor) -> Tensor:
    hidden = net.conv(images)
    return net.last(net.norm(hidden) if images.mean() < 0.5 else hidden)


def pooling_by_brightness(net: Net, images: Tensor) -> Tensor:
    hidden = net.relu(net.conv(images))
    return net.last(net.pool(hidden) if images.mean().tolist() < 0.5 else net.mean(hidden))


def taken_twice_above_a_threshold(net: Net, images: Tensor) -> Tensor:
    hidden = net.conv(images)
    strong = F.relu(hidden.abs() - 1.5).sum((1, 2, 3), keepdim=True)
    return net.last(net.norm(hidden)) + strong


def weights_taken_twice(net: Net, images: Tensor) -> Tensor:
    hidden = net.norm(net.conv(images))
    return net.last(hidden) + F.conv2d(images, net.conv.weight, padding=1)


def relu_taken_beside_its_pooling(net: Net, images: Tensor) -> Tensor:
    hidden = net.relu(net.conv(images))
    return net.last(net.pool(hidden)) + hidden.amax((1, 2, 3), keepdim=True)


def channels_mixed_behind_a_threshold(net: Net, images: Tensor) -> Tensor:
    hidden = net.last(net.conv(images))
    return hidden + F.threshold(hidden.mean(1, keepdim=True), 1.5, 0.0)


def wide_branch_that_sleeps(net: Net, images: Tensor) -> Tensor:
    wide = net.wide(images)
    return net.conv(images) + torch.where(wide > 0, wide, torch.zeros_like(wide))


def code_of_positions(net: Net, images: Tensor) -> Tensor:
    rows = torch.linspace(-1, 1, images.shape[2], dtype=images.dtype)[:, None]
    return net.conv(images) * rows


def zeros_that_stand_for_rows(net: Net, images: Tensor) -> Tensor:
    return net.conv(F.pad(images, (0, 0, -3, 3)))


def values_and_gradients(evaluate: Callable[[Tensor], Tensor], images: Tensor) -> list[Tensor]:
    seen = images.clone().requires_grad_()
    values = evaluate(seen)
    return [values.detach(), *torch.autograd.grad(values.sum(), [seen])]


def compared_with_the_net(
    way: Callable[[Net, Tensor], Tensor], objective: Objective, seed: int
) -> Prepared:
    """See that the copy of a net gives what the net gives of weak and strong images."""
    net = seeded(lambda: Net(way), seed).double()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(5, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    ready = prepare(net, trace_layers(net, noise[:1]), [objective], 0.3 * noise[:1])
    (term,) = objective.terms

    def plain(images: Tensor) -> Tensor:
        with stopping(net, {"out": 1}) as forward:
            maps = forward(images)["out"][:, term.channel]
        return maps.mean((1, 2)) if term.reduction == "mean" else maps[(..., *term.neuron)]

    for scale, offset, image in zip((1, 4, 1, 4), (0, 0, 1.5, 1.5), noise[1:], strict=True):
        seen = scale * image[None] + offset
        for given, expected in zip(
            values_and_gradients(ready, seen), values_and_gradients(plain, seen), strict=True
        ):
            torch.testing.assert_close(given, expected, rtol=1e-7, atol=1e-9)
    return ready


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "way",
    [
        norm_of_domain,
        pooling_by_brightness,
        taken_twice_above_a_threshold,
        weights_taken_twice,
        relu_taken_beside_its_pooling,
        channels_mixed_behind_a_threshold,
    ],
)
def test_a_channel_is_the_models_own(way: Callable[[Net, Tensor], Tensor], seed: int) -> None:
    compared_with_the_net(way, channel("out", 1), seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "way", [wide_branch_that_sleeps, code_of_positions, zeros_that_stand_for_rows]
)
def test_a_neuron_is_the_models_own(way: Callable[[Net, Tensor], Tensor], seed: int) -> None:
    compared_with_the_net(way, neuron("out", 1, 12, 12), seed)


def test_what_fits_is_taken() -> None:
    def plain(net: Net, images: Tensor) -> Tensor:
        return net.last(net.pool(net.relu(net.norm(net.conv(images)))))

    ready = compared_with_the_net(plain, neuron("out", 1, 5, 6), 0)
    assert isinstance(ready.model.norm, nn.Identity)
    assert isinstance(ready.model.pool, nn.Sequential)
    assert len(ready.own_channels) == 1
    assert ready.crop is not None
    assert ready.note == ""


def test_hooks_of_the_caller_stay() -> None:
    net = seeded(lambda: Net(lambda net, images: net.last(net.norm(net.conv(images))))).double()
    net.conv.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    images = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64)
    ready = prepare(
        net, trace_layers(net, images[:1]), [channel("out", i) for i in (0, 4)], images[:1]
    )
    expected = net(images).mean((2, 3))[[0, 1], [0, 4]]
    torch.testing.assert_close(ready(images), expected)
    assert isinstance(ready.model.norm, nn.BatchNorm2d)


def test_the_memory_of_the_callers_weights_is_left_alone() -> None:
    net = seeded(lambda: Net(lambda net, images: net.last(net.norm(net.conv(images)))))
    net.last.weight.data[2] = torch.nan
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.randn(1, 3, SIZE, SIZE)
    prepare(net, trace_layers(net, images), [channel("out", 1)], images)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
        assert value.stride() == before[name].stride()
