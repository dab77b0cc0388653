"""Influence of networks whose answer is known."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from tiny_architectures import batch_mixing, seeded
from tiny_influence import (
    chain,
    influence_of,
    measurement_of,
    noise,
    random_weights,
)
from tiny_models import seeded_net, transformer
from torch import Tensor, nn

from dvis.kinds.influence.measure.ablation import Ablation, plain_means
from dvis.kinds.influence.measure.influence import derangement
from dvis.kinds.influence.measure.layers import nodes_of
from dvis.kinds.influence.measure.replaced import Course, Way, find_course
from dvis.kinds.influence.measure.sums import Means, Sums
from dvis.kinds.influence.measure.task import InfluenceTask
from dvis.models.hooks import trace_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def ablation_of(model: nn.Module, source: str, target: str, **changes: Any) -> Ablation:
    image = noise().batch(0, 1, next(model.parameters()))
    nodes = nodes_of(trace_layers(model, image), (source, target), {})
    traced = {layer: node.output for layer, node in nodes.items()}
    course = changes.pop("course", None) or find_course(model, source, traced, image)
    units = tuple(range(nodes[source].n_units))
    return measurement_of(**changes).ablation(model, source, units, nodes, course)


def effects_of(ablation: Ablation) -> tuple[np.ndarray, np.ndarray]:
    """Changes (source, image, target), and the source's means (image, source)."""
    nodes = {"own": ablation.source}
    means = plain_means(ablation.model, nodes, ablation.images, 64, is_alone=False)["own"]
    whole = np.zeros((len(ablation.units), len(ablation.images), 0))
    for images, units, changes in ablation.changes(means):
        if not whole.shape[2]:
            whole = np.zeros((*whole.shape[:2], changes.shape[2]))
        whole[units, images] = changes
    return whole, means.values


def reference(effects: np.ndarray, responses: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers, pair by pair, from their definitions."""
    n_sources, _, n_targets = effects.shape
    found = {n: np.zeros((n_sources, n_targets)) for n in ("strength", "share", "direction")}
    for c in range(n_sources):
        for d in range(n_targets):
            e, r = effects[c, :, d], responses[:, d]
            found["strength"][c, d] = np.sqrt((e**2).mean()) / r.std()
            found["share"][c, d] = np.cov(e, r, ddof=0)[0, 1] / r.var()
            found["direction"][c, d] = np.corrcoef(e, x[:, c])[0, 1]
    return found


def test_a_linear_chain_has_the_product_of_its_weights() -> None:
    first, second, third = (random_weights(5, n, seed=n) for n in (3, 5, 5))
    model = chain(first, second, third)
    effects, x = effects_of(ablation_of(model, "a", "c"))
    product = (third @ second).numpy()
    expected = np.einsum("dc,nc->cnd", product, x - x.mean(0))
    np.testing.assert_allclose(effects, expected, atol=1e-14)
    found = influence_of(model, "a", "c")
    direct = reference(effects, x @ product.T, x)
    for name, values in direct.items():
        np.testing.assert_allclose(found[name].sel(layer_from="a", layer_to="c"), values, atol=1e-9)
    # Affine networks: strengths are standardised coefficients, shares of all sources sum to 1.
    np.testing.assert_allclose(
        found.strength[0, :, 0], np.abs(product.T) * x.std(0)[:, None] / (x @ product.T).std(0)
    )
    np.testing.assert_allclose(found.share.sum("channel_from"), 1, atol=1e-12)
    assert np.array_equal(np.sign(found.direction[0, :, 0]), np.sign(product.T))


def test_attribution_is_ablation_where_all_gates_are_open() -> None:
    model = chain(*(random_weights(4, n, seed=n).abs() for n in (3, 4, 4)), between=nn.ReLU)
    with torch.no_grad():  # so that all that comes after a ReLU was positive before it
        model.a = nn.Conv2d(3, 4, 1).double()
        model.a.bias += 100
    by_gradients = influence_of(model, "a_out", "b_out", "c", by_target=True)
    ablated = influence_of(model, "a_out", "b_out", "c")
    for name in ("strength", "share", "direction", "half_difference", "response_sd"):
        np.testing.assert_allclose(by_gradients[name], ablated[name], atol=1e-9)


class Gate(nn.Module):
    """d = relu(x - 1): off in every image, and open by half where x is 1.5 in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 1, 1, bias=False).double()
        self.d = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.d(self.a(images) - 1)


