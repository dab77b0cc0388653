"""How often the interval of an LLC, plus and minus 1.96 standard errors, holds what it should.

Many estimates of four chains each, with the draws that `auto` takes, at losses of known or of
long sampled LLCs. Held against 90 % at the nominal 95 %, and no estimate that is called settled
may be wrong by more than three errors; the last row is of chains that are too short.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
import xarray as xr
from results import Row, print_table
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from tiny_losses import Quadratic, half_square

from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.measure import estimate
from dvis.kinds.llc.settings import ChainSettings, epsilon_bound
from dvis.kinds.llc.words import CHAIN

CHAINS = 4
NOMINAL, LEAST = 1.96, 0.90
REFERENCE_LENGTHS, REFERENCE_SEED = 8, 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Coverage of the LLC's intervals."""

    n_seeds: int = 100
    """Estimates of each loss."""
    quick: bool = False
    """The quadratic losses alone."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A loss, and how it is sampled."""

    name: str
    model: nn.Module
    samples: tuple[Tensor, ...]
    loss: Callable[[nn.Module, Any], Tensor]
    gamma: float
    epsilon: float
    settings: ChainSettings
    exact: float | None = None  # of long chains of this epsilon and gamma; None samples some


def quadratic(name: str, curvatures: np.ndarray, gamma: float = 100.0) -> Target:
    """A quadratic with noisy minibatches of 16 samples; its LLC is known."""
    values = torch.rand(256, generator=torch.Generator().manual_seed(0)) + 0.5
    settings = ChainSettings(draws="auto", burn_in=0, batch_size=64, diagnostics_every=5)
    nbeta = settings.resolve_nbeta(256)
    epsilon = epsilon_bound(nbeta, curvatures.max(), gamma)
    stiff = nbeta * curvatures
    a = stiff + gamma
    return Target(
        name=name,
        model=Quadratic(curvatures),
        samples=(values / values.mean(),),
        loss=half_square,
        gamma=gamma,
        epsilon=epsilon,
        settings=settings,
        exact=float((stiff / a / (1 - epsilon * a / 4)).sum() / 2),
    )


def reduced_rank() -> Target:
    """Two linear layers of width 3 between 5 and 5, whose product has rank 2."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 3, bias=False), nn.Linear(3, 5, bias=False))
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / 2)
        model[0].weight[2] = 0
        model[1].weight[:, 2] = 0
    inputs = torch.randn(256, 5, generator=generator)
    return Target(
        name="reduced rank regression",
        model=model,
        samples=(inputs, model(inputs).detach()),
        loss=lambda net, batch: (net(batch[0]) - batch[1]).square().sum(1),
        gamma=40.0,
        epsilon=4e-4,
        settings=ChainSettings(draws="auto", burn_in=0, nbeta=200.0, diagnostics_every=5),
    )


def trained_net() -> Target:
    """A tanh network of 99 weights, trained to the end on labels with noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
        inputs = torch.randn(256, 8)
        labels = (inputs[:, :3] + torch.randn(256, 3)).argmax(1)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=3000, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        decay = sum(weight.square().sum() for weight in model.parameters())
        loss = functional.cross_entropy(model(inputs), labels) + 1e-3 * decay
        loss.backward()
        return loss

    optimizer.step(closure)
    return Target(
        name="trained net",
        model=model,
        samples=(inputs, labels),
        loss=lambda net, batch: functional.cross_entropy(net(batch[0]), batch[1], reduction="none"),
        gamma=20.0,
        epsilon=2e-3,
        settings=ChainSettings(draws="auto", burn_in=0, diagnostics_every=5),
    )


def targets(quick: bool) -> list[Target]:
    """What is sampled."""
    stiff = quadratic("one stiff direction of 50", np.append(np.ones(49), 100.0))
    found = [
        quadratic("quadratic, alike", np.full(10, 5.0)),
        quadratic("quadratic, 0.5 to 50", np.geomspace(0.5, 50, 20)),
        stiff,
    ]
    if not quick:
        found += [reduced_rank(), trained_net()]
    short = replace(stiff.settings, draws=50, burn_in=50)
    return [*found, replace(stiff, name="the same, too short", settings=short)]


def estimates_of(target: Target, n_seeds: int) -> xr.Dataset:
    """LLCs of four chains each, (seed,): chains of one run are independent, and many at once."""
    traces = sampled(target, n_seeds * CHAINS)
    by_seed = traces.squeeze(drop=False).drop_vars(CHAIN).coarsen({CHAIN: CHAINS})
    return llc_of(by_seed.construct({CHAIN: ("seed", CHAIN)})).compute()


def sampled(target: Target, n_chains: int) -> xr.Dataset:
    """Traces of chains, all together."""
    return estimate(
        target.model,
        target.samples,
        loss=target.loss,
        epsilon=target.epsilon,
        gamma=target.gamma,
        chains=n_chains,
        settings=replace(target.settings, n_curvature_iterations=0),
        batched=True,
    )


def reference(target: Target) -> float:
    """The LLC of chains eight times as long, of another seed."""
    if target.exact is not None:
        return target.exact
    n_steps = round(REFERENCE_LENGTHS * 7 * 2 / (target.epsilon * target.gamma))
    settings = replace(
        target.settings, draws=n_steps, burn_in=n_steps // REFERENCE_LENGTHS, seed=REFERENCE_SEED
    )
    long = llc_of(sampled(replace(target, settings=settings), 50)).squeeze()
    return float(long["llc"])


def row_of(target: Target, n_seeds: int) -> Row:
    """How many are settled, how many of these cover, and how large their errors are."""
    exact, found = reference(target), estimates_of(target, n_seeds)
    is_settled = found["is_settled"].values
    miss = abs(found["llc"] - exact).values / found["llc_se"].values
    n_settled = int(is_settled.sum())
    share = float((miss[is_settled] <= NOMINAL).mean()) if n_settled else np.nan
    worst = float(miss[is_settled].max(initial=0))
    is_met = n_settled == 0 or (share >= LEAST and worst < 3)
    return Row(
        name=f"{target.name}: {exact:.2f}",
        ours="-" if np.isnan(share) else f"{share:.0%}",
        peer=f"{n_settled} of {n_seeds}",
        ratio=f"{float(found['llc_se'].mean() / found['llc'].std()):.2f}x",
        target=f"worst {worst:.1f}, all {miss.max():.1f}",
        is_met=is_met,
    )


def main(options: Options) -> None:
    """Print a line for each loss."""
    torch.set_num_threads(1)
    rows = [row_of(target, options.n_seeds) for target in targets(options.quick)]
    columns = ("LLC of", "covered at 95 %", "settled", "error / spread", "errors off")
    print_table(rows, columns)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
