"""What is said of dead units: throughout or not, and what that can tell."""

import numpy as np
import xarray as xr
from made_up import made_up

from dvis.analysis.deaths import deaths
from dvis.kinds.features.dead import notes_of_dead, said_of_deaths
from dvis.schema import CHANNEL, Status

DEAD = int(Status.DEAD)


def lives() -> xr.Dataset:
    """Five units over four checkpoints: sound, dead throughout, revived, dying, never tried."""
    status = np.full((4, 1, 5), int(Status.COMPLETE))
    status[:, 0, 1] = DEAD
    status[:2, 0, 2] = DEAD
    status[2:, 0, 3] = DEAD
    status[:, 0, 4] = int(Status.ABSENT)
    return made_up(np.ones(status.shape), layers=["relu"], status=status)


def test_a_unit_that_comes_to_life_is_told_from_one_that_is_dead_throughout() -> None:
    found = deaths(lives())
    assert found is not None
    of_layer = found.isel(layer=0)
    assert of_layer.n_dead.values.tolist() == [0, 4, 2, 2, 0]
    assert of_layer.is_throughout.values.tolist() == [False, True, False, False, False]
    assert of_layer.is_alive_at_last.values.tolist() == [True, False, True, False, False]
    said, told = said_of_deaths(lives(), "average", "relu", [0, 1, 2, 3, 4])
    assert said == (
        "average, relu: of 5 units 1 dead at all 4 checkpoints (channel 1); 1 dead at some "
        "checkpoints and alive at the last (channel 2); 1 alive at some checkpoints and dead at "
        "the last (channel 3)"
    )
    assert "it may answer the same to everything, or other images may drive it" in told


def test_nothing_is_said_of_units_that_are_all_alive() -> None:
    assert said_of_deaths(lives(), "average", "relu", [0, 4]) == []


def test_dead_says_no_more_than_reference_images_tell() -> None:
    units = xr.Dataset(
        {
            "reference_mean": (CHANNEL, [0.5, 0.5, 0.0, np.nan]),
            "reference_sd": (CHANNEL, [0.0, 0.1, 0.0, np.nan]),
        }
    )
    constant, driven, silent, unknown = notes_of_dead(units, np.ones(4, bool))
    assert constant.endswith("it answers 0.5 to all reference images")
    assert driven.endswith("but reference images move it: others can drive it")
    assert silent.endswith("it answers 0 to all reference images")
    assert unknown.endswith("it may answer the same to everything, or other images may drive it")
    assert notes_of_dead(units, np.zeros(4, bool)).tolist() == [""] * 4


def test_counts_of_what_reference_images_tell_are_of_dead_units_alone() -> None:
    dataset = lives()
    shape = dataset["status"].dims, np.ones(dataset["status"].shape)
    dataset = dataset.assign(reference_mean=shape, reference_sd=(shape[0], 0 * shape[1]))
    dataset["reference_sd"][:, 0, 2] = 0.3
    _, told = said_of_deaths(dataset, "average", "relu", [0, 1, 2, 3, 4])
    assert "2 times reference images move it, so that others can drive it" in told
    assert "6 times it answers the same, other than 0, to all reference images" in told
