"""What training lowers: unexplained variance, and what makes codes sparse and latents alive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from dvis.kinds.saes.measure.parameters import Weights
from dvis.kinds.saes.measure.sparse import (
    Pattern,
    fits,
    pattern_of,
    sparse_codes,
    sparse_decode,
    top_of_batch,
    top_of_rows,
)
from dvis.kinds.saes.options import SaeOptions

_BANDWIDTH = 2.0  # of the jump's gradient, in units of a channel's standard deviation; Anthropic
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A batch's loss, and what is logged of it.

    Parameters
    ----------
    loss : Tensor, ()
        What is differentiated.
    fvu : float
        Share of variance that is left unexplained, by all latents.
    pattern : Pattern
        Active codes.
    least : float
        The smallest active code; not a number where none is active.
    """

    loss: Tensor
    fvu: float
    pattern: Pattern
    least: float


def objective(
    rows: Tensor,
    weights: Weights,
    options: SaeOptions,
    *,
    variance: Tensor,
    dead: Tensor,
    pressure: float = 1.0,
    is_sparse: bool | None = None,
) -> Outcome:
    r"""Loss of a batch.

    .. math:: \frac{\sum |x - \hat x|^2}{\sum |x - \bar x|^2} + \alpha
        \frac{\sum |e - \hat e|^2}{\sum |e|^2}, \quad e = x - \hat x

    where :math:`\hat e` are reconstructions of the detached residual by dead latents alone.

    Parameters
    ----------
    rows : Tensor, (row, channel)
        In units of training.
    weights : dict of Tensor
        Parameters.
    options : SaeOptions
        The kind and its penalties.
    variance : Tensor, ()
        Sum of squared distances of the batch's rows from the running mean.
    dead : Tensor, (dead,), int64
        Latents that have not fired for long.
    pressure : float
        Share of its weight that jumprelu's penalty has.
    is_sparse : bool, optional
        Use sparse gradients (default: where they fit).

    References
    ----------
    Gao et al. (2024), Scaling and evaluating sparse autoencoders, arXiv:2406.04093 (AuxK).
    Bussmann et al. (2024), BatchTopK sparse autoencoders, arXiv:2412.06410; (2025) Learning
    multi-level features with Matryoshka sparse autoencoders, arXiv:2503.17547.
    Rajamanoharan et al. (2024), Jumping ahead, arXiv:2407.14435 (JumpReLU; the squared distance
    from a wanted L0, here of the batch's mean and relative). Conerly et al. (2025), Dictionary
    learning optimization techniques, transformer-circuits.pub/2025/january-update (the jump's
    gradient and bandwidth, a penalty that grows over the run; there linearly, here geometrically).
    """
    centred = rows - weights["decoder_bias"]
    if options.kind in ("topk", "batchtopk"):
        is_sparse = fits(rows) if is_sparse is None else is_sparse
        pattern, sums, penalty = _top_codes(centred, weights, options, is_sparse=is_sparse)
    else:
        pattern, sums, penalty = _dense_codes(centred, weights, options, pressure)
    scale = variance.clamp(min=_TINY)
    errors = torch.stack([(centred - part).square().sum() / scale for part in sums])
    loss = errors.mean() + penalty
    if len(dead) and options.aux_weight:
        loss = loss + options.aux_weight * _auxiliary(centred, sums[-1], weights, dead, options)
    return Outcome(loss=loss, fvu=float(errors[-1].detach()), pattern=pattern[0], least=pattern[1])


def _top_codes(
    centred: Tensor, weights: Weights, options: SaeOptions, *, is_sparse: bool
) -> tuple[tuple[Pattern, float], Sequence[Tensor], Tensor]:
    encoder, bias = weights["encoder"], weights["encoder_bias"]
    with torch.set_grad_enabled(not is_sparse):
        pre_codes = torch.addmm(bias, centred, encoder.t())
    with torch.no_grad():
        if options.kind == "topk":
            pattern, values = top_of_rows(pre_codes, options.k)
        else:
            is_sampled = options.select == "sampled"
            pattern, values = top_of_batch(pre_codes, options.k, sampled=is_sampled)
        least = float(values.min()) if len(values) else float("nan")
    ends = options.prefixes(len(bias))
    if is_sparse:
        values = sparse_codes(centred, encoder, bias, pattern, values)
        sums = _sparse_prefixes(values, weights["decoder"], pattern, ends)
    else:
        mask = pattern.dense(torch.ones_like(values))
        sums = _dense_prefixes(pre_codes * mask, weights["decoder"], ends)
    return (pattern, least), sums, centred.new_zeros(())


