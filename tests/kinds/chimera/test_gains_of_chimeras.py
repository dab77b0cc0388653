"""Gains of chimeras and their picture: planted ratios, intervals, nulls, and errors."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import dvis
from dvis.analysis.control import controlled
from dvis.kinds.chimera.analysis import waits_for_inputs
from dvis.kinds.chimera.words import PARTS, UNIT_DIMS

N_UNITS = 60


def made_up_chimeras(n_units: int = N_UNITS, noise: float = 0.05, seed: int = 0) -> xr.Dataset:
    """Gains of 0.8 and 0.3 at the first of two checkpoints, none left at the second."""
    rng = np.random.default_rng(seed)
    both = rng.uniform(0.1, 0.5, n_units)
    values = np.full((2, 2, 3, 2, n_units), 1.0)
    for place, share in enumerate((0.3, 0.8, 0.0)):
        gain = share + noise * rng.standard_normal(n_units)
        values[0, :, place] = both + gain * (1 - both)
    null = rng.normal(0, 0.1, values.shape)
    return xr.Dataset(
        {
            "correlation": (UNIT_DIMS, values.astype(np.float32)),
            "null_correlation": (UNIT_DIMS, null.astype(np.float32)),
            "status": (("checkpoint", "cut"), np.ones((2, 2), np.uint8)),
        },
        {
            "checkpoint": ["step_0", "step_9"],
            "step": ("checkpoint", [0, 9]),
            "cut": ["conv1", "conv2"],
            "cut_depth": ("cut", [0, 3]),
            "part": list(PARTS),
            "layer": ["conv2", "fc"],
            "depth": ("layer", [3, 5]),
            "n_channels": ("layer", [n_units, n_units]),
            "channel": np.arange(n_units),
        },
        {"model": "net", "run": "checkpoints"},
    )


def test_planted_gains_are_found_with_intervals_that_hold_them() -> None:
    found = waits_for_inputs(made_up_chimeras())
    at = {"checkpoint": "step_0", "cut": "conv1", "layer": "fc"}
    value = found.sel(control="value", **at)
    for name, planted in (
        ("waits_for_inputs", 0.8), ("waits_for_weights", 0.3), ("difference", 0.5)
    ):  # fmt: skip
        low, high = found[f"{name}_interval"].sel(at).values
        assert low < value[name] < high
        assert high - low < 0.1
        assert value[name] == pytest.approx(planted, abs=0.05)
        assert abs(found[name].sel(control="units exchanged", **at)) < 0.1
        assert controlled(found, name).exchanged == "units of a layer"
        assert found[name].attrs["units"] == "1"
    assert "other runs may differ" in found.attrs["comment"]
    assert found.n_units.sel(at) == N_UNITS


def test_intervals_hold_their_level() -> None:
    made = [
        made_up_chimeras(n_units=30, noise=0.3, seed=seed).isel(checkpoint=[0], cut=[0], layer=[1])
        for seed in range(300)
    ]
    # A checkpoint for each sample of units.
    together = xr.concat(made, dim="checkpoint", data_vars="all", coords="minimal", compat="equals")
    found = waits_for_inputs(together, n_resamples=300).difference_interval.squeeze()
    is_held = (found.sel(bound="lower") < 0.5) & (found.sel(bound="upper") > 0.5)
    assert 0.9 <= float(is_held.mean()) <= 0.98


def test_nothing_is_said_where_no_gap_is_left_or_the_layer_is_not_behind() -> None:
    found = waits_for_inputs(made_up_chimeras())
    value = found.waits_for_inputs.sel(control="value")
    assert value.sel(checkpoint="step_9").isnull().all()
    assert value.sel(cut="conv2", layer="conv2").isnull().all()
    assert found.gap.sel(checkpoint="step_9", cut="conv1").values == pytest.approx(0)
    made = made_up_chimeras()
    made["correlation"][0, 0, 1, 1, :5] = np.nan
    assert waits_for_inputs(made).n_units.sel(cut="conv1", layer="fc")[0] == N_UNITS - 5
    xr.testing.assert_identical(waits_for_inputs(made), waits_for_inputs(made.chunk({"part": 1})))


def test_seed_and_errors() -> None:
    made = made_up_chimeras()
    xr.testing.assert_identical(waits_for_inputs(made, seed=3), waits_for_inputs(made, seed=3))
    assert not waits_for_inputs(made).equals(waits_for_inputs(made, seed=3))
    with pytest.raises(dvis.SchemaError, match=r"Open one with dvis\.chimera"):
        waits_for_inputs(xr.Dataset())
    with pytest.raises(ValueError, match="no dimension cut; select with lists"):
        waits_for_inputs(made.isel(cut=0))
    with pytest.raises(ValueError, match="least_gap is 0"):
        waits_for_inputs(made, least_gap=0)
    with pytest.raises(ValueError, match="n_resamples is 0"):
        waits_for_inputs(made, n_resamples=0)
    with pytest.raises(TypeError, match="give a number"):
        waits_for_inputs(made, least_gap="much")


def test_names_under_neighbouring_panels_stand_apart() -> None:
    first = made_up_chimeras().isel(checkpoint=[0])
    names = [f"checkpoint_2024-03-25-{i:02d}h28_epoch_{i}_train_200.pth.tar" for i in range(13)]
    steps = ("checkpoint", 20 * np.arange(13))
    made = xr.concat([first] * 13, "checkpoint").assign_coords(checkpoint=names, step=steps)
    figure = made.dvis.chimera_curves()
    figure.draw_without_rendering()
    shown = [axes.get_xticklabels() for axes in figure.axes if axes.axison]
    assert [[label.get_text() for label in of_panel] for of_panel in shown] == [
        ["step 0", "step 120", "step 240"]
    ] * 2
    boxes = [label.get_window_extent() for of_panel in shown for label in of_panel]
    gaps = [after.x0 - before.x1 for before, after in pairwise(boxes)]
    assert min(gaps) > 0.15 * figure.dpi


def test_picture_has_a_panel_for_each_cut_before_the_layer(tmp_path: Path) -> None:
    made = made_up_chimeras()
    figure = made.dvis.chimera_curves(path=tmp_path / "curves.png", x="step")
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == [
        "cut behind conv1", "cut behind conv2",
    ]  # fmt: skip
    median = shown[0].lines[1]
    assert median.get_label() == "final below, early above"
    expected = made.correlation.sel(cut="conv1", layer="fc", part="above").median("channel")
    np.testing.assert_allclose(median.get_ydata(), expected, rtol=1e-6)
    assert "grey: 90 % of the null" in figure._supxlabel.get_text()
    assert (tmp_path / "curves.png").stat().st_size > 5000
    (axes,) = [a for a in made.dvis.chimera_curves("conv2", [1, 4]).axes if a.axison]
    assert axes.get_title(loc="left") == "cut behind conv1"
    with pytest.raises(ValueError, match="Did you mean 'conv2'"):
        made.dvis.chimera_curves("conv22")
    with pytest.raises(ValueError, match=r"is behind none of the cuts: conv2\. Take a"):
        made.isel(cut=[1]).dvis.chimera_curves("conv2")
