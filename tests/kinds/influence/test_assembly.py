"""Assembly: what is planted is found, what hubs alone make up is not, and what it refuses."""

import numpy as np
import pytest
import xarray as xr
from made_up_assembly import NOTHING, PLANTED, World, found_in, naive
from made_up_influence import write_influence
from made_up_responses import write_responses

import dvis
from dvis import cli
from dvis.analysis.births import births
from dvis.kinds.influence.analysis.assembly import assembly
from dvis.kinds.influence.analysis.assembly_text import assembly_table
from dvis.kinds.influence.analysis.exchange import between, drawn, pooled, resampled
from dvis.kinds.influence.analysis.layer_pairs import centred_logs, double_centred
from dvis.schema import SchemaError

TOGETHER, FIRST, BEFORE = (
    "born together",
    "born together, first checkpoint",
    "source before target",
)
CLOSE = World(early_hubs=2, together=0.5)
FEW = {"n_permutations": 199, "n_bootstrap": 99}


@pytest.fixture(scope="module")
def planted() -> tuple[xr.Dataset, xr.Dataset]:
    return CLOSE.made(1)


@pytest.fixture(scope="module")
def found(planted) -> xr.Dataset:
    return assembly(*planted, k=4, **FEW)


def test_a_planted_association_is_found_and_is_the_correlation_of_centred_matrices(planted, found):
    influence, born = planted
    of_pair = found.sel(statistic=TOGETHER, layer_from="layer0", layer_to="layer1")
    logs = np.log(influence["strength"].values[-1, 0, :20, 1, :24].astype(float))
    source, target = born["birth"].values[0, :20], born["birth"].values[1, :24]
    close = -np.abs(source[:, None] - target)
    expected = np.corrcoef(double_centred(logs).ravel(), double_centred(close).ravel())[0, 1]
    assert of_pair.effect.item() == pytest.approx(expected, abs=1e-6)
    pooled_of = found.sel(statistic=TOGETHER)
    assert pooled_of.pooled_p_value == 1 / 200
    assert pooled_of.pooled_effect_interval[0] > 0
    assert pooled_of.null_pooled_effect[1] < pooled_of.pooled_effect
    assert (of_pair.n_sources, of_pair.n_targets) == (20, 24)
    assert np.isnan(found.effect.sel(layer_from="layer1", layer_to="layer0")).all()


def test_what_has_no_p_says_why_and_all_say_what_they_cannot_tell(found):
    has_p = found.pooled_p_value.notnull()
    np.testing.assert_array_equal(has_p, found["why_no_p"] == "")
    assert not has_p.sel(statistic=BEFORE)
    assert (found["cannot_tell"] != "").all()
    assert (found["exchanged"] != "").all()
    assert all(each.attrs["long_name"] and each.attrs["units"] for each in found.values())
    for statistic in found["statistic"].values:
        assert str(found["cannot_tell"].sel(statistic=statistic).item()) in assembly_table(found)


def test_the_same_seed_gives_the_same_and_another_other_draws(planted, found):
    xr.testing.assert_identical(assembly(*planted, k=4, **FEW), found)
    other = assembly(*planted, k=4, seed=1, **FEW)
    assert (other.effect.fillna(0) == found.effect.fillna(0)).all()
    assert (other.null_pooled_effect != found.null_pooled_effect).any()


def test_hubs_that_are_born_early_are_no_association_though_naive_shares_say_so():
    n = 60
    world = NOTHING["hubs born early"]
    p_values, _, names = found_in(world, n)
    rejected = dict(zip(names, (p_values <= 0.05).sum(0), strict=True))
    assert rejected[TOGETHER] <= 8  # of 3; more than 8 in 1 of 100 such tests
    assert rejected[FIRST] <= 8
    assert np.mean([naive(world, seed) <= 0.05 for seed in range(n)]) > 0.9
    weak = PLANTED["**planted: influence stronger where births are close**"]
    p_values, _, _ = found_in(weak, 10)
    assert (p_values[:, names.index(TOGETHER)] <= 0.05).mean() >= 0.9


