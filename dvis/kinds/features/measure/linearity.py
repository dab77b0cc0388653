"""Which units' objectives are linear in the image, so that no feature is to be found.

The mean of a first convolution before its ReLU is such: what maximises it has every pixel at an
end of its range, and is black, white or a checkerboard.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dvis.kinds.features.measure.objectives import Objective
from dvis.kinds.features.measure.stored import activations
from dvis.models.hooks import LayerOutput

TOLERANCE = 0.005  # of the difference between two images' activations
_SHARES = 0.5, 0.25, 0.75  # of the way, so that no bend is missed where it changes its sign
_SEED = 0
_MOST_NAMED = 5  # channels


def is_linear(
    model: nn.Module,
    outputs: dict[str, LayerOutput],
    objectives: Sequence[Objective],
    inputs: Tensor,
    reached: np.ndarray,
) -> np.ndarray:
    """Whether activations go straight from noise to an image.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode; it is not touched.
    outputs : dict of str to LayerOutput
        What `trace_layers` says of it.
    objectives : sequence of Objective, (image,)
        The objective of each image.
    inputs : Tensor, (image, channel, y, x)
        What the model takes of the images.
    reached : ndarray, (image,)
        Activations of these.

    Returns
    -------
    ndarray, (image,), bool
    """
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.rand(inputs.shape[1:], generator=generator, dtype=torch.float64).to(inputs)
    low, high = (bound(inputs, dim=(1, 2, 3), keepdim=True) for bound in (torch.amin, torch.amax))
    noisy = low + (high - low) * noise

    of_noise = activations(model, outputs, objectives, noisy)
    difference = reached - of_noise
    straight: np.ndarray = np.abs(difference) > 0
    for share in _SHARES:
        if not straight.any():  # of most layers after the first look
            break
        between = activations(model, outputs, objectives, noisy + share * (inputs - noisy))
        bend = between - (of_noise + share * difference)
        straight &= np.abs(bend) <= TOLERANCE * np.abs(difference)
    return straight


def said_of_linear(layer: str, channels: Sequence[int]) -> str:
    """What is to be said of a layer that has such units."""
    some = ", ".join(map(str, channels[:_MOST_NAMED]))
    more = f" and {len(channels) - _MOST_NAMED} more" if len(channels) > _MOST_NAMED else ""
    noun = "channel" if len(channels) == 1 else "channels"
    return (
        f"{layer}, {noun} {some}{more}: activations are linear in the image on the way to it, so "
        "that the best image is black, white or a checkerboard at the ends of the range, and shows "
        "no feature"
    )
