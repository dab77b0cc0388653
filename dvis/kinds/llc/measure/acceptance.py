"""Would an exact sampler have accepted the steps? Metropolis-adjusted Langevin's probability.

Nothing is ever rejected: the mean probability tells how far the step size is from sampling exactly.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dvis.kinds.llc.measure.dynamics import Posterior, Tensors, exact_dtype

_PIECE = 2**15  # weights that are worked on at once


def log_acceptance(
    posterior: Posterior,
    *,
    losses: tuple[Tensor, Tensor],
    weights: tuple[Tensors, Tensors],
    gradients: tuple[Tensors, Tensors],
    start: Tensors,
    preconditioner: Tensors | None = None,
    per_chain: bool = False,
) -> Tensor:
    r"""Logarithm of the Metropolis-Hastings ratio of a Langevin step, (chain,), at most 0.

    With U(w) = nbeta L(w) + gamma / 2 |w - w*|^2, its gradient u, the step s = w' - w and the
    proposal density q(w' | w) = N(w - epsilon / 2 P u, epsilon P),

    .. math:: \log \frac{e^{-U(w')} q(w | w')}{e^{-U(w)} q(w' | w)}
        = -nbeta (L' - L - s (g + g') / 2) - \epsilon / 8 \; (u' - u) P (u' + u).

    Written so, the quadratic terms, of which a million weights make millions, have cancelled
    before anything is rounded. Loss and gradient of both ends are those of the same minibatch.
    The preconditioner is taken as fixed during the step.

    Parameters
    ----------
    posterior : Posterior
        nbeta, gamma and epsilon.
    losses, weights, gradients : pairs
        Before and after the step: losses (chain,) in double precision, weights, and gradients of
        the mean loss.
    start : sequence of Tensor
        w*.
    preconditioner : sequence of Tensor, optional
        P; 1 by default.
    per_chain : bool
        Whether tensors have the chain as first dim.

    References
    ----------
    Roberts & Tweedie (1996), Bernoulli 2 (4), doi:10.2307/3318418.
    """
    along = torch.zeros_like(losses[0])
    across = torch.zeros_like(losses[0])
    pull = posterior.gamma / posterior.nbeta  # all is divided by nbeta, which saves passes
    scale = [None] * len(start) if preconditioner is None else preconditioner
    for of_parameter in zip(*weights, *gradients, start, scale, strict=True):
        for before, after, first, second, anchor, factor in _pieces(of_parameter, per_chain):
            step, slopes = after - before, first + second
            along += _inner(step, slopes)
            change = (second - first).add_(step, alpha=pull)
            total = slopes.add_((before + after).sub_(anchor, alpha=2), alpha=pull)
            across += _inner(change, total if factor is None else total.mul_(factor))
    unexplained = losses[1] - losses[0] - along / 2
    of_bend = posterior.epsilon / 8 * posterior.nbeta**2 * across
    return (-posterior.nbeta * unexplained - of_bend).clamp(max=0)


def _pieces(tensors: Sequence[Tensor | None], per_chain: bool) -> Iterator[tuple[Any, ...]]:
    """The same parts of tensors as (chain, weight), so small that they stay in the cache."""
    flat = [t if t is None else t.reshape(len(t) if per_chain else 1, -1) for t in tensors]
    some = flat[0]
    assert some is not None
    n_weights = max(1, _PIECE // len(some))
    for first in range(0, some.shape[1], n_weights):
        yield tuple(t if t is None else t[:, first : first + n_weights] for t in flat)


def _inner(some: Tensor, others: Tensor) -> Tensor:
    """Inner products (chain,) of pieces, which torch sums in pairs: in double as they add up."""
    return (some * others).sum(1).to(exact_dtype(some.device))
