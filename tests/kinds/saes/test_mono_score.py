"""MonoScore against the sum over pairs, and beside shuffled images."""

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse

from dvis.analysis.control import controlled
from dvis.kinds.saes.measure.mono_score import mono_score

RNG = np.random.default_rng(0)
N_SAMPLES = 30
EMBEDDINGS = RNG.normal(size=(N_SAMPLES, 5)) + 0.5


def by_pairs(column: np.ndarray) -> float:
    """The definition: scores between 0 and 1, and every pair by itself."""
    weights = (column - column.min()) / (column.max() - column.min())
    units = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    pairs = list(combinations(range(N_SAMPLES), 2))
    of_pairs = np.array([weights[n] * weights[m] for n, m in pairs])
    cosines = np.array([units[n] @ units[m] for n, m in pairs])
    return float((of_pairs * cosines).sum() / of_pairs.sum())


def test_against_all_pairs() -> None:
    table = RNG.random((N_SAMPLES, 8)) * (RNG.random((N_SAMPLES, 8)) < 0.4)
    table[:, 3] = RNG.random(N_SAMPLES) + 7  # fires always, far from zero
    table[0, 3] = 7
    found = mono_score(sparse.csr_array(table), EMBEDDINGS)
    np.testing.assert_allclose(found.mono_score, [by_pairs(column) for column in table.T])
    units = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    wanted = np.mean([units[n] @ units[m] for n, m in combinations(range(N_SAMPLES), 2)])
    assert found.mean_cosine.item() == pytest.approx(wanted)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_latents_that_fewer_than_two_images_drive_have_none(scale: float) -> None:
    table = np.zeros((N_SAMPLES, 4))
    table[4, 1] = scale
    table[:, 2] = scale
    table[:2, 3] = scale
    found = mono_score(sparse.csr_array(table), EMBEDDINGS, n_shuffles=0)
    assert np.isnan(found.mono_score).values.tolist() == [True, True, True, False]
    assert "null_mono_score" not in found


def test_latent_of_like_images_stands_out_of_its_null() -> None:
    likeness = EMBEDDINGS @ np.ones(5)
    table = np.stack([np.maximum(0, likeness - np.median(likeness)), RNG.random(N_SAMPLES)], 1)
    found = mono_score(sparse.csr_array(table), EMBEDDINGS, n_shuffles=50, seed=2)
    held = controlled(found, "mono_score")
    assert held.value[0] > held.high[0]
    assert held.low[1] < held.value[1] < held.high[1]
    null = found.null_mono_score.mean("shuffle")
    np.testing.assert_allclose(null, found.mean_cosine, atol=0.03)


def test_wrong_embeddings_are_told() -> None:
    scores = sparse.csr_array(np.ones((N_SAMPLES, 2)))
    with pytest.raises(ValueError, match="in the order of the scores"):
        mono_score(scores, EMBEDDINGS[1:])
    bad = EMBEDDINGS.copy()
    bad[3] = 0
    bad[5, 1] = np.nan
    with pytest.raises(ValueError, match=r"2 embeddings are zero or not finite.* sample 3"):
        mono_score(scores, bad)
    with pytest.raises(ValueError, match="n_shuffles is -2"):
        mono_score(scores, EMBEDDINGS, n_shuffles=-2)
