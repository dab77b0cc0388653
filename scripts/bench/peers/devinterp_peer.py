"""devinterp's SGLD, of its version 1, which takes any model with a loader and a loss."""

import warnings

import torch
from devinterp.optim.sgld import SGLD
from devinterp.slt.llc import LLCEstimator
from devinterp.slt.sampler import sample
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


def sample_devinterp(
    model: nn.Module,
    data: tuple[torch.Tensor, torch.Tensor],
    n_steps: int,
    *,
    batch_size: int,
    epsilon: float,
    gamma: float,
    nbeta: float,
) -> None:
    """One chain of so many steps, each of them a draw, with the LLC's estimator alone."""
    loader = DataLoader(TensorDataset(*data), batch_size=batch_size, shuffle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the class, the burn-in, nbeta and the seed
        sample(
            model,
            loader,
            [LLCEstimator(num_chains=1, num_draws=n_steps, nbeta=nbeta, init_loss=1.0)],
            evaluate=_cross_entropy,
            sampling_method=SGLD,
            optimizer_kwargs={"lr": epsilon, "localization": gamma, "nbeta": nbeta},
            num_draws=n_steps,
            num_chains=1,
            init_loss=1.0,
            seed=0,
            verbose=False,
        )


def _cross_entropy(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    images, labels = batch
    return functional.cross_entropy(model(images), labels)