def test_a_relu_that_the_source_keeps_shut_has_no_attribution() -> None:
    model = Gate().eval()
    model.a.weight.data[:] = 0  # 0 in all images; the mean that is told is another
    ablation = ablation_of(model, "a", "d")
    told = Means(np.full((12, 1), 1.5))
    for _, _, changes in ablation.changes(told):
        np.testing.assert_array_equal(changes, -0.5)
    found = influence_of(model, "a", "d", by_target=True)
    assert np.isnan(found.strength).all()  # the target never varies
    assert (found.response_sd == 0).all()


def folded(model: nn.Module) -> nn.Module:
    net = seeded_net(0).double()
    pairs = ((net.conv1, net.bn1, "bn1"), (net.conv2, net.bn2, "bn2"))
    for conv, norm, name in pairs:
        fused = nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
        setattr(net, name, fused)
        setattr(net, name.replace("bn", "conv"), nn.Identity())
    return net


def test_folding_batch_norm_changes_nothing() -> None:
    plain, merged = seeded_net(0).double(), folded(seeded_net(0))
    for by_target in (False, True):
        of_plain, of_merged = (
            influence_of(net, "bn1", "bn2", "fc", by_target=by_target) for net in (plain, merged)
        )
        for name in ("strength", "share", "direction"):
            np.testing.assert_allclose(of_plain[name], of_merged[name], atol=1e-8)


def test_permuting_sources_permutes_influence() -> None:
    first, second = random_weights(5, 3), random_weights(4, 5, seed=1)
    order = torch.tensor([3, 0, 4, 1, 2])
    found = influence_of(chain(first, second, between=nn.Tanh), "a_out", "b_out")
    permuted = influence_of(
        chain(first[order], second[:, order], between=nn.Tanh), "a_out", "b_out"
    )
    for name in ("strength", "share", "direction"):
        np.testing.assert_allclose(permuted[name], found[name][:, order.numpy()], atol=1e-12)


def test_what_nobody_reads_has_exactly_no_influence() -> None:
    second = random_weights(4, 5)
    second[:, 2] = 0
    found = influence_of(chain(random_weights(5, 3), second, between=nn.Tanh), "a_out", "b_out")
    at = found.isel(channel_from=2, channel_to=range(4))
    assert (at.strength == 0).all()
    assert (at.share == 0).all()
    assert at.direction.isnull().all()
    assert (at.half_difference == 0).all()
    assert (found.strength.isel(channel_from=[0, 1, 3, 4], channel_to=range(4)) > 0).all()


def test_planted_inputs_are_found_with_their_signs() -> None:
    select = torch.eye(7, dtype=torch.float64)
    planted = torch.zeros(1, 7, dtype=torch.float64)
    planted[0, [1, 4, 6]] = torch.tensor([2.0, 1.0, -1.0], dtype=torch.float64)
    model = chain(select, planted, between=nn.ReLU)
    model.a = Independent()
    found = influence_of(model, "a", "b_out", images=noise(200), batch_size=256)
    at = found.isel(layer_from=0, layer_to=0, channel_to=0)
    share, direction = at.share.values, at.direction.values
    assert np.argsort(-share)[0] == 1
    assert share[1] > 2 * max(share[4], share[6]) > 0
    assert (np.sign(direction[[1, 4, 6]]) == [1, 1, -1]).all()
    assert (np.abs(direction[[1, 4, 6]]) > 0.7).all()
    assert (at.strength.values[[0, 2, 3, 5]] == 0).all()


