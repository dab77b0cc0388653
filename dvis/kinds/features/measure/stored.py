"""Images as a store keeps them, 8 bits a colour, and the activation that such an image gives.

Values in, stored image out, and back to what the model takes: v = min + image / 255 * (max - min),
model input = (v - input_mean) / input_std.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dvis.kinds.features.levels import INPUT_MEAN, INPUT_STD, coloured_input
from dvis.kinds.features.measure.engine import Normalisation
from dvis.kinds.features.measure.objectives import Objective, ObjectiveBatch
from dvis.models.hooks import LayerOutput, stopping
from dvis.models.mixing import why_alone
from dvis.schema import LEVELS


@dataclass(frozen=True)
class StoredImage:
    """An image (y, x, channel), uint8, and the values of its levels 0 and 255."""

    pixels: np.ndarray
    value_min: float
    value_max: float


def quantise(values: Tensor, *, is_bounded: bool) -> StoredImage:
    """An image (channel, y, x) at 8 bits: 0 to 1 where values are bounded, else stretched."""
    low, high = (0.0, 1.0) if is_bounded else (float(values.min()), float(values.max()))
    spread = high - low if high > low else 1.0
    levels = ((values - low) / spread * LEVELS).round().clamp(0, LEVELS)
    pixels = levels.to(torch.uint8).movedim(0, -1).cpu().numpy()
    return StoredImage(pixels, float(np.float32(low)), float(np.float32(high)))


def model_input(
    images: Sequence[StoredImage], normalisation: Normalisation, like: Tensor
) -> Tensor:
    """What the model takes (image, channel, y, x) of stored images."""
    low, high = ([getattr(i, name) for i in images] for name in ("value_min", "value_max"))
    table = {INPUT_MEAN: normalisation.mean, INPUT_STD: normalisation.std}
    levels = np.stack([image.pixels for image in images])
    return torch.from_numpy(coloured_input(levels, low, high, table)).to(like)


def values_of(inputs: Tensor, normalisation: Normalisation, border: int = 0) -> Tensor:
    """Values of model inputs (image, channel, y, x), with a border of their outermost pixels."""
    std = inputs.new_tensor(normalisation.std)[:, None, None]
    values = inputs * std + inputs.new_tensor(normalisation.mean)[:, None, None]
    if border:
        before, after = border // 2, border - border // 2
        values = nn.functional.pad(values, (before, after, before, after), mode="replicate")
    return values


def activations(
    model: nn.Module,
    outputs: dict[str, LayerOutput],
    objectives: Sequence[Objective],
    images: Tensor,
) -> np.ndarray:
    """Objectives' values (image,), float64, of images (image, channel, y, x) by the model as it is.

    They are those of each image alone, where the model mixes the images of a batch.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    outputs : dict of str to LayerOutput
        What `trace_layers` says of it.
    objectives : sequence of Objective, (image,)
        The objective of each image.
    images : Tensor, (image, channel, y, x)
        What the model takes.
    """
    layers = sorted({layer for objective in objectives for layer in objective.layers})
    dims = {layer: outputs[layer].channel_dim for layer in layers}
    calls = {layer: outputs[layer].n_calls for layer in layers}
    evaluate = ObjectiveBatch(objectives, dims, images.device)
    why = why_alone(model, calls, images[:1])
    with torch.no_grad(), stopping(model, calls, is_alone=bool(why)) as forward:
        values: np.ndarray = evaluate(forward(images)).double().cpu().numpy()
        return values