def test_mrqap_leaves_out_what_was_there_at_the_first_checkpoint(planted):
    influence, born = planted
    kept = influence.copy(deep=True)
    rng = np.random.default_rng(0)
    kept["strength"][0] = kept["strength"][-1] * np.exp(0.1 * rng.normal(size=(3, 28, 3, 28)))
    found = {
        (of, null): assembly(ds, born, k=4, null=null, **FEW).sel(statistic=TOGETHER)
        for of, ds in {"learnt": influence, "kept": kept}.items()
        for null in ("births", "mrqap")
    }
    p_values = {asked: float(each.pooled_p_value) for asked, each in found.items()}
    assert p_values["learnt", "births"] == p_values["kept", "births"] == 1 / 200
    assert p_values["learnt", "mrqap"] == 1 / 200
    assert abs(found["kept", "mrqap"].pooled_effect) < found["learnt", "mrqap"].pooled_effect / 4
    assert "MRQAP" in found["kept", "mrqap"]["exchanged"].item()
    assert "beyond that at the first" in found["kept", "mrqap"]["what"].item()


def test_permutations_and_samples_are_those_of_plain_loops():
    rng = np.random.default_rng(3)
    first, second = double_centred(rng.normal(size=(5, 4))), rng.normal(size=(5, 4))
    draws = drawn({"a": 5, "b": 4}, 30, 30, seed=0)
    weights = draws.weights["a"], draws.weights["b"]
    scores = between(first, second, draws.orders["a"], weights)
    for order, value in zip(draws.orders["a"], scores.exchanged, strict=True):
        moved = double_centred(second[order])
        assert value == pytest.approx(np.corrcoef(first.ravel(), moved.ravel())[0, 1])
    for rows, columns, value in zip(*weights, resampled(first, second, weights), strict=True):
        at = np.ix_(np.repeat(np.arange(5), rows), np.repeat(np.arange(4), columns))
        both = [double_centred(each[at]).ravel() for each in (first, second)]
        if np.isfinite(value):
            assert value == pytest.approx(np.corrcoef(*both)[0, 1])


def test_pooled_scores_are_the_sum_of_standardised_ones():
    rng = np.random.default_rng(4)
    draws = drawn({"a": 9, "b": 8}, 50, 10, seed=0)
    weights = draws.weights["a"], draws.weights["b"]
    made = [double_centred(scale * rng.normal(size=(9, 8))) for scale in (1, 5)]
    scores = [between(each, rng.normal(size=(9, 8)), draws.orders["a"], weights) for each in made]
    standard = sum((s.exchanged - s.exchanged.mean()) / s.exchanged.std() for s in scores)
    together = pooled(scores)
    p = (np.abs(standard) >= np.abs(standard[0]) - 1e-9).mean()
    assert together.p_value == pytest.approx(p)
    assert pooled([]) is None


def test_a_layers_draws_serve_all_of_its_pairs():
    draws = drawn({"a": 6}, 20, 5, seed=0)
    some = np.array([0, 2, 5])
    within = draws.order_of("a", some)
    assert (np.sort(within, axis=1) == np.arange(3)).all()
    for whole, part in zip(draws.orders["a"], within, strict=True):
        assert some[part].tolist() == [unit for unit in whole if unit in some]


def test_zeros_count_as_half_the_smallest_and_the_unknown_as_what_rest_accounts_for():
    strength = np.array([[1.0, 2, 4], [2, 0, 8], [4, 8, 16]])
    plain = np.where(strength == 0, 0.5, strength)
    np.testing.assert_allclose(centred_logs(strength), double_centred(np.log(plain)))
    additive = np.exp(np.arange(4)[:, None] + 2 * np.arange(5.0))
    additive[1, 2] = np.nan
    np.testing.assert_allclose(centred_logs(additive), 0, atol=1e-6)


def test_layers_with_many_zeros_have_no_p_and_no_part_in_what_is_pooled(planted, found):
    influence, born = planted
    some = influence.copy(deep=True)
    pair = {"layer_from": "layer0", "layer_to": "layer1"}
    block = some["strength"].values[-1, 0, :20, 1, :24]
    block[block < np.quantile(block, 0.3)] = 0
    with_zeros = assembly(some, born, k=4, **FEW)
    of_pair = with_zeros.sel({**pair, "statistic": TOGETHER})
    assert of_pair.share_zero == pytest.approx(0.3, abs=0.01)
    assert np.isfinite(of_pair.effect)
    assert np.isnan(of_pair.p_value)
    assert np.isnan(of_pair.null_effect).all()
    assert np.isfinite(with_zeros.pooled_p_value.sel(statistic=TOGETHER))
    both = [each.p_value.sel({**pair, "statistic": FIRST}) for each in (with_zeros, found)]
    assert both[0] == both[1]


