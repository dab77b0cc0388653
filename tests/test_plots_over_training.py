"""Pictures over training: where each point lies, what is marked, and that nothing overlaps."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up import LAYERS, made_up, rising_at
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.figure import Figure

import dvis
from dvis.schema import SchemaError, Status
from dvis.views import plots
from dvis.views.plots.curves import log_y
from dvis.views.plots.time_axis import cell_edges, show_axis, time_axis

BIRTHS = np.array([[1, 2, 2, 3], [4, 5, 5, 6]])


@pytest.fixture
def rising() -> xr.Dataset:
    """Two layers of four units that rise from 0 to 1 at planted checkpoints of eight."""
    image = np.random.default_rng(0).integers(0, 255, (8, 2, 4, 6, 6, 3))
    return made_up(rising_at(BIRTHS, 8), image=image, val_loss=np.geomspace(4.0, 0.02, 8))


@pytest.fixture
def births(rising: xr.Dataset) -> xr.Dataset:
    """The planted births, as analysis gives them."""
    labels = rising.checkpoint.values[BIRTHS]
    state = np.full(BIRTHS.shape, "born", dtype="<U8")
    state[1, 3], labels[1, 3] = "never", ""
    dims = ("layer", "channel")
    coords = {"layer": rising.layer, "channel": rising.channel}
    attrs = {"variable": "activation", "fraction": 0.5}
    return xr.Dataset({"birth_checkpoint": (dims, labels), "state": (dims, state)}, coords, attrs)


def many_units(n_checkpoints: int, n_layers: int, n_channels: int, *, side: int = 0) -> xr.Dataset:
    """Units that are born at random, at checkpoints with long names, times and epochs."""
    shape = (n_layers, n_channels)
    born_at = np.random.default_rng(1).integers(0, n_checkpoints, shape)
    steps = np.unique(np.geomspace(1, 50_000, n_checkpoints).round())
    steps = np.concatenate([[0], steps, steps[-1] + np.arange(1, n_checkpoints) * 5000])
    steps = steps[:n_checkpoints]
    labels = [
        f"checkpoint_2024-03-25-10h{i % 60:02d}_epoch_{step // 5000:.0f}_train_{batch:.0f}.pth"
        for i, (step, batch) in enumerate(zip(steps, steps % 5000, strict=True))
    ]
    image = np.zeros((n_checkpoints, *shape, side, side, 3)) if side else None
    dataset = made_up(
        rising_at(born_at, n_checkpoints, noise=0.05),
        steps=steps,
        labels=labels,
        layers=[f"features.{i}.block.conv1" for i in range(n_layers)],
        image=image,
    )
    minutes = (steps * 10).astype("timedelta64[s]")
    return dataset.assign_coords(
        epoch=("checkpoint", steps // 5000),
        batch=("checkpoint", steps % 5000),
        time=("checkpoint", np.datetime64("2024-03-25T10:00", "ns") + minutes),
    )


def texts_of(axes: Axes, which: str) -> list:
    """Tick labels that are seen, of a figure that is laid out."""
    labels = axes.get_xticklabels() if which == "x" else axes.get_yticklabels()
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    ticks = axes.get_xticks() if which == "x" else axes.get_yticks()
    pairs = zip(labels, ticks, strict=True)
    return [label for label, tick in pairs if label.get_text() and low <= tick <= high]


def unreadable(figure: Figure) -> list[str]:
    """What overlaps its neighbour or reaches over the figure's edge."""
    figure.draw_without_rendering()
    sides = [(axes, which) for axes in figure.axes if axes.axison for which in "xy"]
    rows = [texts_of(*side) for side in sides]
    boxes = {text: text.get_window_extent() for row in rows for text in row}
    pairs = [pair for row in rows for pair in itertools.pairwise(row)]
    found = [f"{a.get_text()} on {b.get_text()}" for a, b in pairs if boxes[a].overlaps(boxes[b])]
    boxes |= {text: text.get_window_extent() for text in (figure._suptitle, figure._supxlabel)}
    for text, box in boxes.items():
        if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
            found.append(f"{text.get_text()} over the edge")
    return found


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
    figure = plots.development(rising, "layer1", 1, max_images=4)
    curve, cells = figure.axes[0], figure.axes[2:]
    places = [list(rising.checkpoint.values).index(c.get_title().split("\n")[0]) for c in cells]
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


