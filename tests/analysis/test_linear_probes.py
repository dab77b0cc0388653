"""Linear probes of made-up inputs: known answers, their null, and scikit-learn by hand."""

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from dvis.analysis.linear_probes import (
    STRENGTHS,
    Splits,
    Standardised,
    band_of,
    classifier,
    errors_of_accuracies,
    errors_of_determinations,
    reduced,
)
from dvis.kinds.probes.targets import Target

HELD_OUT = 2  # place of the split


def drawn_splits(n_samples: int, seed: int = 0) -> Splits:
    return Splits.drawn(n_samples, validation=0.2, held_out=0.3, seed=seed)


def test_splits_share_no_sample_and_keep_their_shares() -> None:
    splits = drawn_splits(200)
    assert [len(each) for each in splits] == [100, 40, 60]
    assert sorted(np.concatenate([*splits])) == [*range(200)]
    is_known = np.arange(200) % 2 == 0
    of_known = splits.among(is_known)
    assert all((each % 2 == 0).all() for each in of_known)
    assert sum(map(len, of_known)) == 100
    np.testing.assert_array_equal(drawn_splits(200).train, splits.train)
    assert not np.array_equal(drawn_splits(200, seed=1).train, splits.train)


def test_separable_classes_and_exact_numbers_are_told_without_error() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 240)
    inputs = rng.normal(size=(240, 6)) * 0.1 + 5 * np.eye(3, 6)[labels]
    prepared = Standardised.of(inputs, drawn_splits(240))
    np.testing.assert_array_equal(prepared.told_classes(labels).scores, 1.0)
    line = (inputs @ rng.normal(size=(6, 2)))[None]
    (probe,) = prepared.told_numbers(line, strengths=(1.0, 1e8))
    np.testing.assert_allclose(probe.scores, 1.0, atol=1e-10)
    assert (probe.strength, probe.n_steps, probe.is_converged) == (1e8, 0, True)


def test_noise_is_at_chance_within_its_error() -> None:
    rng = np.random.default_rng(1)
    away = []
    for _ in range(40):
        labels, inputs = rng.integers(0, 4, 300), rng.normal(size=(300, 8))
        splits = drawn_splits(300)
        probe = Standardised.of(inputs, splits).told_classes(labels)
        error = errors_of_accuracies(probe.predicted == labels, splits)[HELD_OUT]
        away.append((probe.scores[HELD_OUT] - 0.25) / error)
    assert np.mean(np.abs(away) < 1.96) > 0.85
    assert abs(np.mean(away)) < 3 / np.sqrt(40)
    numbers = rng.normal(size=(1, 300, 1))
    (probe,) = Standardised.of(inputs, splits).told_numbers(numbers)
    assert -0.1 < probe.scores[HELD_OUT] < 0.05


def test_shuffled_control_is_at_chance_in_95_of_100_seeds() -> None:
    n_samples, n_shuffles = 200, 5
    is_within, holds_another = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = np.repeat([0, 1], n_samples // 2)
        inputs = rng.normal(size=(n_samples, 4)) + 3 * labels[:, None]  # which are telling
        prepared = Standardised.of(inputs, drawn_splits(n_samples, seed))
        shuffled = Target(name="class", values=labels).shuffled(n_shuffles + 1, seed)
        scores = np.array(
            [prepared.told_classes(each, strengths=(1e-2, 1.0)).scores for each in shuffled]
        )
        mean, band = band_of(scores[:-1])
        low, high = band[HELD_OUT]
        is_within.append(low <= 0.5 <= high)
        holds_another.append(low <= scores[-1, HELD_OUT] <= high)
        assert prepared.told_classes(labels, strengths=(1.0,)).scores[HELD_OUT] > high
        np.testing.assert_allclose(mean, scores[:-1].mean(0))
    assert np.sum(is_within) >= 95
    assert 89 <= np.sum(holds_another) <= 100  # 95 % of others, within 2.7 standard errors


def test_a_band_of_few_draws_ends_where_scores_end() -> None:
    draws = np.array([[0.02, 0.5, 0.99], [0.3, 0.52, 0.7], [0.0, 0.48, 1.0]])
    mean, band = band_of(draws, lowest=0, highest=1)
    _, free = band_of(draws)
    assert free[0, 0] < 0
    assert free[2, 1] > 1
    np.testing.assert_array_equal(band, np.clip(free, 0, 1))
    np.testing.assert_array_equal(band[1], free[1])
    np.testing.assert_allclose(mean, draws.mean(0))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_classes_equal_scikit_learn_by_hand(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    labels = rng.integers(0, n_classes, 300)
    inputs = rng.normal(2, 3, (300, 10)) + 2 * rng.normal(size=(n_classes, 10))[labels]
    splits = drawn_splits(300)
    probe = Standardised.of(inputs, splits).told_classes(labels)
    by_hand, losses = [], []
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))
        model.fit(inputs[splits.train], labels[splits.train])
        by_hand.append([model.score(inputs[each], labels[each]) for each in splits])
        shares = model.predict_proba(inputs[splits.validation])
        losses.append(log_loss(labels[splits.validation], shares, labels=range(n_classes)))
    best = int(np.argmin(losses))
    assert probe.strength == STRENGTHS[best]
    assert probe.loss == pytest.approx(losses[best], abs=1e-6)
    np.testing.assert_allclose(probe.scores, by_hand[best], atol=1e-6)
    assert probe.is_converged
    assert 0 < probe.n_steps < 500


