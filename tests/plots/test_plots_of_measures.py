"""Pictures of what births are read off: the axis says which measure it is."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from made_up import rising_at, rising_units
from made_up_nulls import held_against, of_answers

SPREAD = "activation in reference sd"


@pytest.fixture
def held() -> xr.Dataset:
    return held_against(rising_units(), 3.0 ** np.arange(8)[:, None])


def texts_of(figure: plt.Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.findobj(plt.Text)).split())


@pytest.mark.parametrize("picture", ["trajectory", "trajectories_by_layer", "heatmap"])
def test_axes_name_the_measure(held: xr.Dataset, picture: str) -> None:
    assert SPREAD in texts_of(getattr(held.dvis, picture)())
    assert SPREAD in texts_of(getattr(held.dvis, picture)(layer="layer2"))
    raw = texts_of(getattr(held.dvis, picture)(variable="activation"))
    assert SPREAD not in raw
    assert "activation" in raw


def test_one_unit_is_drawn_by_the_measure(held: xr.Dataset) -> None:
    unit = held.isel(layer=1, channel=2)
    (line, *_) = unit.dvis.trajectory().axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), 10.0 * rising_at([[5]], 8)[:, 0, 0], rtol=1e-5)
    figure = held.dvis.development(layer="layer1", channel=0)
    assert figure.axes[0].get_ylabel() == SPREAD


@pytest.mark.parametrize("picture", ["heatmap", "births_by_layer"])
def test_births_are_those_of_the_measure_and_say_so(held: xr.Dataset, picture: str) -> None:
    told = texts_of(getattr(held.dvis, picture)())
    assert "born: standardised activation stays above 50% of its final level" in told
    told = texts_of(getattr(held.dvis, picture)(variable="activation"))
    assert "born: activation stays above 50% of its final level" in told


def test_births_of_answers_are_drawn() -> None:
    answers = of_answers(rising_at(np.array([[1, 2], [4, 5]]), 8), np.ones((8, 2)))
    figure = answers.dvis.births_by_layer()
    assert "born: response correlation stays above" in texts_of(figure)
    assert "correlation with the final responses" in texts_of(answers.dvis.trajectory())
