"""Maps of units: scikit-learn's components, axes that stay, points that move with their labels."""

import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import PCA

from dvis.analysis.unit_maps import unit_cosines, unit_map

N_UNITS, N_FEATURES = 12, 7


def planted(n_checkpoints: int = 3, seed: int = 0, noise: float = 0.0) -> xr.DataArray:
    """Units that differ most along two features, the same at each checkpoint up to noise."""
    rng = np.random.default_rng(seed)
    spread = np.array([5.0, 3.0, 1, 1, 1, 1, 1])
    first = rng.normal(size=(N_UNITS, N_FEATURES)) * spread
    values = np.stack([first + noise * rng.normal(size=first.shape) for _ in range(n_checkpoints)])
    return xr.DataArray(
        values,
        {"checkpoint": list("abcdefgh"[:n_checkpoints]), "latent": np.arange(N_UNITS)},
        ("checkpoint", "latent", "channel"),
    )


def test_the_first_checkpoint_is_that_of_scikit_learn() -> None:
    # Turned, so that features vary alike and go together: of that shuffled features have nothing.
    vectors = planted(1)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(N_FEATURES, N_FEATURES)))
    vectors.values[0] = vectors.values[0] @ turn
    found = unit_map(vectors).isel(checkpoint=0)
    fit = PCA(2, svd_solver="full").fit(vectors.values[0])
    np.testing.assert_allclose(
        np.abs(found.position), np.abs(fit.transform(vectors.values[0])), atol=1e-10
    )
    assert found.explained.item() == pytest.approx(fit.explained_variance_ratio_.sum())
    assert found.explained > found.null_explained.max()
    assert np.isnan(found.overlap)


def test_an_unchanged_checkpoint_does_not_move_at_all() -> None:
    vectors = planted(4, noise=0.3)
    vectors.values[2] = vectors.values[1]
    found = unit_map(vectors)
    np.testing.assert_array_equal(found.position[2], found.position[1])
    assert found.overlap[2].item() == 1
    assert (found.position[3] != found.position[2]).any()


def test_axes_are_turned_back_where_components_change_places() -> None:
    # The second feature overtakes the first: without alignment all points would jump.
    vectors = planted(2)
    vectors.values[1, :, 1] *= 2
    moved = np.abs(np.diff(unit_map(vectors).position.values, axis=0)[0])
    plain = [PCA(2).fit_transform(each) for each in vectors.values]
    assert np.linalg.norm(moved) < np.linalg.norm(np.abs(plain[1]) - np.abs(plain[0]))
    # What did not change, the place along the first feature, stays within a tenth of its spread.
    spread = vectors.values[0, :, 0].std()
    assert moved[:, 0].mean() < 0.1 * spread


def test_permuted_units_move_with_their_labels() -> None:
    vectors = planted(2)
    order = np.random.default_rng(3).permutation(N_UNITS)
    vectors.values[1] = vectors.values[0][order]
    found = unit_map(vectors).position
    np.testing.assert_allclose(found[1], found[0][order], atol=1e-10)
    # And the order in which they are given changes nothing.
    shuffled = unit_map(vectors.isel(latent=order))
    np.testing.assert_array_equal(shuffled.latent, order)
    xr.testing.assert_identical(shuffled.position.sortby("latent"), found)


def test_noise_has_its_null_and_the_overlap_of_chance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 40, 20))
    vectors = xr.DataArray(values, dims=("checkpoint", "latent", "channel"))
    found = unit_map(vectors.assign_coords(latent=np.arange(40)))
    rank = (found.null_explained > found.explained).mean("shuffle")
    assert 0.3 < rank.mean() < 0.7
    assert found.overlap.mean().item() == pytest.approx(found.attrs["chance_overlap"], abs=0.05)


def test_units_without_a_vector_have_no_place() -> None:
    vectors = planted(2)
    vectors.values[1, 4] = np.nan
    found = unit_map(vectors)
    assert found.position[1, 4].isnull().all()
    assert found.position[1].notnull().all("component").sum() == N_UNITS - 1
    vectors.values[0] = np.nan
    assert unit_map(vectors).position[0].isnull().all()
    vectors.values[1] = np.nan
    with pytest.raises(ValueError, match="no checkpoint has 3 units or more"):
        unit_map(vectors)
    with pytest.raises(ValueError, match=r"n_components is 8 .*give 1 to 7"):
        unit_map(planted(1), n_components=8)


def test_cosines_are_of_pairs_beside_a_null() -> None:
    vectors = planted(2)
    vectors.values[0, 1] = -3 * vectors.values[0, 0]
    vectors.values[1, 5] = 0
    found = unit_cosines(vectors)
    assert found.cosine.dims == ("checkpoint", "latent", "latent_to")
    assert found.cosine[0, 0, 1].item() == pytest.approx(-1)
    np.testing.assert_allclose(np.diagonal(found.cosine[0]), 1, rtol=1e-6)
    assert found.cosine[1, 5].isnull().all()
    noise = np.random.default_rng(0).normal(size=(1, 200, 30))
    of_noise = unit_cosines(
        xr.DataArray(noise, {"latent": np.arange(200)}, ("checkpoint", "latent", "channel"))
    )
    off = np.abs(of_noise.cosine.values[0][np.triu_indices(200, 1)])
    assert 0.03 < (off > of_noise.null_cosine.item()).mean() < 0.07
