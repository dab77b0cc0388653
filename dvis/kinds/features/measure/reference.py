"""What units answer to images that are not made for them: reference images, and constant ones.

A model and its layers in, a few numbers a unit out: by one forward pass over the images for all
units of all layers that are asked for, which a process keeps as long as the model.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.kinds.features.measure.objectives import aggregated
from dvis.kinds.features.reference_sets import N_IMAGES
from dvis.kinds.features.tasks import FeatureTask
from dvis.kinds.features.words import AVERAGE, CONSTANT_MAX, OF_REFERENCE
from dvis.models.hooks import LayerOutput, as_maps, convolutions, stopping
from dvis.models.mixing import why_alone
from dvis.schema import CHANNEL, LEVELS, NOTES

_CONSTANTS = (0.0, 0.5, 1.0)  # black, grey and white
_BATCH = 16

Numbers = Mapping[str, np.ndarray]  # (channel,) by the name of an array
Answers = dict[tuple[str, str], Numbers]  # by layer and objective
Values = dict[tuple[str, str], np.ndarray]  # (image, channel), the constant images last


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceImages:
    """Fixed images, the same at every checkpoint.

    Parameters
    ----------
    name : str
        What they are.
    levels : ndarray, (image, channel, y, x), uint8 0-255
        The images; none of them leaves the constant images alone.
    mean, std : tuple of float, (channel,)
        How the model takes values in 0 to 1: (value - mean) / std.
    """

    name: str
    levels: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.levels)

    @property
    def description(self) -> dict[str, Any]:
        """What a store keeps of them: plain values."""
        digest = hashlib.blake2b(repr(self.levels.shape).encode(), digest_size=8)
        digest.update(self.levels.tobytes())
        return {
            "name": self.name,
            N_IMAGES: len(self),
            "size": self.levels.shape[-1],
            "input_mean": list(self.mean),
            "input_std": list(self.std),
            "fingerprint": digest.hexdigest(),
        }

    def batch(self, first: int, like: Tensor) -> Tensor:
        """Model inputs (image, channel, y, x) from an image on, the constant ones after all."""
        shape = (len(_CONSTANTS), *self.levels.shape[1:])
        constant = np.broadcast_to(np.reshape(_CONSTANTS, (-1, 1, 1, 1)), shape)
        values = self.levels[first : first + _BATCH] / LEVELS
        n_left = first + _BATCH - len(self)
        if n_left > 0:
            after = max(first - len(self), 0)
            values = np.concatenate([values, constant[after:n_left]])
        mean, std = (np.reshape(numbers, (-1, 1, 1)) for numbers in (self.mean, self.std))
        return torch.from_numpy((values - mean) / std).to(like)


def answers(
    model: nn.Module,
    outputs: Mapping[str, LayerOutput],
    layers: Sequence[str],
    objectives: Sequence[str],
    images: ReferenceImages,
) -> tuple[Answers, str]:
    """What all channels of some layers answer, and why they do not, or nothing.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode; it is not touched.
    outputs : mapping of str to LayerOutput
        What `trace_layers` says of it.
    layers : sequence of str
        The layers.
    objectives : sequence of str
        What of a channel's map is taken, as variants name it: average, neuron_3_4.
    images : ReferenceImages
        The images.

    Returns
    -------
    answers : dict of (layer, objective) to mapping of str to ndarray, (channel,), float32
        `reference_mean`, `reference_sd` (n - 1) and `reference_max` over images, where there are
        some, and `constant_max`; NaN where a number is not finite.
    why : str
        Why there are none: a layer runs for some images alone.
    """
    values, why = _values(model, outputs, layers, objectives, images)
    return {place: _numbers(found, len(images)) for place, found in values.items()}, why


def _values(
    model: nn.Module,
    outputs: Mapping[str, LayerOutput],
    layers: Sequence[str],
    objectives: Sequence[str],
    images: ReferenceImages,
) -> tuple[Values, str]:
    """What all channels of some layers answer to each image, and why they do not, or nothing."""
    like = next(model.parameters())
    calls = {layer: outputs[layer].n_calls for layer in layers}
    dims = {layer: outputs[layer].channel_dim for layer in layers}

    def reduce(layer: str, output: Tensor) -> Tensor:
        maps = as_maps(output, dims[layer])
        return torch.stack([aggregated(maps, objective) for objective in objectives])

    batches: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    why = why_alone(model, calls, images.batch(0, like)[:1])
    size = 1 if why else _BATCH
    try:
        with torch.no_grad(), stopping(model, calls, reduce) as forward:
            for first in range(0, len(images) + len(_CONSTANTS), _BATCH):
                batch = images.batch(first, like)
                for start in range(0, len(batch), size):
                    for layer, of_layer in forward(batch[start : start + size]).items():
                        batches[layer].append(of_layer.double().cpu().numpy())
    except RuntimeError as err:
        return {}, f"reference images were not measured: {str(err).splitlines()[0]}"
    found = {layer: np.concatenate(each, axis=1) for layer, each in batches.items()}
    return {
        (layer, objective): found[layer][place]
        for layer in layers
        for place, objective in enumerate(objectives)
    }, ""


def _numbers(values: np.ndarray, n_images: int) -> Numbers:
    """The numbers of channels by their answers (image, channel), the constant images last."""
    of_set, constant = values[:n_images], values[n_images:]
    numbers = {CONSTANT_MAX: constant.max(axis=0)}
    if n_images:
        each = of_set.mean(axis=0), of_set.std(axis=0, ddof=1), of_set.max(axis=0)
        numbers |= dict(zip(OF_REFERENCE, each, strict=True))
    return {
        name: np.where(np.isfinite(number), number, np.nan).astype(np.float32)
        for name, number in numbers.items()
    }


class Referring(Protocol):
    """A measurement: what it asks for of a model."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers; none means all convolutions."""

    @property
    def objectives(self) -> list[str]:
        """What of a channel is taken."""

    @property
    def reference(self) -> ReferenceImages | None:
        """The images."""


