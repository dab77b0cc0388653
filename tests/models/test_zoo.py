"""Models of timm and OpenCLIP: built, filled from files, and read for what they take."""

import sys
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from torch import Tensor, nn

from dvis.models.architectures import load_model
from dvis.models.building import build_model
from dvis.models.input_options import InputOptions
from dvis.models.model_input import find_input


def filled(model: str, module: nn.Module, folder: Path) -> nn.Module:
    file = folder / "weights.pth"
    torch.save(module.state_dict(), file)
    return load_model(model, file)


def same_outputs(module: nn.Module, other: nn.Module, size: int) -> bool:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected: Tensor = module.eval()(images)
        return torch.allclose(other(images), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("test_vit", {"num_classes": 7}, 160),
        ("test_vit", {"num_classes": 0}, 160),
        ("test_vit", {"num_classes": 5, "img_size": 96}, 96),
        ("test_vit3", {}, 160),
        ("test_resnet", {"num_classes": 7}, 64),
        ("test_resnet", {"num_classes": 0}, 64),
    ],
)
def test_timm_weights_tell_classes_head_and_image_size(
    name: str, options: dict[str, int], size: int, tmp_path: Path
) -> None:
    module = timm.create_model(name, **options)
    assert same_outputs(module, filled(f"timm:{name}", module, tmp_path), size)


def test_the_visual_tower_of_open_clip(tmp_path: Path) -> None:
    tower = open_clip.create_model("ViT-S-32-alt", pretrained=None).visual
    found = filled("open_clip:ViT-S-32-alt", tower, tmp_path)
    assert same_outputs(tower, found, 224)
    taken = find_input(InputOptions(), {}, "open_clip:ViT-S-32-alt", found)
    assert taken.source == "open_clip"
    assert taken.transform.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert (taken.transform.size, taken.transform.interpolation) == (224, "bicubic")
    assert not taken.notes


def test_timm_has_its_models_on_record() -> None:
    module = build_model("timm:test_vit")
    taken = find_input(InputOptions(), {}, "timm:test_vit", module)
    config = module.pretrained_cfg
    assert (taken.source, taken.transform.size) == ("timm", config["input_size"][-1])
    assert taken.transform.mean == tuple(config["mean"])
    assert taken.transform.resize == int(config["input_size"][-1] / config["crop_pct"])
    given = timm.create_model("test_vit", img_size=96)
    assert find_input(InputOptions(), {}, "mine:net", given).transform.size == 96


@pytest.mark.parametrize("name", ["timm:hf-hub:timm/resnet18.a1_in1k", "timm:local-dir:/tmp"])
def test_names_that_timm_would_fetch_are_none_of_its_models(name: str) -> None:
    with pytest.raises(ValueError, match="No model"):
        build_model(name)


@pytest.mark.parametrize(
    ("name", "near"), [("timm:resnet19", "resnet1"), ("open_clip:ViT-B-33", "ViT-B-32")]
)
def test_a_wrong_name_has_its_near_ones(name: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"Did you mean '{near}"):
        build_model(name)


@pytest.mark.parametrize(("library", "extra"), [("timm", "timm"), ("open_clip", "open-clip")])
def test_a_library_that_is_absent_is_named_with_its_extra(
    library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"pip install 'dvis\[{extra}\]'"):
        build_model(f"{library}:any")
