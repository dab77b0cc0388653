"""Pictures over training can be read, whatever the length of the run: nothing overlaps."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from drawn_text import texts_of, unreadable
from made_up import many_units
from slowly import slowly

import dvis
from dvis import plots
from dvis.kinds.features import pictures as feature_pictures
from dvis.plots.time_axis import show_axis, time_axis


@pytest.mark.parametrize("xscale", ["linear", "log"])
def test_crowded_images_do_not_overlap(xscale: str) -> None:
    units = many_units(100, 1, 1, side=4)
    figure = feature_pictures.development(units, x="step", xscale=xscale)
    boxes = [axes.bbox for axes in figure.axes[2:]]
    assert len(boxes) == 8
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    assert boxes[0].x0 >= 0
    assert boxes[-1].x1 <= figure.bbox.x1
    names = [axes.title.get_window_extent() for axes in figure.axes[2:]]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(names))


@pytest.mark.parametrize(
    ("n_checkpoints", "x"),
    [
        *((3, "checkpoint"), (100, "checkpoint"), (100, "time")),
        *(slowly(14, "step"), slowly(100, "step")),
    ],
)
def test_nothing_overlaps(x: str, n_checkpoints: int) -> None:
    units = many_units(n_checkpoints, 3, 20, side=2)
    unit = {"layer": str(units.layer.values[0]), "channel": 1}
    figures = [
        plots.trajectory(units, x=x),
        plots.trajectories_by_layer(units, x=x),
        feature_pictures.development(units, **unit, x=x),
        plots.heatmap(units, x=x),
        plots.births_by_layer(units, x=x),
    ]
    assert [unreadable(figure) for figure in figures] == [[]] * 5


# Seconds, minutes, hours and months that are nearly two of the next unit, after 5 % of margin at
# both sides: there the steps of dates are longest.
@pytest.mark.parametrize("last", [90, 106, 90 * 60, 106 * 60, 42 * 3600, 50 * 86_400, 630 * 86_400])
def test_runs_of_any_length_have_readable_times(last: int) -> None:
    units = many_units(8, 3, 3, side=2)
    seconds = np.linspace(0, last, 8).astype("timedelta64[s]")
    units = units.assign_coords(
        time=("checkpoint", np.datetime64("2024-03-25T10:00:03", "ns") + seconds)
    )
    figures = [
        plots.trajectory(units, x="time"),
        plots.trajectories_by_layer(units, x="time"),  # of which panels are narrow
    ]
    assert [unreadable(figure) for figure in figures] == [[]] * 2
    assert all(len(texts_of(axes, "x")) >= 2 for figure in figures for axes in figure.axes)


def test_pictures_of_the_sample_run(sample_store: Path) -> None:
    dataset = dvis.open(sample_store)
    for picture in (plots.heatmap, plots.births_by_layer, plots.trajectories_by_layer):
        for x in ("checkpoint", "step", "time", "epoch"):
            assert picture(dataset, x=x).axes
        assert not unreadable(picture(dataset))
    assert len(feature_pictures.development(dataset, "layer1", 3, x="step").axes[2:]) == 8


def test_a_time_axis_goes_up_too(rising: xr.Dataset) -> None:
    axis = time_axis(rising, "checkpoint")
    axes = plots.trajectory(rising, "layer1", 0).axes[0]
    show_axis(axes, axis, inches=3, which="y")
    axes.set_ylim(-0.5, 7.5)
    axes.figure.draw_without_rendering()
    names = [label.get_text() for label in texts_of(axes, "y")]
    assert names == [f"step {step:g}" for step in rising.step.values]
