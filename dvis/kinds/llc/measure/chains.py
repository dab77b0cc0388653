"""The loop of chains: minibatch, gradient, step, and what is kept of each.

A chain is known by its seed alone; chains that are sampled together (`batched.py`) give the
numbers that each gives alone, but for rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dvis.kinds.llc.measure.acceptance import JudgedStep, judged_step
from dvis.kinds.llc.measure.dynamics import SGLD, Posterior, RMSprop, StepRule, exact_dtype, norms
from dvis.kinds.llc.measure.losses import Loss, per_sample
from dvis.kinds.llc.measure.noise import GaussianNoise, Minibatches
from dvis.kinds.llc.measure.samples import Samples
from dvis.kinds.llc.settings import ChainSettings
from dvis.kinds.llc.words import ChainStatus

_STANDARD_ERRORS = 4
_ACCELERATOR_LOOKS = 16  # steps between looks at the losses, each of which an accelerator waits for


@dataclass(frozen=True, kw_only=True)
class ChainTraces:
    """What chains gave.

    Attributes
    ----------
    loss : ndarray, (chain, draw), float64
        Minibatch loss at the weights before each step; NaN after a chain diverged.
    distance, grad_norm, noise_norm : ndarray, (chain, draw), float32
        Of the weights from the start, of the gradient of the mean loss, and of the noise as added;
        NaN at steps without diagnostics.
    mala : ndarray, (chain,), float32
        Mean acceptance probability; NaN where it was not computed.
    status : ndarray, (chain,), uint8
        `ChainStatus`.
    n_finite : ndarray, (chain,), int32
        Steps before the first loss that is not finite.
    """

    loss: np.ndarray
    distance: np.ndarray
    grad_norm: np.ndarray
    noise_norm: np.ndarray
    mala: np.ndarray
    status: np.ndarray
    n_finite: np.ndarray


class Walkers(Protocol):
    """Weights of one or more chains, and how to get losses and gradients at them."""

    weights: list[Tensor]
    start: list[Tensor]
    per_chain: bool

    def load(self, positions: Sequence[np.ndarray]) -> Any:
        """The minibatches of the chains."""

    def losses_and_gradients(self, batch: Any) -> tuple[Tensor, list[Tensor]]:
        """Losses (chain, sample), and gradients of their means."""


class OneWalker:
    """One chain: the parameters of a copied model are the weights.

    Parameters
    ----------
    model : nn.Module
        A copy, whose weights will move; parameters that are not sampled get no gradient.
    chosen : mapping of str to Tensor or None
        Names of the parameters that are sampled, and masks.
    loss, samples : callable, Samples
        What is sampled.
    """

    per_chain = False

    def __init__(
        self, model: nn.Module, chosen: Mapping[str, Tensor | None], loss: Loss, samples: Samples
    ) -> None:
        self._model, self._loss, self._samples = model, loss, samples
        parameters = dict(model.named_parameters())
        self._parameters = [parameters[name].requires_grad_(True) for name in chosen]
        self._masks = [None if mask is None else ~mask for mask in chosen.values()]
        self.weights = [parameter.detach() for parameter in self._parameters]
        self.start = [weight.clone() for weight in self.weights]

    def load(self, positions: Sequence[np.ndarray]) -> Any:
        """The minibatch."""
        return self._samples.batch(positions[0], self.weights[0]), len(positions[0])

    def losses_and_gradients(self, batch: Any) -> tuple[Tensor, list[Tensor]]:
        """Losses (1, sample) and gradients."""
        with torch.enable_grad():
            losses = per_sample(self._loss, self._model, *batch)
            gradients = torch.autograd.grad(losses.mean(), self._parameters, materialize_grads=True)
        return losses.detach()[None], without(gradients, self._masks)


def without(tensors: Sequence[Tensor], masks: Sequence[Tensor | None]) -> list[Tensor]:
    """Tensors that are 0 where masks are true."""
    return [t if m is None else t.masked_fill(m, 0) for t, m in zip(tensors, masks, strict=True)]


def sample(
    walkers: Walkers,
    chosen: Mapping[str, Tensor | None],
    posterior: Posterior,
    settings: ChainSettings,
    n_samples: int,
    seeds: Sequence[int],
) -> ChainTraces:
    """Walk, and keep what is asked for of every step.

    A chain stops at the first loss that is not finite; see `verdict` for what else counts as
    diverged.

    Parameters
    ----------
    walkers : Walkers
        Weights at their start; they are moved.
    chosen : mapping of str to Tensor or None
        Names of the parameters that are sampled, and masks.
    posterior : Posterior
        What is sampled, and in which steps.
    settings : ChainSettings
        How long, and what is kept.
    n_samples : int
        Size of the set that minibatches are of.
    seeds : sequence of int
        One of each chain.
    """
    minibatches = [Minibatches(n_samples, settings.batch_size, seed) for seed in seeds]
    noise = _Noise(walkers, chosen, seeds, posterior.epsilon**0.5)
    scratch = _Scratch(walkers.weights, settings)
    rule: StepRule = RMSprop(walkers.weights) if settings.method == "rmsprop" else SGLD()
    kept = _Kept(len(seeds), settings, walkers.weights[0])
    look_every = 1 if walkers.weights[0].device.type == "cpu" else _ACCELERATOR_LOOKS
    batch: Any = None
    for step in range(settings.n_steps):
        if batch is None or not minibatches[0].is_whole:
            batch = walkers.load([next(stream) for stream in minibatches])
        losses, gradients = walkers.losses_and_gradients(batch)
        kept.take_losses(step, losses)
        if step % look_every == 0 and not kept.is_any_finite(step):
            break
        is_judged = settings.diagnostics_every > 0 and step % settings.diagnostics_every == 0
        before: list[Tensor] = []
        if is_judged:
            kept.take("grad_norm", step, norms(gradients, per_chain=walkers.per_chain))
            before = scratch.copied(walkers.weights)
        added = next(noise)
        rule.step(posterior, walkers.weights, walkers.start, gradients, added)
        if is_judged:
            kept.take("noise_norm", step, norms(added, per_chain=walkers.per_chain))
            after = walkers.losses_and_gradients(batch)
            ends = ((losses, gradients), after)
            judged = _judged(posterior, walkers, rule, before, ends)
            kept.take("distance", step, judged.distance)
            kept.take_acceptance(judged.log_acceptance)
            del after, ends
        del gradients  # their memory is that of the next
    return kept.traces(posterior.nbeta, _n_weights(walkers, chosen))


def _judged(
    posterior: Posterior,
    walkers: Walkers,
    rule: StepRule,
    before: list[Tensor],
    ends: tuple[tuple[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]],
) -> JudgedStep:
    """What is known of a step, by losses and gradients of both its ends on one minibatch."""
    (losses, gradients), (losses_after, gradients_after) = ends
    exact = exact_dtype(losses.device)
    return judged_step(
        posterior,
        losses=(losses.to(exact).mean(1), losses_after.to(exact).mean(1)),
        weights=(before, walkers.weights),
        gradients=(gradients, gradients_after),
        start=walkers.start,
        preconditioner=rule.preconditioner,
        per_chain=walkers.per_chain,
    )


def _n_weights(walkers: Walkers, chosen: Mapping[str, Tensor | None]) -> int:
    """Weights that are sampled, of one chain."""
    return sum(
        (start[0] if walkers.per_chain else start).numel() if mask is None else int(mask.sum())
        for start, mask in zip(walkers.start, chosen.values(), strict=True)
    )


class _Scratch:
    """Memory as large as the weights, for what they were before a step.

    Fresh memory of that size takes longer to get from the system than to fill.
    """

    def __init__(self, weights: list[Tensor], settings: ChainSettings) -> None:
        is_needed = settings.diagnostics_every > 0
        self._tensors = [torch.empty_like(weight) for weight in weights] if is_needed else []

    def copied(self, weights: list[Tensor]) -> list[Tensor]:
        """The weights as they are now, until the next use."""
        torch._foreach_copy_(self._tensors, weights)
        return self._tensors


class _Noise:
    """Noise of all chains, 0 where masks are false."""

    def __init__(
        self,
        walkers: Walkers,
        chosen: Mapping[str, Tensor | None],
        seeds: Sequence[int],
        scale: float,
    ) -> None:
        shapes = [w.shape[1:] if walkers.per_chain else w.shape for w in walkers.weights]
        self._streams = [GaussianNoise(shapes, seed, walkers.weights[0], scale) for seed in seeds]
        self._masks = [None if mask is None else ~mask for mask in chosen.values()]
        self._per_chain = walkers.per_chain

    def __next__(self) -> list[Tensor]:
        drawn = [next(stream) for stream in self._streams]
        if not self._per_chain:
            return without(drawn[0], self._masks)
        return without([torch.stack(parts) for parts in zip(*drawn, strict=True)], self._masks)


class _Kept:
    """What is kept of the steps, on the device until the end."""

    def __init__(self, n_chains: int, settings: ChainSettings, like: Tensor) -> None:
        shape = (n_chains, settings.n_steps)
        names = ("loss", "distance", "grad_norm", "noise_norm")
        self._dtype = exact_dtype(like.device)
        self._values = {
            name: torch.full(shape, torch.nan, device=like.device, dtype=self._dtype)
            for name in names
        }
        self._accepted = torch.zeros(n_chains, device=like.device, dtype=self._dtype)
        self._n_judged = 0
        self._first = (torch.empty(0), torch.empty(0))

    def take_losses(self, step: int, losses: Tensor) -> None:
        """Losses (chain, sample) of the minibatches."""
        exact = losses.to(self._dtype)
        self._values["loss"][:, step] = exact.mean(1)
        if step == 0:
            n_samples = max(2, losses.shape[1])
            spread = (
                losses.to(self._dtype).std(1, correction=0) * (n_samples / (n_samples - 1)) ** 0.5
            )
            self._first = exact.mean(1), spread / n_samples**0.5

    def is_any_finite(self, step: int) -> bool:
        """Whether a chain is still alive; a number that is lost stays lost."""
        return bool(self._values["loss"][:, step].isfinite().any())

    def take(self, name: str, step: int, values: Tensor) -> None:
        """Values (chain,) of a step."""
        self._values[name][:, step] = values.to(self._dtype)

    def take_acceptance(self, logarithm: Tensor) -> None:
        """Logarithms (chain,) of acceptance probabilities; no number is accepted never."""
        self._accepted += logarithm.exp().nan_to_num(0.0).to(self._dtype)
        self._n_judged += 1

    def traces(self, nbeta: float, n_weights: int) -> ChainTraces:
        """All of it, as arrays, with the verdicts."""
        arrays = {name: values.cpu().double().numpy() for name, values in self._values.items()}
        losses = arrays.pop("loss")
        is_finite = np.isfinite(losses)
        n_finite = np.where(is_finite.all(1), losses.shape[1], is_finite.argmin(1))
        is_over = np.arange(losses.shape[1]) >= n_finite[:, None]
        losses[is_over] = np.nan
        for values in arrays.values():
            values[is_over] = np.nan
        first, error = (values.cpu().double().numpy() for values in self._first)
        status = [
            verdict(row, n_weights, nbeta, (float(value), float(se)))
            for row, value, se in zip(losses, first, error, strict=True)
        ]
        mala = (
            self._accepted.cpu().numpy() / self._n_judged
            if self._n_judged
            else np.full(len(losses), np.nan)
        )
        return ChainTraces(
            loss=losses,
            **{name: values.astype(np.float32) for name, values in arrays.items()},
            mala=mala.astype(np.float32),
            status=np.array(status, np.uint8),
            n_finite=n_finite.astype(np.int32),
        )


def verdict(
    losses: np.ndarray, n_weights: int, nbeta: float, first: tuple[float, float]
) -> ChainStatus:
    """Whether a chain is a sample of the posterior, or diverged.

    It diverged where a loss is not finite, and where nbeta (E[L] - L(w*)) over its second half is
    beyond the number of weights by 4 standard errors. The learning coefficient is at most half the
    number of weights, for any prior that is positive at w* (Watanabe 2009, Algebraic Geometry and
    Statistical Learning Theory, section 7.1: a regular model attains it, a singular one is below),
    and steps of twice the size that is right for the stiffest weights (epsilon (nbeta h + gamma)
    = 2) double the estimate: beyond the number of weights lies no sample. The standard error is
    that of minibatches, from differences of successive losses (von Neumann 1941), and that of a
    chain that stays where it is: a posterior's nbeta L has a variance of at most d / 2 about its
    mean.

    Parameters
    ----------
    losses : ndarray, (draw,)
        Losses of its minibatches.
    n_weights : int
        Weights that are sampled.
    nbeta : float
        Inverse temperature times number of samples.
    first : (float, float)
        Mean loss at w*, and its standard error.
    """
    if not np.isfinite(losses).all():
        return ChainStatus.DIVERGED
    half = losses[len(losses) // 2 :]
    of_minibatches = np.sqrt((np.diff(half) ** 2).mean() / 2 / len(half)) if len(half) > 1 else 0.0
    noise = nbeta * np.hypot(of_minibatches, first[1]) + np.sqrt(n_weights / 2)
    excess = nbeta * (half.mean() - first[0])
    is_beyond = excess > n_weights + _STANDARD_ERRORS * noise
    return ChainStatus.DIVERGED if is_beyond else ChainStatus.DONE
