"""Maps of units: points at their places in all panels, cosines in one order, colours explained."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection, QuadMesh

import dvis
from dvis.plots.unit_scatter import among_checkpoints

N_CHANNELS = 6


@pytest.fixture
def responses() -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {"response": (("checkpoint", "layer", "channel", "image"), rng.random((4, 1, 6, 30)))},
        {
            "checkpoint": [f"step_{n}.pth" for n in range(4)],
            "layer": ["fc"],
            "channel": np.arange(N_CHANNELS),
            "image": np.arange(30).astype(str),
        },
    )


def test_points_are_at_their_places_and_cosines_in_the_order_of_colours(
    responses: xr.Dataset,
) -> None:
    found, cosines = dvis.channel_map(responses), dvis.channel_cosines(responses)
    names = ["b", "a", "", "b", "a", "b"]
    color = xr.DataArray(names, {"channel": np.arange(6)}, ("channel",), "kind")
    figure = found.dvis.unit_scatter(cosines=cosines, color=color, max_checkpoints=2)
    first, last, _, below, *_ = figure.axes
    for axes, row in ((first, 0), (last, 3)):
        (points,) = [each for each in axes.collections if isinstance(each, PathCollection)]
        np.testing.assert_allclose(points.get_offsets(), found.position[row])
    assert first.get_xlim() == last.get_xlim()
    (mesh,) = [each for each in below.collections if isinstance(each, QuadMesh)]
    angles = np.arctan2(*found.position[3].values[:, ::-1].T)
    order = sorted(range(6), key=lambda each: (names[each] or "z", angles[each]))
    expected = cosines.cosine[3].values[np.ix_(order, order)]
    np.testing.assert_allclose(mesh.get_array(), expected)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "none"]
    assert "overlap" in last.get_title("left")


def test_numbers_are_a_scale_and_nothing_is_grey(responses: xr.Dataset) -> None:
    found = dvis.channel_map(responses)
    color = xr.DataArray([0.0, 1, 2, 3, 4, np.nan], {"channel": np.arange(6)}, ("channel",))
    figure = found.dvis.unit_scatter(color=color)
    assert len(figure.axes) == 5  # four checkpoints and a scale
    with pytest.raises(ValueError, match="give one a unit, along 'channel'"):
        found.dvis.unit_scatter(color=color.rename(channel="latent"))


def test_a_scale_of_births_is_labelled_with_checkpoints(responses: xr.Dataset) -> None:
    found = dvis.channel_map(responses)
    place = xr.DataArray([1, 1, -1, 3, 2, 1], {"channel": np.arange(6)}, ("channel",))
    stepped = responses.assign_coords(step=("checkpoint", [0, 12, 48, 1200]))
    for given, names in (
        (stepped, ["step 12", "step 48", "step 1,200"]),
        (responses, ["step_1.pth", "step_2.pth", "step_3.pth"]),
    ):
        figure = found.dvis.unit_scatter(color=among_checkpoints(place, given, "birth"))
        *_, bar = figure.axes
        assert [each.get_text() for each in bar.get_yticklabels()] == names
        assert bar.get_ylabel() == "birth"
    none = among_checkpoints(0 * place - 1, stepped, "birth")
    assert len(found.dvis.unit_scatter(color=none).axes) == 4  # of nothing there is no scale
    same = among_checkpoints(0 * place + 2, stepped, "birth")
    *_, bar = found.dvis.unit_scatter(color=same).axes
    assert [each.get_text() for each in bar.get_yticklabels()] == ["step 48"]


def test_what_is_no_map_is_refused(responses: xr.Dataset) -> None:
    with pytest.raises(dvis.SchemaError, match=r"dvis\.channel_map"):
        responses.dvis.unit_scatter()
    with pytest.raises(ValueError, match="a map has two axes"):
        dvis.channel_map(responses, n_components=1).dvis.unit_scatter()
