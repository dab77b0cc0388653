"""Alignment: changes that share moments are found, those that share the middle are not."""

import numpy as np
import pytest
import xarray as xr
from made_up import made_up, rising_at
from made_up_nulls import APART, alignments, births_at_jumps

from dvis.analysis.births import births
from dvis.analysis.change_points import change_points
from dvis.analysis.together import alignment


def jumping(*starts: int) -> np.ndarray:
    """60 numbers that go up by 1 at these positions."""
    return (np.arange(60)[:, None] >= np.array(starts)).sum(axis=1).astype(float)


@pytest.fixture
def loss_changes() -> xr.Dataset:
    """Change points at steps 120, 300 and 500 of 0, 10, 20, ..., 590."""
    run = made_up(np.zeros((60, 1, 1)), steps=10 * np.arange(60), val_loss=jumping(12, 30, 50))
    return change_points(run, variable="val_loss")


def of_units(*starts: int) -> xr.Dataset:
    """Change points of units that each change once."""
    levels = np.stack([jumping(start) for start in starts], axis=1)[:, None]
    return change_points(made_up(levels, steps=10 * np.arange(60)))


def test_changes_near_each_other_are_together(loss_changes: xr.Dataset) -> None:
    found = alignment(of_units(12, 31, 41), loss_changes)
    assert found.is_together[0, :, 0].values.tolist() == [True, True, False]
    assert found.distance[0, :, 0].values.tolist() == [0, 1, -9]
    assert found.nearest_step[0, :, 0].values.tolist() == [120, 300, 500]
    assert (found.n_together, found.n_changes, found.n_pairs) == (2, 3, 2)
    assert found.share_together == pytest.approx(2 / 3)
    exact = alignment(of_units(12, 31, 40), loss_changes, tolerance=0)
    assert exact.n_together == 1


def test_births_are_aligned_too(loss_changes: xr.Dataset) -> None:
    born = births(made_up(rising_at([[12, 30, 50, 99]], 60), steps=10 * np.arange(60)))
    found = alignment(born, loss_changes, tolerance=0)
    assert found.is_together.dims == ("layer", "channel")
    assert found.is_together.values.tolist() == [[True, True, True, False]]
    assert found.p_value < 0.01
    assert found.null_n_pairs.values[1] < found.n_pairs


def test_distances_are_counted_in_checkpoints() -> None:
    steps = 2.0 ** np.arange(60)
    run = made_up(np.zeros((60, 1, 1)), steps=steps, val_loss=jumping(12, 30))
    changes = change_points(run, variable="val_loss")
    born = births(made_up(rising_at([[11, 31, 33]], 60), steps=steps))
    found = alignment(born, changes)
    assert found.distance.values.tolist() == [[-1, 1, 3]]
    # Births between two checkpoints of the series lie between their places.
    half = alignment(xr.Dataset({"birth_step": ("unit", [1.5 * 2**12, 2.0**61])}), changes)
    np.testing.assert_allclose(half.distance, [0.5, np.nan])
    assert (half.n_together, half.n_changes) == (1, 2)


@pytest.mark.parametrize("make", APART.values(), ids=[name[:20] for name in APART])
def test_what_merely_happens_in_mid_training_is_not_together(make) -> None:
    p_values = alignments(make, 100, 40)
    assert (p_values <= 0.05).sum() <= 7


def test_births_at_jumps_are_together() -> None:
    assert (alignments(births_at_jumps, 50, 60) <= 0.05).mean() > 0.8


def test_one_change_alone_is_weak_evidence() -> None:
    run = made_up(np.zeros((60, 1, 1)), steps=10 * np.arange(60), val_loss=jumping(30))
    found = alignment(of_units(*[30] * 40), change_points(run, variable="val_loss"))
    assert found.share_together == 1
    assert found.p_value == pytest.approx(3 / 21, abs=0.02)


def test_series_without_changes_have_no_p_value(loss_changes: xr.Dataset) -> None:
    run = made_up(np.zeros((60, 1, 1)), steps=10 * np.arange(60), val_loss=np.zeros(60))
    still = change_points(run, variable="val_loss")
    assert np.isnan(alignment(still, loss_changes).p_value)
    none = alignment(of_units(12), still)
    assert np.isnan([none.p_value, *none.null_n_pairs]).all()
    assert none.n_together == 0


def test_the_same_seed_gives_the_same_alignment(loss_changes: xr.Dataset) -> None:
    units = of_units(13, 33, 53)
    first, second = (alignment(units, loss_changes, tolerance=3, seed=1) for _ in "ab")
    xr.testing.assert_identical(first, second)


def test_a_wrong_alignment_says_what_is_right(loss_changes: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"dimensions .* several; take one"):
        alignment(loss_changes, of_units(1, 2))
    with pytest.raises(ValueError, match="neither step nor birth_step"):
        alignment(made_up(np.zeros((3, 1, 1))), loss_changes)
    with pytest.raises(ValueError, match="not what change_points gave"):
        alignment(loss_changes, made_up(np.zeros((3, 1, 1))))
    with pytest.raises(ValueError, match="tolerance=-1"):
        alignment(loss_changes, loss_changes, tolerance=-1)
    with pytest.raises(ValueError, match="window=0"):
        alignment(loss_changes, loss_changes, window=0)
