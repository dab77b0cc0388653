"""What births are read off: measures without scale find what is planted, and gains find nothing."""

import numpy as np
import pytest
import torch
import xarray as xr
from made_up import made_up, nothing_computed, rising_at, rising_units
from made_up_nulls import UNTRAINED_STAND_OUT, WITHOUT_SCALE, held_against, of_answers, orders
from tiny_models import seeded_net

from dvis.analysis.births import births
from dvis.analysis.measures import development, usual_measure
from dvis.analysis.order import birth_order
from dvis.analysis.ranking import rank, summary
from dvis.kinds.features.measure import FeatureTask, FeatureVisualisation
from dvis.kinds.features.options import feature_settings
from dvis.kinds.features.reference_images import find_reference
from dvis.models.data import InputTransform
from dvis.schema import Status

GAINS = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0])
PLANTED = np.random.default_rng(0).integers(0, 7, (6, 8))
LAYERS = [f"layer{i}" for i in range(6)]


def with_gains(z: np.ndarray, gains: np.ndarray = GAINS, **options: object) -> xr.Dataset:
    """Units that learn so, (checkpoint, layer, channel), below gains that multiply with depth."""
    run = made_up(z, layers=LAYERS[: z.shape[1]], **options)
    return held_against(run, gains[:, None] ** np.arange(1, z.shape[1] + 1))


@pytest.mark.parametrize("is_lazy", [False, True])
def test_planted_births_are_found_exactly_below_any_gains(is_lazy: bool) -> None:
    run = with_gains(rising_at(PLANTED, 8), GAINS**3, is_lazy=is_lazy)
    with nothing_computed():
        found = births(run)
    assert found.attrs["measure"] == "standardised"
    np.testing.assert_array_equal(found.birth, PLANTED)
    assert (births(run, measure="raw").birth.values != PLANTED).any()


@pytest.mark.parametrize("is_lazy", [False, True])
def test_planted_births_are_found_exactly_by_answers(is_lazy: bool) -> None:
    run = of_answers(rising_at(PLANTED, 8), GAINS[:, None] ** np.arange(1, 7), is_lazy=is_lazy)
    with nothing_computed():
        found = births(run)
    assert found.attrs["measure"] == "correlation"
    assert found.birth.dims == ("layer", "channel")
    np.testing.assert_array_equal(found.birth, PLANTED)


def test_gains_that_double_at_once_are_no_births_and_no_order() -> None:
    never = np.ones((8, 6, 8))
    run, answers = with_gains(never), of_answers(never, GAINS[:, None] ** np.arange(1, 7))
    for found in (births(run), births(answers)):
        assert (found.birth == 0).all()  # they are at the start what they are at the end
        assert np.isnan(birth_order(found).p_value)
    raw = births(run, measure="raw")
    assert (raw.birth.sel(layer=LAYERS[1:]) == 3).all()
    assert birth_order(raw).correlation > 0.3
    assert "raw activation cannot tell an order from gains" in birth_order(raw).attrs["why_no_p"]
    assert "gains which grow at once look like births" in raw.attrs["comment"]


def test_orders_are_planted_and_found_with_a_p() -> None:
    birth = 1 + np.arange(6)[:, None] + np.zeros(8, int)
    for run in (
        with_gains(rising_at(birth, 8)),
        of_answers(rising_at(birth, 8), GAINS[:, None] ** np.arange(1, 7)),
    ):
        order = birth_order(births(run))
        assert order.correlation == pytest.approx(1.0)
        assert order.p_value < 0.01


def test_what_stands_out_before_it_learns_is_no_evidence_of_an_order() -> None:
    birth = 1 + np.arange(6)[:, None] + np.zeros(8, int)
    learnt = rising_at(birth, 8)
    learnt[0, 4] = 0.3  # of a final level of 1
    order = birth_order(births(with_gains(learnt)))
    assert np.isnan(order.p_value)
    assert "layer4 stands at 30% of its final level" in order.attrs["why_no_p"]
    assert order.correlation > 0.9
    learnt[0, 4] = 0.2
    assert birth_order(births(with_gains(learnt))).p_value < 0.01


@pytest.mark.parametrize("baseline", ["zero", "first"])
def test_untrained_layers_that_stand_out_give_no_p(baseline: str) -> None:
    p_values, _ = orders(UNTRAINED_STAND_OUT, 10, baseline=baseline)
    assert np.isnan(p_values).all()