def test_numbers_equal_scikit_learn_by_hand() -> None:
    rng = np.random.default_rng(5)
    inputs = rng.normal(1, 4, (120, 150))  # more than samples to train on
    values = inputs[:, :5] @ rng.normal(size=(5, 2)) + rng.normal(0, 9, (120, 2))
    splits = drawn_splits(120)
    probe, shuffled = Standardised.of(inputs, splits).told_numbers(
        np.stack([values, rng.permutation(values)])
    )
    by_hand = []
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), Ridge(alpha=1 / strength))
        model.fit(inputs[splits.train], values[splits.train])
        predicted = model.predict(inputs)
        by_hand.append(
            [
                r2_score(values[each], predicted[each], multioutput="variance_weighted")
                for each in splits
            ]
        )
    best = int(np.argmax([validation for _, validation, _ in by_hand]))
    assert probe.strength == STRENGTHS[best]
    np.testing.assert_allclose(probe.scores, by_hand[best], atol=1e-6)
    assert shuffled.scores[HELD_OUT] < probe.scores[HELD_OUT]


def test_fits_that_do_not_end_are_counted() -> None:
    rng = np.random.default_rng(0)
    labels, inputs = rng.integers(0, 3, 200), rng.normal(size=(200, 20))
    probe = Standardised.of(inputs, drawn_splits(200)).told_classes(labels, max_steps=2)
    assert not probe.is_converged
    assert probe.n_unconverged >= 1
    assert probe.n_steps == 2


def test_shuffles_of_a_rare_class_may_leave_none_to_learn() -> None:
    rng = np.random.default_rng(0)
    labels, inputs = (np.arange(100) == 7).astype(int), rng.normal(size=(100, 3))
    splits = drawn_splits(100)
    prepared = Standardised.of(inputs, splits)
    shuffled = Target(name="rare", values=labels).shuffled(20, 0)
    alone = [each for each in shuffled if not each[splits.train].any()]
    assert 0 < len(alone) < 20
    for each in shuffled:
        probe = prepared.told_classes(each)
        if not each[splits.train].any():
            assert (probe.predicted == 0).all()
            assert probe.scores[0] == 1


def test_errors_are_those_of_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    splits = drawn_splits(1000)
    is_right = rng.random(1000) < 0.7
    found = errors_of_accuracies(is_right, splits)
    shares = [is_right[each].mean() for each in splits]
    expected = [np.sqrt(p * (1 - p) / len(each)) for p, each in zip(shares, splits, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0.1)
    values = rng.normal(size=(1000, 2))
    predicted = values + rng.normal(0, 0.7, (1000, 2))
    found = errors_of_determinations(predicted, values, splits)
    drawn = rng.choice(splits.held_out, (500, len(splits.held_out)))
    by_hand = [
        r2_score(values[each], predicted[each], multioutput="variance_weighted") for each in drawn
    ]
    assert found[HELD_OUT] == pytest.approx(np.std(by_hand), rel=0.15)


def test_reduced_features_are_principal_components_of_the_training_split() -> None:
    rng = np.random.default_rng(0)
    inputs, train = rng.normal(size=(60, 40)), np.arange(30)
    found = reduced(inputs, train, 7, 0)
    expected = PCA(7, random_state=0).fit(inputs[train]).transform(inputs)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(reduced(inputs[:, :5], train, 7, 0), inputs[:, :5])
    assert reduced(inputs, train[:4], 7, 0).shape == (60, 4)


def test_a_fit_computes_in_one_thread_and_leaves_others_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def fit(self: LogisticRegression, *given: Any) -> LogisticRegression:
        seen.extend(each["num_threads"] for each in threadpool_info())
        return plain(self, *given)

    plain = LogisticRegression.fit
    monkeypatch.setattr(LogisticRegression, "fit", fit)
    with threadpool_limits(2):
        before = threadpool_info()
        classifier(np.arange(8.0)[:, None], np.arange(8) % 2)
        assert threadpool_info() == before
    assert seen
    assert set(seen) == {1}
