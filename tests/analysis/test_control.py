"""Results that carry their null, and the bands of these."""

import numpy as np
import pytest
import xarray as xr
from made_up import rising_units

from dvis.analysis.births import births
from dvis.analysis.control import controlled, with_control
from dvis.analysis.order import birth_order
from dvis.plots.canvas import subplots
from dvis.plots.null_band import draw_null, null_note


def series(*values: float) -> xr.DataArray:
    return xr.DataArray(np.array(values), dims="checkpoint")


def test_rows_of_control_are_named_and_say_what_is_exchanged() -> None:
    found = with_control(series(1, 2), {"labels permuted": series(0, 1)}, "labels")
    assert found.dims == ("control", "checkpoint")
    assert found.control.values.tolist() == ["value", "labels permuted"]
    assert found.attrs["exchangeable"] == "labels"
    with pytest.raises(ValueError, match="give one or more"):
        with_control(series(1), {}, "labels")
    with pytest.raises(ValueError, match="give one or more"):
        with_control(series(1), {"value": series(1)}, "labels")


def test_the_band_reaches_over_all_controls() -> None:
    controls = {"units exchanged": series(0, 1), "untrained": series(-1, 2)}
    dataset = with_control(series(5, 6), controls, "units").to_dataset(name="found")
    band = controlled(dataset, "found")
    assert band.value.values.tolist() == [5, 6]
    assert band.low.values.tolist() == [-1, 1]
    assert band.high.values.tolist() == [0, 2]
    assert band.exchanged == "units"


def test_the_band_of_distributions_is_that_of_their_quantiles() -> None:
    value, null = (
        xr.DataArray([[low, low + 1.0, low + 2.0]], {"quantile": [0.05, 0.5, 0.95]}, dims)
        for low, dims in ((4.0, ("checkpoint", "quantile")), (1.0, ("checkpoint", "quantile")))
    )
    dataset = with_control(value, {"units exchanged": null}, "units").to_dataset(name="found")
    band = controlled(dataset, "found")
    assert [float(each[0]) for each in (band.low, band.value, band.high)] == [1, 5, 3]


def test_draws_beside_a_value_are_a_null_too() -> None:
    draws = xr.DataArray(np.arange(12.0).reshape(2, 6), dims=("checkpoint", "draw"))
    band = controlled(xr.Dataset({"found": series(1, 2), "null_found": draws}), "found")
    assert band.low.values.tolist() == [0, 6]
    assert band.high.values.tolist() == [5, 11]


def test_the_order_of_births_has_its_null_in_this_form() -> None:
    order = birth_order(births(rising_units()))
    band = controlled(order, "correlation")
    assert band.exchanged == order.attrs["exchangeable"]
    lower, upper = order.null_correlation.values
    np.testing.assert_array_equal([band.low, band.high], [lower, upper])


def test_what_has_no_null_says_so() -> None:
    dataset = xr.Dataset({"found": series(1)})
    with pytest.raises(ValueError, match="found has no null: neither"):
        controlled(dataset, "found")
    with pytest.raises(KeyError, match="Did you mean 'found'"):
        controlled(dataset, "fonud")


def test_the_band_is_drawn_where_it_is_known() -> None:
    _, axes = subplots()
    low = np.array([0.0, 0.1, np.nan, 0.3])
    draw_null(axes, np.arange(4.0), low, low + 1, "null")
    area, bar = axes.collections
    assert len(area.get_paths()) >= 1
    assert bar.get_segments()[0].tolist() == [[3.0, 0.3], [3.0, 1.3]]
    assert null_note("units") == "grey: 90 % of the null, units"
    assert null_note("") == ""
