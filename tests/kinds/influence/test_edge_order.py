"""Edges between births, alignment to them, steadiness of circuits, and sizes: known answers."""

import numpy as np
import pytest
import xarray as xr
from made_up_assembly import PLANTED, World, found_in
from made_up_influence import made_up_influence
from scipy.stats import spearmanr

from dvis.kinds.influence.analysis.assembly import assembly
from dvis.kinds.influence.analysis.edge_order import edge_orders
from dvis.kinds.influence.analysis.events import event_alignment
from dvis.kinds.influence.analysis.sizes import sizes_and_births
from dvis.kinds.influence.analysis.stability import circuit_stability

FEW = {"n_permutations": 199, "n_bootstrap": 199}
RISE = "influence rises at birth"
AT_BIRTH = PLANTED["**planted: top edges born at their target's birth**"]


def test_edges_that_are_born_between_their_ends_are_counted_so():
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 4, (3, 40)), rng.integers(6, 10, 40)
    weights = rng.multinomial(40, np.full(40, 1 / 40), 50)
    matched = rng.normal(size=(2, 3, 40))
    edges = np.where(np.arange(40) < 30, 5.0, np.where(np.arange(40) < 35, -1, 11)) * np.ones(
        (3, 1)
    )
    edges[0, 0] = np.nan
    found = edge_orders(edges, (source, target), tuple(matched), weights, 99, rng)
    shares = [found[name].value for name in ("edge between", "edge first", "target first")]
    assert shares == pytest.approx([89 / 119, 15 / 119, 15 / 119])
    low, high = found["edge between"].interval
    assert low < 89 / 119 < high
    # Whatever is exchanged among edges, these ends have nothing to do with it.
    np.testing.assert_allclose(found["edge between"].exchanged, 89 / 119)


def test_edge_births_of_assembly_are_those_of_their_trajectories():
    """All edges rise at the fourth of seven checkpoints, all sources before, all targets after."""
    influence, born = World(n_checkpoints=7).made(0)
    rises = xr.DataArray([0.1, 0.1, 0.1, 1, 1, 1, 1], dims="checkpoint")
    influence["strength"] = influence["strength"][-1].drop_vars("checkpoint") * rises
    place = xr.DataArray([1, 4, 5], dims="layer")
    for name, values in {
        "birth_checkpoint": place.astype(str).astype(object),
        "birth_step": 10.0 * place,
        "birth": place,
    }.items():
        born[name] = values.broadcast_like(born["state"])
    found = assembly(influence, born, k=4, **FEW).effect
    between = found.sel(layer_from="layer0", statistic=["edge between", "target first"])
    np.testing.assert_array_equal(between.sel(layer_to=["layer1", "layer2"]), [[1, 1], [0, 0]])
    assert found.sel(layer_from="layer1", layer_to="layer2", statistic="edge first") == 1


def test_top_inputs_rise_where_they_are_planted_to():
    influence, born = AT_BIRTH.made(0)
    events = event_alignment(influence, born, k=4, reach=4, **FEW)
    top, matched = events.strength.sel(set="top"), events.strength.sel(set="matched")
    assert top.sel(lag=2) - top.sel(lag=-2) > 2 * abs(matched.sel(lag=2) - matched.sel(lag=-2))
    assert abs(events.half_rise_lag) < 1.5
    low, high = events.half_rise_lag_interval.values
    assert low < events.half_rise_lag < high
    band = events.sel(set="top")
    assert (band.strength_low <= band.strength).all()
    assert (band.strength <= band.strength_high).all()
    found = assembly(influence, born, k=4, reach=4, **FEW)
    assert found.pooled_p_value.sel(statistic=RISE) == 1 / 200
    xr.testing.assert_equal(found.strength, events.strength)


def test_gains_of_targets_and_sources_are_no_rise_at_birth():
    p_values, _, names = found_in(World(edges="gain of target"), 40)
    assert (p_values[:, names.index(RISE)] <= 0.05).sum() <= 6


