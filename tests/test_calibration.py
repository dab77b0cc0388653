"""Calibration: which cell is recommended of chains with a known answer, and what to try else."""

import numpy as np
import pytest
import xarray as xr
from made_up_llc import NBETA, sampled_traces, traces_of

from dvis.analysis.calibration import Recommendation, recommend, with_error
from dvis.schema import SchemaError


@pytest.fixture(scope="module")
def grid() -> xr.Dataset:
    """Five step sizes by three localisations on a quadratic, which diverges from 2.6e-3 on."""
    return sampled_traces(n_chains=3, n_draws=800)


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
    options = {"gamma": [10.0], "init_loss": [0.0], "burn_in": 0} | options
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
    assert (found.epsilon, verdict_of(found, 1e-2, 10.0)) == (1e-3, "diverged")


def test_a_drift_between_halves_is_no_convergence() -> None:
    traces = of_cells([level(5), level(5, seed=1), level(5, drift=1.0, seed=2)], [1e-4, 1e-3, 1e-2])
    found = recommend(traces)
    assert (found.epsilon, verdict_of(found, 1e-2, 10.0)) == (1e-3, "not converged")
    cell = found.table.sel(epsilon=1e-2, gamma=10.0)
    assert cell.drift == pytest.approx(0.5, abs=0.05)


def test_a_step_whose_llc_is_its_own_is_off_the_plateau() -> None:
    levels = [level(llc, seed=i) for i, llc in enumerate((5, 5, 9))]
    found = recommend(of_cells(levels, [1e-4, 1e-3, 1e-2]))
    assert (found.epsilon, verdict_of(found, 1e-2, 10.0)) == (1e-3, "off the plateau")


def test_acceptance_counts_but_does_not_choose() -> None:
    levels = [level(5, seed=i) for i in range(3)]
    mala = np.array([0.9, 0.99, 0.4])[:, None, None]
    found = recommend(of_cells(levels, [1e-4, 1e-3, 1e-2], mala=mala))
    # 0.9 is met best by the smallest step; the larger one mixes better and is as good.
    assert (found.epsilon, verdict_of(found, 1e-2, 10.0)) == (1e-3, "low acceptance")
    assert recommend(
        of_cells(levels, [1e-4, 1e-3, 1e-2], mala=mala), target_acceptance=0.45
    ).epsilon == pytest.approx(1e-2)
    unknown = recommend(of_cells(levels, [1e-4, 1e-3, 1e-2], mala=np.nan))
    assert unknown.epsilon == pytest.approx(1e-2)
    assert "MALA acceptance not measured" in unknown.reason


def test_a_single_step_size_is_not_asked_for_a_plateau() -> None:
    assert recommend(of_cells([level(5)], [1e-3])).epsilon == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("cells", "options", "advice"),
    [
        ([np.full((2, 400), np.nan)] * 2, {}, "No cell is measured yet; run the calibration"),
        ([broken_off(9)] * 2, {}, "take epsilon below 0.001"),
        ([level(-5), level(-5, seed=1)], {}, "take gamma above 10 or a later checkpoint"),
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
    assert verdict_of(recommend(traces), 1e-3, 10.0) == "not converged"
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