@pytest.mark.parametrize("name", [*WITHOUT_SCALE])
def test_no_order_is_made_of_gains(name: str) -> None:
    p_values, _ = orders(WITHOUT_SCALE[name], 40)
    assert np.isfinite(p_values).all()
    assert (p_values <= 0.05).sum() <= 6  # 5 % are 2, and 99 of 100 times at most 6


def test_a_real_net_whose_weights_all_double_has_no_births() -> None:
    """Pre-activations of a ReLU net without biases: doubled weights double each layer's gain."""
    model = torch.nn.Sequential(
        *(
            module
            for width in (3, 4, 4)
            for module in (torch.nn.Conv2d(width, 4, 3, bias=False), torch.nn.ReLU())
        )
    ).double()
    taken = InputTransform(size=16, mean=(0.0,) * 3, std=(1.0,) * 3)
    measured = FeatureVisualisation(
        settings=feature_settings("default", {"max_iterations": 30, "stop_rule": "never"}),
        mean=taken.mean,
        std=taken.std,
        image_size=16,
        layers=("0", "2", "4"),
        reference=find_reference("noise", 32, {}, taken)[0],
    )
    torch.manual_seed(0)
    for module in model[::2]:
        torch.nn.init.normal_(module.weight, std=0.3)
    found = []
    for gain in (1, 1, 2, 1, 1):  # the weights of two checkpoints, then twice as large
        for module in model[::2]:
            module.weight.data *= gain
        tasks = [FeatureTask(layer, "average", (0, 1, 2, 3)) for layer in measured.layers]
        each = [measured.measure(model, task).squeeze("image_number") for task in tasks]
        found.append(xr.concat(each, xr.Variable("layer", ["a", "b", "c"]), combine_attrs="drop"))
    run = xr.concat(found, xr.Variable("checkpoint", range(5)))
    raw, standardised = births(run, measure="raw"), births(run)
    assert set(raw.birth.sel(layer=["b", "c"]).values[raw.state[1:] == "born"]) == {2}
    assert (standardised.birth.values[standardised.state == "born"] == 0).all()
    assert (standardised.state == "born").sum() >= 6
    z = development(run)
    np.testing.assert_allclose(z[-1], z[0], rtol=0.1)


def test_a_unit_without_spread_has_no_value_and_no_infinity() -> None:
    run = with_gains(rising_at([[2, 2, 2]], 8))
    run["reference_sd"][:4, 0, 0] = 0
    run["reference_sd"][:4, 0, 1] = 1e-9
    z = development(run)
    assert np.isnan(z[:4, 0, 0]).all()
    assert np.isnan(z[2:4, 0, 1]).all()  # before, it is 0 of 0
    assert np.isfinite(z[4:]).all()
    assert births(run).birth.values.tolist() == [[4, 4, 2]]
    silent = of_answers(rising_at([[2, 2]], 8), np.ones((8, 1)))
    silent["response"][:, 0, 0] = 3.0
    assert births(silent).state.values.tolist() == [["absent", "born"]]


def test_the_spread_of_a_single_reference_image_is_none() -> None:
    images, dims = np.random.default_rng(0).normal(size=(4, 64)), ("checkpoint", "layer", "channel")
    images[0] = np.arange(64) == 5  # one image moves the unit, and then two
    images[1] = np.arange(64) > 61
    ds = xr.Dataset(
        {
            "activation": (dims, np.array([1.0, 2, 3, 4]).reshape(4, 1, 1)),
            "reference": (dims, np.zeros((4, 1, 1), np.int32)),
            **{
                f"reference_{name}": (dims, values.reshape(4, 1, 1))
                for name, values in {
                    "mean": images.mean(1),
                    "sd": images.std(1, ddof=1),
                    "max": images.max(1),
                }.items()
            },
        },
        {"checkpoint": [*"abcd"], "layer": ["one"], "channel": [0]},
        {"references": [{"name": "noise", "n_images": 64}]},
    )
    found = development(ds, measure="standardised").squeeze()
    assert found.isnull().values.tolist() == [True, False, False, False]
    assert "one of them alone" in found.attrs["comment"]


def test_correlation_is_numpys_with_the_last_complete_checkpoint() -> None:
    run = of_answers(rising_at([[2, 5]], 8), np.ones((8, 1)))
    run["status"][7, 0, 0] = Status.FAILED
    run["response"][3, 0, 1, 4] = np.nan  # one image is missing
    run["response"][:, 0, :, 7] = np.nan  # a class without images
    found = development(run)
    of_images = run.response.isel(image=run.response[0, 0, 0].notnull().values).values
    for channel, last in ((0, 6), (1, 7)):
        for t in range(8):
            expected = np.corrcoef(of_images[t, 0, channel], of_images[last, 0, channel])[0, 1]
            if (t, channel) in ((7, 0), (3, 1)):
                expected = np.nan
            np.testing.assert_allclose(found[t, 0, channel], expected, rtol=1e-6)