def test_skip_connections_between_namesakes_and_the_dead_are_left_out(planted):
    influence, born = planted
    pair = {"layer_from": "layer0", "layer_to": "layer1"}
    as_wide = influence.isel(channel_from=slice(20), channel_to=slice(20))
    as_wide = as_wide.assign_coords(
        n_channels_from=("layer_from", [20] * 3), n_channels_to=("layer_to", [20] * 3)
    )
    strength = as_wide["strength"].copy(deep=True)
    for channel in range(20):
        strength[:, :, channel, :, channel] = 1000
    skips = as_wide.assign(strength=strength)
    effects = [assembly(ds, born, k=4, **FEW).effect.sel(pair) for ds in (as_wide, skips)]
    np.testing.assert_allclose(*effects)
    dead = influence.copy(deep=True)
    dead["strength"][:, 0, :, 1, 3] = np.nan
    assert assembly(dead, born, k=4, **FEW).n_targets.sel(pair) == 23


def test_influence_that_is_read_lazily_gives_the_same(tmp_path):
    write_influence(tmp_path / "net.zarr")
    rng = np.random.default_rng(0)
    eager = dvis.influence(tmp_path / "net.zarr").compute()
    units = {"layer": eager["layer_from"].values, "channel": eager["channel_from"].values}
    place = rng.integers(0, 5, (3, 8))
    born = xr.Dataset(
        {
            "birth_checkpoint": (("layer", "channel"), eager["checkpoint"].values[place]),
            "birth_step": (("layer", "channel"), 10.0 * place),
            "state": (("layer", "channel"), np.full((3, 8), "born")),
        },
        units,
    )
    lazy = dvis.influence(tmp_path / "net.zarr", chunks={}).dvis.assembly(born, k=2, **FEW)
    xr.testing.assert_identical(lazy, eager.dvis.assembly(born, k=2, **FEW))


def test_births_lie_where_their_steps_say_where_influence_lacks_their_checkpoint(planted):
    influence, born = planted
    fewer = influence.isel(checkpoint=[0, 3, 6, 9, 11])
    renamed = born.assign(birth_checkpoint=xr.full_like(born["state"], "other"))
    xr.testing.assert_identical(
        assembly(fewer, renamed, k=4, **FEW), assembly(fewer, born, k=4, **FEW)
    )
    with pytest.raises(ValueError, match="same checkpoints"):
        assembly(fewer, born.assign(birth_step=born["birth_step"] * np.nan), **FEW)


def test_the_command_prints_each_number_beside_its_null(tmp_path, capsys):
    write_influence(tmp_path / "net.zarr")
    write_responses(tmp_path / "net.zarr", "image")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["assembly", str(tmp_path / "net.zarr"), "--n-permutations", "99"])
    out = capsys.readouterr().out
    assert stopped.value.code == 0, out
    assert "layer1 -> layer2 (3 sources, 5 targets)" in out
    assert out.count("Null: ") == 7


def test_births_of_the_images_of_influence_are_refused(planted):
    influence, born = planted
    influence = influence.assign_attrs(images={"fingerprint": "abc"})
    assembly(influence, born.assign_attrs(images_fingerprint="abd"), **FEW)
    with pytest.raises(ValueError, match="the same images"):
        assembly(influence, born.assign_attrs(images_fingerprint="abc"), **FEW)
    response = np.random.default_rng(0).normal(size=(3, 1, 1, 5))
    of_images = xr.Dataset({"response": (("checkpoint", "layer", "channel", "image"), response)})
    of_images.attrs["images"] = '{"fingerprint": "abc"}'
    assert births(of_images).attrs["images_fingerprint"] == "abc"


def test_errors_say_what_to_do(planted):
    influence, born = planted
    with pytest.raises(ValueError, match="two layers in common"):
        assembly(influence, born.assign_coords(layer=["a", "b", "c"]))
    with pytest.raises(SchemaError, match=r"dvis\.influence"):
        assembly(born, born)
    with pytest.raises(SchemaError, match="births"):
        assembly(influence, influence)
    with pytest.raises(ValueError, match="k=0"):
        assembly(influence, born, k=0)
    with pytest.raises(TypeError, match="whole number"):
        assembly(influence, born, k=1.5)
    with pytest.raises(ValueError, match="Did you mean 'mrqap'"):
        assembly(influence, born, null="mrqp")
    with pytest.raises(ValueError, match="were born"):
        assembly(influence, born.assign(state=xr.full_like(born["state"], "never")))
