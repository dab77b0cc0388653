"""Step rules of Langevin dynamics: weights, gradients and noise in, weights moved in place.

Weights are lists of tensors; those of several chains have the chain as first dim.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dvis.kinds.llc.settings import RMSPROP_STABILITY

Tensors = list[Tensor]


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """What is sampled: exp(-nbeta L(w) - gamma / 2 |w - w*|^2), in steps of a size.

    Parameters
    ----------
    nbeta : float
        Inverse temperature times number of samples.
    gamma : float
        Strength of localisation.
    epsilon : float
        Step size.
    """

    nbeta: float
    gamma: float
    epsilon: float


class SGLD:
    """Stochastic gradient Langevin dynamics (Welling & Teh 2011), localised at w*.

    w <- w - epsilon / 2 (nbeta g + gamma (w - w*)) + sqrt(epsilon) noise, with g the gradient of
    the mean loss of a minibatch (Lau et al. 2023, arXiv:2308.12108).
    """

    preconditioner: list[Tensor] | None = None

    def step(
        self,
        posterior: Posterior,
        weights: Tensors,
        start: Tensors,
        gradients: Tensors,
        noise: Tensors,
    ) -> None:
        """Move the weights; noise comes scaled by sqrt(epsilon)."""
        epsilon = posterior.epsilon
        if posterior.gamma:
            torch._foreach_lerp_(weights, start, epsilon * posterior.gamma / 2)
        torch._foreach_add_(weights, gradients, alpha=-epsilon * posterior.nbeta / 2)
        torch._foreach_add_(weights, noise)


class RMSprop:
    r"""SGLD preconditioned by P = 1 / (sqrt(v) + 0.1), v the mean of the squared gradients so far.

    w <- w - epsilon / 2 P (nbeta g + gamma (w - w*)) + sqrt(epsilon P) noise: gradient,
    localisation and noise alike (Li et al. 2016, arXiv:1512.07666).

    Where P depends on w, the density that is sampled is that of the posterior only with a further
    drift, epsilon / 2 dP / dw. RMSprop's v, an exponential mean over 100 steps, follows w when
    steps are small, and without that drift its chains sample the posterior divided by P: LLCs of
    quadratic losses came out 8 to 98 % too high, the more the smaller the steps. The drift cannot
    be had from w alone, for how far v lags behind is not known. So here v forgets nothing: each
    gradient moves it by a share of 1 / n at step n, the first hundred nearly as RMSprop does,
    and P ceases to depend on w (adaptation that diminishes; Andrieu & Thoms 2008,
    doi:10.1007/s11222-008-9110-y).
    """

    def __init__(self, weights: Tensors) -> None:
        self._mean_square = [torch.zeros_like(weight) for weight in weights]
        self._n_steps = 0
        self.preconditioner: list[Tensor] | None = None

    def step(
        self,
        posterior: Posterior,
        weights: Tensors,
        start: Tensors,
        gradients: Tensors,
        noise: Tensors,
    ) -> None:
        """Move the weights; noise, scaled by sqrt(epsilon), becomes what was added."""
        self._n_steps += 1
        share = 1 / self._n_steps
        torch._foreach_mul_(self._mean_square, 1 - share)
        torch._foreach_addcmul_(self._mean_square, gradients, gradients, share)
        scale = list(torch._foreach_sqrt(self._mean_square))
        torch._foreach_add_(scale, RMSPROP_STABILITY)
        torch._foreach_reciprocal_(scale)
        self.preconditioner = scale
        drift = list(torch._foreach_sub(weights, start))
        torch._foreach_mul_(drift, posterior.gamma)
        torch._foreach_add_(drift, gradients, alpha=posterior.nbeta)
        torch._foreach_addcmul_(weights, drift, scale, -posterior.epsilon / 2)
        torch._foreach_mul_(noise, torch._foreach_sqrt(scale))
        torch._foreach_add_(weights, noise)


StepRule = SGLD | RMSprop


def exact_dtype(device: torch.device) -> torch.dtype:
    """Double precision, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def norms(tensors: Tensors, *, per_chain: bool) -> Tensor:
    """Euclidean norm over all tensors, (chain,): of each chain, or of the one that there is."""
    if per_chain:
        of_each = [torch.linalg.vector_norm(tensor.flatten(1), dim=1) for tensor in tensors]
        together: Tensor = torch.linalg.vector_norm(torch.stack(of_each), dim=0)
        return together
    alone: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return alone[None]


def sums_over_weights(tensors: Tensors, *, per_chain: bool) -> Tensor:
    """Sum over all weights, (chain,), in double precision."""
    dtype = exact_dtype(tensors[0].device)
    if per_chain:
        sums = [tensor.flatten(1).sum(1, dtype=dtype) for tensor in tensors]
        return torch.stack(sums).sum(0)
    return torch.stack([tensor.sum(dtype=dtype) for tensor in tensors]).sum()[None]
