"""Calibration: which cell is recommended of chains with a known answer, and what to try else."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from made_up_llc import NBETA, sampled_traces, traces_of

from dvis.kinds.llc.analysis.calibration import (
    Recommendation,
    after_trial,
    problem_of,
    recommend,
    with_error,
)
from dvis.kinds.llc.command import estimate_command
from dvis.kinds.llc.options import CalibrateOptions
from dvis.kinds.llc.settings import ChainSettings
from dvis.schema import SchemaError

CALIBRATED = CalibrateOptions(model="resnet18")


@pytest.fixture(scope="module")
def grid() -> xr.Dataset:
    """Five step sizes by three localisations on a quadratic, which diverges from 2.6e-3 on."""
    return sampled_traces(n_chains=3, n_draws=1600, burn_in=400)


SETTLED = {
    "gamma": [1e4],
    "burn_in": 20,
}  # the pull's relaxation time is at most 2 draws from epsilon 1e-4 on


def verdict_of(found: Recommendation, epsilon: float, gamma: float) -> str:
    return str(found.table.verdict.sel(epsilon=epsilon, gamma=gamma).item())


def level(llc: float, *, drift: float = 0.0, n: int = 400, seed: int = 0) -> np.ndarray:
    """Losses (chain, draw) of two chains with this LLC, that rises by `drift` from end to end."""
    noise = 0.1 * np.random.default_rng(seed).standard_normal((2, n))
    return (llc + drift * np.linspace(-0.5, 0.5, n) + noise) / NBETA


def broken_off(n_finite: int) -> np.ndarray:
    """Losses (chain, draw) of two chains that diverged after so many draws."""
    return np.where(np.arange(400) < n_finite, level(5), np.nan)


def of_cells(cells: list[np.ndarray], epsilon: list[float], **options) -> xr.Dataset:
    """Traces of one gamma with the losses (chain, draw) of each epsilon, above a start of 0."""
    loss = np.stack(cells)[None, None, :, None]
    options = {"init_loss": [0.0]} | SETTLED | options
    return traces_of(loss, epsilon=epsilon, **options)


def test_the_largest_step_that_is_good_is_recommended(grid: xr.Dataset) -> None:
    found = recommend(grid)
    assert found.is_found
    assert verdict_of(found, found.epsilon, found.gamma) == "good"
    is_good = found.table.is_good
    assert found.epsilon == is_good.epsilon[is_good.any("gamma")].max()
    assert found.gamma == is_good.gamma[is_good.sel(epsilon=found.epsilon)].min()
    # The closed form of the recommended cell's own epsilon and gamma.
    h = NBETA * np.geomspace(0.3, 60, 24)
    a = h + found.gamma
    exact = (h / (a * (1 - found.epsilon * a / 4))).sum() / 2
    cell = found.table.sel(epsilon=found.epsilon, gamma=found.gamma)
    assert abs(cell.llc - exact) <= max(4 * cell.llc_se, 0.05 * exact)


def test_steps_beyond_the_stiffest_mode_are_diverged(grid: xr.Dataset) -> None:
    found = recommend(grid)
    assert (found.table.verdict.sel(epsilon=[1e-2, 1e-1]) == "diverged").all()
    assert verdict_of(found, 1e-5, 1.0) == "not converged"


def test_the_reason_has_the_figures_of_the_cell(grid: xr.Dataset) -> None:
    found = recommend(grid)
    cell = found.table.sel(epsilon=found.epsilon, gamma=found.gamma)
    assert found.reason.startswith(f"epsilon {found.epsilon:g}, gamma {found.gamma:g} is")
    assert f"LLC {with_error(float(cell.llc), float(cell.llc_se))} beside " in found.reason
    assert f"R-hat {float(cell.rhat):.2f}" in found.reason
    assert f"MALA acceptance {float(cell.mala):.2f} (target 0.9)" in found.reason
    assert "none of 3 chains diverged" in found.reason
    assert found.reason.count(". ") == 0  # one sentence


def test_one_diverged_chain_rules_a_cell_out() -> None:
    broken = np.stack([level(5, seed=2)[0], broken_off(50)[1]])
    traces = of_cells([level(5), level(5, seed=1), broken], [1e-4, 1e-3, 1e-2])
    found = recommend(traces)
    assert (found.epsilon, verdict_of(found, 1e-2, 1e4)) == (1e-3, "diverged")


def test_a_drift_between_halves_is_no_convergence() -> None:
    traces = of_cells([level(5), level(5, seed=1), level(5, drift=1.0, seed=2)], [1e-4, 1e-3, 1e-2])
    found = recommend(traces)
    assert (found.epsilon, verdict_of(found, 1e-2, 1e4)) == (1e-3, "not converged")
    cell = found.table.sel(epsilon=1e-2, gamma=1e4)
    assert cell.drift == pytest.approx(0.5, abs=0.05)


def test_a_step_whose_llc_is_its_own_is_off_the_plateau() -> None:
    levels = [level(llc, seed=i) for i, llc in enumerate((5, 5, 9))]
    found = recommend(of_cells(levels, [1e-4, 1e-3, 1e-2]))
    assert (found.epsilon, verdict_of(found, 1e-2, 1e4)) == (1e-3, "off the plateau")


def test_acceptance_counts_but_does_not_choose() -> None:
    levels = [level(5, seed=i) for i in range(3)]
    mala = np.array([0.9, 0.99, 0.4])[:, None, None]
    found = recommend(of_cells(levels, [1e-4, 1e-3, 1e-2], mala=mala))
    # 0.9 is met best by the smallest step; the larger one mixes better and is as good.
    assert (found.epsilon, verdict_of(found, 1e-2, 1e4)) == (1e-3, "low acceptance")
    assert recommend(
        of_cells(levels, [1e-4, 1e-3, 1e-2], mala=mala), target_acceptance=0.45
    ).epsilon == pytest.approx(1e-2)
    unknown = recommend(of_cells(levels, [1e-4, 1e-3, 1e-2], mala=np.nan))
    assert unknown.epsilon == pytest.approx(1e-2)
    assert "MALA acceptance not measured" in unknown.reason


def test_a_single_step_size_says_that_its_plateau_is_not_tested() -> None:
    found = recommend(of_cells([level(5)], [1e-3]))
    assert found.epsilon == pytest.approx(1e-3)
    assert verdict_of(found, 1e-3, 1e4) == "plateau not tested"
    assert not found.table.is_good.any()
    assert "The plateau was not tested" in found.reason
    assert "Try 0.0003 and 0.003" in found.reason


def test_a_cell_that_is_ruled_out_neither_confirms_nor_denies() -> None:
    for wrong in (level(5, drift=1.0, seed=1), level(9, drift=2.0, seed=1)):
        found = recommend(of_cells([wrong, level(5)], [1e-3, 1e-2]))
        assert verdict_of(found, 1e-3, 1e4) == "not converged"
        assert verdict_of(found, 1e-2, 1e4) == "plateau not tested"
        assert "beside 5" not in found.reason
        assert "beside 9" not in found.reason
    found = recommend(of_cells([level(5, seed=1), level(5)], [1e-3, 1e-2]))
    assert verdict_of(found, 1e-2, 1e4) == "good"


def test_chains_shorter_than_the_pull_needs_are_not_settled() -> None:
    traces = of_cells([level(5), level(5, seed=1)], [1e-4, 3e-4], gamma=[1.0], burn_in=40)
    found = recommend(traces)
    assert (found.epsilon, verdict_of(found, 3e-4, 1.0)) == (3e-4, "not settled")
    assert found.table.relaxation.sel(epsilon=3e-4).item() == pytest.approx(20_000 / 3)
    assert (
        "the pull needs 6,667 draws to settle: take --burn-in 13334 --draws 33334, or gamma 3.3e"
        in found.reason
    )
    assert estimate_command(CALIBRATED, found).endswith("--epsilon 0.0003 --gamma 1 --draws auto")
    of_rmsprop = replace(CALIBRATED, settings=ChainSettings(method="rmsprop"))
    assert "auto" not in estimate_command(of_rmsprop, found)
    without_pull = recommend(of_cells([level(5)], [1e-3], gamma=[0.0], burn_in=40))
    assert "take --gamma above 0" in without_pull.reason
    assert "auto" not in estimate_command(CALIBRATED, without_pull)


def test_a_settled_cell_is_preferred_to_larger_steps_that_are_not() -> None:
    loss = np.stack([level(5, seed=seed) for seed in range(4)]).reshape(1, 1, 2, 2, 2, 400)
    grid = traces_of(loss, epsilon=[1e-3, 1e-2], gamma=[1.0, 100.0], init_loss=[0.0], burn_in=10)
    found = recommend(grid)
    assert found.table.is_settled.values.tolist() == [[False, False], [False, True]]
    assert (found.epsilon, found.gamma) == (1e-2, 100.0)
    # What is not settled cannot tell whether a settled cell is on the plateau.
    assert verdict_of(found, 1e-2, 100.0) == "plateau not tested"
    assert found.candidates[1:] == ((1e-3, 100.0), (1e-2, 1.0), (1e-3, 1.0))  # nearest to settled


def test_slow_chains_of_a_flat_loss_are_not_called_good() -> None:
    """Their LLC, 12 in the end, still grows with the draws, too slowly for halves to differ."""
    short = sampled_traces(
        epsilon=[1e-5, 2e-5],
        gamma=[1.0],
        n_chains=4,
        curvatures=np.geomspace(0.3, 60, 24),
        batch_noise=1.0,
    )
    found = recommend(short)
    passing = found.table.verdict.isin(["good", "plateau not tested"])
    assert not passing.any()
    assert float(found.table.llc.max()) < 8


def test_the_pick_is_judged_by_several_chains_and_others_follow() -> None:
    epsilons = [1e-4, 1e-3, 1e-2, 1e-1]
    grid = of_cells([level(5, seed=i) for i in range(4)], epsilons)
    found = recommend(grid)
    assert [epsilon for epsilon, _ in found.candidates] == epsilons[::-1]
    apart = np.stack([level(5)[0], level(6)[0], level(5)[1], level(6)[1]])
    problem = problem_of(of_cells([apart], [1e-1]), found.table)
    assert problem.startswith("epsilon 0.1, gamma 10000 does not hold with 4 chains: its halves")
    assert "R-hat is 1." in problem
    assert "take more draws and burn-in, or a larger epsilon, or gamma above 10000" in problem
    again = problem_of(of_cells([level(5, drift=1)], [1e-2]), found.table)
    assert "or epsilons between 0.01 and 0.1" in again
    assert problem_of(of_cells([level(5)], [1e-2]), found.table) is None
    second = after_trial(found, [problem])
    assert second.epsilon == pytest.approx(1e-2)
    assert second.reason.startswith(f"{problem} Next, epsilon 0.01, gamma 10000 is")
    none = after_trial(found, [problem, again, again])  # a fourth is not tried
    assert not none.is_found
    assert none.reason.count("does not hold") == 3


@pytest.mark.parametrize(
    ("cells", "options", "advice"),
    [
        ([np.full((2, 400), np.nan)] * 2, {}, "No cell is measured yet; run the calibration"),
        ([broken_off(9)] * 2, {}, "take epsilon below 0.001"),
        ([level(-5), level(-5, seed=1)], {}, "take gamma above 10000 or a later checkpoint"),
        ([level(5, drift=3), level(5, drift=3)], {}, "take more draws and burn-in, or a larger"),
        ([level(5), level(5, seed=1)], {"mala": 0.2}, "take epsilon below 0.001"),
        ([level(5), level(9, seed=1)], {}, "take epsilons nearer to 0.01"),
    ],
)
def test_where_no_cell_is_good_it_says_which_way_to_go(
    cells: list[np.ndarray], options: dict, advice: str
) -> None:
    found = recommend(of_cells(cells, [1e-3, 1e-2], **options))
    assert (found.is_found, found.epsilon, found.gamma) == (False, None, None)
    assert advice in found.reason


def test_between_a_slow_step_and_one_that_diverges_lies_the_advice() -> None:
    found = recommend(of_cells([level(5, drift=3), broken_off(3)], [1e-4, 1e-3]))
    assert "epsilons between 0.0001 and 0.001" in found.reason


def test_burn_in_is_chosen_when_reading() -> None:
    late = np.concatenate([np.zeros((2, 200)), level(5, n=200)], axis=1)
    traces = of_cells([late, late], [1e-4, 1e-3])
    assert verdict_of(recommend(traces), 1e-3, 1e4) == "not converged"
    found = recommend(traces, burn_in=200)
    assert found.epsilon == pytest.approx(1e-3)
    assert found.table.llc.sel(epsilon=1e-3).item() == pytest.approx(5, abs=0.05)
    assert recommend(traces.assign_attrs(burn_in=200)).reason == found.reason


def test_lazy_and_unordered_traces_give_the_same(grid: xr.Dataset) -> None:
    found = recommend(grid.isel(epsilon=slice(None, None, -1)).chunk())
    assert found.reason == recommend(grid).reason


def test_what_is_no_calibration_of_one_checkpoint_is_refused(grid: xr.Dataset) -> None:
    two = grid.isel(checkpoint=[0, 0]).assign_coords(checkpoint=["first", "later"])
    with pytest.raises(ValueError, match=r"of 2 checkpoints; .* traces\.sel\(checkpoint='later'\)"):
        recommend(two)
    with pytest.raises(SchemaError, match=r"no status.*dvis\.llc_traces"):
        recommend(grid.drop_vars("status"))
    with pytest.raises(ValueError, match="target_acceptance=2"):
        recommend(grid, target_acceptance=2)
