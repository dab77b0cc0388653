"""What a stored image still activates in views that it was not made for.

An activation alone may be that of an adversarial pattern, which a small shift undoes; a feature
that somebody sees stays one when it is moved, turned, blurred or compressed. Stored images in,
their mean activation under a fixed set of views out, by the untouched model.
"""

import io
import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dvis.kinds.features.measure.engine import Normalisation
from dvis.kinds.features.measure.objectives import Objective, map_size
from dvis.kinds.features.measure.stored import StoredImage, activations, model_input
from dvis.kinds.features.measure.transforms import blur, view
from dvis.models.hooks import LayerOutput

# One change at a time, each further than the random views of the defaults go.
SHIFTS = ((0.11, 0.055), (-0.055, -0.11))  # of the image's side, in x and y
SCALES = (0.75, 1.3)
ANGLES = (-15.0, 15.0)  # degrees
BLURS = (1.0, 2.0)  # deviation in pixels of an image of 224
QUALITIES = (75, 50)  # of a JPEG
NEURON_SHARE = 0.25  # of a shift, for what hangs on a place
_LEAST_BLUR = 0.4  # pixels: less leaves an image as it is
_SIZE_OF_BLUR = 224


def held_out_means(
    model: nn.Module,
    outputs: dict[str, LayerOutput],
    objectives: Sequence[Objective],
    images: Sequence[StoredImage],
    normalisation: Normalisation,
) -> np.ndarray:
    """Mean of each objective over views of its stored image, (image,), float32.

    The views are two shifts, scales, turns, blurs and JPEG qualities, the same for every image,
    whatever shares its batch. Edges are mirrored. A neuron's views turn and grow about its place,
    and shift a quarter as far, for elsewhere is another neuron.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode; it is not touched.
    outputs : dict of str to LayerOutput
        What `trace_layers` says of it.
    objectives : sequence of Objective, (image,)
        The objective of each image.
    images : sequence of StoredImage, (image,)
        Images as a store keeps them.
    normalisation : Normalisation
        How the model takes their values.
    """
    like = next(model.parameters())
    inputs = model_input(images, normalisation, like)
    places = inputs.new_tensor([_place(objective, outputs) for objective in objectives])
    shown = [partial(_moved, places=places, affine=affine) for affine in _affines()]
    shown += [partial(_blurred, deviation=deviation) for deviation in BLURS]
    total = np.zeros(len(images))
    for show in shown:
        total += activations(model, outputs, objectives, show(inputs))
    for quality in QUALITIES:
        compressed = [_compressed(image, quality) for image in images]
        seen = model_input(compressed, normalisation, like)
        total += activations(model, outputs, objectives, seen)
    return (total / (len(shown) + len(QUALITIES))).astype(np.float32)


def _affines() -> list[tuple[float, float, float, float]]:
    """Shift in x and y (sides of the image), scale and angle (degrees) of each view."""
    moved = [(x, y, 1.0, 0.0) for x, y in SHIFTS]
    moved += [(0.0, 0.0, scale, 0.0) for scale in SCALES]
    return moved + [(0.0, 0.0, 1.0, angle) for angle in ANGLES]


def _place(objective: Objective, outputs: Mapping[str, LayerOutput]) -> tuple[float, float, float]:
    """Where a view's fixed point lies, x and y in -1 to 1, and what share of a shift it takes."""
    term = objective.terms[0]
    if term.reduction != "neuron":
        return 0.0, 0.0, 1.0
    output = outputs[term.layer]
    if len(output.shape) != 4:  # tokens have no place that is known
        return 0.0, 0.0, NEURON_SHARE
    height, width = map_size(output)
    row, column = term.neuron
    return (2 * column + 1) / width - 1, (2 * row + 1) / height - 1, NEURON_SHARE


def _moved(inputs: Tensor, *, places: Tensor, affine: tuple[float, float, float, float]) -> Tensor:
    """Inputs (image, channel, y, x), shifted, scaled and turned about places (image, 3)."""
    shift_x, shift_y, scale, degrees = affine
    angle = math.radians(degrees)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    turn = inputs.new_tensor([[cos, -sin], [sin, cos]])
    fixed, share = places[:, :2], places[:, 2:]
    shift = 2 * share * inputs.new_tensor([shift_x, shift_y]) + fixed - fixed @ turn.T
    return view(inputs, torch.cat((turn.expand(len(inputs), 2, 2), shift[..., None]), 2))


def _blurred(inputs: Tensor, *, deviation: float) -> Tensor:
    """Inputs (image, channel, y, x) under a Gaussian."""
    pixels = max(_LEAST_BLUR, deviation * inputs.shape[-1] / _SIZE_OF_BLUR)
    # Mirrored edges cannot be wider than the image.
    reach = min(math.ceil(3 * pixels), min(inputs.shape[-2:]) - 1)
    return blur(inputs, 2 * reach + 1, pixels)


def _compressed(image: StoredImage, quality: int) -> StoredImage:
    """The image after JPEG; colours that are not rgb are compressed one by one."""
    n_colours = image.pixels.shape[-1]
    parts = [image.pixels] if n_colours == 3 else np.split(image.pixels, n_colours, axis=-1)
    levels = []
    for part in parts:
        file = io.BytesIO()
        Image.fromarray(part if n_colours == 3 else part[..., 0]).save(
            file, "jpeg", quality=quality
        )
        levels.append(np.atleast_3d(np.asarray(Image.open(file))))
    return StoredImage(np.concatenate(levels, -1), image.value_min, image.value_max)
