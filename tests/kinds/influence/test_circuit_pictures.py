"""Pictures of circuits: what is drawn is what was measured, and what is missing is grey."""

from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_influence import LABELS, made_up_influence, write_influence
from made_up_responses import write_responses
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch

import dvis
from dvis.cli import main
from dvis.kinds.influence import pictures
from dvis.kinds.influence.pictures.scales import direction_color, line_width

GREY = to_rgba("0.94")


def images_of(influence: xr.Dataset) -> xr.Dataset:
    """Feature images of the influence's units, of which layer2's 3 has one at no checkpoint."""
    layers = influence["layer_from"].values
    shape = (len(LABELS), len(layers), influence.sizes["channel_from"])
    status = np.ones(shape, np.uint8)
    status[:, 1, 3] = 0
    image = np.random.default_rng(0).integers(0, 255, (*shape, 4, 4, 3), np.uint8)
    units = ("checkpoint", "layer", "channel")
    return xr.Dataset(
        {"image": ((*units, "y", "x", "rgb"), image), "status": (units, status)},
        {"checkpoint": list(LABELS), "layer": layers, "channel": np.arange(shape[-1])},
    )


def births_of(**born: int) -> xr.Dataset:
    """Births of units, given as layer1_2=place; the others are never born."""
    layers, n = ["layer1", "layer2", "layer3"], 8
    labels = np.full((len(layers), n), "", object)
    for name, place in born.items():
        layer, channel = name.split("_")
        labels[layers.index(layer), int(channel)] = LABELS[place]
    state = np.where(labels != "", "born", "never")
    units = ("layer", "channel")
    return xr.Dataset(
        {"birth_checkpoint": (units, labels.astype(str)), "state": (units, state)},
        {"layer": layers, "channel": np.arange(n)},
        {"fraction": 0.5, "variable": "response_correlation"},
    )


def words(figure) -> str:
    parts = [figure.get_suptitle(), figure.get_supxlabel()]
    for axes in figure.axes:
        parts += [axes.get_title(), axes.get_title("left"), *(t.get_text() for t in axes.texts)]
    parts += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return " ".join(parts).replace("\n", " ")


def over_the_edge(figure) -> list[str]:
    """Words that reach beyond the figure."""
    figure.draw_without_rendering()
    texts = [figure._suptitle, figure._supxlabel]
    texts += [text for axes in figure.axes for text in (*axes.texts, axes.title)]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    edge = figure.bbox.padded(1)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [
        text
        for text, box in boxes
        if not (edge.contains(box.x0, box.y0) and edge.contains(box.x1, box.y1))
    ]


def cells_of(figure, n_columns: int) -> list[list]:
    """Axes of a film, a list a row, without the bar of colours."""
    cells = figure.axes[:-1]
    return [cells[at : at + n_columns] for at in range(0, len(cells), n_columns)]


def test_a_film_shows_each_input_then_with_its_direction_and_strength():
    made = made_up_influence()
    images = images_of(made)
    found = made.dvis.top_inputs("layer3", 5, k=4)
    figure = made.dvis.circuit_film("layer3", 5, k=4, unit_images=images)
    rows = cells_of(figure, len(LABELS))
    assert len(rows) == 5
    largest = float(found["strength"].max())
    channels = found["channel_from"].values.tolist()
    assert 3 in channels  # which has no image
    for row, channel in enumerate(channels):
        for column, cell in enumerate(rows[row]):
            at = found.isel(checkpoint=column, input=row)
            spine = cell.spines["left"]
            assert spine.get_linewidth() == pytest.approx(line_width(float(at.strength), largest))
            assert spine.get_edgecolor() == pytest.approx(direction_color(float(at.direction)))
            if channel == 3:
                assert not cell.get_images()
                assert cell.get_facecolor() == GREY
                continue
            expected = images["image"].sel(layer="layer2", channel=channel).isel(checkpoint=column)
            np.testing.assert_array_equal(cell.get_images()[0].get_array(), expected)
    unit = images["image"].sel(layer="layer3", channel=5)
    for column, cell in enumerate(rows[-1]):
        np.testing.assert_array_equal(cell.get_images()[0].get_array(), unit[column])
        assert cell.spines["left"].get_linewidth() == 0.5
    assert [cell.get_title() for cell in rows[0]] == [f"step {10 * i}" for i in range(5)]
    labels = [row[0].texts[-1].get_text() for row in rows]
    assert labels[0] == f"layer2 · {channels[0]}\n{float(found.strength[-1, 0]):.2g}"
    assert labels[-1] == "layer3 · 5\nthe unit"
    assert over_the_edge(figure) == []


