"""Weights below and above a layer, by the order in which they work."""

import pytest
import torch
from tiny_chimeras import Sharing, Skipping
from tiny_models import seeded_net, transformer
from torch import nn

from dvis.models.splitting import Split, splits

IMAGE = torch.rand(1, 3, 16, 16)


def split_of(model: nn.Module, cut: str, last: str) -> Split:
    return splits(model.eval(), [cut], {cut: 1, last: 1}, IMAGE)[cut]


def test_weights_are_split_where_the_layer_gives_its_output() -> None:
    found = split_of(seeded_net(), "bn1", "fc")
    names = {"conv1.weight", *(f"bn1.{n}" for n in ("weight", "bias"))}
    assert found.below == names | {"bn1.running_mean", "bn1.running_var"}
    assert found.is_cut
    # A module that both sides run has no weights here: the output is that of its last call.
    assert (
        "conv2.weight" in splits(seeded_net(), ["relu"], {"relu": 2, "fc": 1}, IMAGE)["relu"].below
    )


def test_what_open_modules_hold_of_a_transformer_has_its_side() -> None:
    model = transformer()
    layers = "encoder.layers.encoder_layer_{}"
    found = split_of(model, layers.format(0), "heads")
    others = set(model.state_dict()) - found.below
    assert {"class_token", "encoder.pos_embedding", "conv_proj.weight"} <= found.below
    assert all(name.startswith((layers.format(1), "encoder.ln", "heads")) for name in others)
    assert len(others) == 12 + 4
    assert found.is_cut


def test_a_way_around_a_layer_is_seen() -> None:
    found = split_of(Skipping(), "middle", "last")
    assert found.below == {f"{n}.{w}" for n in ("first", "middle") for w in ("weight", "bias")}
    assert not found.is_cut
    assert split_of(Skipping(), "first", "last").is_cut
    assert not split_of(transformer(), "encoder.layers.encoder_layer_0.mlp", "heads").is_cut


def test_weights_on_both_sides_and_courses_that_depend_on_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 weights of Sharing .* of 'pool': again.bias, again.w"):
        split_of(Sharing(), "pool", "relu")

    class Depending(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images if images.mean() > 9 else -images)

    model = Depending(nn.Conv2d(3, 4, 3), nn.ReLU())
    with pytest.raises(ValueError, match="until '0' depends on the image"):
        split_of(model, "0", "1")