def test_the_usual_measure_is_the_best_that_there_is() -> None:
    plain = rising_units()
    assert usual_measure(plain) == "raw"
    held = held_against(plain, np.ones((8, 1)))
    assert usual_measure(held) == "standardised"
    assert usual_measure(held.isel(layer=0, channel=0)) == "standardised"
    held["reference_sd"][:, 1] = np.nan
    assert usual_measure(held.isel(layer=[1])) == "raw"
    assert "16 activations without" not in births(held.isel(layer=[0])).attrs["comment"]
    assert "32 activations without reference images are left out" in births(held).attrs["comment"]
    answers = of_answers(rising_at([[2, 5]], 8), np.ones((8, 1)))
    assert usual_measure(answers) == "correlation"
    assert usual_measure(answers.isel(image=[0, 1])) == "raw"
    assert usual_measure(answers.isel(image=0)) == "raw"


def test_what_is_given_is_taken_as_it_is() -> None:
    held = held_against(rising_units(), 5.0 ** np.arange(8)[:, None])
    found = births(held, variable="activation")
    assert (found.attrs["variable"], found.attrs["measure"]) == ("activation", "raw")
    own = births(held, variable=1 - held.activation)
    assert (own.attrs["measure"], own.attrs["comment"]) == ("given", "")
    with pytest.raises(ValueError, match="give one of them"):
        births(held, variable="activation", measure="raw")
    with pytest.raises(ValueError, match="Did you mean 'standardised'"):
        births(held, measure="standardized")
    with pytest.raises(ValueError, match="takes responses to 3 images or more"):
        births(held, measure="correlation")
    with pytest.raises(ValueError, match="reference_sd, which `dvis visualize` measures"):
        births(rising_units(), measure="standardised")


def test_rank_and_summary_take_the_same_measure() -> None:
    gains = np.array([[1.0, 1000.0]] * 8)
    held = held_against(rising_units(), gains)
    growing = held.assign(activation=held.activation * xr.DataArray([1, 2, 3, 4], dims="channel"))
    raw, ranked = rank(growing, measure="raw"), rank(growing)
    assert raw.layer.values[:4].tolist() == ["layer2"] * 4
    assert set(ranked.layer.values[:2].tolist()) == {"layer1", "layer2"}
    assert ranked.score.attrs["long_name"] == "last activation in reference sd less the first"
    assert (ranked.attrs["measure"], raw.attrs["measure"]) == ("standardised", "raw")
    of_layers = summary(held, births(held))
    last = of_layers.activation.sel(quantile=0.5).isel(checkpoint=-1)
    np.testing.assert_allclose(last, development(held)[-1].median("channel"), rtol=1e-6)
    assert of_layers.activation.attrs["measure"] == "standardised"
    assert of_layers.attrs["birth_measure"] == "standardised"
    assert summary(held, measure="raw").activation.attrs["long_name"] == "activation"
    np.testing.assert_array_equal(of_layers.dead_share, summary(rising_units()).dead_share)


def test_dead_units_do_not_count() -> None:
    held = held_against(rising_units(), np.ones((8, 1)))
    held["activation"][:, 0, 0] = 0.0
    held["status"][:, 0, 0] = Status.DEAD
    assert births(held).state.values[0].tolist() == ["absent", "born", "born", "born"]
    assert births(held, measure="raw").state.values[0, 0] == "absent"
    assert 0 not in rank(held).where(lambda top: top.layer == "layer1", drop=True).channel.values
    of_layers = summary(held)
    assert (of_layers.n_units.sel(layer="layer1") == 3).all()
    assert (of_layers.activation.sel(layer="layer1", quantile=0.05)[-1] > 0.9).all()


def test_seeded_net_has_spread() -> None:
    """Of a net as it is initialised, reference images move every unit before its ReLU."""
    taken = InputTransform(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    measured = FeatureVisualisation(
        settings=feature_settings("default", {"max_iterations": 1}),
        mean=taken.mean,
        std=taken.std,
        image_size=16,
        layers=("conv2",),
        reference=find_reference("noise", 16, {}, taken)[0],
    )
    result = measured.measure(seeded_net(), FeatureTask("conv2", "average", tuple(range(16))))
    assert (result.reference_sd > 1e-3).all()