def test_a_film_says_what_the_other_inputs_have():
    made = made_up_influence()
    found = made.dvis.top_inputs("layer3", 5, k=4)
    low, middle, high = found["null_strength"][-1].values
    figure = made.dvis.circuit_film("layer3", 5, k=4)
    assert f"the others of the layer {middle:.2g} (90 %: {low:.2g} to {high:.2g})" in words(figure)
    assert "no feature images are given" in words(figure)
    agreed = float(found["reliability"][-1])
    assert f"agree on the order of all inputs: Spearman's ρ {agreed:.2f}" in words(figure)
    assert not any(axes.get_images() for axes in figure.axes[:-1])


def test_a_film_marks_births_at_the_first_cell_shown():
    made = made_up_influence()
    first = made.dvis.top_inputs("layer3", 5, k=1)["channel_from"].item()
    births = births_of(**{f"layer2_{first}": 1, "layer3_5": 4})
    figure = made.dvis.circuit_film("layer3", 5, k=2, births=births, max_checkpoints=3)
    marked = [
        [any(line.get_gid() == "birth" for line in cell.get_lines()) for cell in row]
        for row in cells_of(figure, 3)
    ]
    assert marked == [[False, True, False], [False] * 3, [False, False, True]]
    assert "3 of 5 checkpoints" in words(figure)
    assert "born: response correlation stays above 50% of its final level" in words(figure)


def test_a_film_shows_the_checkpoint_of_the_choice():
    figure = made_up_influence().dvis.circuit_film("layer3", 5, checkpoint=1, max_checkpoints=2)
    heads = [cell.get_title() for cell in cells_of(figure, 3)[0]]
    assert heads == ["step 0", "step 10", "step 40"]
    assert "inputs: the strongest at step 10" in words(figure)


def test_checkpoints_without_steps_have_their_short_names():
    made = made_up_influence().drop_vars("step")
    figure = made.dvis.circuit_film("layer3", 5, k=1)
    assert figure.axes[0].get_title() == "epoch 0,\nend"


def test_latents_have_images_only_where_these_are_given():
    widths = {"layer1~wide": 4, "layer2": 6}
    made = made_up_influence(widths)
    images = images_of(made)
    plain = made.dvis.circuit_film("layer2", 1, k=1, unit_images=images)
    assert not plain.axes[0].get_images()
    assert plain.axes[0].texts[-1].get_text().startswith("layer1~wide · ")
    latents = images.assign_coords(layer=["layer1", "layer2"])
    latents = latents.assign_attrs(variant="latents-wide", unit="latent")
    shown = made.dvis.circuit_film("layer2", 1, k=1, unit_images=latents)
    assert shown.axes[0].get_images()
    other = latents.assign_attrs(variant="latents-narrow")
    assert not made.dvis.circuit_film("layer2", 1, k=1, unit_images=other).axes[0].get_images()


