"""The sampler's parts: noise, minibatches, steps, acceptance, curvature, batch norm, settings."""

import math
import random

import numpy as np
import pytest
import torch
from tiny_models import convolutional, seeded_net, transformer
from torch import Tensor, nn

from dvis.kinds.llc.measure.acceptance import judged_step
from dvis.kinds.llc.measure.batch_norm import copy_for_sampling
from dvis.kinds.llc.measure.chains import verdict
from dvis.kinds.llc.measure.curvature import largest_curvature
from dvis.kinds.llc.measure.dynamics import SGLD, Posterior, RMSprop
from dvis.kinds.llc.measure.losses import cross_entropy, loss_function, mse, per_sample
from dvis.kinds.llc.measure.noise import GaussianNoise, Minibatches, chain_seed, own_randomness
from dvis.kinds.llc.measure.samples import TensorSamples
from dvis.kinds.llc.measure.weights import chosen
from dvis.kinds.llc.settings import ChainSettings, epsilon_bound
from dvis.kinds.llc.words import ChainStatus

pytestmark = pytest.mark.usefixtures("one_thread")


def images(n_images: int = 24) -> TensorSamples:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(n_images, 3, 8, 8, generator=generator)
    return TensorSamples((pictures, torch.arange(n_images) % 4))


# Noise and minibatches


def test_noise_is_normal() -> None:
    noise = next(GaussianNoise([torch.Size([400_000])], 1, torch.zeros(1)))[0].double()
    assert abs(float(noise.mean())) < 4 / math.sqrt(400_000)
    assert float(noise.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / 400_000))
    assert float((noise**4).mean()) == pytest.approx(3, abs=0.07)
    steps = noise.sort().values
    normal = torch.special.ndtr(steps)
    distance = (normal - torch.linspace(0, 1, len(steps), dtype=torch.float64)).abs().max()
    assert float(distance) < 1.95 / math.sqrt(400_000)  # Kolmogorov and Smirnov at 0.1 %


def test_noise_of_steps_weights_and_seeds_is_uncorrelated() -> None:
    shapes = [torch.Size([300, 100]), torch.Size([30_000])]
    some, other = (GaussianNoise(shapes, seed, torch.zeros(1)) for seed in (1, 2))
    drawn = [part.flatten().clone() for stream in (some, other) for part in next(stream)]
    drawn += [part.flatten().clone() for part in next(some)]
    correlations = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn))
    assert float(correlations.abs().max()) < 4.5 / math.sqrt(30_000)


@pytest.mark.parametrize("n_weights", [1, 10, 33_000])
def test_noise_of_a_chain_does_not_depend_on_how_much_is_drawn_at_once(n_weights: int) -> None:
    one, two = (GaussianNoise([torch.Size([n_weights])], 5, torch.zeros(1)) for _ in range(2))
    firsts = [next(one)[0].clone() for _ in range(5)]
    assert all(torch.equal(next(two)[0], first) for first in firsts)
    assert len({float(first[0]) for first in firsts}) == 5