class Independent(nn.Module):
    """Seven channels that images set independently of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        values = images.flatten(1)[:, :7, None, None]
        return (values - values.mean() + 0.3 * values.std()) * self.scale


def test_a_dead_target_has_nan_and_a_dead_source_no_direction() -> None:
    first, second = random_weights(4, 3), random_weights(3, 4, seed=1)
    first[1], second[2] = 0, 0
    found = influence_of(chain(first, second), "a", "b")
    at = found.isel(layer_from=0, layer_to=0)
    assert at.strength[:, 2].isnull().all()
    assert at.response_sd[0, 2] == 0
    assert (at.strength[1, :2] == 0).all()
    assert at.direction[1].isnull().all()
    assert np.isfinite(at.strength[:, :2]).all()


def test_numbers_stay_within_what_float16_holds() -> None:
    sums = Sums(Means(np.arange(8.0)[:, None]), Means(np.arange(8.0)[:, None] * 1e-3))
    sums.add(np.full((1, 8, 1), 1e9), np.arange(8), slice(None))
    found = sums.found()
    assert found["strength"].item() == np.finfo(np.float16).max
    assert np.isfinite(found["strength"].astype(np.float16)).all()


@pytest.mark.parametrize("value", ["zero", "resample"])
def test_what_takes_the_place_of_a_channel(value: Any) -> None:
    first, second = random_weights(4, 3), random_weights(2, 4, seed=1)
    model = chain(first, second)
    effects, x = effects_of(ablation_of(model, "a", "b", value=value))
    other = 0 if value == "zero" else x[derangement(12, 0)]
    np.testing.assert_allclose(effects, np.einsum("dc,nc->cnd", second, x - other), atol=1e-14)
    found = influence_of(model, "a", "b", value=value).isel(layer_from=0, layer_to=0)
    scale = np.sqrt(2) if value == "resample" else 1
    expected = np.sqrt((effects**2).mean(1)) / (x @ second.numpy().T).std(0) / scale
    np.testing.assert_allclose(found.strength[:, :2], expected)


def test_halves_are_of_even_and_of_odd_images() -> None:
    model = chain(random_weights(4, 3), random_weights(4, 4, seed=1))
    effects, _ = effects_of(ablation_of(model, "a", "b"))
    even, odd = ((effects[:, half::2] ** 2).mean(1) for half in (0, 1))
    found = influence_of(model, "a", "b").half_difference[0, :, 0]
    np.testing.assert_allclose(found, (even - odd) / (even + odd), atol=1e-9)


class Residual(nn.Module):
    """A block whose second layer is added to what the first gave."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, size, 3, padding=1).double()
        self.inner = nn.Conv2d(size, size, 3, padding=1).double()
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(size, 5, 1).double()

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.stem(images)
        return self.head(self.relu(hidden + self.inner(torch.tanh(hidden))))


def residual() -> Residual:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Residual().eval()


def test_a_layer_that_some_goes_around_equals_the_hand_cut_result() -> None:
    model = residual()
    image = noise().batch(0, 1, next(model.parameters()))
    outputs = trace_layers(model, image)
    courses = {
        source: find_course(model, source, {n: outputs[n] for n in (source, "head")}, image)
        for source in ("stem", "inner", "relu")
    }
    assert [course.is_cut for course in courses.values()] == [1, 0, 1]
    assert [course.way for course in courses.values()] == [Way.SHARED, Way.REPEATED, Way.SHARED]
    effects, _ = effects_of(ablation_of(model, "inner", "head"))
    with torch.no_grad():
        hidden = model.stem(noise().batch(0, 12, image))
        inner = model.inner(torch.tanh(hidden))
        clean = model.head(torch.relu(hidden + inner)).mean((2, 3))
        for channel in range(4):
            changed = inner.clone()
            changed[:, channel] = inner[:, channel].mean()
            found = clean - model.head(torch.relu(hidden + changed)).mean((2, 3))
            np.testing.assert_allclose(effects[channel], found, atol=1e-14)


def test_all_ways_in_give_the_same() -> None:
    model = residual()
    found = [
        effects_of(ablation_of(model, "stem", "head", course=Course(way=way, is_cut=1)))[0]
        for way in Way
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-14)
    np.testing.assert_allclose(found[2], found[0], atol=1e-14)


def test_the_number_of_rows_in_a_pass_changes_nothing() -> None:
    model = residual()
    found = [influence_of(model, "stem", "inner", "head", batch_size=n) for n in (2, 7, 256)]
    for other in found[1:]:
        np.testing.assert_allclose(other.strength, found[0].strength, atol=1e-12)


