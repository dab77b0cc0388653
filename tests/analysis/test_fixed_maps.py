"""Maps on one basis: what does not change does not move, and components are scikit-learn's."""

import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import PCA

from dvis.analysis.fixed_maps import fixed_map

DIMS = ("checkpoint", "channel", "image")


def responses(n_checkpoints: int = 4, n_units: int = 9, n_images: int = 12) -> xr.DataArray:
    rng = np.random.default_rng(0)
    return xr.DataArray(rng.normal(size=(n_checkpoints, n_units, n_images)), dims=DIMS)


def test_a_unit_that_does_not_change_does_not_move_whatever_others_do() -> None:
    vectors = responses()
    vectors.values[:, 3] = vectors.values[0, 3]
    vectors.values[2, 5:] = np.nan  # others have no place there, and fewer rows are known
    found = fixed_map(vectors).position.values
    np.testing.assert_array_equal(found[:, 3], np.broadcast_to(found[0, 3], (4, 2)))
    assert (found[1, 4] != found[0, 4]).any()
    assert np.isnan(found[2, 5:]).all()


def test_gain_and_offset_move_nothing() -> None:
    vectors = responses(2)
    vectors.values[1] = 4 * vectors.values[0]  # a power of two: exact
    np.testing.assert_array_equal(*fixed_map(vectors).position.values)
    vectors.values[1] = 3 * vectors.values[0] + 7
    np.testing.assert_allclose(*fixed_map(vectors).position.values, atol=1e-12)


def test_axes_are_the_components_of_all_checkpoints_together() -> None:
    vectors = responses()
    found = fixed_map(vectors)
    rows = vectors.values.reshape(-1, vectors.sizes["image"])
    rows = rows - rows.mean(1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    fit = PCA(2, svd_solver="full").fit(rows)
    np.testing.assert_allclose(
        np.abs(found.position.values.reshape(-1, 2)), np.abs(fit.transform(rows)), atol=1e-10
    )
    np.testing.assert_allclose(found.explained, fit.explained_variance_ratio_)


def test_units_without_a_direction_or_not_known_have_no_place() -> None:
    vectors = responses(2)
    vectors.values[0, 0] = 2.5
    known = xr.ones_like(vectors.isel(image=0), bool)
    known.values[1, 1] = False
    found = fixed_map(vectors, known=known).position
    lacking = {tuple(map(int, each)) for each in np.argwhere(np.isnan(found.values[..., 0]))}
    assert lacking == {(0, 0), (1, 1)}


def test_directions_are_not_centred() -> None:
    vectors = responses(1)
    vectors.values[0, 0] = 1.0
    assert np.isfinite(fixed_map(vectors, centre=False).position).all()


def test_too_many_entries_and_too_few_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 2048"):
        fixed_map(xr.DataArray(np.zeros((1, 1, 2049), np.float32), dims=DIMS))
    with pytest.raises(ValueError, match="0 vectors are known"):
        fixed_map(xr.DataArray(np.zeros((1, 3, 5)), dims=DIMS))
