"""Class statistics against scikit-learn and loops, and beside labels that are shuffled."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from dvis.analysis import class_statistics as counting
from dvis.analysis.class_statistics import class_statistics
from dvis.analysis.control import controlled

N_SAMPLES, CLASSES = 90, ("cat", "dog", "owl", "none of them")


@pytest.fixture
def scores() -> np.ndarray:
    """Of noise that is often zero and often equal; 0: fires for owls; 1: dead; 2: never zero."""
    rng = np.random.default_rng(0)
    table = rng.integers(1, 6, (N_SAMPLES, 12)) * (rng.random((N_SAMPLES, 12)) < 0.4)
    table[:, 0] = 3 * (labels() == 2)
    table[:, 1] = 0
    table[:, 2] = rng.integers(1, 4, N_SAMPLES)
    return table.astype(np.float64)


def labels() -> np.ndarray:
    return np.arange(N_SAMPLES) % 7 % 3


def test_against_loops(scores: np.ndarray) -> None:
    found = class_statistics(sparse.csr_array(scores), labels(), CLASSES, n_shuffles=3)
    for latent in range(scores.shape[1]):
        of_latent, column = found.isel(latent=latent), scores[:, latent]
        means = [column[labels() == c].mean() for c in range(3)]
        np.testing.assert_allclose(of_latent.class_mean[:3], means)
        rates = [(column[labels() == c] > 0).mean() for c in range(3)]
        np.testing.assert_allclose(of_latent.class_rate[:3], rates)
        aurocs = [roc_auc_score(labels() == c, column) for c in range(3)]
        np.testing.assert_allclose(of_latent.auroc[:3], aurocs)
        if latent == 1:
            continue
        best = int(np.argmax(means))
        others = np.mean([mean for c, mean in enumerate(means) if c != best])
        shares = np.array([column[labels() == c].sum() for c in range(3)]) / column.sum()
        assert of_latent.best_class.item() == best
        assert of_latent.selectivity.item() == pytest.approx(
            (means[best] - others) / (means[best] + others)
        )
        assert of_latent.best_share.item() == pytest.approx(shares[best])
        assert of_latent.best_auroc.item() == pytest.approx(max(aurocs))
        positive = shares[shares > 0]
        assert of_latent.entropy.item() == pytest.approx(-(positive * np.log(positive)).sum())


def test_latent_of_one_class_dead_latent_and_class_without_samples(scores: np.ndarray) -> None:
    found = class_statistics(sparse.csr_array(scores), labels(), CLASSES)
    owl = found.isel(latent=0)
    assert owl.selectivity.item() == owl.best_auroc.item() == owl.best_share.item() == 1
    assert owl.entropy.item() == 0
    dead = found.isel(latent=1)
    assert dead.best_class.item() == -1
    assert np.isnan([dead.selectivity, dead.entropy, dead.best_auroc, dead.best_share]).all()
    assert (dead.auroc[:3] == 0.5).all()
    empty = found.sel({"class": "none of them"})
    assert np.isnan([empty.class_mean, empty.class_rate, empty.auroc]).all()


def test_null_is_what_shuffled_labels_give(scores: np.ndarray) -> None:
    found = class_statistics(sparse.csr_array(scores), labels(), CLASSES, n_shuffles=40, seed=1)
    owl = controlled(found.isel(latent=0), "selectivity")
    assert owl.exchanged == "labels of samples"
    assert owl.high.item() < 0.7 < owl.value.item()
    noise = found.isel(latent=slice(3, None))
    for name in ("selectivity", "entropy", "best_auroc", "best_share"):
        rank = (noise[f"null_{name}"] < noise[name]).mean("shuffle")
        assert 0.2 < float(rank.mean()) < 0.8, name
    again = class_statistics(sparse.csr_array(scores), labels(), CLASSES, n_shuffles=40, seed=1)
    assert found.identical(again)


def test_latents_a_few_at_a_time_give_the_same(
    scores: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = sparse.csr_array(scores)
    whole = counting.class_statistics(table, labels(), CLASSES)
    monkeypatch.setattr(counting, "_CELLS", 5 * len(CLASSES))
    assert whole.identical(counting.class_statistics(table, labels(), CLASSES))


def test_one_class_has_nothing_to_tell_apart(scores: np.ndarray) -> None:
    found = class_statistics(sparse.csr_array(scores), np.zeros(N_SAMPLES, np.int64), ("all",))
    assert np.isnan(found.auroc).all()
    assert np.isnan(found.selectivity).all()


def test_wrong_labels_are_told(scores: np.ndarray) -> None:
    table = sparse.csr_array(scores)
    with pytest.raises(ValueError, match="give one a sample"):
        class_statistics(table, labels()[1:], CLASSES)
    with pytest.raises(ValueError, match="give labels from 0 to 1"):
        class_statistics(table, labels(), CLASSES[:2])
    with pytest.raises(ValueError, match="n_shuffles is -1"):
        class_statistics(table, labels(), CLASSES, n_shuffles=-1)
