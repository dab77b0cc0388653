"""Trends over depth: found where they are, at their level where there is none, and said if not."""

from itertools import permutations, product

import numpy as np
import pytest
import xarray as xr
from made_up_nulls import chains_of_noise, chains_that_rise, chains_that_walk
from scipy.stats import spearmanr

from dvis.analysis.depth_trend import depth_trend

DIMS = ("seed", "depth")


def test_all_orders_are_gone_through() -> None:
    values = np.array([[2.0, 1.0, 2.0], [3.0, 1.0, 5.0], [0.0, 1.0, 2.0]])

    def mean_of(rows: tuple[tuple[float, ...], ...]) -> float:
        return float(np.mean([spearmanr(range(3), row).statistic for row in rows]))

    own = mean_of(tuple(map(tuple, values)))
    moved = np.array([mean_of(rows) for rows in product(*map(permutations, values.tolist()))])
    signs = [*product((1, -1), repeat=2)]
    walks = [[(0, a * s, a * s + b * t) for s, t in signs] for a, b in np.diff(values)]
    turned = np.array([mean_of(rows) for rows in product(*walks)])
    found = depth_trend(xr.DataArray(values, dims=DIMS))
    assert found.correlation.item() == pytest.approx(own)
    shares = [(abs(each) >= abs(own) - 1e-9).mean() for each in (moved, turned)]
    assert found.p_value.item() == pytest.approx(max(shares))
    low, high = np.transpose([np.quantile(each, [0.025, 0.975]) for each in (moved, turned)])
    np.testing.assert_allclose(found.null_correlation, [low.min(), high.max()])


def test_its_level_is_kept_and_a_trend_is_found() -> None:
    values = chains_of_noise(400, 3, 4)
    found = depth_trend(values, n_permutations=299)
    rejected = found.p_value <= 0.05
    assert rejected.mean() <= 0.03  # exchanged depths alone: 4 %
    walking = depth_trend(chains_that_walk(400, 3, 4), n_permutations=999)
    assert (walking.p_value <= 0.05).mean() <= 0.07  # 11 %
    rising = depth_trend(chains_that_rise(100, 5, 4), n_permutations=299)
    assert (rising.p_value <= 0.05).mean() > 0.7
    falling = depth_trend(-values[:9], n_permutations=9)
    np.testing.assert_allclose(falling.correlation, -found.correlation[:9], atol=1e-12)


@pytest.mark.parametrize(
    ("n_chains", "n_depths", "smallest"), [(1, 3, 2 / 4), (2, 3, 2 / 16), (1, 4, 2 / 8)]
)
def test_without_a_small_p_there_is_none(n_chains: int, n_depths: int, smallest: float) -> None:
    rising = xr.DataArray([[*range(n_depths)]] * n_chains, dims=DIMS)
    found = depth_trend(rising)
    assert found.correlation.item() == pytest.approx(1)
    assert found.smallest_p.item() == pytest.approx(smallest)
    assert np.isnan(found.p_value.item())
    assert f"at {n_depths} depths" in found.why_no_p.item()


def test_chains_that_ended_or_do_not_differ_are_left_out() -> None:
    rows = [[1, 2, 3, 4], [1, 2, 3, np.nan], [5, 5, 5, 5], [1, np.nan, np.nan, np.nan]]
    found = depth_trend(xr.DataArray(np.array(rows, float), dims=DIMS))
    assert (found.n_chains.item(), found.correlation.item()) == (2, pytest.approx(1))
    assert found.smallest_p.item() == pytest.approx(2 / 2**5)
    flat = depth_trend(xr.DataArray(np.ones((3, 3)), dims=DIMS))
    assert np.isnan(flat.correlation.item())
    assert flat.why_no_p.item() == "no chain has two depths at which it differs"


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(ValueError, match="no dim depth, but seed, level; say which"):
        depth_trend(xr.DataArray(np.ones((2, 2)), dims=("seed", "level")))
    with pytest.raises(ValueError, match="a test needs some"):
        depth_trend(chains_of_noise(1, 2, 3), n_permutations=0)