def held_against(
    result: xr.Dataset,
    model: nn.Module,
    outputs: Mapping[str, LayerOutput],
    asked: Referring,
    task: FeatureTask,
) -> xr.Dataset:
    """A task's result, which may be empty, and what its units answer to the reference images.

    One pass over the images serves all that a measurement asks for of a model: what was found is
    kept as long as the model and its weights.
    """
    images = asked.reference
    if images is None:
        return result
    wanted = asked.layers or convolutions(model, outputs)
    layers = tuple(dict.fromkeys([*wanted, task.layer]))
    # The mean of what is read off a map is what is read off the map's mean.
    is_read_off = task.read_out is not None
    objectives = [AVERAGE] if is_read_off else asked.objectives
    key = layers, tuple(objectives), images, _stamp(model)
    if model not in _known or _known[model][0] != key:
        _known[model] = key, _values(model, outputs, layers, objectives, images)
    found, why = _known[model][1]
    notes = [*result.attrs.get(NOTES, []), *([why] if why else [])]
    if not result.data_vars:
        notes.append("units that are there are now held against reference images")
    values = found.get((task.layer, AVERAGE if is_read_off else task.objective))
    added = _of_units(values, len(images), task)
    return result.merge(added).assign_attrs({**result.attrs, NOTES: notes})


_known: "WeakKeyDictionary[nn.Module, tuple[object, tuple[Values, str]]]" = WeakKeyDictionary()


def _stamp(model: nn.Module) -> bytes:
    """What tells a model's weights from those that it had before they were changed in place."""
    weights = [w.detach() for w in (*model.parameters(), *model.buffers()) if w.is_floating_point()]
    numbers = [(w.sum(dtype=torch.float64), torch.linalg.vector_norm(w).double()) for w in weights]
    return torch.stack([torch.stack(each) for each in numbers]).cpu().numpy().tobytes()


def _of_units(values: np.ndarray | None, n_images: int, task: FeatureTask) -> xr.Dataset:
    """The numbers of a task's channels, labelled; NaN where they could not be measured."""
    channels, numbers = task.channels, {}
    if values is not None:
        read_out = task.read_out
        own = values[:, list(channels)] if read_out is None else read_out.of(channels)(values)
        numbers = dict(_numbers(own, n_images))
    names = (*OF_REFERENCE, CONSTANT_MAX) if n_images else (CONSTANT_MAX,)
    unknown = np.full(len(channels), np.nan, np.float32)
    return xr.Dataset(
        {name: (CHANNEL, numbers.get(name, unknown)) for name in names},
        {CHANNEL: np.array(channels)},
    )
