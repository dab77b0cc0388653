"""Order of births: planted ones are found, what merely looks like one is not."""

import numpy as np
import pytest
import xarray as xr
from made_up import LAYERS, log_steps, made_up, rising_at
from made_up_nulls import (
    NO_ORDER,
    OF_SCALE,
    gains_at_once,
    half_dead,
    noisy,
    one_a_layer,
    orders,
    shared,
)

from dvis.analysis.births import births
from dvis.analysis.order import birth_order
from dvis.schema import SchemaError

SIX = [f"layer{i}" for i in range(6)]


def births_at(planted: np.ndarray, n_checkpoints: int = 25, variable: str = "similarity"):
    """Births at these positions, (layer, channel), of a variable without scale."""
    layers = [f"layer{i}" for i in range(len(planted))]
    run = made_up(rising_at(planted, n_checkpoints), layers=layers)
    return births(run, variable=run["activation"].rename(variable))


def layered(generator: np.random.Generator, spread: int, n_layers: int = 6) -> np.ndarray:
    """Positions of birth that come `spread` checkpoints later with each layer, and scatter."""
    own = generator.integers(1, 9, (n_layers, 12))
    return own + spread * np.arange(n_layers)[:, None]


def test_a_planted_order_of_layers_is_found() -> None:
    planted = layered(np.random.default_rng(1), spread=3)
    order = birth_order(births_at(planted))
    assert order.correlation > 0.6
    assert order.p_value == 2 / 720  # of all orders, that one and its reverse
    assert order.slope == pytest.approx(3, abs=0.5)
    low, high = order.slope_interval.values
    assert low < order.slope < high
    assert high - low < 2
    assert order.correlation_interval.values[0] > 0
    assert order.null_correlation.values[1] < order.correlation
    quartiles = order.birth_step.sel(quantile=0.5).values
    steps = np.array(log_steps(25))[planted]
    np.testing.assert_array_equal(quartiles, np.median(steps, axis=1))
    assert order.n_born.values.tolist() == [12] * 6
    assert order.attrs["exchangeable"] == "whole layers"
    assert (order.attrs["why_no_p"], order.attrs["n_orders"]) == ("", 720)


def test_a_steady_order_has_its_slope_exactly() -> None:
    order = birth_order(births_at(np.repeat(np.arange(2, 14, 2)[:, None], 4, axis=1)))
    assert order.correlation == pytest.approx(1)
    np.testing.assert_allclose(order.correlation_interval, 1)
    np.testing.assert_allclose([order.slope, *order.slope_interval], 2)


def test_the_interval_is_that_of_a_jackknife_of_layers() -> None:
    planted = layered(np.random.default_rng(5), spread=1)
    depth = np.repeat(np.arange(6.0)[:, None], 12, axis=1)
    of_all = np.polyfit(depth.ravel(), planted.ravel(), 1)[0]
    without = [
        np.polyfit(np.delete(depth, i, 0).ravel(), np.delete(planted, i, 0).ravel(), 1)[0]
        for i in range(6)
    ]
    reach = 2.776 * np.sqrt(5 / 6 * ((without - of_all) ** 2).sum())  # t of four degrees of freedom
    order = birth_order(births_at(planted))
    np.testing.assert_allclose(order.slope_interval, [of_all - reach, of_all + reach], rtol=2e-3)


def test_intervals_hold_the_truth_where_layers_share_shifts() -> None:
    holds = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        own = generator.integers(2, 9, (6, 8)) + generator.integers(-2, 3, (6, 1))
        order = birth_order(births_at(own + 2 * np.arange(6)[:, None]), n_permutations=99)
        low, high = order.slope_interval.values
        holds.append(low <= 2 <= high)
    assert 89 <= np.sum(holds) <= 99


def test_the_reverse_order_is_an_order_too() -> None:
    found = births_at(layered(np.random.default_rng(1), spread=3))
    order = birth_order(found, layers=SIX[::-1])
    assert order.correlation < -0.6
    assert order.p_value == 2 / 720
    assert order.attrs["order_of_layers"] == "given"


@pytest.mark.parametrize("make", [shared(2), half_dead, noisy], ids=["shared", "dead", "noisy"])
def test_confounds_make_no_order(make) -> None:
    p_values, is_off = orders(make, 100)
    assert (p_values <= 0.05).sum() <= 10
    assert is_off.sum() <= 10


def test_an_order_of_a_checkpoint_a_layer_is_found() -> None:
    p_values, is_off = orders(one_a_layer, 30)
    assert (p_values <= 0.05).mean() > 0.95
    assert is_off.mean() > 0.95


def test_a_permuted_copy_shows_no_order() -> None:
    generator = np.random.default_rng(2)
    of_units = layered(generator, spread=3)
    p_values = []
    for seed in range(100):
        permuted = generator.permutation(of_units.ravel()).reshape(of_units.shape)
        order = birth_order(births_at(permuted), seed=seed)
        p_values.append(float(order.p_value))
    assert (np.array(p_values) > 0.05).sum() >= 93
    assert 0.4 < np.mean(p_values) < 0.6


@pytest.mark.parametrize("make", OF_SCALE.values(), ids=["gains", "untrained"])
def test_raw_activations_tell_no_order(make) -> None:
    p_values, _ = orders(make, 5, is_raw=True)
    assert np.isnan(p_values).all()


def test_gains_that_double_at_once_show_why() -> None:
    as_if, _ = orders(gains_at_once, 20)
    assert (as_if <= 0.05).all()
    raw = birth_order(births_at(layered(np.random.default_rng(1), 3), variable="activation"))
    assert "raw activation cannot tell an order from gains" in raw.attrs["why_no_p"]
    assert raw.correlation > 0.6
    assert np.isfinite(raw.correlation_interval).all()
    assert np.isnan(raw.null_correlation).all()


