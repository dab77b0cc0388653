"""The activation that a stored image keeps in views that it was not made for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_image_quality import measured
from tiny_models import seeded_net
from tiny_trained import GREY, LOGITS, trained
from torch import Tensor, nn

import dvis
from dvis.kinds.features.measure import FeatureTask, FeatureVisualisation, channel, neuron
from dvis.kinds.features.measure.engine import Normalisation
from dvis.kinds.features.measure.held_out import held_out_means
from dvis.kinds.features.measure.stored import StoredImage
from dvis.kinds.features.options import FeatureSettings, feature_settings
from dvis.models.hooks import trace_layers

pytestmark = pytest.mark.usefixtures("one_thread")
UNIT = Normalisation(mean=(0.5,) * 3, std=(0.25,) * 3)


class Spot(nn.Module):
    """A map that is the image's first colour itself, at a quarter of its size."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(images)


def noise_images(n_images: int, side: int = 16) -> list[StoredImage]:
    levels = np.random.default_rng(0).integers(0, 256, (n_images, side, side, 3))
    return [StoredImage(image.astype(np.uint8), 0.0, 1.0) for image in levels]


def held_out(model: nn.Module, objectives: list, images: list[StoredImage]) -> np.ndarray:
    outputs = trace_layers(model, torch.zeros(1, 3, *images[0].pixels.shape[:2]))
    return held_out_means(model, outputs, objectives, images, UNIT)


def test_it_is_the_same_again_and_in_every_batch() -> None:
    model, images = seeded_net(), noise_images(4)
    objectives = [channel("conv2", i) for i in range(4)]
    together = held_out(model, objectives, images)
    assert np.array_equal(together, held_out(model, objectives, images))
    alone = [held_out(model, [o], [i])[0] for o, i in zip(objectives, images, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_a_constant_image_keeps_all_of_it() -> None:
    grey = StoredImage(np.full((16, 16, 3), 100, np.uint8), 0.0, 1.0)
    model, objective = seeded_net(), channel("conv2", 3)
    outputs = trace_layers(model, torch.zeros(1, 3, 16, 16))
    value = (100 / 255 - 0.5) / 0.25
    with torch.no_grad():
        seen: list[Tensor] = []
        hook = model.conv2.register_forward_hook(lambda _m, _i, output: seen.append(output))
        model(torch.full((1, 3, 16, 16), value))
        hook.remove()
    kept = held_out_means(model, outputs, [objective], [grey], UNIT)
    np.testing.assert_allclose(kept, seen[0][0, 3].mean().numpy(), rtol=1e-4)


def test_noise_of_single_pixels_loses_more_than_a_broad_pattern() -> None:
    y, x = np.mgrid[:32, :32]
    fine = 255 * ((x + y) % 2)
    broad = 255 * (((x // 8) + (y // 8)) % 2)
    images = [
        StoredImage(np.repeat(np.uint8(levels)[..., None], 3, -1), 0.0, 1.0)
        for levels in (fine, broad)
    ]
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())  # what is above grey, of single pixels
    with torch.no_grad():
        model[0].weight.fill_(1 / 3)
        model[0].bias.zero_()
    of_fine, of_broad = held_out(model, [channel("1", 0)] * 2, images)
    assert of_fine < of_broad - 0.1


def test_views_of_a_neuron_turn_about_its_place() -> None:
    model, side = Spot(), 64
    levels = np.zeros((side, side, 3), np.uint8)
    levels[4:20, 36:52] = 255  # bright about the neuron at row 2, column 10 of 16
    image = StoredImage(levels, 0.0, 1.0)
    there, elsewhere = held_out(
        model, [neuron("pool", 0, 2, 10), neuron("pool", 0, 13, 2)], [image] * 2
    )
    assert there == pytest.approx(2.0, abs=0.15)  # (1 - 0.5) / 0.25
    assert elsewhere == pytest.approx(-2.0, abs=0.15)


@pytest.mark.parametrize("n_colours", [1, 2, 3, 4])
def test_images_of_any_colours_are_compressed(n_colours: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (8, 8, n_colours)).astype(np.uint8)
    model = nn.Conv2d(n_colours, 2, 1)
    outputs = trace_layers(model, torch.zeros(1, n_colours, 8, 8))
    normalisation = Normalisation(mean=(0.5,) * n_colours, std=(0.25,) * n_colours)
    image = StoredImage(levels, -1.0, 2.0)
    objectives = [channel("", 0)]
    assert np.isfinite(held_out_means(model, outputs, objectives, [image], normalisation)).all()


def test_logits_see_wider_views_and_keep_more_in_held_out_ones() -> None:
    model, kept = trained(GREY, 28), []
    for wide in (True, False):
        made = measured(model, GREY, 28, LOGITS, (0, 1, 2, 3), wide_views=wide)
        kept.append((made["held_out_mean"] / made["activation"]).values.mean())
        assert (made["held_out_mean"] < made["activation"]).all()
    assert kept[0] > kept[1]


def test_wide_views_are_those_of_layers_without_a_map() -> None:
    settings = FeatureSettings()
    wide = settings.for_layer(has_map=False)
    assert settings.for_layer(has_map=True) == settings
    assert (wide.jitter_scale, wide.scale_range, wide.learning_rate) == (16, (0.8, 1.2), 0.05)
    parameters = settings.to_parameters()
    assert parameters["jitter_scale"] == 8
    assert parameters["jitter_scale_without_map"] == 16
    assert parameters["scale_range_without_map"] == [0.8, 1.2]
    given = feature_settings("default", {"jitter_scale": 24.0, "scale_range": (0.7, 1.1)})
    wide = given.for_layer(has_map=False)
    assert (wide.jitter_scale, wide.scale_range) == (24, (0.7, 1.2))
    original = feature_settings("original")
    assert original.for_layer(has_map=False) == original
    assert "jitter_scale_without_map" not in original.to_parameters()


def test_a_store_keeps_it(tmp_path: Path) -> None:
    store = tmp_path / "net.zarr"
    states = {"init": seeded_net(0).state_dict(), "end": seeded_net(1).state_dict()}
    options = {"layers": ["conv2"], "channels": [0, 3], "max_iterations": 4, "workers": 0}
    dvis.measure.features(seeded_net(), states, store=store, input_size=16, **options)
    kept = dvis.open(store)["held_out_mean"].sel(checkpoint="end", layer="conv2")
    features = FeatureVisualisation(
        settings=feature_settings("default", {"max_iterations": 4}),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        image_size=16,
    )
    made = features.measure(seeded_net(1), FeatureTask("conv2", "average", (0, 3)))
    np.testing.assert_allclose(
        kept.sel(channel=[0, 3]), made["held_out_mean"].squeeze("image_number"), rtol=1e-3
    )
