"""Dominant wavelengths of feature images: gratings, noise, flat images, and dask."""

import numpy as np
import pytest
import xarray as xr
from made_up import made_up, nothing_computed

import dvis

SIDE = 64


def grating(wavelength: float, angle: float = 0.0) -> np.ndarray:
    """An image of a wave, (y, x, rgb), uint8."""
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength + 0.3)
    return np.repeat((127.5 + 100 * wave)[..., None], 3, -1).round().astype(np.uint8)


def gratings(waves: np.ndarray) -> xr.Dataset:
    """Units (checkpoint, layer, channel) with gratings of these wavelengths; 0 is flat."""
    images = [grating(w, 0.7) if w else np.full((SIDE, SIDE, 3), 90) for w in waves.ravel()]
    return made_up(np.ones(waves.shape), image=np.reshape(images, (*waves.shape, SIDE, SIDE, 3)))


@pytest.mark.parametrize("wavelength", [4.0, 6.5, 10.0])
@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2])
def test_a_grating_has_its_wavelength(wavelength: float, angle: float) -> None:
    image = grating(wavelength, angle)[None, None, None]
    found = made_up(np.ones((1, 1, 1)), image=image).dvis.wavelength().compute()
    assert found.wavelength.item() == pytest.approx(wavelength, rel=0.03)
    assert found.relative_wavelength.item() == 1
    assert found.wavelength.attrs["units"] == "px"
    assert found.wavelength.dtype == np.float32


def test_over_that_of_the_first_checkpoint_and_unknown_where_it_is_flat() -> None:
    waves = np.array([[[4, 4, 0]], [[8, 6, 5]]])
    found = gratings(waves).dvis.wavelength().compute()
    assert found.wavelength.dims == ("checkpoint", "layer", "channel")
    np.testing.assert_allclose(found.relative_wavelength[1, 0], [2, 1.5, np.nan], rtol=0.03)
    assert np.isnan(found.wavelength[0, 0, 2])
    assert found.wavelength[1, 0, 2] == pytest.approx(5, rel=0.03)


def test_it_is_lazy_also_where_the_dataset_is() -> None:
    made = gratings(np.array([[[4, 5]], [[8, 6]]]))
    expected = made.dvis.wavelength().compute()
    chunked = made.chunk({"channel": 1}).assign_coords(made.coords)
    chunked["status"] = made["status"]
    with nothing_computed():
        lazy = chunked.dvis.wavelength()
    assert lazy.wavelength.chunks is not None
    xr.testing.assert_identical(lazy.compute(), expected)


def test_units_that_are_not_complete_have_none_and_errors() -> None:
    made = gratings(np.array([[[4, 5]], [[8, 6]]]))
    made["status"][0, 0, 1] = dvis.Status.FAILED
    found = made.dvis.wavelength().compute()
    assert np.isnan(found.relative_wavelength[:, 0, 1]).all()
    assert np.isnan(found.wavelength.values).sum() == 1
    with pytest.raises(dvis.SchemaError, match="has no image"):
        made.drop_vars("image").dvis.wavelength()
    with pytest.raises(dvis.SchemaError, match="no dim of that name"):
        made.isel(checkpoint=0).dvis.wavelength()
