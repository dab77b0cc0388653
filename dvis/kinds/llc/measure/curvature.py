"""The largest curvature of the loss, which bounds the step size."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dvis.kinds.llc.measure.dynamics import norms, sums_over_weights
from dvis.kinds.llc.measure.losses import Loss, per_sample
from dvis.kinds.llc.measure.noise import chain_seed
from dvis.kinds.llc.measure.samples import Samples

_MOST_SAMPLES = 64
_VANISHED = 1e-12  # what is left of a vector beside which it counts as nothing


def largest_curvature(
    model: nn.Module,
    chosen: Mapping[str, Tensor | None],
    loss: Loss,
    samples: Samples,
    *,
    batch_size: int,
    n_iterations: int,
) -> float:
    """Largest eigenvalue of the Hessian of the mean loss over the weights that are sampled.

    By Lanczos' iteration, which needs the same products of the Hessian with a vector as power
    iteration (Pearlmutter 1994), comes closer with each, and gives the largest eigenvalue even
    where a negative one is larger in size (Golub & Van Loan, section 10.1). It is approached from
    below. Of many samples 64 are taken, the same at every checkpoint.

    Parameters
    ----------
    model : nn.Module
        The model at the weights; its parameters' `requires_grad` and weights are as before
        afterwards.
    chosen : mapping of str to Tensor or None
        Names of parameters, and masks.
    loss : callable
        Model and batch to losses (sample,).
    samples : Samples
        Of which the mean loss is.
    batch_size : int
        Samples in one pass.
    n_iterations : int
        Products of the Hessian with a vector; 0 leaves the curvature out.

    Returns
    -------
    float
        NaN where no product is asked for, the loss is not finite, or an operation of the model
        cannot be differentiated twice.
    """
    if n_iterations == 0:
        return float("nan")
    parameters = dict(model.named_parameters())
    weights: list[Tensor] = [parameters[name] for name in chosen]
    masks = list(chosen.values())
    generator = np.random.default_rng(chain_seed("curvature"))
    positions = generator.permutation(len(samples))[:_MOST_SAMPLES]
    n_batches = max(1, len(positions) // batch_size)
    batches = [
        (samples.batch(part, weights[0]), len(part))
        for part in np.array_split(positions, n_batches)
    ]
    flags = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)

    def product(vector: list[Tensor]) -> list[Tensor]:
        total = [torch.zeros_like(part) for part in vector]
        for batch, n_samples in batches:
            losses = per_sample(loss, model, batch, n_samples)
            of_batch = _hessian_product(losses.sum() / len(positions), weights, vector)
            torch._foreach_add_(total, of_batch)
        return _masked(total, masks)

    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            return _largest_eigenvalue(product, _some_direction(weights, masks), n_iterations)
    except (RuntimeError, NotImplementedError) as err:
        if "derivative for" in str(err) or "not implemented" in str(err):
            return float("nan")
        raise
    finally:
        for weight, flag in zip(weights, flags, strict=True):
            weight.requires_grad_(flag)


def _hessian_product(mean: Tensor, weights: list[Tensor], vector: list[Tensor]) -> list[Tensor]:
    gradients = torch.autograd.grad(mean, weights, create_graph=True, materialize_grads=True)
    slope = torch.stack([(g * v).sum() for g, v in zip(gradients, vector, strict=True)]).sum()
    if not slope.requires_grad:  # a loss that is linear in the weights
        return [torch.zeros_like(part) for part in vector]
    return list(torch.autograd.grad(slope, weights, materialize_grads=True))


def _some_direction(weights: list[Tensor], masks: list[Tensor | None]) -> list[Tensor]:
    """A random vector of length 1, the same for all models of these shapes."""
    random = torch.Generator().manual_seed(chain_seed("curvature"))
    drawn = [torch.randn(w.shape, generator=random, dtype=w.dtype).to(w.device) for w in weights]
    vector = _masked(drawn, masks)
    torch._foreach_div_(vector, _norm(vector))
    return vector


def _largest_eigenvalue(
    product: Callable[[list[Tensor]], list[Tensor]], vector: list[Tensor], n_iterations: int
) -> float:
    """Largest Ritz value of Lanczos' iteration: three vectors, whatever their size."""
    before = [torch.zeros_like(part) for part in vector]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(n_iterations):
        image = product(vector)
        along = _inner(image, vector)
        if not np.isfinite(along):
            return float("nan")
        diagonal.append(along)
        torch._foreach_add_(image, vector, alpha=-along)
        torch._foreach_add_(image, before, alpha=-(beside[-1] if beside else 0.0))
        length = _norm(image)
        if length <= max(_VANISHED, 1e-6 * abs(along)):
            break
        beside.append(length)
        before, vector = vector, image
        torch._foreach_div_(vector, length)
    beside = beside[: len(diagonal) - 1]
    tridiagonal = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    return float(np.linalg.eigvalsh(tridiagonal)[-1])


def _inner(tensors: list[Tensor], others: list[Tensor]) -> float:
    products = [a * b for a, b in zip(tensors, others, strict=True)]
    return float(sums_over_weights(products, per_chain=False))


def _norm(tensors: list[Tensor]) -> float:
    return float(norms(tensors, per_chain=False))


def _masked(tensors: list[Tensor], masks: list[Tensor | None]) -> list[Tensor]:
    return [t if m is None else t * m for t, m in zip(tensors, masks, strict=True)]
