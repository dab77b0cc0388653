"""A quadratic loss, whose learning coefficient is known in closed form."""

import numpy as np
import torch
from torch import Tensor, nn


class Quadratic(nn.Module):
    """Weights of a quadratic loss, at its minimum."""

    def __init__(self, curvatures: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(curvatures)))
        self.register_buffer("curvatures", torch.tensor(curvatures, dtype=torch.float32))


def half_square(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """The quadratic loss (sample,), times the values of a batch's samples."""
    return (model.curvatures * model.weight**2).sum() / 2 * batch[0]
