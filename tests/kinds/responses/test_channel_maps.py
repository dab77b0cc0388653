"""Channels among each other: a correlation of responses, whatever their gain."""

import numpy as np
import pytest
import xarray as xr

import dvis
from dvis.kinds.responses.maps import channel_colors


@pytest.fixture
def responses() -> xr.Dataset:
    """Two layers, of which one is narrower; the second checkpoint is the first, ten times it."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(1, 2, 5, 20)), 2, 0)
    values[1] *= 10
    values[:, 0, 4] = np.nan
    values[:, 1, 2] = 0.5
    return xr.Dataset(
        {"response": (("checkpoint", "layer", "channel", "image"), values)},
        {
            "checkpoint": ["step_0.pth", "step_9.pth"],
            "layer": ["conv1", "fc"],
            "channel": np.arange(5),
            "image": np.arange(20).astype(str),
            "image_class": ("image", np.array(["cat", "dog"] * 10)),
        },
    )


def test_cosines_are_correlations_of_channels(responses: xr.Dataset) -> None:
    found = dvis.channel_cosines(responses, "conv1")
    assert found.channel.values.tolist() == [0, 1, 2, 3]  # the layer is narrower
    expected = np.corrcoef(responses.response.values[0, 0, :4])
    np.testing.assert_allclose(found.cosine[0], expected, atol=1e-6)


def test_a_gain_moves_nothing_and_constant_channels_have_no_place(responses: xr.Dataset) -> None:
    found = responses.dvis.channel_map("fc")
    np.testing.assert_allclose(found.position[1], found.position[0], atol=1e-12)
    assert 2 not in found.channel.values
    assert found.overlap[1].item() == pytest.approx(1)


def test_colours_are_classes_or_births(responses: xr.Dataset) -> None:
    one = responses.sel(layer=["fc"])
    one.response.values[1, 0, 0] += 50 * (one.image_class.values == "dog")
    assert channel_colors(one, None).values[0] == "dog"
    birth = channel_colors(one, "birth")
    assert birth.dims == ("channel",)
    with pytest.raises(ValueError, match=r"No color 'berth'.*Did you mean 'birth'"):
        channel_colors(one, "berth")
    assert channel_colors(one.drop_vars("image_class"), None) is None


def test_what_cannot_be_a_map_is_said(responses: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="Which layer"):
        dvis.channel_map(responses)
    with pytest.raises(ValueError, match="there are 2 images; give 3 or more"):
        dvis.channel_map(responses.isel(image=[0, 1]), "fc")
    with pytest.raises(dvis.SchemaError, match="without --by-class"):
        dvis.channel_map(responses.rename(image="class"), "fc")
