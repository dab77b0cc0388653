"""Would an exact sampler have accepted the steps? Metropolis-adjusted Langevin's probability.

Nothing is ever rejected: the mean probability tells how far the step size is from sampling exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dvis.kinds.llc.measure.dynamics import Posterior, Tensors, exact_dtype

_PIECE = 2**15  # weights that are worked on at once


@dataclass(frozen=True, kw_only=True)
class JudgedStep:
    """What is known of a step.

    Attributes
    ----------
    log_acceptance : Tensor, (chain,)
        Logarithm of the Metropolis-Hastings ratio, at most 0.
    distance : Tensor, (chain,)
        Of the weights from w*, before the step.
    """

    log_acceptance: Tensor
    distance: Tensor


def judged_step(
    posterior: Posterior,
    *,
    losses: tuple[Tensor, Tensor],
    weights: tuple[Tensors, Tensors],
    gradients: tuple[Tensors, Tensors],
    start: Tensors,
    preconditioner: Tensors | None = None,
    per_chain: bool = False,
) -> JudgedStep:
    r"""Metropolis-Hastings ratio of a Langevin step, and how far from w* it began.

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
    sums = torch.zeros(3, *losses[0].shape, dtype=losses[0].dtype, device=losses[0].device)
    pull = posterior.gamma / posterior.nbeta  # all is divided by nbeta, which saves passes
    scale = [None] * len(start) if preconditioner is None else preconditioner
    scratch = _scratch(weights[0], per_chain)
    for of_parameter in zip(*weights, *gradients, start, scale, strict=True):
        for piece in _pieces(of_parameter, per_chain):
            sums += _of_piece(piece, pull, scratch)
    along, across, squares = sums
    unexplained = losses[1] - losses[0] - along / 2
    of_bend = posterior.epsilon / 8 * posterior.nbeta**2 * across
    return JudgedStep(
        log_acceptance=(-posterior.nbeta * unexplained - of_bend).clamp(max=0),
        distance=squares.sqrt(),
    )


def _of_piece(piece: tuple[Any, ...], pull: float, scratch: Tensor) -> Tensor:
    """What a part of the weights adds: s (g + g'), (u' - u) P (u' + u), |w - w*|^2."""
    before, after, first, second, anchor, factor = piece
    step, slopes, change, away = scratch[..., : before.shape[1]]
    torch.sub(after, before, out=step)
    torch.add(first, second, out=slopes)
    torch.sub(before, anchor, out=away)
    along, squares = _inner(step, slopes), _inner(away, away)
    torch.sub(second, first, out=change).add_(step, alpha=pull)
    slopes.add_(step, alpha=pull).add_(away, alpha=2 * pull)
    if factor is not None:
        slopes.mul_(factor)
    return torch.stack([along, _inner(change, slopes), squares])


def _scratch(weights: Tensors, per_chain: bool) -> Tensor:
    """Memory for what is computed of a piece, (4, chain, weight)."""
    n_chains = len(weights[0]) if per_chain else 1
    most = max(weight.numel() // n_chains for weight in weights)
    return weights[0].new_empty(4, n_chains, min(most, _n_at_once(n_chains)))


def _n_at_once(n_chains: int) -> int:
    return max(1, _PIECE // n_chains)


def _pieces(tensors: Sequence[Tensor | None], per_chain: bool) -> Iterator[tuple[Any, ...]]:
    """The same parts of tensors as (chain, weight), so small that they stay in the cache."""
    flat = [t if t is None else t.reshape(len(t) if per_chain else 1, -1) for t in tensors]
    some = flat[0]
    assert some is not None
    n_weights = _n_at_once(len(some))
    for first in range(0, some.shape[1], n_weights):
        yield tuple(t if t is None else t[:, first : first + n_weights] for t in flat)


def _inner(some: Tensor, others: Tensor) -> Tensor:
    """Inner products (chain,) of pieces, in double as they add up."""
    if len(some) == 1:
        return torch.dot(some[0], others[0]).to(exact_dtype(some.device))[None]
    return (some * others).sum(1).to(exact_dtype(some.device))