@pytest.mark.parametrize("xscale", ["linear", "log"])
def test_crowded_images_do_not_overlap(xscale: str) -> None:
    units = many_units(100, 1, 1, side=4)
    figure = plots.development(units, x="step", xscale=xscale)
    boxes = [axes.bbox for axes in figure.axes[2:]]
    assert len(boxes) == 8
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    assert boxes[0].x0 >= 0
    assert boxes[-1].x1 <= figure.bbox.x1
    names = [axes.title.get_window_extent() for axes in figure.axes[2:]]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(names))


def test_absent_images_are_not_chosen_and_failed_ones_are_marked(rising: xr.Dataset) -> None:
    rising["status"][1:4, 0, 1] = int(Status.ABSENT)
    rising["status"][5, 0, 1] = int(Status.FAILED)
    cells = plots.development(rising, "layer1", 1).axes[2:]
    shown = [cell.get_title().split("\n")[0] for cell in cells]
    assert shown == [str(rising.checkpoint.values[place]) for place in (0, 4, 5, 6, 7)]
    assert [bool(cell.get_images()) for cell in cells] == [True, True, False, True, True]


def test_the_birth_of_a_unit_is_marked(rising: xr.Dataset, births: xr.Dataset) -> None:
    axes = plots.development(rising, "layer2", 1, x="step", births=births).axes[0]
    assert [text.get_text() for text in axes.texts] == ["born"]
    assert axes.texts[0].xy[0] == rising.step[5]
    cells = plots.development(rising, "layer2", 1, births=births, max_images=3).axes[2:]
    shown = [cell.get_title().split("\n")[0] for cell in cells]
    assert shown == [str(rising.checkpoint.values[place]) for place in (0, 5, 7)]
    assert not plots.development(rising, "layer2", 3, births=births).axes[0].texts


def test_heatmap_sorts_units_by_birth(rising: xr.Dataset, births: xr.Dataset) -> None:
    order = np.random.default_rng(0).permutation(4)
    shuffled = rising.isel(channel=order)
    figure = plots.heatmap(shuffled, births=births)
    (mesh,) = [each for each in figure.axes[0].collections if isinstance(each, QuadMesh)]
    rows = np.concatenate([BIRTHS[0], BIRTHS[1, :3], [6]])
    np.testing.assert_array_equal(mesh.get_array(), rising_at(rows[None], 8)[:, 0].T)
    strip = figure.axes[0].child_axes[0]
    names = [label.get_text() for label in strip.get_yticklabels()]
    assert names[0] == "layer1, channel 0"
    assert names[-1] == "layer2, channel 3 (never)"
    assert "born: activation stays above 50% of its final level" in figure.get_supxlabel()


def bars_of(axes: Axes) -> list[np.ndarray]:
    return next(c for c in axes.collections if isinstance(c, LineCollection)).get_segments()


def test_heatmap_marks_births_at_their_checkpoint(rising: xr.Dataset, births: xr.Dataset) -> None:
    (axes, _) = plots.heatmap(rising, births=births).axes
    bars = bars_of(axes)
    assert [bar[0][0] + 0.5 for bar in bars] == [1, 2, 2, 3, 4, 5, 5]
    assert [bar[0][1] for bar in bars] == list(range(7))


def test_heatmap_finds_births_itself(rising: xr.Dataset) -> None:
    (axes, _) = plots.heatmap(rising).axes
    bars = bars_of(axes)
    assert [bar[0][0] + 0.5 for bar in bars] == sorted(BIRTHS.ravel())


