"""overcomplete's TopK autoencoder: what its `train_sae` does with a batch, monitoring left out."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
from torch import Tensor

# overcomplete 0.3 asks for what matplotlib 3.9 took away, and then fails to import.
if not hasattr(plt.cm, "get_cmap"):
    plt.cm.get_cmap = plt.get_cmap
from overcomplete.sae import TopKSAE


def overcomplete_step(n_channels: int, n_latents: int, k: int) -> Callable[[Tensor], None]:
    """A step on a batch of rows, with the mean squared error and clipped gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TopKSAE(n_channels, n_latents, top_k=k)
    model.train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step(batch: Tensor) -> None:
        adam.zero_grad()
        _, _, x_hat = model(batch)
        (batch - x_hat).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()

    return step
