"""Losses of single samples: by name, or the caller's own."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[nn.Module, Any], Tensor]


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    """Cross entropy (sample,) of logits, for batches (inputs, labels)."""
    inputs, labels = batch
    return functional.cross_entropy(model(inputs), labels, reduction="none")


def mse(model: nn.Module, batch: Any) -> Tensor:
    """Squared error (sample,), the mean over a sample's outputs, for batches (inputs, targets)."""
    inputs, targets = batch
    errors = functional.mse_loss(model(inputs), targets, reduction="none")
    return errors.flatten(1).mean(1) if errors.ndim > 1 else errors


NAMED = {"cross_entropy": cross_entropy, "mse": mse}


def loss_function(loss: str | Loss) -> Loss:
    """The loss of that name, or the one given.

    Raises
    ------
    ValueError
        When no loss has the name.
    """
    if not isinstance(loss, str):
        return loss
    if loss not in NAMED:
        raise ValueError(
            f"No loss {loss!r}: give {' or '.join(NAMED)}, or a function of model and batch that "
            "returns the loss of each sample"
        )
    return NAMED[loss]


def loss_name(loss: str | Loss) -> str:
    """What a loss is called: its name, or module and name of the function."""
    if isinstance(loss, str):
        return loss
    function: Any = loss
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def per_sample(loss: Loss, model: nn.Module, batch: Any, n_samples: int) -> Tensor:
    """Losses (sample,) of a batch.

    Raises
    ------
    ValueError
        When the loss gives anything but one number a sample.
    """
    losses = loss(model, batch)
    if not isinstance(losses, Tensor) or losses.shape != (n_samples,):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            f"{loss_name(loss)} gave {got} for {n_samples} samples; a loss must give one number a "
            'sample, (sample,), as torch\'s do with reduction="none"'
        )
    return losses
