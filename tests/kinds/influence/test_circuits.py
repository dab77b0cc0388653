"""Circuits: the strongest inputs and outputs of units, with what the others have, and errors."""

import numpy as np
import pytest
import xarray as xr
from made_up import made_up
from made_up_influence import LABELS, made_up_influence, write_influence

import dvis


def planted() -> xr.Dataset:
    """Strengths below 0.1, but for what layer2's 1 and layer3's 2 are built of."""
    made = made_up_influence()
    strength = made["strength"].clip(max=0.1)
    at = {"layer_from": "layer2", "layer_to": "layer3", "channel_to": 2}
    for channel, level in ((1, 0.9), (4, 0.5), (3, 0.25)):
        strength.loc[{**at, "channel_from": channel}] = level
    at = {"layer_from": "layer1", "layer_to": "layer2"}
    for channel, to, level in ((0, 1, 0.75), (2, 1, 0.5), (2, 4, 0.8), (3, 4, 0.6)):
        strength.loc[{**at, "channel_from": channel, "channel_to": to}] = level
    made["strength"] = strength
    made["half_difference"] = made["half_difference"] * 0 + np.float16(0.28)
    return made


def test_top_inputs_are_the_planted_ones_over_all_checkpoints():
    found = planted().dvis.top_inputs("layer3", 2, k=3)
    assert found["strength"].dims == ("checkpoint", "input")
    assert found["channel_from"].values.tolist() == [1, 4, 3]
    assert found["layer_from"].values.tolist() == ["layer2"] * 3
    np.testing.assert_allclose(found["strength"], [[0.9, 0.5, 0.25]] * 5, rtol=1e-3)
    assert found.attrs["strongest_at"] == LABELS[-1]
    even, odd = found["strength_even"], found["strength_odd"]
    np.testing.assert_allclose((even**2 + odd**2) / 2, found["strength"] ** 2, rtol=1e-3)
    np.testing.assert_allclose(even / odd, np.sqrt(1.28 / 0.72), rtol=1e-3)


def test_the_null_is_what_the_other_units_have():
    made = planted()
    found = made.dvis.top_inputs("layer3", 2, k=3)
    others = made["strength"].sel(layer_from="layer2", layer_to="layer3", channel_to=2)
    others = others.sel(channel_from=[0, 2, 5]).astype("float32")
    expected = others.quantile([0.05, 0.5, 0.95], "channel_from").transpose("checkpoint", ...)
    np.testing.assert_allclose(found["null_strength"], expected, rtol=1e-5)
    assert np.isnan(made.dvis.top_inputs("layer3", 2, k=99)["null_strength"]).all()


def test_reliability_is_that_of_all_units_of_the_layer():
    made = made_up_influence()
    made["half_difference"] *= 40  # so that halves disagree
    of_all = made.dvis.reliability().sel(layer_from="layer2", layer_to="layer3")
    found = made.dvis.top_inputs("layer3", 2, k=3)
    np.testing.assert_allclose(found["reliability"], of_all.sel(channel_to=2), rtol=1e-6)
    assert (found["reliability"] < 0.999).any()
    graph = made.dvis.circuit("layer3", 2, depth=1, k=3)
    last = of_all.sel(channel_to=2)[-1]
    np.testing.assert_allclose(graph["reliability"], np.full(3, last), rtol=1e-6)


def test_the_checkpoint_chooses_the_inputs():
    made = planted()
    made["strength"].loc[
        {
            "checkpoint": LABELS[1],
            "layer_from": "layer2",
            "channel_from": 5,
            "layer_to": "layer3",
            "channel_to": 2,
        }
    ] = 2.0
    assert made.dvis.top_inputs("layer3", 2, k=1)["channel_from"].item() == 1
    for checkpoint in (LABELS[1], 1):
        found = made.dvis.top_inputs("layer3", 2, k=1, checkpoint=checkpoint)
        assert found["channel_from"].item() == 5
        assert found.attrs["strongest_at"] == LABELS[1]


def test_without_a_checkpoint_it_is_the_last_that_is_measured():
    made = planted()
    made["status"][4] = 0
    made["strength"][4] = np.nan
    assert made.dvis.top_inputs("layer3", 2, k=2).attrs["strongest_at"] == LABELS[3]


def test_another_layer_can_be_asked_for():
    found = planted().dvis.top_inputs("layer3", 2, layer_from="layer1")
    assert sorted(found["channel_from"].values.tolist()) == [0, 1, 2, 3]


def test_top_outputs_are_those_of_the_other_direction():
    made = planted()
    found = made.dvis.top_outputs("layer1", 2, k=2)
    assert found["channel_to"].values.tolist() == [4, 1]
    assert found["layer_to"].values.tolist() == ["layer2"] * 2
    np.testing.assert_allclose(found["strength"][-1], [0.8, 0.5], rtol=1e-3)
    far = made.dvis.top_outputs("layer1", 2, k=2, layer_to="layer3")
    assert far["layer_to"].values.tolist() == ["layer3"] * 2