def test_few_layers_show_no_order() -> None:
    order = birth_order(births_at(np.arange(2, 10, 2)[:, None] + np.zeros((4, 6), int)))
    assert order.correlation == pytest.approx(1)
    assert np.isnan([order.p_value, *order.correlation_interval, *order.slope_interval]).all()
    assert order.attrs["why_no_p"].startswith("no order can be shown with 4 layers")
    # Of layers in which nothing is born nothing is known.
    fifth = np.array([[2], [4], [6], [8], [99]]) + np.zeros((5, 6), int)
    assert np.isnan(birth_order(births_at(fifth)).p_value)
    assert birth_order(births_at(np.minimum(fifth, 10))).p_value == 2 / 120


def test_layers_move_within_their_stages() -> None:
    stages = dict(zip(SIX, ["stem", *["body"] * 5], strict=True))
    stem_first = np.array([[2], *[[9]] * 5]) + np.zeros((6, 4), int)
    between = birth_order(births_at(stem_first), stages=stages)
    assert between.p_value == 1  # the stem is first, and that is the stages' order
    found = births_at(layered(np.random.default_rng(1), spread=3))
    within = birth_order(found, stages=stages)
    assert within.p_value <= 2 / 120
    assert within.attrs["exchangeable"] == "whole layers within their stages"
    pairs = dict(zip(SIX, "aabbcc", strict=True))
    assert "within these stages" in birth_order(found, stages=pairs).attrs["why_no_p"]
    with pytest.raises(KeyError, match="No stage of layer5"):
        birth_order(found, stages=dict.fromkeys(SIX[:5], "body"))


def test_many_layers_are_permuted_at_random() -> None:
    order = birth_order(births_at(layered(np.random.default_rng(4), 1, 12)), n_permutations=999)
    assert order.p_value == 1 / 1000
    assert order.attrs["n_orders"] == 1000


def test_layers_stand_in_the_order_of_execution() -> None:
    found = births_at(layered(np.random.default_rng(1), spread=3))
    told = found.assign_coords(depth=("layer", [5, 4, 3, 2, 1, 0]))
    order = birth_order(told)
    assert order.layer.values.tolist() == SIX[::-1]
    assert order.attrs["order_of_layers"] == "execution"
    assert order.correlation == birth_order(found, layers=SIX[::-1]).correlation
    partly = found.assign_coords(depth=("layer", [5, 4, -1, 2, 1, 0]))
    assert birth_order(partly).layer.values.tolist() == SIX


def test_ties_have_their_mean_rank() -> None:
    found = births_at(np.array([[2, 2, 3], [2, 4, 4]]), 8)
    # Ranks of births 1, 1, 3, 1, 4.5, 4.5 against 1, 1, 1, 4, 4, 4, worked out by hand.
    births_ranks, depths = [2, 2, 4, 2, 5.5, 5.5], [2, 2, 2, 5, 5, 5]
    expected = np.corrcoef(births_ranks, depths)[0, 1]
    assert birth_order(found).correlation == pytest.approx(expected)


def test_units_that_were_not_born_are_counted_and_left_out() -> None:
    order = birth_order(births_at(np.array([[2, 3, 99], [4, 5, 7]]), 8))
    assert order.n_born.values.tolist() == [2, 2]
    assert order.n_never.values.tolist() == [1, 0]
    assert order.n_unstable.values.tolist() == [0, 1]
    assert order.attrs["left_out"] == "2 units without a birth"
    together = birth_order(births_at(np.full((6, 2), 2), 8))
    assert np.isnan([together.correlation, together.p_value]).all()
    assert together.attrs["why_no_p"] == "all births are at the same checkpoint"
    no_units = birth_order(births_at(np.array([[2], [3]]), 6).isel(channel=[]))
    assert np.isnan(no_units.correlation)
    assert np.isnan(no_units.birth_step).all()


def test_the_same_seed_gives_the_same_numbers() -> None:
    found = births_at(layered(np.random.default_rng(3), 0, 9))
    options = {"n_permutations": 99}
    first, second, other = (birth_order(found, seed=seed, **options) for seed in (5, 5, 6))
    xr.testing.assert_identical(first, second)
    assert first.p_value != other.p_value


def test_an_order_of_what_are_no_births_says_so() -> None:
    dataset = made_up(rising_at([[2, 3], [4, 5]], 8))
    with pytest.raises(SchemaError, match=r"no birth, birth_step, state, only .*ds\.dvis\.births"):
        dataset.dvis.birth_order()
    of_loss = births(made_up(np.zeros((4, 1, 1)), val_loss=[0, 0, 1, 1]), variable="val_loss")
    with pytest.raises(SchemaError, match="no layer, only"):
        birth_order(of_loss)


def test_an_order_of_wrong_layers_says_so() -> None:
    found = births(made_up(rising_at([[2, 3], [4, 5]], 8), layers=LAYERS[:2]))
    with pytest.raises(KeyError, match="Did you mean 'layer2'"):
        birth_order(found, layers=["layer1", "layer22"])
    with pytest.raises(ValueError, match="two layers or more; here are layer1"):
        birth_order(found, layers=["layer1"])
    with pytest.raises(ValueError, match="n_permutations=0"):
        birth_order(found, n_permutations=0)


def test_every_null_is_simulated() -> None:
    for make in NO_ORDER.values():
        p_values, _ = orders(make, 2)
        assert ((p_values > 0) & (p_values <= 1)).all()
