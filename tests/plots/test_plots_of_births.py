"""Pictures of births: where units are born, in the order of their births."""

import numpy as np
import pytest
import xarray as xr
from made_up import BIRTHS, made_up, many_units, rising_at
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, QuadMesh

from dvis import plots
from dvis.analysis.births import births as find_births
from dvis.analysis.order import birth_order
from dvis.kinds.features import pictures as feature_pictures
from dvis.schema import SchemaError, Status


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


def test_the_birth_of_a_unit_is_marked(rising: xr.Dataset, births: xr.Dataset) -> None:
    axes = feature_pictures.development(rising, "layer2", 1, x="step", births=births).axes[0]
    assert [text.get_text() for text in axes.texts] == ["born"]
    assert axes.texts[0].xy[0] == rising.step[5]
    cells = feature_pictures.development(rising, "layer2", 1, births=births, max_images=3).axes[2:]
    shown = [cell.get_title().split("\n")[0] for cell in cells]
    assert shown == [f"step {rising.step.values[place]:g}" for place in (0, 5, 7)]
    assert not feature_pictures.development(rising, "layer2", 3, births=births).axes[0].texts


def threshold_of(axes: Axes) -> list[tuple[float, str]]:
    """Where dotted lines across the axes lie, and what the legend calls them."""
    lines = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    legend = axes.get_legend()
    named = [] if legend is None else [text.get_text() for text in legend.get_texts()]
    return [(float(line.get_ydata()[0]), name) for line, name in zip(lines, named, strict=True)]


def test_development_draws_the_level_that_births_are_read_off(rising: xr.Dataset) -> None:
    found = find_births(rising, fraction=0.7)
    axes = feature_pictures.development(rising, "layer1", 1, births=found).axes[0]
    final = float(found.final_level.sel(layer="layer1", channel=1))
    ((level, name),) = threshold_of(axes)
    assert level == pytest.approx(0.7 * final)
    assert name == "born from here on: 70% of the final level"
    low, high = axes.get_ylim()
    assert low < level < high
    from_first = find_births(rising, baseline="first")
    axes = feature_pictures.development(rising, "layer1", 1, births=from_first).axes[0]
    first = float(from_first.first_level.sel(layer="layer1", channel=1))
    assert threshold_of(axes)[0][0] == pytest.approx((first + final) / 2)


def test_development_draws_no_level_of_another_measure(rising: xr.Dataset) -> None:
    other = find_births(rising, variable=-rising["activation"].rename("similarity"))
    for births in (None, other):
        axes = feature_pictures.development(rising, "layer1", 1, births=births).axes[0]
        assert threshold_of(axes) == []


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
    assert written == [
        *("born", "4", "3", "unstable", "–", "–", "never", "–", "1", "dead", "–", "–"),
    ]


def test_units_that_are_dead_at_all_checkpoints_are_counted_by_layer(rising: xr.Dataset) -> None:
    rising["status"][:, 0, 0] = int(Status.DEAD)  # throughout
    rising["status"][0, 0, 1] = int(Status.ABSENT)  # as far as it was tried
    rising["status"][1:, 0, 1] = int(Status.DEAD)
    rising["status"][:2, 0, 2] = int(Status.DEAD)  # comes to life
    rising["status"][:, 1, 0] = int(Status.ABSENT)  # never tried
    (axes,) = plots.births_by_layer(rising).axes
    written = [text.get_text() for text in axes.texts]
    assert written[-3:] == ["dead", "2", "–"]
    assert sum(int(number.replace("–", "0")) for number in written[1::3]) == 4  # of layer1
    (axes,) = plots.births_by_layer(rising, "layer1", [0, 2]).axes
    assert [text.get_text() for text in axes.texts][-2:] == ["dead", "1"]
    rising["status"][:, 1] = int(Status.DEAD)  # a layer of nothing else has its row
    (axes,) = plots.births_by_layer(rising).axes
    assert [text.get_text() for text in axes.texts][-3:] == ["dead", "2", "4"]


def test_what_has_no_status_has_no_column_of_dead_units(rising: xr.Dataset) -> None:
    (axes,) = plots.births_by_layer(rising.drop_vars("status")).axes
    assert "dead" not in [text.get_text() for text in axes.texts]


def test_the_margin_has_the_order_of_layers(rising: xr.Dataset) -> None:
    margin = plots.births_by_layer(rising).get_supxlabel().replace("\n", " ")
    assert "rank correlation of birth and depth: 0.88; no order can be shown with 2" in margin
    planted = np.arange(1, 13, 2)[:, None] + [0, 1, 1, 2]
    run = made_up(rising_at(planted, 16), layers=[f"layer{i}" for i in range(6)])
    found = find_births(run, variable=run["activation"].rename("similarity"))
    margin = plots.births_by_layer(run, births=found).get_supxlabel().replace("\n", " ")
    order = birth_order(found)
    low, high = order.correlation_interval.values
    assert f"{float(order.correlation):.2f} ({low:.2f} to {high:.2f}); with layers" in margin
    assert "p = 0.0028" in margin
    one = plots.births_by_layer(rising, "layer1").get_supxlabel()
    assert "correlation" not in one


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
