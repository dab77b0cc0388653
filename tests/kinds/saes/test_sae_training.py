"""Training: planted directions are found, each autoencoder has its log, wrong input is told."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from planted_rows import N_ACTIVE, best_cosines, explained, planted

from dvis.kinds.saes.measure.objective import objective
from dvis.kinds.saes.measure.parameters import first_weights
from dvis.kinds.saes.measure.rows import ArrayRows
from dvis.kinds.saes.measure.training import Trained, train
from dvis.kinds.saes.options import PassOptions, SaeOptions

RATE = 3e-3
SHORT = PassOptions(n_steps=12, log_every=5)


def small_rows(**options: Any) -> ArrayRows:
    return ArrayRows(planted(2_000, n_channels=16, n_atoms=24, k=2)[1], batch_size=64, **options)


@pytest.fixture(scope="module")
def wide() -> dict[str, Trained]:
    """Kinds that are held to so many active latents, twice as wide as is needed, over one pass."""
    rows = ArrayRows(planted(60_000)[1], batch_size=512)
    kinds = ("topk", "batchtopk", "jumprelu")
    options = [SaeOptions(kind=k, k=N_ACTIVE, n_latents=192, learning_rate=RATE) for k in kinds]
    trained = train(rows, options, PassOptions(n_steps=800))
    return dict(zip(kinds, trained, strict=True))


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_planted_directions_are_found(wide: dict[str, Trained], kind: str) -> None:
    atoms, x = planted(70_000)
    found = wide[kind].autoencoder
    assert explained(x[60_000:], found.reconstruct(x[60_000:])) > 0.97
    assert best_cosines(found.decoder, atoms).mean() > 0.95
    random = np.random.default_rng(1).normal(size=found.decoder.shape).astype(np.float32)
    assert best_cosines(random, atoms).mean() < 0.5


def test_code_of_a_row_does_not_depend_on_its_batch(wide: dict[str, Trained]) -> None:
    x = planted(300)[1]
    for trained in wide.values():
        codes = trained.autoencoder.encode(x)
        alone = np.concatenate([trained.autoencoder.encode(row[None]) for row in x])
        np.testing.assert_allclose(codes, alone, atol=1e-5)


def test_log_of_each_autoencoder(wide: dict[str, Trained]) -> None:
    for kind, trained in wide.items():
        assert trained.log_step.tolist() == list(range(100, 801, 100))
        assert trained.log["fvu"][-1] < 0.05 < trained.log["fvu"][0]
        reached = trained.log["l0"][-1:] if kind == "jumprelu" else trained.log["l0"]
        np.testing.assert_allclose(reached, N_ACTIVE, rtol=0.1 if kind == "jumprelu" else 0.02)
        assert np.isfinite([*trained.log.values()]).all()


def test_several_over_one_pass_equal_each_alone() -> None:
    options = [SaeOptions(k=2, seed=1), SaeOptions(kind="topk", k=4), SaeOptions(kind="jumprelu")]
    together = train(small_rows(), options, SHORT)
    for one, trained in zip(options, together, strict=True):
        (alone,) = train(small_rows(), [one], SHORT)
        assert np.array_equal(alone.autoencoder.decoder, trained.autoencoder.decoder)


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator here")
def test_an_accelerator_takes_the_same_steps() -> None:
    device = str(torch.accelerator.current_accelerator())
    for options in (SaeOptions(k=2), SaeOptions(kind="topk", k=2), SaeOptions(kind="jumprelu")):
        here, there = (
            train(small_rows(), [options], replace(SHORT, device=each))[0].autoencoder
            for each in ("cpu", device)
        )
        np.testing.assert_allclose(here.decoder, there.decoder, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "is_moved"),
    [
        (SaeOptions(k=2, freeze="decoder"), {"decoder": False, "encoder": True}),
        (SaeOptions(k=2, freeze="encoder"), {"decoder": True, "encoder": False}),
        (SaeOptions(k=2), {"decoder": True, "encoder": True}),
    ],
)
def test_frozen_weights_stay(options: SaeOptions, is_moved: dict[str, bool]) -> None:
    few, many = (train(small_rows(), [options], PassOptions(n_steps=n))[0] for n in (1, 9))
    for name, moved in is_moved.items():
        first, last = getattr(few.autoencoder, name), getattr(many.autoencoder, name)
        assert np.array_equal(first, last) != moved


def test_without_a_decoder_bias_it_is_zero() -> None:
    (trained,) = train(small_rows(), [SaeOptions(k=2, decoder_bias=False)], SHORT)
    assert not trained.autoencoder.decoder_bias.any()


def test_scale_of_the_rows_is_folded_into_the_weights() -> None:
    x = planted(2_000, n_channels=16, n_atoms=24, k=2)[1]
    found = [
        train(ArrayRows(factor * x, batch_size=64), [SaeOptions(k=2)], SHORT)[0].autoencoder
        for factor in (1.0, 1024.0)
    ]
    once, scaled = found[0].encode(x[:50]), found[1].encode(1024 * x[:50])
    np.testing.assert_allclose(1024 * once, scaled, rtol=1e-3, atol=1e-2)


def test_warm_start_goes_on_from_the_weights_given() -> None:
    (first,) = train(small_rows(), [SaeOptions(k=2)], PassOptions(n_steps=200))
    start = [first.autoencoder]
    (second,) = train(small_rows(), [SaeOptions(k=2)], PassOptions(n_steps=1), warm=start)
    (cold,) = train(small_rows(), [SaeOptions(k=2)], PassOptions(n_steps=1))
    assert second.log["fvu"][0] < 0.8 * cold.log["fvu"][0]
    with pytest.raises(ValueError, match="give one of the same shape for each"):
        train(small_rows(), [SaeOptions(k=2, n_latents=40)], SHORT, warm=start)


@pytest.mark.parametrize(
    ("toggle", "shift"),
    [({"aux_k": 8}, 0.0), ({"aux_k": 8}, -1.5), ({"aux_k": 0, "resample": True}, 0.0)],
)
def test_dead_latents_come_back(toggle: dict[str, Any], shift: float) -> None:
    x = planted(2_000, n_channels=16, n_atoms=24, k=2)[1]
    (trained,) = train(small_rows(), [SaeOptions(k=2, n_latents=32)], PassOptions(n_steps=1))
    encoder = trained.autoencoder.encoder.copy()
    encoder[12:] *= 0.01  # never among the largest
    bias = trained.autoencoder.encoder_bias.copy()
    bias[12:] += shift  # nor ever above zero
    start = [replace(trained.autoencoder, encoder=encoder, encoder_bias=bias)]

    def n_alive(**own: Any) -> int:
        options = SaeOptions(k=2, n_latents=32, learning_rate=RATE, dead_window=640, **own)
        (found,) = train(small_rows(), [options], PassOptions(n_steps=400), warm=start)
        return int((found.autoencoder.encode(x).max(0) > 0).sum())

    assert n_alive(aux_k=0) == 12
    assert n_alive(**toggle) > 20


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_auxiliary_loss_moves_dead_latents_whose_codes_are_below_zero(kind: Any) -> None:
    rows = torch.from_numpy(planted(64, n_channels=16, n_atoms=24, k=2)[1])
    options = SaeOptions(kind=kind, k=2, n_latents=32)
    weights = first_weights(rows, rows.mean(0), 1.0, options)
    weights["encoder_bias"][20:] = -100.0
    for weight in weights.values():
        weight.requires_grad_(True)
    dead = torch.arange(20, 32)
    objective(rows, weights, options, variance=rows.square().sum(), dead=dead).loss.backward()
    for name in ("encoder", "decoder"):
        gradient = weights[name].grad
        assert gradient is not None
        assert (gradient[20:].norm(dim=1) > 0).any()


def test_jumprelu_has_the_active_latents_it_is_held_to(wide: dict[str, Trained]) -> None:
    atoms, x = planted(70_000)
    found = wide["jumprelu"].autoencoder
    codes = found.encode(x[60_000:])
    assert (codes > 0).sum(1).mean() == pytest.approx(N_ACTIVE, rel=0.1)
    assert explained(x[60_000:], found.decode(codes)) > 0.96
    assert best_cosines(found.decoder, atoms).mean() > 0.95


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "relu", "jumprelu"])
def test_constant_rows_and_one_row_do_not_crash(kind: Any) -> None:
    for x in (np.ones((100, 8)), np.ones((1, 8)), np.zeros((30, 8))):
        rows = ArrayRows(x, batch_size=10)
        (trained,) = train(rows, [SaeOptions(kind=kind, k=2)], PassOptions(n_steps=4))
        assert np.isfinite(trained.autoencoder.reconstruct(x.astype(np.float32))).all()


def test_batch_that_is_not_finite_is_told() -> None:
    x = planted(100, n_channels=16, n_atoms=24)[1]
    x[7, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 100 rows that are not finite"):
        train(ArrayRows(x, batch_size=100), [SaeOptions(k=2)], SHORT)


def test_wrong_options_are_told() -> None:
    with pytest.raises(ValueError, match="k is 32, but there are 16 latents"):
        train(small_rows(), [SaeOptions(n_latents=16)], SHORT)
    with pytest.raises(ValueError, match="give options of one or more"):
        train(small_rows(), [], SHORT)
    with pytest.warns(UserWarning, match="an expansion below 1"):
        SaeOptions(k=2, expansion=0.5).width(16)
    with pytest.raises(ValueError, match="give one of batchtopk"):
        SaeOptions(kind="gated")  # type: ignore[arg-type]
    for wrong in ({"learning_rate": 0.0}, {"l1": float("nan")}, {"warmup": 1.5}, {"k": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
            SaeOptions(**wrong)  # type: ignore[arg-type]
