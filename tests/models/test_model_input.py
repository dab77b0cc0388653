"""What a model takes: told, recorded by a checkpoint or a library, or assumed and said."""

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from tiny_models import net
from torch import Tensor, nn

from dvis.models.data import InputTransform
from dvis.models.data.folders import IMAGENET_MEAN, IMAGENET_STD
from dvis.models.input_options import ASSUMED, InputOptions
from dvis.models.model_input import ModelInput, find_input

RECORDED = {"size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3, "channels": 3}


def grey() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Perceptron(nn.Module):
    """No convolution tells its channels."""

    def __init__(self, n_channels: int, size: int) -> None:
        super().__init__()
        self.fc = nn.Linear(n_channels * size**2, 4)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.fc(images.flatten(1))
        return out


def taken(
    module: nn.Module, facts: dict[str, Any] | None = None, model: str = "mine:net", **told: Any
) -> ModelInput:
    return find_input(InputOptions(**told), facts or {}, model, module)


def test_options_go_before_a_checkpoint_and_that_before_a_library() -> None:
    facts = {"input": RECORDED}
    told = taken(net(), facts, input_mean=(0.0,) * 3, input_std=(1.0,) * 3)
    assert (told.transform.mean, told.transform.size) == ((0.0,) * 3, 16)
    assert told.source == "size: checkpoint; mean and std: options"
    assert taken(net(), facts, input_size=20).transform.size == 20
    recorded = taken(net(), facts, model="resnet18")
    assert (recorded.source, recorded.transform) == ("checkpoint", InputTransform(**RECORDED))
    of_library = taken(net(), model="resnet18")
    assert (of_library.source, of_library.transform.resize) == ("torchvision", 256)
    assert not any(each.notes for each in (told, recorded, of_library))


def test_what_is_assumed_is_said() -> None:
    found = taken(net())
    assert (found.source, found.transform.mean) == (ASSUMED, IMAGENET_MEAN)
    (note,) = found.notes
    assert "224 px and ImageNet's mean 0.485 0.456 0.406" in note
    assert "--input-mean" in note
    (note,) = taken(net(), input_mean=(0.0,) * 3, input_std=(1.0,) * 3).notes
    assert "224 px assumed" in note
    assert "ImageNet" not in note


def test_another_input_of_a_checkpoint_is_no_record() -> None:
    assert taken(net(), {"input": {"shape": [3, 32, 32]}}).source == ASSUMED


@pytest.mark.parametrize("module", [grey(), Perceptron(1, 20)])
def test_grey_models_are_seen_as_such(module: nn.Module) -> None:
    transform = taken(module, input_size=20).transform
    assert transform.channels == 1
    assert transform.mean == pytest.approx((np.mean(IMAGENET_MEAN),))
    assert transform.std == pytest.approx((np.mean(IMAGENET_STD),))
    assert taken(Perceptron(3, 20), input_size=20).transform.channels == 3


@pytest.mark.parametrize("name", ["inception_v3", "efficientnet_b3", "swin_v2_t", "vit_b_16"])
def test_torchvision_has_sizes_and_crops_on_record(name: str) -> None:
    with torch.device("meta"):
        module = torchvision.models.get_model(name, **_quietly(name))
    transform = taken(module, model=name).transform
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    picture = _picture(500, 333)
    if name != "vit_b_16":  # whose best weights take larger images than it is built for
        assert transform.size == preset.crop_size[0]
        torch.testing.assert_close(transform(picture), preset(picture), atol=1e-5, rtol=0)
    else:
        assert transform.size == module.image_size == 224


def test_sizes_and_pixels_are_those_of_torchvision() -> None:
    transform = InputTransform(size=224, resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    rng = np.random.default_rng(0)
    sizes = [(500, 375), (500, 333), (1000, 667), (231, 500), (256, 256), (256, 301), (257, 224)]
    for width, height in [*sizes, *rng.integers(60, 900, (25, 2)).tolist()]:
        picture = _picture(width, height)
        torch.testing.assert_close(
            transform(picture), preset(picture), atol=1e-5, rtol=0, msg=f"{width} x {height}"
        )


def test_other_resizing_is_recorded_and_old_records_stay_as_they_were() -> None:
    bicubic = InputTransform(**RECORDED, interpolation="bicubic")
    assert InputTransform.from_dict(bicubic.to_dict()) == bicubic
    assert "interpolation" not in InputTransform(**RECORDED).to_dict()
    with pytest.raises(ValueError, match="interpolation"):
        InputTransform(**RECORDED, interpolation="nearest")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"input_mean": (0.5,)}, "give both"),
        ({"input_mean": (0.5,), "input_std": (0.5,), "input_channels": 3}, "input_channels is 3"),
        ({"input_size": 0}, "input_size is 0"),
    ],
)
def test_options_that_contradict_one_another(told: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        InputOptions(**told)


def _quietly(name: str) -> dict[str, Any]:
    return {"init_weights": True} if name == "inception_v3" else {}


def _picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    small = rng.integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
