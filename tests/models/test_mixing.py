"""Whether a model mixes the images of a batch, or takes another course for another image."""

from collections.abc import Callable

import numpy as np
import pytest
import tiny_architectures
import torch
from tiny_architectures import seeded
from torch import Tensor, nn

from dvis.models.forward_trace import trace_forward
from dvis.models.mixing import why_alone

IMAGE = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)

pytestmark = pytest.mark.usefixtures("one_thread")


class Way(nn.Module):
    """A convolution, and what a function makes of its output."""

    def __init__(self, way: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.way = nn.Conv2d(3, 4, 3), way

    def forward(self, images: Tensor) -> Tensor:
        return self.way(self.conv(images))


@pytest.mark.parametrize(
    "way",
    [
        lambda maps: maps * 2 if maps.mean() > 0 else maps,
        lambda maps: maps * maps.detach().mean().item(),
        lambda maps: maps * maps.mean().tolist(),
        lambda maps: maps * float(maps.detach().numpy().mean()),
        lambda maps: maps * float(np.asarray(maps.detach()).max()),
        lambda maps: maps[:, [0, 1, 2, 3][maps.mean((0, 2, 3)).argmax()]][:, None],
        lambda maps: maps + maps[maps > 0].sum(),
        lambda maps: maps + len(maps.nonzero()),
    ],
)
def test_a_course_that_depends_on_the_image_is_seen(way: Callable[[Tensor], Tensor]) -> None:
    model = seeded(lambda: Way(way))
    assert not trace_forward(model, {"": 1}, IMAGE).is_fixed
    assert "the course of its forward pass" in why_alone(model, {"": 1}, IMAGE)
    assert why_alone(model, {"conv": 1}, IMAGE) == ""  # until there it is the same


@pytest.mark.parametrize(
    "way",
    [
        lambda maps: maps[:, torch.tensor([3, 1])],
        lambda maps: torch.where(maps > 0, maps, maps.mean((2, 3), keepdim=True)),
        lambda maps: maps.view(-1, 4, 7, 28) * maps.shape[1],
        lambda maps: maps.topk(2, dim=1).values,
        lambda maps: torch.softmax(maps.flatten(2), 2),
    ],
)
def test_a_fixed_course_is_no_matter(way: Callable[[Tensor], Tensor]) -> None:
    assert why_alone(seeded(lambda: Way(way)), {"": 1}, IMAGE) == ""


@pytest.mark.parametrize(
    "way",
    [
        lambda maps: maps - maps.mean(0, keepdim=True),
        lambda maps: torch.softmax(maps, 0),
        lambda maps: nn.functional.batch_norm(maps, None, None, training=True),
        lambda maps: maps + maps.roll(1, 0),
        lambda maps: maps.cumsum(0),
        lambda maps: nn.functional.relu(maps.amax() - 2) + maps,
    ],
)
def test_images_that_mix_are_seen(way: Callable[[Tensor], Tensor]) -> None:
    assert "depends on the others" in why_alone(seeded(lambda: Way(way)), {"": 1}, IMAGE)


def test_what_was_found_is_of_the_model_as_it_is() -> None:
    model = seeded(tiny_architectures.batch_mixing)
    assert why_alone(model, {"4": 1}, IMAGE)
    model[1] = nn.Identity()
    assert not why_alone(model, {"4": 1}, IMAGE)
