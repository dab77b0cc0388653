"""Agreement of two decoders: a shuffled copy is found, random directions are told from it."""

from itertools import permutations

import numpy as np
import pytest

from dvis.kinds.saes.measure.agreement import agreement

RNG = np.random.default_rng(0)
DECODER = RNG.normal(size=(40, 32))


def test_shuffled_copy_is_matched_and_random_directions_are_not() -> None:
    order = RNG.permutation(40)
    found = agreement(DECODER, 3 * DECODER[order])
    assert (order[found.match.values] == np.arange(40)).all()
    np.testing.assert_allclose(found.matched_cosine.sel(control="value"), 1)
    assert found.share_alike.values.tolist() == [1, 0]
    null = found.sel(control="random directions")
    assert 0.2 < null.mean_matched_cosine.item() < null.mean_max_cosine.item() < 0.6


def test_matching_is_the_best_of_all() -> None:
    one, other = RNG.normal(size=(2, 6, 4))
    found = agreement(one, other)
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other)]
    cosines = units[0] @ units[1].T
    best = max(permutations(range(6)), key=lambda order: cosines[range(6), order].sum())
    assert found.match.values.tolist() == list(best)
    value = found.sel(control="value")
    np.testing.assert_allclose(value.max_cosine, cosines.max(1))
    assert value.mean_matched_cosine.item() == pytest.approx(cosines[range(6), best].mean())


def test_largest_cosine_is_one_sided() -> None:
    one = DECODER[[0] * 5]  # all the same
    found = agreement(one, DECODER).sel(control="value")
    assert found.mean_max_cosine.item() == pytest.approx(1)
    assert found.mean_matched_cosine.item() < 0.7
    assert (found.matched_cosine > 0.9).sum() == 1


@pytest.mark.parametrize("width", [10, 60])
def test_other_widths_and_directions_of_length_zero(width: int) -> None:
    one = DECODER.copy()
    one[7] = 0
    found = agreement(one, RNG.normal(size=(width, 32)))
    assert (found.match >= 0).sum() == min(39, width)
    assert found.match[7].item() == -1
    assert np.isnan(found.max_cosine[:, 7]).all()
    assert np.isfinite(found.mean_matched_cosine).all()
    assert np.isnan(agreement(0 * one, one).mean_max_cosine).all()


def test_wrong_decoders_are_told() -> None:
    with pytest.raises(ValueError, match="32 channels, the second 5"):
        agreement(DECODER, np.ones((3, 5)))
    with pytest.raises(ValueError, match="not finite"):
        agreement(DECODER, np.full((3, 32), np.nan))
    with pytest.raises(ValueError, match="give \\(latent, channel\\)"):
        agreement(DECODER[0], DECODER)
