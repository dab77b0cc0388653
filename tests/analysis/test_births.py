"""Births: planted ones are found, and what is no birth says so."""

import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up import log_steps, made_up, nothing_computed, rising_at

import dvis
from dvis.analysis.births import births

ONE_UNIT = (slice(None), None, None)


def of(*numbers: float, **options) -> xr.Dataset:
    """Births of one unit with these activations."""
    trajectory = np.array(numbers, float)[ONE_UNIT]
    return births(made_up(trajectory), **options).isel(layer=0, channel=0)


@pytest.fixture
def planted() -> np.ndarray:
    """Positions of birth among 20 checkpoints, (4 layers, 8 channels)."""
    return np.random.default_rng(0).integers(0, 19, (4, 8))


@pytest.mark.parametrize("is_lazy", [False, True])
def test_planted_births_are_found_exactly(planted: np.ndarray, is_lazy: bool) -> None:
    dataset = made_up(rising_at(planted, 20), is_lazy=is_lazy)
    with nothing_computed():
        found = births(dataset)
    assert (found.birth.chunks is not None) == is_lazy
    np.testing.assert_array_equal(found.birth, planted)
    np.testing.assert_array_equal(found.birth_step, dataset.step.values[planted])
    np.testing.assert_array_equal(found.birth_checkpoint, dataset.checkpoint.values[planted])
    assert (found.state == "born").all()


def test_noisy_births_lie_between_their_neighbours(planted: np.ndarray) -> None:
    planted = np.clip(np.tile(planted, (1, 40)), 1, 16)
    found = births(made_up(rising_at(planted, 20, noise=0.15)), n_last=3)
    off = np.abs(found.birth.values - planted)
    assert (found.state == "born").mean() > 0.95
    assert (off[found.state == "born"] <= 1).mean() > 0.99  # the stated error
    steps = np.array(log_steps(20))
    is_between = (found.earliest_step < steps[planted]) & (steps[planted] <= found.latest_step)
    assert is_between.values[found.state == "born"].mean() > 0.99


def test_the_uncertainty_is_the_complete_neighbours() -> None:
    status = np.ones((6, 1, 1))
    status[2] = 3
    found = births(made_up(rising_at([[3]], 6), status=status)).squeeze()
    # Steps are 0, 1, 2, 4, 8, 16; what happened at 2 is not known.
    assert (found.earliest_step, found.birth_step, found.latest_step) == (1, 4, 8)
    first = of(1, 1, 1)
    assert first.birth == 0
    assert np.isnan(first.earliest_step)


@pytest.mark.parametrize("status", [0, 2, 3])
def test_units_that_are_not_complete_do_not_count(status: int) -> None:
    trajectory = np.array([0, 0, 9, 0, 1, 1, 9.0])[ONE_UNIT]
    marks = np.array([1, 1, status, 1, 1, 1, status])[ONE_UNIT]
    found = births(made_up(trajectory, status=marks)).squeeze()
    assert found.birth == 4
    assert found.final_level == 1
    assert found.n_losses == 0


def test_states_tell_what_is_no_birth() -> None:
    assert of(0, 0, 1, 1).state == "born"
    assert of(0, 1, 1, 0).state == "never"  # it is nothing at the end
    assert of(0, -1, -1, -1).state == "never"
    assert of(0, 0, 0, 1).state == "unstable"  # not seen to stay
    assert of(0, 1, 0, 1, 0, 1, 1).state == "unstable"  # fell twice
    assert of(np.nan, np.nan, np.nan).state == "absent"
    assert of(np.nan, 1, np.nan).state == "absent"
    for none in (of(0, 1, 1, 0), of(0, 0, 0, 1), of(np.nan, 1, np.nan)):
        assert none.birth == -1
        assert none.birth_checkpoint == ""
        assert np.isnan([none.birth_step, none.earliest_step, none.latest_step]).all()


def test_a_unit_that_falls_once_is_born_when_it_comes_back() -> None:
    found = of(5, 0.3, 0.2, 4, 5, 5)
    assert (found.birth, found.state, found.n_losses) == (3, "born", 1)


def test_fraction_and_baseline_move_the_birth() -> None:
    numbers = 2.0, 2.2, 3.2, 3.9, 4.0, 4.0
    assert of(*numbers).birth == 0  # half of 4 from the start
    assert of(*numbers, baseline="first").birth == 2  # half of the rise from 2 to 4
    assert of(*numbers, baseline="first", fraction=0.9).birth == 3
    assert of(*numbers, fraction=0.95).birth == 3
    assert of(4, 3, 2, 2, baseline="first").state == "never"
    assert of(*numbers, baseline="first", least_rise=3).state == "never"


def test_tolerance_and_patience_forgive_noise() -> None:
    dips = 0, 1, 0.45, 1, 0.1, 1, 1
    assert of(*dips).state == "unstable"
    assert of(*dips, tolerance=0.1).birth == 5
    assert of(*dips, tolerance=0.1, patience=1).birth == 1
    assert of(0, 1, 0.1, 0.1, 1, 1, patience=1).birth == 4


def test_final_level_is_the_median_of_the_last_ones() -> None:
    assert of(0, 1, 1, 1, 9, n_last=3).final_level == 1
    assert of(0, 1, 1, 1, 9, n_last=3).birth == 1
    assert of(0, 1, 2, np.nan, n_last=2).final_level == 1.5


