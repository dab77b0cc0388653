"""Nearest latents: the same whether a decoder is read as a whole or in blocks."""

import numpy as np
import pytest
import xarray as xr

from dvis.kinds.saes import nearest
from dvis.kinds.saes.nearest import Directions


def decoder(n_latents: int = 40, n_channels: int = 6) -> xr.DataArray:
    values = np.random.default_rng(3).normal(size=(2, n_latents, n_channels)).astype(np.float32)
    values[:, 5:6] = 0  # a latent that was never anything
    return xr.DataArray(
        values, dims=("checkpoint", "latent", "channel"), coords={"latent": np.arange(n_latents)}
    )


@pytest.mark.parametrize("n_items", [1, 42, 6 * 40, 10**6])
def test_blocks_give_what_the_whole_matrix_gives(
    monkeypatch: pytest.MonkeyPatch, n_items: int
) -> None:
    monkeypatch.setattr(nearest, "_BLOCK_ITEMS", n_items)
    given = decoder()
    asked = [0, 5, 17, 39]
    for checkpoint in (0, 1):
        found = Directions(given).nearest(checkpoint, asked, 7)
        rows = given.values[checkpoint].astype(float)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        cosine = rows @ rows.T
        np.fill_diagonal(cosine, -np.inf)
        best = np.argsort(-cosine[asked], axis=1, kind="stable")[:, :7]
        of_zeros = asked.index(5)
        others = [place for place in range(len(asked)) if place != of_zeros]
        np.testing.assert_array_equal(found.units[others], best[others])
        expected = np.take_along_axis(cosine[asked], best, 1)
        np.testing.assert_allclose(found.likeness, expected, atol=1e-6)
        assert 5 not in found.units[of_zeros]


def test_a_latent_alone_has_no_neighbour() -> None:
    found = Directions(decoder(1)).nearest(0, [0])
    assert found.units.shape == found.likeness.shape == (1, 0)
