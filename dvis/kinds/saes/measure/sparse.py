"""Codes of which few are not zero: selected, decoded and differentiated without the zeros.

A dense training step has five products of (row, channel) by (channel, latent). Here only the first
stays dense, from which the active codes are selected; what follows costs in proportion to them.
Gradients equal those of the dense step.
"""

import math
import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

_SAMPLED_SHARE = 16  # of a batch, for an estimate of its threshold
_SLACK = 1.15  # candidates wanted for each code, so that the estimate seldom falls short


@dataclass(frozen=True)
class Pattern:
    """Which codes of a batch are active, row by row.

    Parameters
    ----------
    offsets : Tensor, (row + 1,), int64
        Where each row's codes begin among the active ones, and their number.
    latents : Tensor, (active,), int64
        Latent of each active code, ascending in a row.
    n_latents : int
        Latents that there are.
    """

    offsets: Tensor
    latents: Tensor
    n_latents: int

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self.offsets) - 1

    @cached_property
    def counts(self) -> Tensor:
        """Rows in which each latent is active, (latent,)."""
        return torch.bincount(self.latents, minlength=self.n_latents)

    @cached_property
    def rows(self) -> Tensor:
        """Row of each active code, (active,)."""
        lengths = self.offsets.diff()
        return torch.repeat_interleave(lengths, output_size=len(self.latents))

    @cached_property
    def by_latent(self) -> tuple[Tensor, Tensor, Tensor]:
        """Order of active codes by latent, their rows in it, and where each latent begins."""
        order = torch.argsort(self.latents.to(torch.int32), stable=True)
        starts = functional.pad(self.counts.cumsum(0), (1, 0))
        return order, self.rows[order], starts

    def dense(self, values: Tensor) -> Tensor:
        """Codes with their zeros, (row, latent)."""
        codes = values.new_zeros(self.n_rows, self.n_latents)
        return codes.index_put((self.rows, self.latents), values)