def test_a_graph_has_a_line_for_each_edge_from_left_to_right():
    made = made_up_influence()
    images = images_of(made)
    found = made.dvis.circuit("layer3", 5, k=3)
    figure = made.dvis.circuit_graph("layer3", 5, k=3, unit_images=images)
    axes = figure.axes[0]
    lines = {patch.get_gid(): patch for patch in axes.patches if isinstance(patch, PathPatch)}
    assert len(lines) == found.sizes["edge"]
    largest = float(found["strength"].max())
    for edge in range(found.sizes["edge"]):
        line, at = lines[f"edge {edge}"], found.isel(edge=edge)
        assert line.get_linewidth() == pytest.approx(line_width(float(at.strength), largest))
        assert line.get_edgecolor() == pytest.approx(direction_color(float(at.direction)))
        ends = line.get_path().vertices
        assert ends[0, 0] < ends[-1, 0]
    pictured = [not (a == "layer2" and c == 3) for a, c in units(found)]
    assert len(axes.get_images()) == sum(pictured)
    names = [text.get_text() for text in axes.texts]
    assert names[: found.sizes["node"]] == [f"{a} · {c}" for a, c in units(found)]
    assert figure.get_suptitle() == "What layer3 · 5 is built of, 2 layers back, step 40"
    assert over_the_edge(figure) == []


def test_nodes_of_a_graph_do_not_overlap():
    figure = made_up_influence().dvis.circuit_graph("layer3", 5, k=6)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    overlaps = [a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    assert not any(overlaps)


def units(found: xr.Dataset) -> list[tuple[str, int]]:
    return list(zip(found["layer"].values.tolist(), found["channel"].values.tolist(), strict=True))


def rising(made: xr.Dataset) -> xr.Dataset:
    """Inputs of layer3's 5: the strongest comes up last, the weakest never."""
    levels = np.array([1.0, 0.8, 0.6, 0.4, 0.3, 0.2])
    rise_at = np.array([4, 2, 1, 3, 0, 5])
    curves = levels * (np.arange(5)[:, None] >= rise_at) + 0.01
    curves[:, 5] = 0.0
    strength = made["strength"].copy()
    at = {"layer_from": "layer2", "layer_to": "layer3", "channel_to": 5}
    strength.loc[{**at, "channel_from": np.arange(6)}] = curves.astype(np.float16)
    return made.assign(strength=strength)


def test_edges_are_sorted_by_their_births():
    made = rising(made_up_influence())
    births = births_of(layer3_5=2)
    figure = made.dvis.edge_heatmap("layer3", 5, births=births, relative=False)
    cells, bars = figure.axes[:2]
    named = [label.get_text() for label in cells.get_yticklabels()]
    # The strongest has one checkpoint after its rise, too few to count as born.
    assert named == [f"layer2 · {channel}" for channel in (4, 2, 1, 3, 0, 5)]
    strength = made["strength"].sel(layer_from="layer2", layer_to="layer3", channel_to=5)
    expected = strength.sel(channel_from=[4, 2, 1, 3, 0, 5]).transpose("channel_from", ...)
    np.testing.assert_allclose(cells.collections[0].get_array(), expected, rtol=1e-3)
    widths = [bar.get_width() for bar in bars.patches[:6]]
    np.testing.assert_allclose(widths, expected[:, -1], rtol=1e-3)
    assert {line.get_xdata()[0] for line in cells.get_lines()} == {1.5}  # left border of place 2
    ticks = [label.get_text() for label in cells.get_xticklabels()]
    assert ticks[0] == "step 0"
    assert ticks[-1] == "step 40"


def test_edges_relative_have_their_largest_at_one():
    cells = rising(made_up_influence()).dvis.edge_heatmap("layer3", 5, k=3, x="step").axes[0]
    np.testing.assert_allclose(cells.collections[0].get_array().max(1), 1)
    assert cells.get_xlabel() == "step"
    assert len(cells.get_yticklabels()) == 3


def test_a_matrix_is_sorted_by_births_on_one_scale():
    made = made_up_influence()
    births = births_of(layer2_3=0, layer2_1=2, layer3_6=1)
    figure = made.dvis.influence_matrix("layer3", births=births, max_checkpoints=2)
    panels = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title("left") for axes in panels] == ["step 0", "step 40"]
    last = made["strength"].sel(layer_from="layer2", layer_to="layer3").isel(checkpoint=-1)
    drawn = panels[1].get_images()[0].get_array()
    assert drawn.shape == (6, 8)
    np.testing.assert_allclose(drawn[0, 0], last.sel(channel_from=3, channel_to=6), rtol=1e-3)
    np.testing.assert_allclose(drawn[1, 0], last.sel(channel_from=1, channel_to=6), rtol=1e-3)
    assert (
        len({(image.norm.vmin, image.norm.vmax) for a in panels for image in a.get_images()}) == 1
    )
    assert panels[0].get_lines()[0].get_ydata()[0] == 1.5
    assert [each.get_text() for each in panels[0].get_yticklabels()[:2]] == ["3", "1"]
    assert panels[1].get_xticklabels()[0].get_text() == "6"
    # Of those that are born at once, here never, the order tells nothing of what is drawn.
    assert [each.get_text() for each in panels[0].get_yticklabels()[2:]] == ["0", "2", "4", "5"]
    assert "ties by channel number" in words(figure)