def test_defect_9_each_epoch_and_each_chain_has_its_own_order() -> None:
    streams = [Minibatches(10, 5, seed) for seed in (1, 2)]
    epochs = [np.concatenate([next(stream), next(stream)]) for stream in streams for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_minibatches_are_full_and_without_repeats() -> None:
    stream = Minibatches(10, 4, 0)
    batches = [next(stream) for _ in range(50)]
    assert all(len(set(batch)) == 4 for batch in batches)
    assert np.bincount(np.concatenate(batches)).min() > 8  # the left out are not always the same


def test_a_small_set_is_taken_whole() -> None:
    stream = Minibatches(3, 64, 0)
    assert [next(stream).tolist() for _ in range(2)] == [[0, 1, 2]] * 2


def test_global_random_numbers_are_as_if_nothing_had_been_drawn() -> None:
    def state() -> tuple[object, ...]:
        numbers = np.random.get_state()[1].tobytes()  # noqa: NPY002
        return random.getstate(), numbers, torch.get_rng_state().numpy().tobytes()

    before = state()
    drawn = []
    for _ in range(2):
        with own_randomness(3, torch.device("cpu")):
            drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
    assert state() == before
    assert drawn[0] == drawn[1]


def test_seeds_tell_apart_what_differs_and_nothing_else() -> None:
    assert chain_seed(0, "a", 1e-4, 100.0, "all", 1) == chain_seed(0, "a", 1e-4, 100.0, "all", 1)
    seeds = {chain_seed(0, "a", 1e-4, gamma, "all", k) for gamma in (1.0, 2.0) for k in range(3)}
    assert len(seeds) == 6


# Step rules


def test_a_step_is_the_rule_of_langevin_dynamics() -> None:
    posterior = Posterior(nbeta=10.0, gamma=3.0, epsilon=0.01)
    weights, start = [torch.tensor([1.0, 2.0])], [torch.tensor([0.5, 2.5])]
    gradients, noise = [torch.tensor([2.0, -1.0])], [torch.tensor([0.1, 0.2])]
    expected = weights[0] - 0.005 * (10 * gradients[0] + 3 * (weights[0] - start[0])) + noise[0]
    SGLD().step(posterior, weights, start, gradients, noise)
    torch.testing.assert_close(weights[0], expected)


def test_defect_6_rmsprop_begins_with_steps_as_large_as_later_ones() -> None:
    posterior = Posterior(nbeta=10.0, gamma=0.0, epsilon=0.01)
    weights, start = [torch.zeros(1)], [torch.zeros(1)]
    rule, moves = RMSprop(weights), []
    for _ in range(20):
        before = weights[0].clone()
        rule.step(posterior, weights, start, [torch.full((1,), 0.4)], [torch.zeros(1)])
        moves.append(float(weights[0] - before))
    np.testing.assert_allclose(moves, -0.005 * 10 * 0.4 / (0.4 + 0.1), rtol=1e-5)


def test_rmsprop_preconditions_gradient_localisation_and_noise_alike() -> None:
    posterior = Posterior(nbeta=10.0, gamma=3.0, epsilon=0.01)
    weights, start = [torch.tensor([1.0])], [torch.tensor([0.5])]
    noise = [torch.tensor([0.1])]
    RMSprop(weights).step(posterior, weights, start, [torch.tensor([-0.3])], noise)
    scale = 1 / (0.3 + 0.1)
    assert float(noise[0]) == pytest.approx(0.1 * math.sqrt(scale), rel=1e-5)
    drift = -0.005 * scale * (10 * -0.3 + 3 * 0.5)
    assert float(weights[0]) == pytest.approx(1 + drift + float(noise[0]), rel=1e-5)


# Acceptance


def acceptance_by_densities(  # of one weight, as the textbook writes it
    loss: object,
    slope: object,
    w: float,
    after: float,
    start: float,
    posterior: Posterior,
    p: float,
) -> float:
    def energy(x: float) -> float:
        return posterior.nbeta * loss(x) + posterior.gamma / 2 * (x - start) ** 2

    def log_proposal(to: float, of: float) -> float:
        drift = posterior.nbeta * slope(of) + posterior.gamma * (of - start)
        mean = of - posterior.epsilon / 2 * p * drift
        return -((to - mean) ** 2) / (2 * posterior.epsilon * p)

    ratio = energy(w) - energy(after) + log_proposal(w, after) - log_proposal(after, w)
    return min(0.0, ratio)


@pytest.mark.parametrize("gamma", [0.0, 7.0])
@pytest.mark.parametrize("preconditioner", [None, 2.5])
@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        (lambda x: x**2 / 2, lambda x: x),
        (lambda x: 3 * x - 1, lambda x: 3.0),
        (lambda x: x**4, lambda x: 4 * x**3),
        (lambda x: math.cosh(x), lambda x: math.sinh(x)),
    ],
    ids=["square", "line", "fourth power", "cosh"],
)
def test_acceptance_is_that_of_the_densities_both_ways(
    loss: object, slope: object, preconditioner: float | None, gamma: float
) -> None:
    posterior = Posterior(nbeta=20.0, gamma=gamma, epsilon=0.05)
    for w, after in ((0.3, 0.5), (0.5, 0.3), (-0.2, 0.9), (0.9, 0.1)):
        tensors = [torch.tensor([x], dtype=torch.float64) for x in (w, after)]
        slopes = [torch.tensor([slope(x)], dtype=torch.float64) for x in (w, after)]
        judged = judged_step(
            posterior,
            losses=tuple(torch.tensor([loss(x)], dtype=torch.float64) for x in (w, after)),
            weights=([tensors[0]], [tensors[1]]),
            gradients=([slopes[0]], [slopes[1]]),
            start=[torch.tensor([0.1], dtype=torch.float64)],
            preconditioner=None
            if preconditioner is None
            else [torch.tensor([preconditioner], dtype=torch.float64)],
        )
        expected = acceptance_by_densities(
            loss, slope, w, after, 0.1, posterior, preconditioner or 1.0
        )
        assert float(judged.log_acceptance) == pytest.approx(expected, abs=1e-6)
        assert float(judged.distance) == pytest.approx(abs(w - 0.1))