def _dense_codes(
    centred: Tensor, weights: Weights, options: SaeOptions, pressure: float
) -> tuple[tuple[Pattern, float], Sequence[Tensor], Tensor]:
    pre_codes = torch.addmm(weights["encoder_bias"], centred, weights["encoder"].t())
    if options.kind == "relu":
        codes = pre_codes.relu()
        lengths = weights["decoder"].norm(dim=1)
        sums = (codes @ lengths).mean() / centred.shape[1] ** 0.5
        penalty = options.l1 * sums
    else:
        threshold = weights["threshold"]
        codes = _Jump.apply(pre_codes, threshold, False)
        l0 = _Jump.apply(pre_codes, threshold, True).sum(1).mean()
        target = options.target_l0 or options.k
        penalty = pressure * options.l0_weight * (l0 / target - 1).square()
    pattern = pattern_of(codes.detach() > 0)
    ends = options.prefixes(codes.shape[1])
    least = codes.detach()[pattern.rows, pattern.latents]
    smallest = float(least.min()) if len(least) else float("nan")
    return (pattern, smallest), _dense_prefixes(codes, weights["decoder"], ends), penalty


def _sparse_prefixes(
    values: Tensor, decoder: Tensor, pattern: Pattern, ends: Sequence[int]
) -> Sequence[Tensor]:
    """Reconstructions from the first latents, each the one before and what its own add."""
    if len(ends) == 1:
        return [sparse_decode(values, decoder, pattern)]
    sums: list[Tensor] = []
    for start, end in zip((0, *ends), ends, strict=False):
        is_own = (pattern.latents >= start) & (pattern.latents < end)
        counts = torch.bincount(pattern.rows[is_own], minlength=pattern.n_rows)
        offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        own = Pattern(offsets, pattern.latents[is_own], pattern.n_latents)
        added = sparse_decode(values[is_own], decoder, own)
        sums.append(sums[-1] + added if sums else added)
    return sums


def _dense_prefixes(codes: Tensor, decoder: Tensor, ends: Sequence[int]) -> Sequence[Tensor]:
    sums: list[Tensor] = []
    for start, end in zip((0, *ends), ends, strict=False):
        added = codes[:, start:end] @ decoder[start:end]
        sums.append(sums[-1] + added if sums else added)
    return sums


def _auxiliary(
    centred: Tensor, sums: Tensor, weights: Weights, dead: Tensor, options: SaeOptions
) -> Tensor:
    """Share of the detached residual that dead latents leave unexplained.

    Codes below zero count too, though not in the code that Gao et al. published: a latent all of
    whose codes are below zero could not come back otherwise.
    """
    residual = (centred - sums).detach()
    largest = options.aux_k if options.aux_k is not None else centred.shape[1] // 2
    k = min(largest, len(dead))
    if k == 0:
        return residual.new_zeros(())
    pre_codes = torch.addmm(
        weights["encoder_bias"][dead], centred.detach(), weights["encoder"][dead].t()
    )
    values, places = pre_codes.topk(k, dim=1)
    codes = torch.zeros_like(pre_codes).scatter(1, places, values)
    left = (residual - codes @ weights["decoder"][dead]).square().sum()
    return left / residual.square().sum().clamp(min=_TINY)


class _Jump(Function):
    """JumpReLU, or its count, differentiated as if the jump were a slope of the bandwidth.

    The slope's gradient goes to the pre-codes too, as in Anthropic's recipe: with thresholds alone
    to move, codes stay too many for thousands of steps.
    """

    @staticmethod
    def forward(ctx: Any, pre_codes: Tensor, threshold: Tensor, is_count: bool) -> Tensor:
        is_active = pre_codes > threshold
        ctx.save_for_backward(pre_codes, threshold)
        ctx.is_count = is_count
        return is_active.to(pre_codes.dtype) if is_count else pre_codes * is_active

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pre_codes, threshold = ctx.saved_tensors
        (out,) = gradients
        near = ((pre_codes - threshold).abs() < _BANDWIDTH / 2).to(out.dtype) / _BANDWIDTH
        if ctx.is_count:
            return near * out, -(near * out).sum(0), None
        jump = threshold * near * out
        return out * (pre_codes > threshold) + jump, -jump.sum(0), None