def test_own_numbers_and_other_dimensions_are_taken() -> None:
    dataset = made_up(np.zeros((5, 1, 2)))
    response = xr.DataArray(
        [[0, 0, 0, 1, 1.0], [0, 1, 1, 1, 1]], dims=("image", "checkpoint"), name="response"
    )
    found = births(dataset, variable=response)
    assert found.birth.dims == ("image",)
    assert found.birth.values.tolist() == [3, 1]
    assert found.attrs["variable"] == "response"
    of_some = xr.DataArray(
        [0, 0, 1.0, 1], {"checkpoint": dataset.checkpoint.values[1:]}, name="response"
    )
    assert births(dataset, variable=of_some).birth_step == dataset.step[3]
    with pytest.raises(ValueError, match="has 4 checkpoints without labels, the Dataset 5"):
        births(dataset, variable=of_some.drop_vars("checkpoint"))
    fallen = births(made_up(np.zeros((4, 1, 1)), val_loss=[3, 3, 1, 1]), variable="val_loss")
    assert fallen.birth.shape == ()


def test_unknown_steps_leave_a_birth_without_a_step() -> None:
    trajectory = rising_at([[2]], 5)
    unknown = births(made_up(trajectory, steps=[0, 1, np.nan, 3, 4])).squeeze()
    assert unknown.birth == 2
    assert np.isnan(unknown.birth_step)
    without = births(made_up(trajectory).drop_vars("step")).squeeze()
    assert np.isnan(without.birth_step)


def test_the_sample_is_read_as_numpy_and_as_dask_alike(sample_store: Path) -> None:
    eager, lazy = births(dvis.open(sample_store)), births(dvis.open(sample_store, chunks={}))
    assert all(each.chunks is not None for each in lazy.data_vars.values())
    xr.testing.assert_identical(eager, lazy.compute())
    assert (eager.state == "born").any()


def test_births_of_responses_are_read_off_the_response() -> None:
    dataset = made_up(rising_at([[2, 3]], 6)).rename(activation="response")
    found = births(dataset)
    assert found.birth.values.tolist() == [[2, 3]]
    assert found.attrs["variable"] == "response"
    both = dataset.assign(activation=dataset.response)
    assert births(both).attrs["variable"] == "activation"


@pytest.mark.parametrize("choose", [{"layer": 0}, {"channel": 1}, {"layer": 0, "channel": 1}])
def test_what_is_not_complete_does_not_count_in_a_selection(choose: dict[str, int]) -> None:
    status = np.ones((6, 1, 2))
    status[2, 0, 1] = int(dvis.Status.FAILED)
    dataset = made_up(rising_at([[2, 2]], 6), status=status)
    xr.testing.assert_identical(births(dataset.isel(choose)), births(dataset).isel(choose))
    model = made_up(rising_at([[2, 2]], 6), status=status, val_acc=[0, 0, 1, 1, 1, 1])
    assert births(model.isel(choose), variable="val_acc").birth == 2


def test_checkpoints_are_taken_in_the_order_of_the_dataset() -> None:
    dataset = made_up(np.array([0, 0, 1, 1, 0.6, 0.6, 0.2])[ONE_UNIT])
    assert births(dataset, fraction=1.0).birth_step == dataset.step[2]
    turned = births(dataset.isel(checkpoint=slice(None, None, -1)))
    assert turned.state == "never"
    assert births(dataset.isel(checkpoint=[6, 5, 4])).birth_checkpoint == dataset.checkpoint[5]


def test_an_empty_selection_has_no_births() -> None:
    dataset = made_up(rising_at([[2, 3]], 6))
    for dim in ("checkpoint", "layer", "channel"):
        with pytest.raises(ValueError, match=f"No {dim} is left: the selection took all"):
            births(dataset.isel({dim: []}))


def test_wrong_parameters_say_what_is_right() -> None:
    with pytest.raises(TypeError, match="fraction is 'a', of type str; give a number"):
        of(0, 1, fraction="a")
    with pytest.raises(TypeError, match=r"n_last is 1\.5, of type float; give a whole number"):
        of(0, 1, n_last=1.5)
    with pytest.raises(TypeError, match="give the name of one, or a DataArray"):
        of(0, 1, variable=np.zeros(2))
    with pytest.raises(KeyError, match="Did you mean 'activation'"):
        of(0, 1, variable="activations")
    with pytest.raises(ValueError, match=r"lies in \(0, 1\]"):
        of(0, 1, fraction=0)
    with pytest.raises(ValueError, match=r"tolerance=0\.6 lies between 0 and fraction=0.5"):
        of(0, 1, tolerance=0.6)
    with pytest.raises(ValueError, match="Did you mean 'first'"):
        of(0, 1, baseline="frist")
    with pytest.raises(ValueError, match="n_last=0"):
        of(0, 1, n_last=0)
    with pytest.raises(ValueError, match="no trajectory"):
        births(made_up(np.zeros((3, 1, 1))), variable="n_channels")


def test_births_are_found_in_all_units_at_once() -> None:
    def cpu_of(n_channels: int) -> float:
        """Seconds of processors, the least of three."""
        planted = np.random.default_rng(0).integers(0, 90, (4, n_channels))
        dataset = made_up(rising_at(planted, 100), steps=range(100))
        times = []
        for _ in range(3):
            start = time.process_time()
            found = births(dataset)
            times.append(time.process_time() - start)
            np.testing.assert_array_equal(found.birth, planted)
        return min(times)

    assert cpu_of(6400) < 6400 * cpu_of(1) / 20  # in place of a call for each
