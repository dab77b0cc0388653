"""The sparse step: the same codes, losses and gradients as the dense one."""

import pytest
import torch

from dvis.kinds.saes.measure.objective import objective
from dvis.kinds.saes.measure.parameters import first_weights
from dvis.kinds.saes.measure.sparse import pattern_of, top_of_batch, top_of_rows
from dvis.kinds.saes.options import SaeOptions

N_ROWS, N_CHANNELS, N_LATENTS = 64, 16, 48


def made_rows(seed: int = 0) -> torch.Tensor:
    return torch.randn(N_ROWS, N_CHANNELS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
@pytest.mark.parametrize("is_matryoshka", [False, True])
@pytest.mark.parametrize("case", ["usual", "ties", "few positive", "all zero", "dead"])
def test_sparse_step_equals_the_dense_one(kind: str, is_matryoshka: bool, case: str) -> None:
    options = SaeOptions(kind=kind, matryoshka=is_matryoshka, k=5, n_latents=N_LATENTS)  # type: ignore[arg-type]
    rows = made_rows()
    weights = first_weights(rows, rows.mean(0), 1.0, options)
    if case == "ties":
        weights["encoder"][1::2] = weights["encoder"][::2]
    if case == "few positive":
        weights["encoder_bias"] -= 3.0
    if case == "all zero":
        weights["encoder_bias"] -= 100.0
    dead = torch.tensor([3, 7, 40] if case == "dead" else [], dtype=torch.int64)
    found = []
    for is_sparse in (True, False):
        own = {name: weight.clone().requires_grad_(True) for name, weight in weights.items()}
        variance = (rows - rows.mean(0)).square().sum()
        outcome = objective(rows, own, options, variance=variance, dead=dead, is_sparse=is_sparse)
        outcome.loss.backward()
        gradients = {n: w.grad for n, w in own.items() if n != "threshold"}
        found.append((outcome.loss.detach(), gradients))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    for name, gradient in found[0][1].items():
        dense = found[1][1][name]
        dense = torch.zeros_like(weights[name]) if dense is None else dense
        assert gradient is not None
        torch.testing.assert_close(gradient, dense, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("n_rows", [1, 5, 64])
@pytest.mark.parametrize("shift", [0.0, -1.5, -50.0])
def test_top_of_a_batch_equals_a_top_k_of_all(n_rows: int, shift: float) -> None:
    pre_codes = torch.randn(n_rows, 100, generator=torch.Generator().manual_seed(1)) + shift
    pattern, values = top_of_batch(pre_codes, 7)
    wanted = pre_codes.flatten().topk(7 * n_rows).values
    assert torch.equal(values.sort().values, wanted[wanted > 0].sort().values)
    assert torch.equal(pattern.dense(values)[pattern.rows, pattern.latents], values)


def test_top_of_a_batch_has_exactly_k_a_row_also_among_ties() -> None:
    pattern, values = top_of_batch(torch.ones(32, 20), 3)
    assert len(values) == 96
    assert pattern.latents[:20].tolist() == list(range(20))  # of equal ones the first


def test_batch_that_its_sample_says_nothing_of_is_selected_exactly() -> None:
    pre_codes = torch.rand(64, 30, generator=torch.Generator().manual_seed(2))
    pre_codes[::16] += 100.0  # the rows that the sample takes
    _, values = top_of_batch(pre_codes, 4)
    assert torch.equal(values.sort().values, pre_codes.flatten().topk(256).values.sort().values)


def test_top_of_rows_against_brute_force() -> None:
    pre_codes = made_rows()
    pattern, values = top_of_rows(pre_codes, 4)
    best = pre_codes.topk(4, dim=1)
    wanted = torch.zeros_like(pre_codes).scatter(1, best.indices, best.values.relu())
    assert torch.equal(pattern.dense(values), wanted)
    assert torch.equal(pattern_of(wanted > 0).latents, pattern.latents)


def test_sampled_threshold_takes_about_k() -> None:
    pre_codes = torch.randn(512, 256, generator=torch.Generator().manual_seed(3))
    _, values = top_of_batch(pre_codes, 8, sampled=True)
    assert 0.8 < len(values) / (8 * 512) < 1.2
