"""Pictures over training: where each point lies, and what is left out."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from drawn_text import texts_of
from made_up import LAYERS, many_units
from matplotlib.figure import Figure

from dvis import plots
from dvis.kinds.features import pictures as feature_pictures
from dvis.plots.curves import log_y
from dvis.plots.time_axis import cell_edges, time_axis
from dvis.schema import Status


def test_a_variable_of_checkpoints_is_one_curve(rising: xr.Dataset) -> None:
    rising["status"][3] = int(Status.FAILED)  # of units, which is nothing to the model's loss
    (line,) = rising.dvis.trajectory(variable="val_loss").axes[0].get_lines()
    np.testing.assert_array_equal(line.get_ydata(), rising.val_loss)
    unit = rising.sel(layer="layer1", channel=2)
    (line,) = unit.dvis.trajectory(variable="val_loss").axes[0].get_lines()
    np.testing.assert_array_equal(line.get_ydata(), rising.val_loss)
    with pytest.raises(ValueError, match=r"val_loss is of the whole model .* leave out layer"):
        rising.dvis.trajectory("layer1", variable="val_loss")


def test_a_variable_of_layers_is_a_curve_each(rising: xr.Dataset) -> None:
    rising["median"] = rising.activation.median("channel")
    lines = rising.dvis.trajectory(variable="median").axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["layer1", "layer2"]
    np.testing.assert_array_equal(lines[1].get_ydata(), rising["median"].sel(layer="layer2"))


def test_a_variable_of_more_dimensions_is_refused(rising: xr.Dataset) -> None:
    rising["response"] = rising.activation.expand_dims(sample=3)
    with pytest.raises(ValueError, match=r"runs over sample too; .* ds\.mean\('sample'\)"):
        rising.dvis.trajectory(variable="response")


def test_values_over_two_decades_are_on_a_logarithmic_axis(rising: xr.Dataset) -> None:
    assert rising.dvis.trajectory(variable="val_loss").axes[0].get_yscale() == "log"
    linear = plots.trajectory(rising, variable="val_loss", yscale="linear")
    assert linear.axes[0].get_yscale() == "linear"
    assert not log_y(np.array([0.0, 1000.0]), "auto")
    assert not log_y(np.array([1.0, 90.0, np.nan]), "auto")
    with pytest.raises(ValueError, match="None of these values is positive"):
        plots.trajectory(rising.assign(activation=rising.activation * 0), "layer1", 0, yscale="log")
    with pytest.raises(ValueError, match="No unit of layer1, channel 0"):
        plots.trajectory(rising.assign(status=rising.status * 0), "layer1", 0)


def test_steps_are_on_a_logarithmic_axis_where_they_crowd(rising: xr.Dataset) -> None:
    steps = [0, 1, 2, 5, 10, 100, 500, 2000]
    crowded = rising.assign_coords(step=("checkpoint", steps))
    figure = plots.trajectory(crowded, "layer1", 0, x="step")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert [label.get_text() for label in texts_of(axes, "x")] == ["0", "1", "10", "100", "1,000"]
    assert (np.diff(axes.transData.transform([(step, 0) for step in steps])[:, 0]) > 0).all()
    (axes,) = plots.trajectory(crowded, "layer1", 0, x="step", xscale="linear").axes
    assert axes.get_xscale() == "linear"
    even = rising.assign_coords(step=("checkpoint", np.arange(8) * 500))
    assert plots.trajectory(even, "layer1", 0, x="step").axes[0].get_xscale() == "linear"
    for x in ("checkpoint", "time"):
        with pytest.raises(ValueError, match="no logarithmic scale; take x='step'"):
            plots.trajectory(many_units(4, 1, 1), x=x, xscale="log")


def test_epochs_have_fractions_where_steps_tell_them() -> None:
    units = many_units(20, 1, 1)
    np.testing.assert_allclose(time_axis(units, "epoch").positions, units.step / 5000)
    no_batches = units.drop_vars("batch")
    np.testing.assert_array_equal(time_axis(no_batches, "epoch").positions, units.epoch)
    with pytest.raises(ValueError, match="All checkpoints with a known epoch have the same"):
        time_axis(units.isel(checkpoint=slice(3)).drop_vars("batch"), "epoch")


def test_checkpoints_of_unknown_place_are_left_out_and_said(rising: xr.Dataset) -> None:
    steps = rising.step.values.copy()
    steps[[0, 7]] = np.nan
    partly = rising.assign_coords(step=("checkpoint", steps))
    figure = plots.trajectory(partly, "layer1", 0, x="step")
    assert len(figure.axes[0].get_lines()[0].get_ydata()) == 6
    assert "6 of 8 checkpoints have a known step" in figure.get_supxlabel()


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_cells_share_borders_halfway(scale: str) -> None:
    units = many_units(10, 1, 1)
    axis = time_axis(units, "step", scale)
    (axes,) = plots.trajectory(units, x="step", xscale=scale).axes
    edges = axes.xaxis.get_transform().transform(cell_edges(axes, axis.positions))
    middles = axes.xaxis.get_transform().transform(axis.positions)
    np.testing.assert_allclose(edges[1:-1], (middles[1:] + middles[:-1]) / 2)
    assert edges[0] < middles[0]
    assert edges[-1] > middles[-1]


def test_many_units_are_bands_of_quantiles() -> None:
    units = many_units(12, 2, 40)
    units["status"][5, 0, :7] = int(Status.INCOMPLETE)
    (axes,) = plots.trajectory(units).axes
    known = units.activation.where(units.status == Status.COMPLETE)
    for i, line in enumerate(axes.get_lines()):
        median = known.isel(layer=i).median("channel")
        np.testing.assert_allclose(line.get_ydata(), median, rtol=1e-6)
    assert len(axes.collections) == 4
    for place, quantiles in enumerate([(0.05, 0.95), (0.25, 0.75)]):
        corners = axes.collections[place].get_paths()[0].vertices
        for edge in known.isel(layer=0, checkpoint=5).quantile(quantiles, "channel").values:
            assert np.isclose(corners[corners[:, 0] == 5][:, 1], edge).any()


def test_a_point_between_gaps_is_seen(rising: xr.Dataset) -> None:
    longer = many_units(40, 1, 1)
    longer["status"][[3, 5]] = int(Status.ABSENT)
    (line,) = plots.trajectory(longer).axes[0].get_lines()
    assert line.get_marker() == "."
    assert line.get_markevery() == [4]


def test_each_layer_has_its_panel(rising: xr.Dataset) -> None:
    rising["status"][:, 1] = int(Status.FAILED)
    figure = plots.trajectories_by_layer(rising)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["layer1, 4 units"]
    figure = plots.trajectories_by_layer(many_units(5, 9, 3), max_layers=7)
    assert sum(axes.axison for axes in figure.axes) == 7
    assert "7 of 9 layers" in figure.get_supxlabel()
    figure = plots.trajectories_by_layer(many_units(5, 3, 3), share_y=True)
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    rising["status"][:] = int(Status.ABSENT)
    with pytest.raises(ValueError, match="No layer has a complete unit"):
        plots.trajectories_by_layer(rising)


def test_images_stand_below_their_points(rising: xr.Dataset) -> None:
    figure = feature_pictures.development(rising, "layer1", 1, max_images=4)
    curve, cells = figure.axes[0], figure.axes[2:]
    names = [f"step {step:g}" for step in rising.step.values]
    places = [names.index(c.get_title().split("\n")[0]) for c in cells]
    assert places[0] == 0
    assert places[-1] == 7
    for place, cell in zip(places, cells, strict=True):
        (image,) = cell.get_images()
        np.testing.assert_array_equal(image.get_array(), rising.image[place, 0, 1])
    figure.draw_without_rendering()
    points = curve.transData.transform([(place, 0) for place in places])[:, 0]
    for point, cell in zip(points[1:-1], cells[1:-1], strict=True):
        assert cell.bbox.x0 < point < cell.bbox.x1
    edges = [(cell.bbox.x0, cell.bbox.x1) for cell in cells]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(edges))


def test_absent_images_are_not_chosen_and_failed_ones_are_marked(rising: xr.Dataset) -> None:
    rising["status"][1:4, 0, 1] = int(Status.ABSENT)
    rising["status"][5, 0, 1] = int(Status.FAILED)
    cells = feature_pictures.development(rising, "layer1", 1).axes[2:]
    shown = [cell.get_title().split("\n")[0] for cell in cells]
    assert shown == [f"step {rising.step.values[place]:g}" for place in (0, 4, 5, 6, 7)]
    assert [bool(cell.get_images()) for cell in cells] == [True, True, False, True, True]


def cpu_of(picture: Callable[..., Figure], units: xr.Dataset) -> float:
    """Seconds of processors that a picture takes, the least of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        picture(units, x="step")
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("picture", [plots.trajectory, plots.trajectories_by_layer, plots.heatmap])
def test_a_picture_of_many_units_costs_little_more_than_one_of_few(
    picture: Callable[..., Figure],
) -> None:
    few, many = many_units(100, 4, 5, side=2), many_units(100, 4, 125, side=2)
    assert cpu_of(picture, many) < 8 * cpu_of(picture, few)  # 25 times as many


def test_lazy_and_loaded_datasets_give_the_same_picture(tmp_path: Path) -> None:
    units = many_units(9, len(LAYERS), 12)
    for place, dataset in enumerate([units, units.chunk({"checkpoint": 4, "channel": 5})]):
        plots.heatmap(dataset, path=tmp_path / f"heatmap{place}.png")
        plots.trajectory(dataset, path=tmp_path / f"trajectory{place}.png")
    for name in ("heatmap", "trajectory"):
        first, second = ((tmp_path / f"{name}{place}.png").read_bytes() for place in (0, 1))
        assert first == second
