"""Scores and shares of pairs: known answers, and what noise gives."""

import numpy as np
import pytest
from made_up_pairs import Layer, found_in
from sklearn.metrics import roc_auc_score

from dvis.kinds.attributes.statistics import (
    directions_of,
    error_of_mean,
    error_of_share,
    exchanges,
    folds_of,
    separations,
    told_right,
)

pytestmark = pytest.mark.usefixtures("one_thread")
N_PAIRS = 40


def sides(n_pairs: int = N_PAIRS) -> np.ndarray:
    return np.tile([0.0, 1.0], n_pairs)


def noise(n_channels: int, seed: int = 0, n_pairs: int = N_PAIRS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2 * n_pairs, n_channels))


def test_a_detector_scores_one_and_its_opposite_minus_one() -> None:
    detector = 100 * sides() + noise(1)[:, 0]
    values = np.stack([detector, -detector, np.zeros(2 * N_PAIRS), 1e-9 * detector], 1)
    scores = separations(values, exchanges(N_PAIRS, 20, 0))
    np.testing.assert_allclose(scores[0], [1, -1, 0, 1])
    assert np.abs(scores[1:]).max() < 0.6


def test_scores_are_areas_under_curves_ties_too() -> None:
    values = np.round(noise(4) + 0.5 * sides()[:, None], 1)
    (scores,) = separations(values, np.zeros((1, N_PAIRS), bool))
    areas = [roc_auc_score(sides(), channel) for channel in values.T]
    np.testing.assert_allclose(scores, 2 * np.array(areas) - 1)


def test_random_directions_are_above_their_null_as_often_as_chance_has_it() -> None:
    """Of units that answer to the scene alone, which both sides of a pair share."""
    n_above = 0
    for seed in range(400):
        values = np.repeat(noise(6, seed, N_PAIRS // 2), 2, 0) + noise(6, 1000 + seed)
        scores = np.abs(separations(values, exchanges(N_PAIRS, 20, seed))).max(1)
        n_above += scores[0] > scores[1:].max()
    assert 0.02 * 400 <= n_above <= 0.08 * 400  # 1 in 21 is 19


def test_exchanged_sides_give_what_exchanged_images_give() -> None:
    values, is_exchanged = noise(3) + sides()[:, None], exchanges(N_PAIRS, 3, 1)
    folds = folds_of(N_PAIRS, 5, 0)
    pairs = values.reshape(N_PAIRS, 2, 3)
    for flips, scores, told in zip(
        is_exchanged,
        separations(values, is_exchanged),
        told_right(values, is_exchanged, folds),
        strict=True,
    ):
        moved = np.where(flips[:, None, None], pairs[:, ::-1], pairs).reshape(-1, 3)
        nothing = np.zeros((1, N_PAIRS), bool)
        np.testing.assert_allclose(separations(moved, nothing)[0], scores)
        np.testing.assert_array_equal(told_right(moved, nothing, folds)[0], told)


def test_what_a_line_can_tell_is_told_and_it_learns_on_other_pairs() -> None:
    folds = folds_of(N_PAIRS, 5, 0)
    assert np.bincount(folds).tolist() == [8] * 5
    values = noise(5)
    values[:, 3] += 20 * sides()
    told = told_right(values, exchanges(N_PAIRS, 2, 0), folds)
    assert told[0].mean() == 1
    # A unit for each pair tells every side that was learnt, and none that was not.
    alone = np.kron(np.eye(N_PAIRS), [[-1.0], [1.0]])
    assert told_right(alone, np.zeros((1, N_PAIRS), bool), folds).mean() < 0.6
    np.testing.assert_array_equal(told_right(0 * alone, exchanges(N_PAIRS, 2, 0), folds), 0.5)


def test_noise_tells_nothing_in_95_of_100_seeds() -> None:
    from dvis.analysis.linear_probes import band_of

    n_quiet = 0
    for seed in range(100):
        told = told_right(
            noise(8, seed), exchanges(N_PAIRS, 20, seed), folds_of(N_PAIRS, 5, seed)
        ).mean(1)
        n_quiet += told[0] <= band_of(told[1:])[1][1]
    assert n_quiet >= 95


def test_without_the_direction_no_line_tells() -> None:
    values = noise(6) @ noise(6, 1)[:6] + np.outer(sides(), [3.0, 0, 1, 0, 2, 0])
    everything = np.zeros(N_PAIRS, np.int64)
    everything[0] = 1  # whose direction is that of all the others
    (_, direction) = directions_of(values, everything)
    np.testing.assert_allclose(np.linalg.norm(direction), 1)
    left = values - np.outer(values @ direction, direction)
    folds = folds_of(N_PAIRS, 5, 0)
    nothing = np.zeros((1, N_PAIRS), bool)
    assert told_right(values, nothing, folds).mean() > 0.8
    assert told_right(left, nothing, folds).mean() < 0.6
    np.testing.assert_array_equal(directions_of(np.zeros((2 * N_PAIRS, 3)), folds), 0)


def test_errors_are_those_of_means() -> None:
    told = (np.random.default_rng(0).random(400) < 0.3).astype(float)
    assert error_of_mean(told, 0) == pytest.approx(told.std(ddof=1) / 20, rel=0.1)
    squared = np.ones(400)
    assert error_of_share(told, squared, 0) == pytest.approx(error_of_mean(told, 0))
    assert error_of_share(squared * 0.4, squared, 0) == pytest.approx(0, abs=1e-12)


def test_what_is_used_is_what_is_told_and_of_use() -> None:
    """Of what pairs share nothing of, 1 in 20 at most; all of what is planted."""
    nothing = [Layer(n_channels=8), Layer(n_channels=32, falls_by=32)]
    found = [found_in(layer, seed) for layer in nothing for seed in range(30)]
    assert sum(each["tells"] for each in found) <= 4
    assert sum(each["tells and uses"] for each in found) <= 3
    useless = [found_in(Layer(step=0.7, is_used=False), seed) for seed in range(10)]
    assert all(each["tells"] for each in useless)
    assert not any(each["uses"] for each in useless)
    planted = [found_in(Layer(step=0.7), seed) for seed in range(10)]
    assert sum(each["tells and uses"] for each in planted) >= 8