def test_a_circuit_is_what_was_planted():
    found = planted().dvis.circuit("layer3", 2, k=2)
    nodes = list(zip(found["layer"].values.tolist(), found["channel"].values.tolist(), strict=True))
    assert nodes[:3] == [("layer3", 2), ("layer2", 1), ("layer2", 4)]
    assert nodes[3:] == [("layer1", 2), ("layer1", 0), ("layer1", 3)]
    assert found["depth"].values.tolist() == [0, 1, 1, 2, 2, 2]
    ends = zip(found["node_from"].values, found["node_to"].values, strict=True)
    edges = [(nodes[a], nodes[b]) for a, b in ends]
    assert edges[:2] == [(("layer2", 1), ("layer3", 2)), (("layer2", 4), ("layer3", 2))]
    assert set(edges[2:]) == {
        (("layer1", 0), ("layer2", 1)),
        (("layer1", 2), ("layer2", 1)),
        (("layer1", 2), ("layer2", 4)),
        (("layer1", 3), ("layer2", 4)),
    }
    np.testing.assert_allclose(found["strength"], [0.9, 0.5, 0.75, 0.5, 0.8, 0.6], rtol=1e-3)
    assert found["null_strength"].dims == ("edge", "quantile")
    assert (found["null_strength"].isel(edge=0) <= 0.25).all()


def test_a_circuit_ends_where_layers_end():
    made = planted()
    assert made.dvis.circuit("layer3", 2, depth=9)["depth"].max() == 2
    assert made.dvis.circuit("layer3", 2, depth=1)["depth"].max() == 1
    last_alone = made.sel(layer_to=["layer3"])
    assert last_alone.dvis.circuit("layer3", 2)["depth"].max() == 1


def test_units_are_the_same_in_a_store_lazy_and_selected(tmp_path):
    made = planted()
    write_influence(tmp_path / "net.zarr", made)
    expected = made.dvis.top_inputs("layer3", 2, k=3)
    one = made.sel(layer_to="layer3", channel_to=2)
    read = [dvis.influence(tmp_path / "net.zarr", chunks=chunks) for chunks in (None, {})]
    for given in (one, *read):
        found = given.dvis.top_inputs("layer3", 2, k=3)
        np.testing.assert_array_equal(found["strength"], expected["strength"])
        assert found["channel_from"].values.tolist() == [1, 4, 3]
    assert one.dvis.top_inputs(k=1)["channel_from"].item() == 1


def test_every_result_says_what_it_is():
    made = planted()
    for found in (
        made.dvis.top_inputs("layer3", 2),
        made.dvis.top_outputs("layer1", 2),
        made.dvis.circuit("layer3", 2),
    ):
        for name in found.data_vars:
            assert found[name].attrs["long_name"], name
            assert found[name].attrs["units"] == "1", name
        assert "chosen so" in found.attrs["comment"]
        assert found.attrs["run"] == "checkpoints"


@pytest.mark.parametrize(
    ("layer", "channel", "given", "said"),
    [
        ("layer5", 0, {}, r"No layer 'layer5' in the targets of .*Did you mean 'layer3'\?"),
        ("layer3", 8, {}, r"No channel 8 in layer3\. Its channels: 0 to 7"),
        ("layer2", 6, {}, r"No channel 6 in layer2\. Its channels: 0 to 5"),
        (None, 0, {}, r"Which layer\? The targets have layer1, layer2, layer3"),
        ("layer3", None, {}, r"Which channel of layer3\? Its channels: 0 to 7"),
        ("layer1", 0, {}, r"No layer before layer1 is measured"),
        ("layer3", 0, {"layer_from": "layr1"}, r"No layer 'layr1' in the sources.*'layer1'"),
        ("layer3", 0, {"layer_from": "layer3"}, r"No influence of layer3, channel 0 is measured"),
        ("layer3", 0, {"checkpoint": "first"}, r"No checkpoint 'first'"),
        ("layer3", 0, {"checkpoint": 5}, r"No checkpoint number 5"),
        ("layer3", 0, {"k": 0}, r"k is 0; it must be at least 1"),
    ],
)
def test_what_is_not_there_is_said(layer, channel, given, said):
    with pytest.raises(ValueError, match=said):
        made_up_influence().dvis.top_inputs(layer, channel, **given)


def test_a_dead_unit_is_told_from_one_that_is_not_measured():
    made = planted()
    made["strength"].loc[{"layer_to": "layer3", "channel_to": 2}] = np.nan
    for ask in (made.dvis.top_inputs, made.dvis.circuit):
        with pytest.raises(ValueError, match=r"layer3, channel 2 is dead at .*epoch_4"):
            ask("layer3", 2)
    found = made.dvis.circuit("layer3", 3)
    assert np.isfinite(found["strength"]).all()


def test_other_datasets_are_refused():
    for ask in ("top_inputs", "top_outputs", "circuit", "circuit_film", "influence_matrix"):
        with pytest.raises(
            dvis.SchemaError, match=r"has no strength.*Open one with dvis\.influence"
        ):
            getattr(made_up(np.ones((2, 1, 1))).dvis, ask)("layer1")
