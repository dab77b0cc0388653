"""Influence as it is read: the order of layers, and agreement of halves of the images."""

import numpy as np
from made_up_influence import made_up_influence, write_influence
from scipy.stats import spearmanr

import dvis
from dvis.kinds.influence.read import halves


def test_what_was_written_is_read_in_the_order_of_execution(tmp_path):
    made = made_up_influence(widths={"layer2": 4, "layer10": 6, "fc": 8})
    write_influence(tmp_path / "net.zarr", made)
    read = dvis.influence(tmp_path / "net.zarr")
    assert read["layer_from"].values.tolist() == ["layer2", "layer10", "fc"]
    for name in ("strength", "share", "direction", "half_difference"):
        np.testing.assert_array_equal(read[name], made[name])
    assert dvis.open(tmp_path / "net.zarr", kind="influence").attrs["method"] == "ablation"


def test_reliability_is_the_rank_correlation_of_halves(tmp_path):
    write_influence(tmp_path / "net.zarr")
    read = dvis.influence(tmp_path / "net.zarr").compute()
    at = {"checkpoint": 2, "layer_from": 0, "layer_to": 1, "channel_to": 3}
    even, odd = (half.isel(at).values[:4] for half in halves(read))
    np.testing.assert_allclose(even**2 + odd**2, 2 * read.strength.isel(at)[:4] ** 2, rtol=1e-2)
    assert np.isclose(read.dvis.reliability().isel(at), spearmanr(even, odd).statistic, atol=1e-6)
    assert np.isnan(read.dvis.reliability().sel(layer_from="layer2", layer_to="layer1")).all()
    lazy = dvis.influence(tmp_path / "net.zarr", chunks={}).dvis.reliability()
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy, read.dvis.reliability())
