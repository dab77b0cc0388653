"""Evaluation: sums of one pass against plain numpy, and what must come out by construction."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_saes import N_LATENTS, InBlocks, made_up_autoencoder, made_up_rows

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.evaluation import evaluate, reconstruction
from dvis.kinds.saes.measure.rows import ArrayRows

RNG = np.random.default_rng(3)
X = RNG.normal(size=(50, 4, 8)).astype(np.float32) * 3 + 100


def autoencoder_of(encoder: Any, **other: Any) -> Autoencoder:
    array = np.asarray(encoder, np.float32)
    n_latents, n_channels = array.shape
    zeros = np.zeros(n_latents, np.float32)
    given: dict[str, Any] = {
        "encoder": array,
        "decoder": array,
        "encoder_bias": zeros,
        "decoder_bias": np.zeros(n_channels, np.float32),
        "threshold": zeros,
        "kind": "relu",
        "k": 1,
    }
    return Autoencoder(**{**given, **other})


def test_sums_equal_plain_numpy() -> None:
    autoencoder, rows = made_up_autoencoder(), made_up_rows()
    found = reconstruction(autoencoder, rows)
    x = np.concatenate([values for _, values in rows.ordered()]).reshape(-1, 8).astype(np.float64)
    codes = autoencoder.encode(x).astype(np.float64)
    x_hat = codes @ autoencoder.decoder + autoencoder.decoder_bias
    error = np.square(x - x_hat)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(x_hat, axis=1)
    wanted = {
        "ev": 1 - error.sum() / np.square(x - x.mean(0)).sum(),
        "mse": error.mean(),
        "l0": (codes > 0).sum(1).mean(),
        "l1": codes.sum(1).mean(),
        "cosine": ((x * x_hat).sum(1) / lengths).mean(),
        "n_dead": (codes == 0).all(0).sum(),
        "n_dense": ((codes > 0).mean(0) > 0.1).sum(),
        "n_often": ((codes > 0).mean(0) > 0.01).sum(),
        "frequency": (codes > 0).mean(0),
        "max": codes.max(0),
        "mean": np.ma.masked_equal(codes, 0).mean(0).filled(np.nan),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    assert found.n_dead.item() == 1
    assert np.isnan(found["mean"].values).tolist() == [False] * (N_LATENTS - 1) + [True]


def test_blocks_and_their_order_change_nothing() -> None:
    autoencoder, rows = made_up_autoencoder(), made_up_rows()
    values = np.concatenate([values for _, values in rows.ordered()])
    in_blocks = InBlocks(
        values, labels=rows.labels, classes=rows.classes, sample_ids=rows.sample_ids.tolist()
    )
    whole, parts = (
        evaluate(autoencoder, each, n_top=9, scores=("max", "mean")) for each in (rows, in_blocks)
    )
    xr.testing.assert_allclose(whole, parts)
    xr.testing.assert_equal(whole.top_sample, parts.top_sample)


def test_explained_variance_of_the_rows_is_one_and_of_their_mean_zero() -> None:
    rows = ArrayRows(X)
    both = np.concatenate([np.eye(8), -np.eye(8)])
    assert reconstruction(autoencoder_of(both), rows).ev.item() == pytest.approx(1, abs=1e-12)
    none = autoencoder_of(
        np.eye(8),
        encoder_bias=np.full(8, -1e6, np.float32),
        decoder_bias=rows.mean.astype(np.float32),
    )
    found = reconstruction(none, rows)
    assert found.ev.item() == pytest.approx(0, abs=1e-9)
    assert found.n_dead.item() == 8
    assert found.l0.item() == 0


def test_explained_variance_is_a_ratio_of_sums() -> None:
    x = np.concatenate([X - 100, 100 * (X - 100)])  # blocks of most unlike spread
    rows = InBlocks(x)
    half = autoencoder_of(np.eye(8)[:4])
    codes = half.reconstruct(x)
    wanted = 1 - np.square(x - codes, dtype=float).sum() / np.square(x - rows.mean).sum()
    assert reconstruction(half, rows).ev.item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_equal_rows_have_no_variance_to_explain(value: float) -> None:
    found = reconstruction(autoencoder_of(np.eye(8)), ArrayRows(np.full((30, 2, 8), value)))
    assert np.isnan(found.ev)
    assert found.mse.item() == 0
    assert np.isnan(found.cosine) if value == 0 else found.cosine.item() == pytest.approx(1)


def test_one_sample_and_all_dead() -> None:
    one = ArrayRows(X[:1, :1])
    found = evaluate(autoencoder_of(np.eye(8), encoder_bias=np.full(8, -1e6, np.float32)), one)
    assert found.n_dead.item() == 8
    assert found.sizes["rank"] == 1
    assert np.isnan(found.selectivity).all()
    assert (found.best_class == -1).all()


def test_every_variable_says_what_it_is() -> None:
    found = evaluate(made_up_autoencoder(), made_up_rows(), scores=("max", "sum"))
    for name, variable in found.data_vars.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"], name
    assert set(found.dims) == {"latent", "score", "rank", "token", "class", "shuffle"}
    assert found.attrs["fingerprint"] == made_up_rows().fingerprint


def test_rows_that_do_not_fit_are_told() -> None:
    autoencoder = made_up_autoencoder()
    with pytest.raises(ValueError, match="rows have 5 channels, but the autoencoder"):
        reconstruction(autoencoder, ArrayRows(np.ones((4, 5))))
    x = X.copy()
    x[7, 1, 2] = np.nan
    with pytest.raises(ValueError, match="1 samples are not finite, such as '7'"):
        reconstruction(autoencoder, ArrayRows(x))
    unset = replace(autoencoder, threshold=np.full(N_LATENTS, -1, np.float32))
    with pytest.raises(ValueError, match="no threshold yet"):
        reconstruction(unset, made_up_rows())
    with pytest.raises(ValueError, match="give each its own"):
        ArrayRows(np.ones((2, 5)), sample_ids=["a", "a"])
