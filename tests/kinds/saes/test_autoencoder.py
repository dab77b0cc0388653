"""Codes of a trained autoencoder: what they count, and which rule they follow."""

from dataclasses import replace

import numpy as np
import pytest
from planted_rows import planted

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.training import train
from dvis.kinds.saes.options import PassOptions, SaeOptions

X = planted(600, n_channels=16, n_atoms=24, k=2)[1]


@pytest.fixture(scope="module")
def found() -> Autoencoder:
    options = SaeOptions(k=2, n_latents=24, learning_rate=3e-3)
    return train(ArrayRows(X, batch_size=50), [options], PassOptions(n_steps=100))[0].autoencoder


def test_rule_of_training_has_k_a_row_on_average(found: Autoencoder) -> None:
    assert np.count_nonzero(found.encode(X, by_batch=True)) == 2 * len(X)


def test_rule_of_reading_is_the_threshold(found: Autoencoder) -> None:
    codes = found.encode(X)
    assert codes[codes > 0].min() > found.threshold.max() > 0
    stricter = replace(found, threshold=found.threshold + 0.5)
    assert np.count_nonzero(stricter.encode(X)) < np.count_nonzero(codes)


def test_without_a_threshold_the_batch_decides_and_says_so(found: Autoencoder) -> None:
    unset = replace(found, threshold=np.full_like(found.threshold, -1))
    with pytest.warns(UserWarning, match="has no threshold yet"):
        codes = unset.encode(X)
    assert np.array_equal(codes, found.encode(X, by_batch=True))


def test_codes_of_images_are_those_of_their_tokens(found: Autoencoder) -> None:
    images = X.reshape(60, 10, 16)
    assert found.encode(images).shape == (60, 10, 24)
    assert np.array_equal(found.encode(images).reshape(600, 24), found.encode(X))


def test_fvu_of_matryoshka_is_that_of_all_latents() -> None:
    options = [SaeOptions(k=2, matryoshka=is_nested) for is_nested in (True, False)]
    nested, plain = train(ArrayRows(X, batch_size=50), options, PassOptions(n_steps=1))
    assert nested.log["fvu"][0] == pytest.approx(plain.log["fvu"][0], rel=1e-5)


def test_wrong_rows_are_told(found: Autoencoder) -> None:
    with pytest.raises(ValueError, match=r"of shape \(600, 15\) for 16 channels"):
        found.encode(X[:, 1:])
    with pytest.raises(ValueError, match="not finite"):
        found.encode(np.full((2, 16), np.inf))
    with pytest.raises(ValueError, match=r"threshold has shape \(3,\)"):
        replace(found, threshold=np.zeros(3, np.float32))
