r"""How alike two feature images are to the layer that they were made for.

What an image shows may stand anywhere in it, so pixels cannot tell: two images of the same stripe,
a few pixels apart, have nothing in common. The layer's other channels do not mind where. With
:math:`a_c(x)` the mean over the map of channel c,

.. math:: \varphi_c(x) = a_c(x) - a_c(\text{grey}), \qquad
    s(x, y) = \frac{\sum_c (\varphi_c(x) - \bar\varphi(x)) (\varphi_c(y) - \bar\varphi(y))}
    {\sqrt{\sum_c (\varphi_c(x) - \bar\varphi(x))^2 \sum_c (\varphi_c(y) - \bar\varphi(y))^2}}

over the channels c that neither image was made for: these are high by construction, and would make
any two images of a unit alike; of images made for directions of a layer, what lies along these is
taken away. Grey is taken away because a layer's biases are the same for all
images, and the mean over channels because strong contrast drives all of them. What remains common
to all images of a layer is in the similarity of images of different units too, which is its null.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from dvis.models.directions import ReadOut
from dvis.models.hooks import LayerOutput, as_maps, stopping
from dvis.models.mixing import why_alone

# Of fewer channels a correlation is near 1 or -1 by chance (two are always so).
_LEAST_CHANNELS = 4


def profiles(
    model: nn.Module,
    outputs: Mapping[str, LayerOutput],
    layer: str,
    images: Tensor,
) -> np.ndarray:
    """Mean activations of a layer's channels at images less those at the last, (image, channel).

    Parameters
    ----------
    model : nn.Module
        The model in eval mode.
    outputs : mapping of str to LayerOutput
        What `trace_layers` says of it.
    layer : str
        The layer.
    images : Tensor, (image + 1, channel, y, x)
        What the model takes of the images, and of grey.
    """
    calls = {layer: outputs[layer].n_calls}
    why = why_alone(model, calls, images[:1])
    with torch.no_grad(), stopping(model, calls, is_alone=bool(why)) as forward:
        seen = forward(images)[layer]
    means = as_maps(seen, outputs[layer].channel_dim).flatten(2).double().mean(2).cpu().numpy()
    found: np.ndarray = means[:-1] - means[-1]
    return found


def apart_from(profiles: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Profiles (..., channel) less what of them lies along the rows (row, channel) of a read-out.

    What images are made for is left out so where that is directions of a layer, not channels.
    """
    basis, _ = np.linalg.qr(rows.T.astype(np.float64))
    found: np.ndarray = profiles - (profiles @ basis) @ basis.T
    return found


def grey_input(mean: Sequence[float], std: Sequence[float], size: int, like: Tensor) -> Tensor:
    """What a model takes of a grey image, (1, channel, y, x)."""
    levels = (0.5 - like.new_tensor(mean)) / like.new_tensor(std)
    return levels[None, :, None, None].expand(-1, -1, size, size)


def similarity(first: np.ndarray, second: np.ndarray, made_for: Collection[int]) -> float:
    """Correlation of two profiles (channel,) without the channels that they were made for.

    Returns
    -------
    float
        -1 to 1; NaN where fewer than four channels are left, or one profile is the same in all.
    """
    one, other = (np.delete(profile, sorted(made_for)) for profile in (first, second))
    if len(one) < _LEAST_CHANNELS:
        return float("nan")
    one, other = one - one.mean(), other - other.mean()
    length = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum() / length) if length > 0 else float("nan")


def of_seeds(
    profiles: Sequence[np.ndarray], units: Sequence[int], read_out: ReadOut | None = None
) -> list[float]:
    """Mean similarity of each unit's images, (image, channel) of each, to one another."""
    found = []
    for of_unit, unit in zip(profiles, units, strict=True):
        made_for = [unit]
        if read_out is not None:
            of_unit, made_for = apart_from(of_unit, read_out.of([unit]).rows), []
        pairs = [similarity(*pair, made_for) for pair in combinations(of_unit, 2)]
        found.append(float(np.mean(pairs)) if pairs else float("nan"))
    return found
