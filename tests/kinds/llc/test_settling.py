"""Whether chains have settled: what is marked, what draws are taken, what steps add."""

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import xarray as xr
from made_up_llc import NBETA, sampled_traces
from slowly import slowly
from tiny_llc import SETTINGS, options_of_chains, store_of
from tiny_losses import Quadratic, half_square

import dvis
from dvis.info import describe
from dvis.kinds.llc.analysis.learning_coefficient import llc_of
from dvis.kinds.llc.analysis.settling import are_coarse, is_drifting, with_length
from dvis.kinds.llc.analysis.settling_words import doubts_of
from dvis.kinds.llc.command import EstimateCommand, llc
from dvis.kinds.llc.measure import estimate
from dvis.kinds.llc.options import CalibrateOptions
from dvis.kinds.llc.settings import ChainSettings

if TYPE_CHECKING:
    from dvis.models.training import TrainingRun

pytestmark = pytest.mark.usefixtures("one_thread")
STIFF = np.append(np.ones(99), 100.0)
PULL = 100.0
BENCH = Path(__file__).parents[3] / "scripts" / "bench"


def sampled(curvatures: np.ndarray, **options: Any) -> xr.Dataset:
    settings = ChainSettings(**{"nbeta": NBETA, "diagnostics_every": 5, "seed": 3} | options)
    values = torch.linspace(0.5, 1.5, 256)
    return estimate(
        Quadratic(curvatures), (values,), loss=half_square, gamma=PULL, settings=settings
    )


def posterior(curvatures: np.ndarray) -> float:
    """The LLC of vanishing steps."""
    stiff = NBETA * curvatures
    return float((stiff / (stiff + PULL)).sum() / 2)


@pytest.fixture(scope="module")
def stiff() -> dict[Any, xr.Dataset]:
    """A stiff direction, whose steps are small for the others, by numbers of draws."""
    return {draws: sampled(STIFF, draws=draws, burn_in=10) for draws in (40, "auto")}


def test_an_estimate_that_is_too_short_is_marked_and_auto_gives_the_right_one(
    stiff: dict[Any, xr.Dataset],
) -> None:
    exact = posterior(STIFF)
    short, long = (llc_of(stiff[draws]).squeeze() for draws in (40, "auto"))
    assert float(short.relaxation_draws) == pytest.approx(2 / (float(short.epsilon) * PULL))
    assert (bool(short.is_settled), bool(long.is_settled)) == (False, True)
    assert exact - short.llc > max(2 * short.llc_se, 0.3 * exact)
    assert abs(long.llc - long.step_bias / 2 - exact) < 3 * long.llc_se


def test_steps_so_coarse_that_they_add_more_than_its_error_are_marked() -> None:
    curvatures = np.full(30, 100.0)
    coarse = llc_of(sampled(curvatures, draws=600, burn_in=200)).squeeze()  # the default epsilon
    small = float(coarse.epsilon) / 20
    settings = ChainSettings(nbeta=NBETA, diagnostics_every=5, seed=3, draws=4000, burn_in=2000)
    values = torch.linspace(0.5, 1.5, 256)
    fine = llc_of(
        estimate(
            Quadratic(curvatures),
            (values,),
            loss=half_square,
            gamma=PULL,
            epsilon=small,
            settings=settings,
        )
    ).squeeze()
    exact = posterior(curvatures)
    assert coarse.rhat < 1.1
    assert coarse.llc - exact > 2 * coarse.llc_se
    assert are_coarse(coarse.step_bias, coarse.llc_se)
    assert not are_coarse(fine.step_bias, fine.llc_se)
    assert abs(fine.llc - exact) < 3 * fine.llc_se
    assert any("coarse steps: 1 of 1" in line for line in doubts_of(coarse, 400))


def test_chains_of_auto_begin_as_shorter_ones_do(stiff: dict[Any, xr.Dataset]) -> None:
    short, long = stiff[40], stiff["auto"]
    assert long.sizes["draw"] > 3 * short.sizes["draw"]
    n_draws = short.sizes["draw"]
    np.testing.assert_array_equal(long.loss.isel(draw=slice(n_draws)), short.loss)
    assert long.attrs["burn_in"] >= 2 * llc_of(long).relaxation_draws.item()


@pytest.mark.parametrize("gamma", [0.0, 1e-3])
def test_auto_stops_at_the_most_steps(gamma: float) -> None:
    settings = with_length(ChainSettings(draws="auto", max_steps=700), [1e-4], [1.0, gamma])
    assert (settings.burn_in, settings.draws) == (200, 500)
    traces = sampled_traces(epsilon=[1e-4], gamma=[1.0], n_draws=700)
    assert not llc_of(traces).is_settled.any()


