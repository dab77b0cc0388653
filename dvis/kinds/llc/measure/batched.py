"""Chains that are sampled together, their weights stacked, by `torch.func.vmap`.

Noise and minibatches of a chain are those that it has alone, so that its numbers are, but for
rounding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from dvis.kinds.llc.measure.chains import without
from dvis.kinds.llc.measure.losses import Loss, per_sample
from dvis.kinds.llc.measure.samples import Samples

# Measured, four chains: 1.5 x as fast at 3,000 weights, 1.1 x at 26,000, 0.8 x at 100,000; slower
# than that where images are large.
_MOST_WEIGHTS_ON_CPU = 10_000
BATCHED_ON_ACCELERATOR = False


class ManyWalkers:
    """Several chains: weights (chain, ...).

    Parameters
    ----------
    model : nn.Module
        A copy at the start; its own weights do not move.
    chosen : mapping of str to Tensor or None
        Names of the parameters that are sampled, and masks.
    loss, samples : callable, Samples
        What is sampled.
    n_chains : int
        How many.
    """

    per_chain = True

    def __init__(
        self,
        model: nn.Module,
        chosen: Mapping[str, Tensor | None],
        loss: Loss,
        samples: Samples,
        n_chains: int,
    ) -> None:
        self._module, self._samples = _LossModule(model, loss), samples
        self._names = [f"model.{name}" for name in chosen]
        self._masks = [None if mask is None else ~mask for mask in chosen.values()]
        parameters = dict(model.named_parameters())
        once = [parameters[name].detach() for name in chosen]
        self.start = [weight.expand(n_chains, *weight.shape) for weight in once]
        self.weights = [
            weight.clone(memory_format=torch.contiguous_format) for weight in self.start
        ]

    def load(self, positions: Sequence[np.ndarray]) -> Any:
        """Minibatches, stacked; one alone where all chains have the same."""
        one_for_all = all(
            part is positions[0] or np.array_equal(part, positions[0]) for part in positions
        )
        like = self.weights[0]
        if one_for_all:
            return self._samples.batch(positions[0], like), len(positions[0]), None
        batches = [self._samples.batch(part, like) for part in positions]
        stacked = tree_map(lambda *tensors: torch.stack(tensors), *batches)
        return stacked, len(positions[0]), 0

    def losses_and_gradients(self, batch: Any) -> tuple[Tensor, list[Tensor]]:
        """Losses (chain, sample) and gradients (chain, ...)."""
        values, n_samples, dim = batch

        def losses_of(weights: list[Tensor], values_of_chain: Any) -> Tensor:
            named = dict(zip(self._names, weights, strict=True))
            losses: Tensor = functional_call(self._module, named, (values_of_chain, n_samples))
            return losses

        with torch.enable_grad():
            weights = [weight.detach().requires_grad_(True) for weight in self.weights]
            losses = vmap(losses_of, in_dims=(0, dim), randomness="different")(weights, values)
            gradients = torch.autograd.grad(losses.mean(1).sum(), weights, materialize_grads=True)
        return losses.detach(), without(gradients, self._masks)


class _LossModule(nn.Module):
    """A loss with its model, as one module whose parameters can be exchanged."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Any, n_samples: int) -> Tensor:
        return per_sample(self._loss, self.model, batch, n_samples)


def is_faster_batched(n_weights: int, n_chains: int, device: torch.device) -> bool:
    """Whether chains are sampled together where nobody says."""
    if n_chains < 2:
        return False
    return n_weights <= _MOST_WEIGHTS_ON_CPU if device.type == "cpu" else BATCHED_ON_ACCELERATOR