def test_a_matrix_without_births_has_the_strongest_first():
    made = made_up_influence()
    figure = made.dvis.influence_matrix("layer2")
    drawn = figure.axes[4].get_images()[0].get_array().astype(float)
    assert (np.diff((drawn**2).sum(1)) <= 1e-6).all()
    assert (np.diff((drawn**2).sum(0)) <= 1e-6).all()
    assert "the strongest at the last checkpoint first" in figure.get_suptitle()
    assert over_the_edge(figure) == []
    with pytest.raises(ValueError, match="No influence of layer3 on layer2 is measured"):
        made.dvis.influence_matrix("layer2", layer_from="layer3")


def of_channels(n: int) -> xr.Dataset:
    """Influence of the first channels of each layer alone, as `--channels` measures it."""
    made = made_up_influence()
    is_measured = made["channel_from"] < n
    names = ["strength", "share", "direction", "half_difference"]
    some = {name: made[name].where(is_measured) for name in names}
    some["status"] = made["status"].where(is_measured, 0).astype(np.uint8)
    return made.assign(some)


def test_pictures_of_some_channels_say_so_and_nothing_of_others_that_nobody_knows():
    counts = "3 of 6 channels of layer2"
    few = of_channels(3)
    graph = words(few.dvis.circuit_graph("layer3", 5, k=3))
    assert f"measured: {counts}, 3 of 4 channels of layer1" in graph
    assert "the 3 strongest measured inputs of each unit" in graph
    assert "stronger than" not in graph
    film = words(few.dvis.circuit_film("layer3", 5, k=3))
    assert "its 3 strongest measured inputs" in film
    heatmap = words(few.dvis.edge_heatmap("layer3", 5, k=3))
    for shown in (graph, film, heatmap):
        assert f"measured: {counts}" in shown
        assert "order of the inputs that were measured" in shown
        assert not any(said in shown for said in ("all inputs", "others", "other units"))
    more = words(of_channels(5).dvis.circuit_graph("layer3", 5, k=4))
    # Of layer1 all four are measured, and shown.
    assert "of 4 lines are stronger than 95 % of the other inputs" in more
    assert "measured: 5 of 6 channels of layer2;" in more
    whole = words(made_up_influence().dvis.circuit_graph("layer3", 5, k=3))
    assert "measured: " not in whole
    assert "the order of all inputs" in whole


def aligned() -> xr.Dataset:
    lag = np.arange(-3, 4)
    strength = np.stack([1 / (1 + np.exp(-lag)), np.full(7, 0.3)], 1)
    dims = ("lag", "set")
    return xr.Dataset(
        {
            "strength": (dims, strength, {"long_name": "strength of influence", "units": "1"}),
            "strength_low": (dims, strength - 0.1),
            "strength_high": (dims, strength + 0.1),
        },
        {"lag": lag, "set": ["top", "matched"]},
        {"cannot_tell": "Which came first it cannot tell"},
    )


