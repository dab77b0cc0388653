"""Two runs are matched: a permuted copy wholly, noise as the null, what is half shared between."""

import numpy as np
import pytest
import xarray as xr

import dvis

N_UNITS, N_IMAGES = 12, 120


def responses(values: np.ndarray, label: str = "step_1") -> xr.Dataset:
    """Responses (layer, channel, image) at one checkpoint, as `dvis.responses` gives them."""
    layers = [f"layer{i + 1}" for i in range(len(values))]
    coords = {
        "checkpoint": [label],
        "layer": layers,
        "channel": np.arange(values.shape[1]),
        "image": [f"image {i}" for i in range(values.shape[2])],
    }
    return xr.Dataset({"response": (tuple(coords), values[None])}, coords)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_a_permuted_copy_is_matched_wholly_and_each_unit_to_itself() -> None:
    values = noise(0, 2, N_UNITS, N_IMAGES)
    order = np.random.default_rng(1).permutation(N_UNITS)
    matched = dvis.match_runs(responses(values), responses(3 * values[:, order] + 2))
    np.testing.assert_allclose(matched.correlation, 1)
    np.testing.assert_allclose(matched.mean_correlation, 1)
    np.testing.assert_allclose(matched.mean_se, 0, atol=1e-12)
    assert (order[matched.partner.values] == np.arange(N_UNITS)).all()
    assert (matched.share_matched == 1).all()


def test_independent_noise_is_at_the_null() -> None:
    n_above, n_all = 0, 0
    for seed in range(8):
        one, other = (noise(2 * seed + i, 2, N_UNITS, N_IMAGES) for i in (0, 1))
        matched = dvis.match_runs(responses(one), responses(other), seed=seed)
        low, high = matched.null_correlation.transpose("bound", "layer").values
        n_above += int((matched.correlation > matched.null_correlation.sel(bound="upper")).sum())
        n_all += matched.correlation.size
        assert (abs(matched.mean_correlation) < 0.12).all()
        assert (low < high).all()
    assert n_above / n_all < 0.06  # 2.5 % by chance


def test_what_is_half_shared_lies_between_with_an_error_that_covers() -> None:
    shared = noise(0, 1, N_UNITS, 4000)
    mixed = [np.sqrt(0.5) * (shared + noise(i, 1, N_UNITS, 4000)) for i in (1, 2)]
    truth = 0.5
    hits = []
    for start in range(0, 4000, 400):
        part = [responses(each[:, :, start : start + 400]) for each in mixed]
        matched = dvis.match_runs(*part, n_shuffles=2)
        off = matched.mean_correlation.item() - truth
        hits.append(abs(off) < 2.3 * matched.mean_se.item())
        assert matched.null_mean_correlation.max() < 0.2
    assert sum(hits) >= 8


def test_units_that_one_run_has_more_of_and_dead_ones_have_no_partner() -> None:
    values = noise(0, 1, N_UNITS, N_IMAGES)
    fewer = values[:, :5].copy()
    fewer[0, 4] = np.nan
    matched = dvis.match_runs(responses(values), responses(fewer))
    assert matched.partner.values[0, :4].tolist() == [0, 1, 2, 3]
    assert (matched.partner.values[0, 4:] == -1).all()


def births_of(values: list[float]) -> xr.Dataset:
    coords = {"layer": ["layer1"], "channel": np.arange(len(values))}
    birth = xr.DataArray([values], coords)
    state = xr.full_like(birth, "born", dtype="U8")
    return xr.Dataset({"birth": birth, "birth_step": 10 * birth, "state": state})


def test_births_in_one_order_are_told_from_births_in_any() -> None:
    values, order = noise(0, 1, N_UNITS, N_IMAGES), np.random.default_rng(1).permutation(N_UNITS)
    matched = dvis.match_runs(responses(values), responses(values[:, order]))
    dates = np.arange(N_UNITS, dtype=float)
    alike = dvis.shared_births(matched, births_of(dates.tolist()), births_of(dates[order].tolist()))
    assert alike.correlation.item() == pytest.approx(1)
    assert alike.p_value.item() < 0.01
    assert alike.n_pairs.item() == N_UNITS
    ps = [
        dvis.shared_births(
            matched,
            births_of(dates.tolist()),
            births_of(np.random.default_rng(seed).permutation(dates).tolist()),
            n_shuffles=99,
        ).p_value.item()
        for seed in range(40)
    ]
    assert sum(p <= 0.05 for p in ps) <= 6


def test_what_cannot_be_matched_is_one_clear_error() -> None:
    values = noise(0, 1, 3, N_IMAGES)
    with pytest.raises(ValueError, match="share 10 images, and matching needs 20"):
        dvis.match_runs(responses(values), responses(values[:, :, :10]))
    with pytest.raises(KeyError, match="step_9"):
        dvis.match_runs(responses(values), responses(values), checkpoint="step_9")
    with pytest.raises(ValueError, match="no responses to images"):
        dvis.match_runs(responses(values).drop_vars("response"), responses(values))