def test_heatmap_leaves_gaps_grey_and_empty_units_out(rising: xr.Dataset) -> None:
    rising["status"][4, 0, 0] = int(Status.INCOMPLETE)
    rising["status"][:, 1, 2] = int(Status.ABSENT)
    figure = plots.heatmap(rising)
    (mesh,) = [each for each in figure.axes[0].collections if isinstance(each, QuadMesh)]
    assert mesh.get_array().shape == (7, 8)
    assert np.argwhere(np.ma.getmaskarray(mesh.get_array())).tolist() == [[0, 4]]


def test_heatmap_of_many_units_says_how_many_it_shows() -> None:
    figure = plots.heatmap(many_units(10, 3, 50), max_units=60)
    assert "60 of 150 units" in figure.get_supxlabel()
    (mesh,) = [each for each in figure.axes[0].collections if isinstance(each, QuadMesh)]
    assert mesh.get_array().shape == (60, 10)


def test_births_stand_in_their_layer_at_their_step(rising: xr.Dataset, births: xr.Dataset) -> None:
    (axes,) = plots.births_by_layer(rising, births=births, x="step").axes
    points = [c.get_offsets() for c in axes.collections if isinstance(c, PathCollection)]
    steps = rising.step.values
    np.testing.assert_array_equal(np.sort(points[0][:, 0]), steps[[1, 2, 2, 3]])
    np.testing.assert_array_equal(np.sort(points[1][:, 0]), steps[[4, 5, 5]])
    for row, of_layer in enumerate(points):
        assert (abs(of_layer[:, 1] - row) < 0.5).all()
        assert len(np.unique(of_layer, axis=0)) == len(of_layer)
    written = [text.get_text() for text in axes.texts]
    assert written == ["born", "4", "3", "unstable", "–", "–", "never", "–", "1"]


def test_births_at_unknown_steps_are_counted(rising: xr.Dataset, births: xr.Dataset) -> None:
    steps = rising.step.values.copy()
    steps[2] = np.nan
    figure = plots.births_by_layer(
        rising.assign_coords(step=("checkpoint", steps)), births=births, x="step"
    )
    assert "2 born at checkpoints with no known step are not drawn" in figure.get_supxlabel()


def test_births_themselves_have_no_checkpoints_to_be_drawn_over(
    rising: xr.Dataset, births: xr.Dataset
) -> None:
    for picture in (plots.heatmap, plots.births_by_layer):
        with pytest.raises(SchemaError, match=r"Give them to the Dataset .*births=births"):
            picture(births)


def test_responses_are_drawn_where_there_is_no_activation(rising: xr.Dataset) -> None:
    responses = rising.rename(activation="response")
    (axes,) = plots.trajectory(responses, "layer1", 2).axes
    np.testing.assert_array_equal(
        axes.get_lines()[0].get_ydata(), rising.activation.sel(layer="layer1", channel=2)
    )
    assert len(plots.trajectories_by_layer(responses).axes) == 2
    assert "born: response stays above" in plots.heatmap(responses).get_supxlabel()
    assert "born: response stays above" in plots.births_by_layer(responses).get_supxlabel()


def test_what_are_no_births_is_refused(rising: xr.Dataset) -> None:
    for picture in (plots.heatmap, plots.births_by_layer):
        with pytest.raises(SchemaError, match="has no birth_checkpoint, state"):
            picture(rising, births=rising)
        with pytest.raises(ValueError, match="val_loss is not of units"):
            picture(rising, variable="val_loss")


@pytest.fixture
def crossed(rising: xr.Dataset) -> xr.Dataset:
    values = np.arange(8 * 8 * 2 * 4, dtype=float).reshape(8, 8, 2, 4)
    dims = ("checkpoint", "image_checkpoint", "layer", "channel")
    rising["response"] = dims, values
    return rising.assign_coords(image_checkpoint=rising.checkpoint.values)