def fits(x: Tensor) -> bool:
    """Whether the sparse step is the quicker one for such rows: float32 on a CPU."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def pattern_of(mask: Tensor) -> Pattern:
    """Pattern of a mask, (row, latent)."""
    counts = mask.sum(1)
    latents = mask.flatten().nonzero().squeeze(1) % mask.shape[1]
    return Pattern(functional.pad(counts.cumsum(0), (1, 0)), latents, mask.shape[1])


def top_of_rows(pre_codes: Tensor, k: int) -> tuple[Pattern, Tensor]:
    """The k largest positive codes of each row, fewer where fewer are positive.

    Parameters
    ----------
    pre_codes : Tensor, (row, latent)
        What a ReLU would follow.
    k : int
        Codes of a row.

    Returns
    -------
    pattern : Pattern
        Of the active codes.
    values : Tensor, (active,)
        Their values.
    """
    values, latents = pre_codes.topk(k, dim=1, sorted=False)
    latents, order = latents.to(torch.int32).sort(dim=1)
    values, latents = values.gather(1, order), latents.long()
    is_active = values > 0
    n_rows, n_latents = pre_codes.shape
    if bool(is_active.all()):
        offsets = torch.arange(0, n_rows * k + 1, k, device=pre_codes.device)
        return Pattern(offsets, latents.flatten(), n_latents), values.flatten()
    offsets = functional.pad(is_active.sum(1).cumsum(0), (1, 0))
    return Pattern(offsets, latents[is_active], n_latents), values[is_active]


def top_of_batch(pre_codes: Tensor, k: int, *, sampled: bool = False) -> tuple[Pattern, Tensor]:
    """The k x rows largest positive codes of a batch; of equal ones the first.

    A sixteenth of the batch tells about where the threshold lies. The codes above a lower bound
    of it are few, and among them the selection is exact: the same as a top-k of the whole batch.

    Parameters
    ----------
    pre_codes : Tensor, (row, latent)
        What a ReLU would follow.
    k : int
        Codes of a row, on average.
    sampled : bool
        Take the sixteenth's threshold as it is, and about so many codes.

    Returns
    -------
    pattern : Pattern
        Of the active codes.
    values : Tensor, (active,)
        Their values.
    """
    n_rows, n_latents = pre_codes.shape
    wanted = n_rows * k
    flat = pre_codes.flatten()
    if sampled:
        places = (flat > _threshold_of_sample(pre_codes, k)).nonzero().squeeze(1)
    else:
        places = _exact_top(flat, _candidates(pre_codes, k, wanted), wanted)
    rows = places // n_latents
    offsets = functional.pad(torch.bincount(rows, minlength=n_rows).cumsum(0), (1, 0))
    return Pattern(offsets, places - rows * n_latents, n_latents), flat[places]


def _candidates(pre_codes: Tensor, k: int, wanted: int) -> Tensor:
    """Places of positive codes, among which are the largest `wanted`."""
    bound = _threshold_of_sample(pre_codes, k * _SLACK)
    flat = pre_codes.flatten()
    places = (flat > bound).nonzero().squeeze(1)
    if len(places) < wanted and bound > 0:
        places = (flat > 0).nonzero().squeeze(1)
    return places


def _threshold_of_sample(pre_codes: Tensor, k: float) -> float:
    """Value that about k codes a row exceed, of every sixteenth row; 0 or more."""
    sample = pre_codes[::_SAMPLED_SHARE].flatten()
    nth = min(sample.numel(), max(1, math.ceil(k * len(pre_codes[::_SAMPLED_SHARE]))))
    return max(0.0, float(sample.topk(nth, sorted=False).values.min()))


def _exact_top(flat: Tensor, places: Tensor, wanted: int) -> Tensor:
    """Places of the largest `wanted` among the places given, ascending."""
    if len(places) <= wanted:
        return places
    values = flat[places]
    least = values.topk(wanted, sorted=False).values.min()
    is_above = values > least
    is_tied = values == least
    spare = wanted - is_above.sum()
    return places[is_above | (is_tied & (is_tied.cumsum(0) <= spare))]


def sparse_codes(
    rows: Tensor, encoder: Tensor, bias: Tensor, pattern: Pattern, values: Tensor
) -> Tensor:
    """Active codes as a function of the encoder that gave them.

    Parameters
    ----------
    rows : Tensor, (row, channel), float32
        What was encoded.
    encoder : Tensor, (latent, channel)
    bias : Tensor, (latent,)
    pattern : Pattern
        Of the active codes.
    values : Tensor, (active,)
        `rows @ encoder.T + bias` there, as computed without a gradient.

    Returns
    -------
    Tensor, (active,)
        The same values, through which gradients reach the rows, the encoder and the bias.
    """
    out: Tensor = _Codes.apply(rows, encoder, bias, pattern, values)
    return out


def sparse_decode(values: Tensor, decoder: Tensor, pattern: Pattern) -> Tensor:
    """Sums of decoder rows, weighted by active codes.

    Parameters
    ----------
    values : Tensor, (active,), float32
        Active codes.
    decoder : Tensor, (latent, channel)
    pattern : Pattern
        Where they are.

    Returns
    -------
    Tensor, (row, channel)
        With gradients for the values and the decoder.
    """
    out: Tensor = _Decode.apply(values, decoder, pattern)
    return out


class _Codes(Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, encoder: Tensor, bias: Tensor, pattern: Pattern, values: Tensor
    ) -> Tensor:
        ctx.save_for_backward(rows, encoder)
        ctx.pattern = pattern
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows, encoder = ctx.saved_tensors
        (of_values,) = gradients
        pattern: Pattern = ctx.pattern
        needs = ctx.needs_input_grad
        return (
            _weighted_rows(of_values, encoder, pattern) if needs[0] else None,
            _weighted_latents(of_values, rows, pattern) if needs[1] else None,
            _sum_by_latent(of_values, pattern) if needs[2] else None,
            None,
            None,
        )


class _Decode(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, decoder: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(values, decoder)
        ctx.pattern = pattern
        return _weighted_rows(values, decoder, pattern)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        values, decoder = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        out = gradients[0].contiguous()
        needs = ctx.needs_input_grad
        return (
            _products(out, decoder, pattern) if needs[0] else None,
            _weighted_latents(values, out, pattern) if needs[1] else None,
            None,
        )


def _weighted_rows(values: Tensor, weight: Tensor, pattern: Pattern) -> Tensor:
    """For each row, the sum of its latents' weights by value: (row, channel)."""
    if not len(pattern.latents):
        return weight.new_zeros(pattern.n_rows, weight.shape[1])
    return functional.embedding_bag(
        pattern.latents,
        weight,
        pattern.offsets,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )


def _weighted_latents(values: Tensor, rows: Tensor, pattern: Pattern) -> Tensor:
    """For each latent, the sum of the rows it is active in by value: (latent, channel)."""
    if not len(pattern.latents):
        return rows.new_zeros(pattern.n_latents, rows.shape[1])
    order, row_of, starts = pattern.by_latent
    return functional.embedding_bag(
        row_of,
        rows,
        starts,
        mode="sum",
        per_sample_weights=values[order],
        include_last_offset=True,
    )


def _sum_by_latent(values: Tensor, pattern: Pattern) -> Tensor:
    return values.new_zeros(pattern.n_latents).index_add_(0, pattern.latents, values)


def _products(rows: Tensor, weight: Tensor, pattern: Pattern) -> Tensor:
    """For each active code, its row times its latent's weights: (active,)."""
    if not len(pattern.latents):
        return rows.new_zeros(0)
    _hear_of_beta()
    where = torch.sparse_csr_tensor(
        pattern.offsets,
        pattern.latents,
        rows.new_zeros(len(pattern.latents)),
        (pattern.n_rows, pattern.n_latents),
        check_invariants=False,
    )
    products: Tensor = torch.sparse.sampled_addmm(where, rows, weight.t(), beta=0).values()
    return products


@cache
def _hear_of_beta() -> None:
    """Take torch's notice that its sparse tensors are in beta, which it gives once a process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        torch.sparse_csr_tensor(
            torch.tensor([0, 0]),
            torch.tensor([], dtype=torch.int64),
            torch.tensor([]),
            (1, 1),
            check_invariants=False,
        )
