"""Step rules of Langevin dynamics: weights, gradients and noise in, weights moved in place.

Weights are lists of tensors; those of several chains have the chain as first dim.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dvis.kinds.llc.settings import RMSPROP_STABILITY, RMSPROP_STEPS

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
    """SGLD preconditioned by P = 1 / (sqrt(v) + 0.1), v the mean of the first squared gradients.

    w <- w - epsilon / 2 P (nbeta g + gamma (w - w*)) + sqrt(epsilon P) noise: gradient,
    localisation and noise alike (Li et al. 2016, arXiv:1512.07666).

    Where P depends on w, the posterior is sampled only with a further drift, epsilon / 2 dP / dw.
    RMSprop's v, an exponential mean over 100 steps, follows w when steps are small, and without
    that drift chains sample the posterior divided by P: LLCs of quadratic losses came out 8 to 98
    % too high, the more the smaller the steps. The drift cannot be had from w alone, for it
    depends on how far v lags behind. So v is that of the first 100 gradients and stays as it is:
    with any fixed P the posterior is sampled, and nothing of the 100 steps is left after burn-in.
    """

    def __init__(self, weights: Tensors) -> None:
        self._mean_square = [torch.zeros_like(weight) for weight in weights]
        self._n_steps = 0
        self.preconditioner: list[Tensor] = []

    def step(
        self,
        posterior: Posterior,
        weights: Tensors,
        start: Tensors,
        gradients: Tensors,
        noise: Tensors,
    ) -> None:
        """Move the weights; noise, scaled by sqrt(epsilon), becomes what was added."""
        if self._n_steps < RMSPROP_STEPS:
            self._adapt(gradients)
        scale = self.preconditioner
        drift = list(torch._foreach_sub(weights, start))
        torch._foreach_mul_(drift, posterior.gamma)
        torch._foreach_add_(drift, gradients, alpha=posterior.nbeta)
        torch._foreach_addcmul_(weights, drift, scale, -posterior.epsilon / 2)
        torch._foreach_mul_(noise, torch._foreach_sqrt(scale))
        torch._foreach_add_(weights, noise)

    def _adapt(self, gradients: Tensors) -> None:
        self._n_steps += 1
        share = 1 / self._n_steps
        torch._foreach_mul_(self._mean_square, 1 - share)
        torch._foreach_addcmul_(self._mean_square, gradients, gradients, share)
        self.preconditioner = list(torch._foreach_sqrt(self._mean_square))
        torch._foreach_add_(self.preconditioner, RMSPROP_STABILITY)
        torch._foreach_reciprocal_(self.preconditioner)


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
