"""Learning coefficients against what is known in closed form, by quadrature, or by theorem.

A model here is many copies of one problem, each with weights of its own, and its loss the sum of
theirs: one chain samples all, and the estimate is the number of copies times the coefficient.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.kinds.llc.measure import estimate
from dvis.kinds.llc.settings import ChainSettings
from dvis.kinds.llc.words import ChainStatus

pytestmark = pytest.mark.usefixtures("one_thread")
DATA = (torch.zeros(2),)  # losses here are the population's


class Copies(nn.Module):
    """Copies (copy, ...) of the weights of one problem."""

    def __init__(self, n_copies: int, **weights: Tensor) -> None:
        super().__init__()
        for name, weight in weights.items():
            self.register_parameter(name, nn.Parameter(weight.repeat(n_copies, *[1] * weight.ndim)))

    @property
    def n_copies(self) -> int:
        return len(next(self.parameters()))


def population(loss: Callable[[Copies], Tensor]) -> Callable[[Copies, tuple[Tensor, ...]], Tensor]:
    """A loss of copies (copy,) as a loss of samples, alike for all."""
    return lambda model, batch: loss(model).sum().expand(len(batch[0]))


def sampled(
    model: Copies,
    loss: Callable[[Copies], Tensor],
    *,
    nbeta: float,
    epsilon: float,
    gamma: float,
    burn_in: int,
    draws: int,
    parameters: str | dict[str, Tensor] | None = None,
    method: str = "sgld",
) -> xr.Dataset:
    settings = ChainSettings(
        nbeta=nbeta,
        burn_in=burn_in,
        draws=draws,
        method=method,
        diagnostics_every=0,
    )
    return estimate(
        model,
        DATA,
        loss=population(loss),
        epsilon=epsilon,
        gamma=gamma,
        chains=1,
        parameters=parameters,
        settings=settings,
    )


def coefficient(traces: xr.Dataset, n_copies: int) -> float:
    assert (traces["status"] == ChainStatus.DONE).all()
    after = traces["loss"].isel(draw=slice(traces.attrs["burn_in"], None))
    excess = traces.attrs["nbeta"] * (after - traces["init_loss"]).mean()
    return float(excess) / n_copies


CURVATURES = torch.logspace(-1, 1, 10)


def quadratic(model: Copies) -> Tensor:
    return (CURVATURES * model.w**2).sum(1) / 2


def exact_quadratic(curvatures: Tensor, nbeta: float, gamma: float, epsilon: float) -> float:
    """Of the sampler itself, whose steps are finite."""
    slopes = nbeta * curvatures + gamma
    return float((nbeta * curvatures / (slopes * (1 - epsilon * slopes / 4))).sum() / 2)


@pytest.mark.parametrize("gamma", [0.0, 1000.0])
def test_quadratic_loss_is_the_closed_form_within_one_percent(gamma: float) -> None:
    model = Copies(1000, w=torch.zeros(10))
    traces = sampled(
        model, quadratic, nbeta=1e3, epsilon=1e-4, gamma=gamma, burn_in=600, draws=2000
    )
    exact = exact_quadratic(CURVATURES, 1e3, gamma, 1e-4)
    assert coefficient(traces, 1000) == pytest.approx(exact, rel=0.01)


def test_quadratic_loss_is_within_four_standard_errors_of_chains() -> None:
    settings = ChainSettings(nbeta=1e3, burn_in=500, draws=1000, diagnostics_every=0)
    traces = estimate(
        Copies(1, w=torch.zeros(10)),
        DATA,
        loss=population(quadratic),
        epsilon=1e-4,
        gamma=100.0,
        chains=32,
        settings=settings,
    )
    of_chains = 1e3 * traces["loss"].isel(draw=slice(500, None)).mean("draw").values.ravel()
    error = of_chains.std(ddof=1) / math.sqrt(32)
    exact = exact_quadratic(CURVATURES, 1e3, 100.0, 1e-4)
    assert abs(of_chains.mean() - exact) <= 4 * error
    assert error < 0.02 * exact


@pytest.mark.parametrize("epsilon", [4e-4, 6e-4, 1e-2])
def test_steps_that_are_too_large_are_reported_as_divergence(epsilon: float) -> None:
    """epsilon nbeta h >= 4 on the stiffest direction: at 4 weights grow slowly, beyond it fast."""
    model = Copies(1, w=torch.zeros(10))
    traces = sampled(model, quadratic, nbeta=1e3, epsilon=epsilon, gamma=0, burn_in=500, draws=1500)
    assert (traces["status"] == ChainStatus.DIVERGED).all()


def test_automatic_step_size_is_below_a_tenth_of_what_diverges() -> None:
    traces = estimate(
        Copies(1, w=torch.zeros(10)),
        DATA,
        loss=population(quadratic),
        gamma=100.0,
        chains=1,
        settings=ChainSettings(nbeta=1e3, draws=5, burn_in=0),
    )
    assert float(traces["epsilon"][0]) == pytest.approx(0.4 / (1e3 * 10 + 100), rel=1e-3)


def test_restricted_to_some_weights_the_quadratic_has_their_closed_form() -> None:
    model = Copies(1000, w=torch.zeros(10))
    mask = torch.zeros(1000, 10, dtype=torch.bool)
    mask[:, 3:] = True
    traces = sampled(
        model,
        quadratic,
        nbeta=1e3,
        epsilon=1e-4,
        gamma=100.0,
        burn_in=600,
        draws=2000,
        parameters={"w": mask},
    )
    exact = exact_quadratic(CURVATURES[3:], 1e3, 100.0, 1e-4)
    assert coefficient(traces, 1000) == pytest.approx(exact, rel=0.01)
    assert int(traces["n_parameters"][0]) == 1000 * 7


@pytest.mark.parametrize(
    ("method", "tolerance"), [("sgld", 0.03), ("rmsprop", 0.05)], ids=["sgld", "rmsprop"]
)
def test_gaussian_has_the_variance_of_its_temperature(method: str, tolerance: float) -> None:
    """RMSprop that goes on adapting, without its term, makes it some 20 % too large."""
    model = Copies(2000, w=torch.zeros(()))
    traces = sampled(
        model,
        lambda m: m.w**2 / 2,
        nbeta=10.0,
        epsilon=0.008,
        gamma=0.0,
        burn_in=500,
        draws=1000,
        method=method,
    )
    assert 2 * coefficient(traces, 2000) == pytest.approx(1.0, rel=tolerance)


def aoyagi_watanabe(n_in: int, n_hidden: int, n_out: int, rank: int) -> float:
    """Learning coefficient of reduced rank regression (Aoyagi & Watanabe 2005)."""
    m, h, n, r = n_in, n_hidden, n_out, rank
    if m + h < n + r:
        return (h * m - h * r + n * r) / 2
    if n + h < m + r:
        return (h * n - h * r + m * r) / 2
    if m + n < h + r:
        return m * n / 2
    odd = (m + h + n + r) % 2
    return (-((h + r) ** 2) - m**2 - n**2 + 2 * (h + r) * (m + n) + 2 * m * n + odd) / 8


REDUCED_RANK = {
    (5, 3, 5, 3): 10.5,
    (5, 3, 5, 1): 8.0,
    (5, 3, 5, 0): 6.5,
    (5, 4, 5, 2): 10.5,
    (4, 3, 8, 2): 11.0,
    (8, 3, 4, 0): 6.0,
    (3, 8, 4, 2): 6.0,
}


@pytest.mark.parametrize(("shape", "expected"), REDUCED_RANK.items(), ids=str)
def test_formula_of_aoyagi_and_watanabe_in_all_its_cases(
    shape: tuple[int, int, int, int], expected: float
) -> None:
    assert aoyagi_watanabe(*shape) == expected


def reduced_rank(
    shape: tuple[int, int, int, int], n_copies: int, draws: int, burn_in: int
) -> float:
    """At the most singular of the true parameters: the hidden units that are not needed are 0."""
    n_in, n_hidden, n_out, rank = shape
    first, second = torch.zeros(n_hidden, n_in), torch.zeros(n_out, n_hidden)
    for unit in range(rank):
        first[unit, unit] = second[unit, unit] = 1.0
    truth = second @ first

    def loss(model: Copies) -> Tensor:
        return ((model.second @ model.first - truth) ** 2).sum((1, 2)) / 2

    model = Copies(n_copies, first=first, second=second)
    traces = sampled(model, loss, nbeta=1e4, epsilon=1e-5, gamma=1.0, burn_in=burn_in, draws=draws)
    return coefficient(traces, n_copies)


@pytest.mark.parametrize("shape", [(5, 3, 5, 1), (3, 8, 4, 2)], ids=str)
def test_reduced_rank_regression_in_short(shape: tuple[int, int, int, int]) -> None:
    found = reduced_rank(shape, n_copies=48, burn_in=3000, draws=2000)
    assert found == pytest.approx(aoyagi_watanabe(*shape), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("shape", REDUCED_RANK, ids=str)
def test_reduced_rank_regression(shape: tuple[int, int, int, int]) -> None:
    found = reduced_rank(shape, n_copies=64, burn_in=6000, draws=12_000)
    assert found == pytest.approx(aoyagi_watanabe(*shape), rel=0.1)


def crossing(powers: tuple[int, int], n_copies: int, burn_in: int, draws: int) -> float:
    def loss(model: Copies) -> Tensor:
        return (model.x ** powers[0] * model.y ** powers[1]) ** 2 / 2

    model = Copies(n_copies, x=torch.zeros(()), y=torch.zeros(()))
    traces = sampled(model, loss, nbeta=1e4, epsilon=3e-5, gamma=10.0, burn_in=burn_in, draws=draws)
    return coefficient(traces, n_copies)


def quadrature(powers: tuple[int, int], nbeta: float = 1e4, gamma: float = 10.0) -> float:
    """nbeta E[L] of the posterior itself, which at a finite nbeta is not the learning coefficient.

    In the logarithms of x and y, on which the ridges along the axes are as wide as all else.
    """
    logarithms = np.linspace(-16, 2, 4001)
    x, y = np.exp(logarithms)[:, None], np.exp(logarithms)[None]
    energy = nbeta * (x ** powers[0] * y ** powers[1]) ** 2 / 2
    weights = np.exp(-energy - gamma / 2 * (x**2 + y**2)) * x * y
    return float((energy * weights).sum() / weights.sum())


def test_quadrature_gives_the_regular_case() -> None:
    assert quadrature((0, 1)) == pytest.approx(0.5 * 1e4 / (1e4 + 10), rel=1e-3)


def test_a_normal_crossing_in_short() -> None:
    found = crossing((1, 1), n_copies=512, burn_in=5000, draws=3000)
    assert found == pytest.approx(quadrature((1, 1)), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("powers", "tolerance"),
    [((0, 2), 0.1), ((1, 2), 0.1), ((1, 1), 0.1), ((2, 2), 0.25), ((1, 3), 0.25)],
    ids=str,
)
def test_normal_crossings(powers: tuple[int, int], tolerance: float) -> None:
    found = crossing(powers, n_copies=512, burn_in=15_000, draws=20_000)
    assert found == pytest.approx(quadrature(powers), rel=tolerance)


def test_more_degenerate_minima_have_smaller_coefficients() -> None:
    found = [crossing((0, power), n_copies=512, burn_in=1500, draws=1500) for power in (1, 2, 3)]
    assert found[0] > found[1] > found[2] > 0
    expected = [quadrature((0, power)) for power in (1, 2, 3)]
    np.testing.assert_allclose(found, expected, rtol=0.1)