def test_acceptance_of_a_million_weights_is_exact_in_single_precision() -> None:
    """Half of the noise's square is 500,000, of which single precision keeps no decimals."""
    generator = torch.Generator().manual_seed(0)
    posterior = Posterior(nbeta=15.0, gamma=50.0, epsilon=1e-4)
    start = torch.randn(1_000_000, generator=generator)
    before = start + 0.01 * torch.randn(1_000_000, generator=generator)
    after = before + 0.01 * torch.randn(1_000_000, generator=generator)

    def of(dtype: torch.dtype) -> tuple[float, float]:
        w, x, s = (tensor.to(dtype) for tensor in (before, after, start))
        losses = tuple(((t.double() - start) ** 2).sum()[None] / 2 for t in (before, after))
        judged = judged_step(
            posterior,
            losses=losses,
            weights=([w], [x]),
            gradients=([w - s], [x - s]),
            start=[s],
        )
        return float(judged.log_acceptance), float(judged.distance)

    assert of(torch.float32) == pytest.approx(of(torch.float64), abs=1e-3)


# Curvature


def hessian_of(model: nn.Module, samples: TensorSamples) -> np.ndarray:
    names = [name for name, _ in model.named_parameters()]

    def loss(*weights: Tensor) -> Tensor:
        named = dict(zip(names, weights, strict=True))
        outputs = torch.func.functional_call(model, named, (samples.tensors[0],))
        return nn.functional.cross_entropy(outputs, samples.tensors[1])

    weights = tuple(p.detach() for p in model.parameters())
    blocks = torch.autograd.functional.hessian(loss, weights)
    sizes = [w.numel() for w in weights]
    rows = [
        torch.cat([b.reshape(n, m) for b, m in zip(row, sizes, strict=True)], 1)
        for row, n in zip(blocks, sizes, strict=True)
    ]
    return torch.cat(rows).numpy()


def test_curvature_is_the_largest_eigenvalue_of_the_hessian() -> None:
    model, samples = seeded_net(), images()
    exact = np.linalg.eigvalsh(hessian_of(model, samples))[-1]
    found = largest_curvature(
        model, chosen(model, None), cross_entropy, samples, batch_size=8, n_iterations=15
    )
    assert found == pytest.approx(exact, rel=0.01)


def test_curvature_is_the_largest_even_where_a_negative_one_is_larger_in_size() -> None:
    class Saddle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(5))

    curvatures = torch.tensor([-50.0, -3.0, 0.0, 1.0, 2.0])

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return ((curvatures * model.w**2).sum() / 2).expand(len(batch[0]))

    model, samples = Saddle(), TensorSamples((torch.zeros(3),))
    found = largest_curvature(
        model, chosen(model, None), loss, samples, batch_size=2, n_iterations=10
    )
    assert found == pytest.approx(2.0, rel=1e-4)
    mask = {"w": torch.tensor([True, True, True, True, False])}
    found = largest_curvature(
        model, chosen(model, mask), loss, samples, batch_size=2, n_iterations=10
    )
    assert found == pytest.approx(1.0, rel=1e-4)


def test_curvature_of_attention_can_be_had() -> None:
    samples = TensorSamples((torch.randn(4, 3, 16, 16), torch.arange(4)))
    model = transformer()
    found = largest_curvature(
        model, chosen(model, "head"), cross_entropy, samples, batch_size=2, n_iterations=5
    )
    whole = largest_curvature(
        model, chosen(model, None), cross_entropy, samples, batch_size=2, n_iterations=8
    )
    assert 0 < found < whole


# Batch norm


