"""Pictures of cross responses: each model's response to the images of each checkpoint."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh

from dvis.kinds.responses import pictures as response_pictures


@pytest.fixture
def crossed(rising: xr.Dataset) -> xr.Dataset:
    values = np.arange(8 * 8 * 2 * 4, dtype=float).reshape(8, 8, 2, 4)
    dims = ("checkpoint", "image_checkpoint", "layer", "channel")
    rising["response"] = dims, values
    return rising.assign_coords(image_checkpoint=rising.checkpoint.values)


@pytest.mark.parametrize("x", ["checkpoint", "step"])
def test_cross_responses_have_models_across_and_images_along(crossed: xr.Dataset, x: str) -> None:
    crossed["response"][2, 5] = np.nan
    axes, _ = response_pictures.cross_response(crossed, "layer2", 3, x=x).axes
    (mesh,) = [each for each in axes.collections if isinstance(each, QuadMesh)]
    expected = crossed.response.sel(layer="layer2", channel=3).transpose("image_checkpoint", ...)
    np.testing.assert_array_equal(mesh.get_array().filled(np.nan), expected)
    assert np.ma.getmaskarray(mesh.get_array())[5, 2]
    assert "image" in axes.get_ylabel()
    assert "model" in axes.get_xlabel()


def test_cross_responses_outline_a_models_own_image(crossed: xr.Dataset) -> None:
    axes, _ = response_pictures.cross_response(
        crossed.isel(image_checkpoint=[6, 1]), "layer1", 0
    ).axes
    frames = axes.collections[-1].get_paths()
    centers = [tuple(path.vertices[:4].mean(0).round(6).tolist()) for path in frames]
    assert centers == [(1.0, 1.0), (6.0, 0.0)]


def test_cross_responses_of_unknown_checkpoints_have_no_steps(crossed: xr.Dataset) -> None:
    labels = [*crossed.checkpoint.values[:7].tolist(), "full"]
    foreign = crossed.assign_coords(image_checkpoint=labels)
    assert response_pictures.cross_response(foreign, "layer1", 0)
    with pytest.raises(ValueError, match="step of the images' checkpoint 'full' is not known"):
        response_pictures.cross_response(foreign, "layer1", 0, x="step")