@pytest.mark.parametrize("x", ["checkpoint", "step"])
def test_cross_responses_have_models_across_and_images_along(crossed: xr.Dataset, x: str) -> None:
    crossed["response"][2, 5] = np.nan
    axes, _ = plots.cross_response(crossed, "layer2", 3, x=x).axes
    (mesh,) = [each for each in axes.collections if isinstance(each, QuadMesh)]
    expected = crossed.response.sel(layer="layer2", channel=3).transpose("image_checkpoint", ...)
    np.testing.assert_array_equal(mesh.get_array().filled(np.nan), expected)
    assert np.ma.getmaskarray(mesh.get_array())[5, 2]
    assert "image" in axes.get_ylabel()
    assert "model" in axes.get_xlabel()


def test_cross_responses_outline_a_models_own_image(crossed: xr.Dataset) -> None:
    axes, _ = plots.cross_response(crossed.isel(image_checkpoint=[6, 1]), "layer1", 0).axes
    frames = axes.collections[-1].get_paths()
    centers = [tuple(path.vertices[:4].mean(0).round(6).tolist()) for path in frames]
    assert centers == [(1.0, 1.0), (6.0, 0.0)]


def test_cross_responses_of_unknown_checkpoints_have_no_steps(crossed: xr.Dataset) -> None:
    labels = [*crossed.checkpoint.values[:7].tolist(), "full"]
    foreign = crossed.assign_coords(image_checkpoint=labels)
    assert plots.cross_response(foreign, "layer1", 0)
    with pytest.raises(ValueError, match="step of the images' checkpoint 'full' is not known"):
        plots.cross_response(foreign, "layer1", 0, x="step")


@pytest.mark.parametrize(
    ("n_checkpoints", "x"),
    [(3, "checkpoint"), (14, "step"), (100, "checkpoint"), (100, "step"), (100, "time")],
)
def test_nothing_overlaps(x: str, n_checkpoints: int) -> None:
    units = many_units(n_checkpoints, 3, 20, side=2)
    unit = {"layer": str(units.layer.values[0]), "channel": 1}
    figures = [
        plots.trajectory(units, x=x),
        plots.trajectories_by_layer(units, x=x),
        plots.development(units, **unit, x=x),
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


def test_pictures_of_a_hundred_checkpoints_and_many_units_are_quick() -> None:
    units = many_units(100, 4, 125, side=2)
    plots.trajectory(units)  # loads what is loaded once
    for picture in (plots.trajectory, plots.trajectories_by_layer, plots.heatmap):
        start = time.process_time()
        picture(units, x="step")
        assert time.process_time() - start < 1


def test_lazy_and_loaded_datasets_give_the_same_picture(tmp_path: Path) -> None:
    units = many_units(9, len(LAYERS), 12)
    for place, dataset in enumerate([units, units.chunk({"checkpoint": 4, "channel": 5})]):
        plots.heatmap(dataset, path=tmp_path / f"heatmap{place}.png")
        plots.trajectory(dataset, path=tmp_path / f"trajectory{place}.png")
    for name in ("heatmap", "trajectory"):
        first, second = ((tmp_path / f"{name}{place}.png").read_bytes() for place in (0, 1))
        assert first == second


def test_pictures_of_the_sample_run(sample_store: Path) -> None:
    dataset = dvis.open(sample_store)
    for picture in (plots.heatmap, plots.births_by_layer, plots.trajectories_by_layer):
        for x in ("checkpoint", "step", "time", "epoch"):
            assert picture(dataset, x=x).axes
        assert not unreadable(picture(dataset))
    assert len(plots.development(dataset, "layer1", 3, x="step").axes[2:]) == 8


def test_a_time_axis_goes_up_too(rising: xr.Dataset) -> None:
    axis = time_axis(rising, "checkpoint")
    axes = plots.trajectory(rising, "layer1", 0).axes[0]
    show_axis(axes, axis, inches=3, which="y")
    axes.set_ylim(-0.5, 7.5)
    axes.figure.draw_without_rendering()
    assert [label.get_text() for label in texts_of(axes, "y")] == rising.checkpoint.values.tolist()
