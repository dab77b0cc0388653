"""Change points: planted ones are found, the division is the best there is, noise seldom is one."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up import made_up, nothing_computed
from made_up_nulls import correlated_noise, false_alarms

import dvis
from dvis.analysis.change_points import change_points


def jumping(*starts: int, n: int = 60, size: float = 1.0) -> np.ndarray:
    """A series of `n` that goes up by `size` at each start."""
    return size * (np.arange(n)[:, None] >= np.array(starts, int)).sum(axis=1)


def series(numbers: np.ndarray, steps: np.ndarray | None = None) -> xr.Dataset:
    """A Dataset with this loss of its checkpoints."""
    steps = np.arange(len(numbers)) if steps is None else steps
    return made_up(np.zeros((len(numbers), 1, 1)), steps=steps, val_loss=numbers)


def found_in(numbers: np.ndarray, **options) -> list[int]:
    """Positions of change in one series."""
    position = change_points(series(numbers), variable="val_loss", **options).position.values
    return position[position >= 0].tolist()


def test_jumps_without_noise_are_found_exactly() -> None:
    assert found_in(jumping(10, 25, 50)) == [10, 25, 50]
    assert found_in(np.zeros(60)) == []
    assert found_in(np.full(60, 1e6) + jumping(30, size=1e-2)) == [30]


@pytest.mark.parametrize("is_lazy", [False, True])
def test_noisy_jumps_are_found_within_a_checkpoint(is_lazy: bool) -> None:
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((60, 4, 20)) / 4
    levels = jumping(20, 45)[:, None, None]
    dataset = made_up(levels + noise, steps=range(60), is_lazy=is_lazy)
    with nothing_computed():
        found = change_points(dataset, penalty=4 * np.log(60))
    assert (found.position.chunks is not None) == is_lazy
    is_right = (np.abs(found.position[..., :2] - [20, 45]) <= 1).all("change")
    assert (is_right & (found.n_changes == 2)).mean() > 0.9  # of jumps of four sigma
    assert found.noise.mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(found.step[..., :2], found.position[..., :2])


def cost(numbers: np.ndarray, degree: int) -> float:
    """Residual sum of squares around a polynomial."""
    place = np.arange(len(numbers))
    return float(((numbers - np.polyval(np.polyfit(place, numbers, degree), place)) ** 2).sum())


@pytest.mark.parametrize(("shape", "degree", "least"), [("level", 0, 2), ("line", 1, 3)])
def test_no_other_division_is_cheaper(shape: str, degree: int, least: int) -> None:
    generator = np.random.default_rng(1)
    for _ in range(8):
        numbers = generator.standard_normal(11) + 2 * (np.arange(11) > generator.integers(2, 9))
        divisions = [
            [0, *starts, 11]
            for n in range(4)
            for starts in combinations(range(1, 11), n)
            if min(np.diff([0, *starts, 11])) >= least
        ]
        costs = [
            sum(cost(numbers[a:b], degree) for a, b in pairwise(d)) + 1.5 * len(d)
            for d in divisions
        ]
        best = divisions[int(np.argmin(costs))][1:-1]
        options = {"shape": shape, "least_length": least, "penalty": 1.5, "noise": 1.0}
        assert found_in(numbers, **options) == best


def test_lines_find_a_jump_in_what_falls_steadily() -> None:
    falling = 5 - 0.1 * np.arange(60) - jumping(35)
    falling += np.random.default_rng(2).standard_normal(60) / 20
    assert found_in(falling, shape="line") == [35]
    assert len(found_in(falling)) > 3  # levels make stairs of it


@pytest.mark.parametrize("shape", ["level", "line"])
def test_missing_checkpoints_are_passed_over(shape: str) -> None:
    numbers = jumping(20).astype(float)
    numbers[[3, 19, 20, 40, 59]] = np.nan
    assert found_in(numbers, shape=shape) == [21]


def test_units_that_are_not_complete_have_no_changes() -> None:
    status = np.ones((60, 1, 2))
    status[10:14, 0, 0] = 3
    status[:, 0, 1] = 0
    levels = np.repeat(jumping(30)[:, None, None], 2, axis=2)
    levels[10:14] = 99
    found = change_points(made_up(levels, steps=range(60), status=status))
    assert found.position[0, 0].values.tolist() == [30, *[-1] * 7]
    assert found.n_changes.values.tolist() == [[1, 0]]
    assert found.checkpoint[0, 0].values.tolist() == ["step_30", *[""] * 7]
    assert np.isnan(found.noise[0, 1])


def test_an_outlier_is_no_change() -> None:
    numbers = jumping(30)
    numbers[10] = 0.5
    assert found_in(numbers, noise=0.1) == [30]
    assert found_in(numbers, noise=0.1, least_length=1) == [10, 11, 30]


def test_changes_with_the_most_gain_stay() -> None:
    numbers = jumping(10, 20, 30, 40) + 5 * jumping(20, 40)
    found = change_points(series(numbers), variable="val_loss", max_changes=2)
    assert found.position.values.tolist() == [20, 40]
    assert found.n_changes == 4


def test_noise_alone_seldom_changes() -> None:
    noise = np.random.default_rng(4).standard_normal((100, 1, 1000))
    strict = change_points(made_up(noise, steps=range(100)), penalty=20)
    assert (strict.n_changes > 0).mean() < 0.01
    assert strict.attrs["false_alarms"] == "not calibrated"


@pytest.mark.parametrize("shape", ["level", "line"])
@pytest.mark.parametrize("n_checkpoints", [8, 9, 12, 17, 31, 70])
def test_false_alarms_are_as_rare_as_is_said(n_checkpoints: int, shape: str) -> None:
    noise = correlated_noise(0, 1500, n_checkpoints)
    for known in ({}, {"noise": 1.0}):
        assert 0.033 < false_alarms(noise, shape=shape, **known) < 0.07


def test_correlated_noise_alarms_as_often_as_is_said() -> None:
    for n_checkpoints, said, said_of_known in ((12, 0.26, 0.17), (25, 0.50, 0.30)):
        noise = correlated_noise(0.5, 1500, n_checkpoints)
        assert false_alarms(noise) == pytest.approx(said, abs=0.04)
        assert false_alarms(noise, noise=1.0) == pytest.approx(said_of_known, abs=0.04)


def test_standard_errors_of_a_variable_are_its_noise() -> None:
    numbers = 0.01 * np.random.default_rng(0).normal(size=12)
    numbers[6:] += 1
    sure = series(numbers).assign(val_loss_se=("checkpoint", np.full(12, 0.2)))
    unsure = series(numbers).assign(val_loss_se=("checkpoint", np.full(12, 2.0)))
    found, none = (change_points(each, variable="val_loss") for each in (sure, unsure))
    assert found.attrs["noise_from"] == "val_loss_se"
    assert found.noise == pytest.approx(0.2)
    assert found.position[0] == 6
    assert none.n_changes == 0
    xr.testing.assert_identical(none.n_changes, of_named(numbers, 2.0).n_changes)
    with_gap = sure.assign(val_loss_se=sure.val_loss_se.where(sure.step != 3))
    assert change_points(with_gap, variable="val_loss").noise < 0.1  # estimated


def of_named(numbers: np.ndarray, noise: float) -> xr.Dataset:
    """Changes by errors that a variable of another name has."""
    errors = series(numbers).assign(errors=("checkpoint", np.full(len(numbers), noise)))
    return change_points(errors, variable="val_loss", noise="errors")


@pytest.mark.parametrize("shape", ["level", "line"])
def test_a_checkpoint_of_great_error_counts_for_little(shape: str) -> None:
    numbers = np.zeros(24)
    numbers[10:12] = 8
    errors = np.full(24, 0.5)
    assert len(found_in(numbers, noise=xr.DataArray(errors, dims="checkpoint"), shape="level")) == 2
    errors[10:12] = 50
    assert found_in(numbers, noise=xr.DataArray(errors, dims="checkpoint"), shape=shape) == []


def test_the_sample_is_cut_as_numpy_and_as_dask_alike(sample_store: Path) -> None:
    eager = change_points(dvis.open(sample_store))
    lazy = change_points(dvis.open(sample_store, chunks={}))
    assert all(each.chunks is not None for each in lazy.data_vars.values())
    xr.testing.assert_identical(eager, lazy.compute())


def test_wrong_parameters_say_what_is_right() -> None:
    with pytest.raises(ValueError, match="Did you mean 'level'"):
        found_in(np.zeros(9), shape="levels")
    with pytest.raises(ValueError, match="needs 2 checkpoints or more"):
        found_in(np.zeros(9), shape="line", least_length=1)
    with pytest.raises(ValueError, match="leave it out for 5 % false alarms"):
        found_in(np.zeros(9), penalty=-1)
    with pytest.raises(ValueError, match="noise=0"):
        found_in(np.zeros(9), noise=0)
    with pytest.raises(ValueError, match="max_changes=0"):
        found_in(np.zeros(9), max_changes=0)
    with pytest.raises(TypeError, match="penalty is 'a', of type str; give a number"):
        found_in(np.zeros(9), penalty="a")
    with pytest.raises(ValueError, match="No checkpoint is left"):
        change_points(made_up(np.zeros((9, 1, 1))).isel(checkpoint=slice(0)))


def test_short_series_have_no_changes() -> None:
    for n in (1, 2, 3):
        assert found_in(np.arange(n) * 5.0) == []
        assert found_in(np.arange(n) * 5.0, shape="line") == []


def test_what_runs_over_more_than_units_is_refused() -> None:
    dataset = made_up(np.zeros((4, 1, 2)), image=np.zeros((4, 1, 2, 2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="image runs over y, x, rgb too"):
        change_points(dataset, variable="image")


def test_values_that_repeat_have_no_more_false_alarms_than_others() -> None:
    generator = np.random.default_rng(0)
    shape = 1000, 25
    nulls = {
        "20 images, 0.99": generator.binomial(20, 0.99, shape) / 20,
        "10 images, 0.97": generator.binomial(10, 0.97, shape) / 10,
        "rounded": np.round(0.6 * generator.normal(size=shape)),
        "behind a ReLU": np.maximum(generator.normal(size=shape) - 0.52, 0),
    }
    assert {name for name, series in nulls.items() if false_alarms(series) > 0.08} == set()
    low, high = (generator.binomial(20, p, (200, 12)) / 20 for p in (0.5, 0.99))
    assert false_alarms(np.concatenate([low, high], 1)) > 0.99