def test_a_pair_without_a_way_between_is_exactly_zero() -> None:
    class TwoWays(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(3, 2).double(), nn.Linear(3, 4).double()

        def forward(self, images: Tensor) -> Tensor:
            pixels = images.mean((2, 3))
            return torch.cat([self.left(pixels), self.right(pixels)], 1)

    found = influence_of(TwoWays().eval(), "left", "right")
    assert (found.strength.isel(channel_from=[0, 1], channel_to=range(4)) == 0).all()
    measurement = measurement_of()
    task = InfluenceTask((("left", 0, "right"),), (0,))
    (note,) = measurement.measure(TwoWays().eval(), task).attrs["notes"]
    assert note == "right does not depend on left: influence there is exactly 0"


def test_the_model_is_untouched_also_after_an_error() -> None:
    model = seeded_net(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for by_target in (False, True):
        influence_of(model, "bn1", "fc", by_target=by_target)
    ablation = ablation_of(model, "bn1", "fc")
    changes = ablation.changes(Means(np.zeros((12, 3))))  # too few
    with pytest.raises(IndexError):
        list(changes)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


def test_a_relu_in_place_does_not_change_what_is_compared() -> None:
    model = seeded_net(0).double()
    plain = seeded_net(0).double()
    plain.relu = nn.ReLU()
    for by_target in (False, True):
        found, expected = (
            influence_of(net, "bn1", "bn2", "fc", by_target=by_target) for net in (model, plain)
        )
        np.testing.assert_array_equal(found.strength, expected.strength)


def test_channels_of_tokens_are_ablated_at_all_tokens() -> None:
    model = transformer().double()
    layers = [f"encoder.layers.encoder_layer_{i}" for i in (0, 1)]
    ablation = influence_of(model, *layers, "heads", images=noise(12, 16))
    by_gradients = influence_of(model, *layers, "heads", images=noise(12, 16), by_target=True)
    assert np.isfinite(ablation.strength[0, :12, 0, :12]).all()
    both = [
        each.values[np.isfinite(each.values)] for each in (ablation.strength, by_gradients.strength)
    ]
    assert np.corrcoef(*both)[0, 1] > 0.8
    own = ablation.isel(layer_from=0, layer_to=0).strength.values[:12, :12]
    assert (np.diag(own) > np.median(own)).all()  # the stream carries each channel on


def test_images_that_a_model_mixes_go_alone() -> None:
    model = seeded(batch_mixing)
    outputs = trace_layers(model, torch.rand(1, 3, 16, 16))
    names = [name for name in outputs if name][:4]
    found = [
        influence_of(model, names[0], names[-1], images=noise(12, 16), batch_size=n)
        for n in (2, 12)
    ]
    np.testing.assert_array_equal(found[0].strength, found[1].strength)


def test_controls_give_what_they_should() -> None:
    """Random weights: no channel stands out as after learning, and shares sum to about 1."""
    model = chain(*(random_weights(16, n, seed=n) / n**0.5 for n in (3, 16, 16)), between=nn.Tanh)
    found = influence_of(model, "a_out", "b_out", "c_out", images=noise(64), batch_size=256)
    pair = found.sel(layer_from="b_out", layer_to="c_out")
    effective = (pair.strength**2).sum("channel_from") ** 2 / (pair.strength**4).sum("channel_from")
    assert 3 < float(effective.median()) < 16
    assert 0.8 < float(pair.share.sum("channel_from").median()) < 1.3


def test_a_derangement_moves_everything() -> None:
    for n in (2, 8, 31):
        partners = derangement(n, 3)
        assert sorted(partners) == list(range(n))
        assert (partners != np.arange(n)).all()


def test_the_order_of_named_layers_does_not_matter() -> None:
    names = OrderedDict.fromkeys(("fc", "bn1", "conv2"))
    nodes = nodes_of(trace_layers(seeded_net(0), torch.rand(1, 3, 8, 8)), names, {})
    assert list(nodes) == ["bn1", "conv2", "fc"]