def test_overlap_is_1_of_the_same_and_0_by_chance():
    made = made_up_influence({"layer1": 24, "layer2": 60})
    rng = np.random.default_rng(0)
    strength = np.exp(rng.normal(size=made["strength"].shape))
    by_chance = made.assign(strength=made["strength"].where(made["strength"].isnull(), strength))
    of_pair = {"layer_from": "layer1", "layer_to": "layer2"}
    chance = circuit_stability(by_chance, k=6).sel(of_pair)
    for name in ("overlap_previous", "overlap_last", "rank_correlation_previous"):
        values = chance[name].isel(checkpoint=slice(1, 4))
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(values.size)
    steady = circuit_stability(made, k=6).sel(of_pair)
    np.testing.assert_allclose(steady.overlap_last[-1], 1)
    assert steady.overlap_previous[1:].mean() > 0.5
    assert np.isnan(steady.overlap_previous[0]).all()
    assert steady.attrs["cannot_tell"]
    now, last = made["strength"].sel(of_pair).isel(channel_to=5, channel_from=slice(24))[[2, -1]]
    expected = spearmanr(now, last).statistic
    assert steady.rank_correlation_last[2, 5] == pytest.approx(expected, abs=1e-6)


def test_the_effective_number_of_inputs_is_as_many_as_are_alike():
    made = made_up_influence({"layer1": 10, "layer2": 7})
    strength = made["strength"].where(made["strength"].isnull(), 0.5)
    strength[:, 0, 5:10, 1, 0] = 0
    strength[:, 0, 1:10, 1, 1] = 0
    strength[:, 0, :10, 1, 2] = 0
    at = {"layer_from": "layer1", "layer_to": "layer2", "checkpoint": made["checkpoint"][-1]}
    found = circuit_stability(made.assign(strength=strength), k=3).sel(at)
    np.testing.assert_allclose(found.n_effective[:4], [5, 1, np.nan, 10])
    assert np.isnan(found.overlap_previous[1:3]).all()
    with pytest.raises(ValueError, match="k=0"):
        circuit_stability(made, k=0)


def sized(seed: int, slope: float = 0.0, of_inputs: float = 0.0):
    """Sizes, births and influence, sizes going with births and with those of strong inputs."""
    influence, born = World().made(seed)
    rng = np.random.default_rng([seed, 9])
    size = slope * born["birth"] + rng.normal(size=born["birth"].shape)
    centred = (size - size.mean("channel")).values
    product = of_inputs * centred[:, :, None, None] * centred
    scaled = influence["strength"].astype(float) * np.exp(product)
    return size.where(born["state"] == "born"), born, influence.assign(strength=scaled)


def test_sizes_that_go_with_births_and_with_inputs_are_found():
    size, born, influence = sized(0, slope=1, of_inputs=0.5)
    found = sizes_and_births(size, born, influence, **FEW)
    at = {"layer": "layer1"}
    units = [each.sel(at).values[:24] for each in (size, born["birth"])]
    assert found.birth_effect.sel(at) == pytest.approx(spearmanr(*units).statistic)
    assert found.pooled_birth_p_value == 1 / 200
    assert found.pooled_input_p_value == 1 / 200
    assert found.pooled_input_effect_interval[0] > 0
    assert found.n_units.values.tolist() == [20, 24, 28]
    assert "pooled_input_effect" not in sizes_and_births(size, born, **FEW)
    over_time = xr.concat([size.where(size.isnull(), 7), size, size * np.nan], "checkpoint")
    xr.testing.assert_identical(sizes_and_births(over_time, born, influence, **FEW), found)


def test_sizes_that_go_with_nothing_are_not_found():
    p_values = np.array(
        [
            [float(found[f"pooled_{what}_p_value"]) for what in ("birth", "input")]
            for found in (sizes_and_births(*sized(seed), **FEW) for seed in range(50))
        ]
    )
    assert ((p_values <= 0.05).sum(0) <= 7).all()


def test_sizes_of_other_layers_are_refused():
    size, born, _ = sized(0)
    with pytest.raises(ValueError, match="a layer in common"):
        sizes_and_births(size.assign_coords(layer=["a", "b", "c"]), born)
    with pytest.raises(ValueError, match="without layer"):
        sizes_and_births(size.isel(layer=0), born)