def test_curves_around_births_lie_over_the_band_of_matched_inputs():
    given = aligned()
    figure = given.isel(lag=slice(None, None, -1)).dvis.event_curves()
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    for name in ("top", "matched"):
        line = lines[f"{name} inputs"]
        np.testing.assert_array_equal(line.get_xdata(), given.lag)
        np.testing.assert_array_equal(line.get_ydata(), given.strength.sel(set=name))
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.2)
    assert band[:, 1].max() == pytest.approx(0.4)
    assert "Which came first it cannot tell" in words(figure)
    assert over_the_edge(figure) == []


def test_what_is_no_alignment_is_refused():
    with pytest.raises(dvis.SchemaError, match="has no strength_low, strength_high"):
        aligned()[["strength"]].dvis.event_curves()
    with pytest.raises(dvis.SchemaError, match="No set 'matched' is there, only top"):
        aligned().sel(set=["top"]).dvis.event_curves()
    with pytest.raises(ValueError, match="runs over layer_to too"):
        aligned().expand_dims(layer_to=["layer2"]).dvis.event_curves()
    with pytest.raises(ValueError, match="nothing to draw"):
        (aligned() * np.nan).dvis.event_curves()


def test_nothing_that_is_given_is_changed():
    made = rising(made_up_influence())
    images, births = images_of(made), births_of(layer3_5=2)
    before = [each.copy(deep=True) for each in (made, images, births)]
    made.dvis.circuit_film("layer3", 5, unit_images=images, births=births)
    made.dvis.circuit_graph("layer3", 5, unit_images=images)
    made.dvis.edge_heatmap("layer3", 5, births=births)
    made.dvis.influence_matrix("layer3", births=births)
    for each, was in zip((made, images, births), before, strict=True):
        xr.testing.assert_identical(each, was)


def test_the_command_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, out = tmp_path / "net.zarr", tmp_path / "picture.png"
    write_influence(store)
    unit = ("--layer", "layer3", "--channel", "5")
    for arguments in (
        ("circuit-film", *unit, "--k", "2", "--layer-from", "layer1"),
        ("circuit", *unit, "--k", "2", "--depth", "1", "--checkpoint", LABELS[2]),
        ("edge-heatmap", *unit, "--k", "4", "--x", "step"),
        ("influence-matrix", "--layer", "layer3", "--max-images", "2"),
    ):
        out.unlink(missing_ok=True)
        name, *others = arguments
        with pytest.raises(SystemExit, match="0"):
            main(["plot", name, str(store), *others, "--out", str(out)])
        assert out.stat().st_size > 1000
    for arguments, said in (
        (["circuit-film", str(store), *unit[:2], "--channel", "9"], "No channel 9 in layer3"),
        (["circuit-film", str(store), "--layer", "layr3"], "Did you mean 'layer3'"),
        (["influence-matrix", str(store), *unit], "leave --channel out"),
        (["circuit", str(store), *unit, "--layer-from", "layer1"], "takes no --layer-from"),
        (["event-alignment", str(store)], "make one with `dvis respond`"),
        (["event-alignment", str(store), "--channel", "1"], "leave --channel out"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["plot", *arguments, "--out", str(out)])
        assert said in capsys.readouterr().err


def test_the_command_finds_feature_images_and_births_of_the_run(
    sample_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "net.zarr"
    copytree(sample_store, store)
    labels = tuple(dvis.open(store)["checkpoint"].values.tolist())
    write_influence(store, made_up_influence({"layer1": 3, "layer2": 5}, labels))
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(pictures, "circuit_film", lambda *_, **given: drawn.update(given))
    command = ["plot", "circuit-film", str(store), "--layer", "layer2", "--channel", "1"]
    for has_responses in (False, True):
        if has_responses:
            write_responses(store, "image", labels)
        with pytest.raises(SystemExit, match="0"):
            main([*command, "--out", str(tmp_path / "p.png")])
        assert drawn["unit_images"].attrs["variant"] == "average-0"
        assert (drawn["births"] is not None) == has_responses
    # Each unit's responses to images are the same but for a constant, and so born at once.
    assert (drawn["births"]["birth"].sel(layer="layer2") == 0).all()