def test_defect_4_dropout_is_off_and_batch_norm_frozen_in_a_model_in_training() -> None:
    model, samples = convolutional(4).train(), images()
    copied = copy_for_sampling(model, "eval", samples, cross_entropy, batch_size=8, weights="")
    batch = samples.batch(np.arange(8), torch.zeros(1))
    expected = cross_entropy(model.eval(), batch)
    assert torch.equal(cross_entropy(copied, batch), expected)


def test_statistics_of_minibatches_are_those_of_training_without_dropout() -> None:
    model, samples = convolutional(4), images()
    copied = copy_for_sampling(model, "batch", samples, cross_entropy, batch_size=8, weights="")
    batch = samples.batch(np.arange(8), torch.zeros(1))
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    torch.testing.assert_close(cross_entropy(copied, batch), cross_entropy(model, batch))


def test_recalibrated_statistics_are_means_over_the_sampled_set() -> None:
    model, samples = seeded_net(), images(16)
    copied = copy_for_sampling(
        model, "recalibrate", samples, cross_entropy, batch_size=16, weights="a"
    )
    inputs = samples.tensors[0]
    expected = model.conv1(inputs).mean((0, 2, 3))
    torch.testing.assert_close(copied.bn1.running_mean, expected, rtol=1e-4, atol=1e-5)
    assert copied.bn1.momentum == model.bn1.momentum
    assert not copied.bn1.training
    again = copy_for_sampling(
        model, "recalibrate", samples, cross_entropy, batch_size=16, weights="a"
    )
    assert again is not copied
    assert torch.equal(again.bn2.running_var, copied.bn2.running_var)


# Losses, settings, verdicts


def test_losses_are_those_of_single_samples() -> None:
    model, batch = seeded_net(), images().batch(np.arange(6), torch.zeros(1))
    losses = loss_function("cross_entropy")(model, batch).detach()
    assert float(losses.mean()) == pytest.approx(
        float(nn.functional.cross_entropy(model(batch[0]), batch[1]).detach()), rel=1e-6
    )
    targets = torch.zeros(6, 4)
    assert mse(model, (batch[0], targets)).shape == (6,)
    with pytest.raises(ValueError, match="cross_entropy or mse"):
        loss_function("entropy")
    with pytest.raises(ValueError, match="one number a sample"):
        per_sample(lambda m, b: m(b[0]).sum(), model, batch, 6)


def test_nbeta_follows_from_batch_or_set_or_is_given() -> None:
    assert ChainSettings().resolve_nbeta(1000) == pytest.approx(64 / math.log(64))
    assert ChainSettings().resolve_nbeta(10) == pytest.approx(10 / math.log(10))
    assert ChainSettings(nbeta="n").resolve_nbeta(1000) == pytest.approx(1000 / math.log(1000))
    assert ChainSettings(nbeta=30.0).resolve_nbeta(1000) == 30.0
    assert ChainSettings(nbeta=30.0).nbeta_rule == "given"
    with pytest.raises(ValueError, match="give nbeta as a number"):
        ChainSettings().resolve_nbeta(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"draws": 0},
        {"burn_in": -1},
        {"batch_size": 0},
        {"method": "sgnht"},
        {"mode": "train"},
        {"nbeta": "beta"},
        {"nbeta": -1.0},
        {"nbeta": float("nan")},
        {"diagnostics_every": -1},
        {"seed": -1},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ChainSettings(**wrong)


def test_step_sizes_need_a_curvature_or_localisation() -> None:
    assert epsilon_bound(10.0, -5.0, 4.0) == pytest.approx(0.1)
    assert epsilon_bound(10.0, 0.0, 4.0, "rmsprop") == pytest.approx(0.01)
    for hmax, gamma in ((0.0, 0.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="give epsilon"):
            epsilon_bound(10.0, hmax, gamma)


def test_a_chain_beyond_any_posterior_has_diverged() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 400)
    assert verdict(0.5 + noise, 10, 15.0, (0.1, 0.02)) == ChainStatus.DONE
    assert verdict(3.0 + noise, 10, 15.0, (0.1, 0.02)) == ChainStatus.DIVERGED
    assert verdict(-3.0 + noise, 10, 15.0, (0.1, 0.02)) == ChainStatus.DONE  # flagged elsewhere
    assert verdict(np.append(noise, np.inf), 10, 15.0, (0.1, 0.02)) == ChainStatus.DIVERGED