def test_auto_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="--method sgld"):
        ChainSettings(draws="auto", method="rmsprop")
    with pytest.raises(ValueError, match="give a number"):
        CalibrateOptions(model="net", settings=ChainSettings(draws="auto"))


def test_what_is_not_known_is_not_settled() -> None:
    traces = sampled_traces(epsilon=[1e-3], gamma=[100.0])
    assert llc_of(traces).is_settled.all()
    for lacking in (
        traces.isel(chain=[0]),
        traces.squeeze(["epsilon", "gamma"], drop=True),
        traces.assign_attrs(method="rmsprop"),  # of an older version
        traces.drop_vars("grad_norm", errors="ignore").assign_attrs(
            method="rmsprop", preconditioner="first 100 gradients"
        ),
    ):
        found = llc_of(lacking)
        assert not found.is_settled.any()
        assert found.llc.notnull().all()


def test_chains_that_disagree_are_not_settled() -> None:
    traces = sampled_traces(epsilon=[1e-3], gamma=[100.0], n_chains=4)
    spread = float(traces.loss.std("draw").mean())
    apart = xr.DataArray([-1.0, -1.0, 1.0, 1.0], dims="chain") * spread
    found = llc_of(traces.assign(loss=traces.loss + apart))
    assert (found.rhat > 1.1).all()
    assert not found.is_settled.any()


def test_a_distance_that_still_grows_is_not_settled() -> None:
    traces = sampled_traces(epsilon=[1e-3], gamma=[100.0], n_chains=4)
    assert llc_of(traces).is_settled.all()
    grows = 1 + 2 * traces.draw / traces.sizes["draw"]
    assert not llc_of(traces.assign(distance=traces.distance * grows)).is_settled.any()


def test_chance_seldom_looks_like_drift() -> None:
    walks = np.random.default_rng(0).standard_normal((2000, 4, 100))
    assert 0.003 < is_drifting(walks).mean() < 0.02
    assert is_drifting(walks + np.linspace(0, 2, 100)).mean() > 0.9
    assert not is_drifting(walks[:, :1]).any()


def test_what_steps_add_is_known() -> None:
    """The step is 0.4 / a on all directions, which adds 11 %."""
    curvatures = np.full(40, 20.0)
    found = llc_of(sampled(curvatures, draws=2000, batch_size=256)).squeeze()
    exact = posterior(curvatures)
    assert found.llc - exact > 3 * found.llc_se
    assert abs(found.llc - found.step_bias - exact) < 3 * found.llc_se


@pytest.mark.parametrize("share", [0.25, slowly(1.0)])
def test_rmsprop_is_right_at_small_steps(share: float) -> None:
    """It was 8 to 98 % too high, the more the smaller the steps."""
    curvatures = np.full(300, 10.0)
    epsilon = share * 0.04 / (NBETA * 10 + PULL)
    settings = ChainSettings(method="rmsprop", draws=4000, burn_in=1500, nbeta=NBETA)
    traces = estimate(
        Quadratic(curvatures),
        (torch.ones(64),),
        loss=half_square,
        epsilon=epsilon,
        gamma=PULL,
        settings=settings,
    )
    found = llc_of(traces).squeeze()
    assert float(found.llc) == pytest.approx(posterior(curvatures), rel=0.05)
    assert found.relaxation_draws > 0.1 * 2 / (epsilon * PULL)


def test_the_mark_is_wherever_the_value_is(
    finished_run: "TrainingRun", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = options_of_chains(finished_run.folder, tmp_path / "net.zarr")
    settings = replace(SETTINGS, draws="auto", max_steps=14)
    assert llc(EstimateCommand(options=replace(options, settings=settings))) == 0
    printed = capsys.readouterr().out
    assert "burn-in: 4 of 14 draws\n" in printed
    assert "longer chains may give others; the pull needs 2,000 draws to settle" in printed
    store = store_of(options)
    assert any("not settled, the pull needs 200 draws" in line for line in describe(store))
    opened = dvis.open(store, kind="llc")
    assert opened.sizes["draw"] == 14
    assert not dvis.llc(store).is_settled.any()


@pytest.fixture
def coverage() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield importlib.import_module("coverage")


def test_intervals_of_settled_chains_cover(coverage: ModuleType) -> None:
    target = coverage.quadratic("alike", np.full(10, 5.0))
    found = coverage.estimates_of(target, 100)
    assert found.is_settled.mean() > 0.9
    miss = (abs(found.llc - target.exact) / found.llc_se).where(found.is_settled, drop=True)
    assert (miss < 1.96).mean() >= 0.9


@pytest.mark.slow
def test_intervals_cover_at_all_losses(coverage: ModuleType) -> None:
    rows = [coverage.row_of(target, 100) for target in coverage.targets(quick=False)]
    assert all(row.is_met for row in rows), rows
