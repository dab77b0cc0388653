"""Units' responses to fixed images as a measurement: one model in, one labelled Dataset out.

A layer's map is reduced to a number a channel as soon as the layer gives it, so that no map is
kept, and one forward pass over the images serves any number of layers and channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.kinds.features.measure.objectives import aggregated
from dvis.kinds.responses.words import CLASS, IMAGE, IMAGE_CHECKPOINT
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.hooks import LayerOutput, as_maps, convolutions, stopping, trace_layers
from dvis.models.mixing import why_alone
from dvis.schema import CHANNEL, LAYER, NOTES, UNIT, did_you_mean


@dataclass(frozen=True)
class ImagesTask:
    """All channels of some layers, which one pass over the images serves.

    Parameters
    ----------
    widths : tuple of (str, int)
        Layers and their numbers of channels.
    parts : tuple of int
        Which of all these channels, counted on from layer to layer.
    """

    widths: tuple[tuple[str, int], ...]
    parts: tuple[int, ...]

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layers, and other channels of them."""
        return replace(self, parts=parts)

    mark = "status"

    @property
    def labels(self) -> dict[str, Any]:
        """Layer and channel of each part."""
        places = self.places
        n_each = [len(channels) for channels in places.values()]
        return {
            LAYER: np.repeat(np.array(list(places), object), n_each),
            CHANNEL: np.concatenate(list(places.values())),
        }

    @property
    def places(self) -> dict[str, np.ndarray]:
        """Channels (unit,) of the layers of which some are asked for."""
        places = {}
        first, wanted = 0, np.array(self.parts)
        for layer, width in self.widths:
            inside = wanted[(wanted >= first) & (wanted < first + width)] - first
            if len(inside):
                places[layer] = inside
            first += width
        return places

    def __str__(self) -> str:
        return ", ".join(self.places)


@dataclass(frozen=True)
class FeatureImagesTask:
    """Feature images of one layer, each of which drives its own channel.

    Parameters
    ----------
    layer : str
        The layer.
    units : tuple of (str, int)
        Checkpoint of which an image is, and its channel.
    parts : tuple of int
        Which of the units.
    """

    layer: str
    units: tuple[tuple[str, int], ...]
    parts: tuple[int, ...]

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layer, and other units of it."""
        return replace(self, parts=parts)

    mark = "status"

    @property
    def labels(self) -> dict[str, Any]:
        """Checkpoint of each part's image, and its channel; the layer is one for all."""
        wanted = self.wanted
        return {
            IMAGE_CHECKPOINT: [label for label, _ in wanted],
            LAYER: self.layer,
            CHANNEL: [channel for _, channel in wanted],
        }

    @property
    def wanted(self) -> list[tuple[str, int]]:
        """The units that are asked for."""
        return [self.units[place] for place in self.parts]

    def __str__(self) -> str:
        of_channels = [channel for _, channel in self.wanted]
        return f"{self.layer}, channels {min(of_channels)} to {max(of_channels)}"


@dataclass(frozen=True, kw_only=True)
class ImageResponses:
    """Responses of all channels of some layers to images, or the mean response to each class.

    Parameters
    ----------
    images : FixedImages
        The images.
    aggregation : {"mean", "max"}
        What of a channel's map is kept.
    by_class : bool
        Keep the mean over the images of each class.
    batch_size : int
        Images in one forward pass.
    """

    images: FixedImages
    aggregation: str = "mean"
    by_class: bool = False
    batch_size: int = 32

    def outputs(self, model: nn.Module, layers: Sequence[str] = ()) -> dict[str, LayerOutput]:
        """What each of some layers gives; each of all convolutions where none are named.

        Raises
        ------
        KeyError
            When the model has no such layer.
        ValueError
            When a layer's output has no channels.
        """
        outputs = trace_layers(model, self.images.batch(0, 1, next(model.parameters())))
        layers = layers or convolutions(model, outputs)
        check_layers(model, outputs, layers)
        return {layer: outputs[layer] for layer in layers}

    def forget(self) -> None:
        """Let go of the images as they were prepared, which this process keeps."""
        forget_prepared()

    def task(self, outputs: Mapping[str, LayerOutput]) -> ImagesTask:
        """The whole work on one model."""
        widths = tuple((layer, output.n_channels) for layer, output in outputs.items())
        return ImagesTask(widths, tuple(range(sum(width for _, width in widths))))

    def measure(
        self, model: nn.Module, task: ImagesTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Responses of a task's units.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : ImagesTask
            Layers and channels.
        start : None
            Not used.

        Returns
        -------
        Dataset
            Dims (unit, image or class) with `response`, float32, `error` (unit), and the
            coordinates `layer` and `channel` (unit).
        """
        some = next(model.parameters())
        outputs = trace_layers(model, self.images.batch(0, 1, some))
        places = task.places
        check_layers(model, outputs, list(places))
        dims = {layer: outputs[layer].channel_dim for layer in places}
        calls = {layer: outputs[layer].n_calls for layer in places}

        def reduce(layer: str, output: Tensor) -> Tensor:
            return aggregated(as_maps(output, dims[layer]), self.aggregation)

        firsts = np.cumsum([0, *map(len, places.values())])
        kept = _Kept(int(firsts[-1]), self.images, self.by_class)
        why = why_alone(model, calls, self.images.batch(0, 1, some))
        with torch.no_grad(), stopping(model, calls, reduce, is_alone=bool(why)) as forward:
            for first in range(0, len(self.images), self.batch_size):
                stop = min(first + self.batch_size, len(self.images))
                reduced = forward(self.images.batch(first, stop, some))
                for (layer, channels), row in zip(places.items(), firsts[:-1], strict=True):
                    values = reduced[layer].cpu().numpy()[:, channels]
                    kept.add(slice(row, row + len(channels)), slice(first, stop), values)
        layers = np.repeat(np.array(list(places), object), [len(c) for c in places.values()])
        channels = np.concatenate(list(places.values()))
        dim = CLASS if self.by_class else IMAGE
        result = labelled(layers, channels, kept.responses, kept.is_finite, (dim,))
        return result.assign_attrs({NOTES: [why] if why else []})


class _Kept:
    """Responses (unit, image), or their means (unit, class), as batches come in."""

    def __init__(self, n_units: int, images: FixedImages, by_class: bool) -> None:
        self._labels = images.images.labels if by_class else None
        n_classes = len(images.images.classes)
        shape = (n_units, n_classes if by_class else len(images))
        self._values: np.ndarray = np.zeros(shape, np.float64 if by_class else np.float32)

    def add(self, units: slice, images: slice, values: np.ndarray) -> None:
        """Take responses (image, unit)."""
        if self._labels is None:
            self._values[units, images] = values.T
            return
        labels = self._labels[images]
        for label in np.unique(labels):
            self._values[units, label] += values[labels == label].sum(0, dtype=np.float64)

    @property
    def is_finite(self) -> np.ndarray:
        """Whether all responses of a unit are finite, (unit,) bool."""
        finite: np.ndarray = np.isfinite(self._values).all(1)
        return finite

    @property
    def responses(self) -> np.ndarray:
        """Responses, float32; NaN of a class without images."""
        if self._labels is None:
            return self._values
        counts = np.bincount(self._labels, minlength=self._values.shape[1])
        means = self._values / np.where(counts, counts, 1)
        return np.where(counts, means, np.nan).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class FeatureImageResponses:
    """Responses of channels to feature images, each to its own.

    Parameters
    ----------
    aggregation : str
        What of the channel's map is kept: `max`, or what the images maximise.
    batch_size : int
        Images in one forward pass.
    """

    aggregation: str
    batch_size: int = 32

    def tasks(self, units: Mapping[str, Sequence[tuple[str, int]]]) -> list[FeatureImagesTask]:
        """How the work on one model divides: blocks of units (checkpoint, channel) of a layer."""
        tasks = []
        for layer, of_layer in units.items():
            for first in range(0, len(of_layer), self.batch_size):
                block = tuple(of_layer[first : first + self.batch_size])
                tasks.append(FeatureImagesTask(layer, block, tuple(range(len(block)))))
        return tasks

    def measure(
        self, model: nn.Module, task: FeatureImagesTask, start: np.ndarray | None
    ) -> xr.Dataset:
        """Responses of a task's units.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : FeatureImagesTask
            Layer and units.
        start : ndarray, (unit, rgb, y, x), float32
            What the model takes of their images.

        Returns
        -------
        Dataset
            Dims (unit) with `response`, float32, `error`, and the coordinates `layer`, `channel`
            and `image_checkpoint` (unit).
        """
        assert start is not None
        inputs = torch.from_numpy(start).to(next(model.parameters()))
        outputs = trace_layers(model, inputs[:1])
        check_layers(model, outputs, [task.layer])
        output = outputs[task.layer]
        channels = np.array([channel for _, channel in task.wanted])
        _check_channels(task.layer, output, channels)
        own = torch.arange(len(channels)), torch.from_numpy(channels)

        def reduce(_layer: str, output_of_layer: Tensor) -> Tensor:
            return aggregated(as_maps(output_of_layer, output.channel_dim), self.aggregation)

        calls = {task.layer: output.n_calls}
        why = why_alone(model, calls, inputs[:1])
        with torch.no_grad(), stopping(model, calls, reduce, is_alone=bool(why)) as forward:
            responses = forward(inputs)[task.layer][own].float().cpu().numpy()
        layers = np.full(len(channels), task.layer, object)
        result = labelled(layers, channels, responses, np.isfinite(responses))
        of_checkpoints = np.array([label for label, _ in task.wanted], object)
        result = result.assign_attrs({NOTES: [why] if why else []})
        return result.assign_coords({IMAGE_CHECKPOINT: (UNIT, of_checkpoints)})


def labelled(
    layers: np.ndarray,
    channels: np.ndarray,
    responses: np.ndarray,
    is_finite: np.ndarray,
    dims: tuple[str, ...] = (),
) -> xr.Dataset:
    """Responses (unit, ...) of units as a Dataset, with an error where one is not finite."""
    error = "a response is not finite: weights that it depends on are not"
    return xr.Dataset(
        {
            "response": ((UNIT, *dims), responses),
            "error": (UNIT, np.where(is_finite, "", error).astype(object)),
        },
        {LAYER: (UNIT, layers), CHANNEL: (UNIT, channels)},
    )


def check_layers(
    model: nn.Module, outputs: Mapping[str, LayerOutput], layers: Sequence[str]
) -> None:
    """Raise where a model has no such layer, or it gives no channels."""
    names = [name for name, _ in model.named_modules() if name]
    for layer in layers:
        if layer in outputs:
            continue
        if layer not in names:
            raise KeyError(did_you_mean("layer", layer, names, type(model).__name__))
        raise ValueError(
            f"layer {layer!r} of {type(model).__name__} gives no channels in a forward pass in "
            "eval mode: (batch, channel), (batch, token, channel) or (batch, channel, row, "
            "column); take another layer"
        )


def _check_channels(layer: str, output: LayerOutput, channels: np.ndarray) -> None:
    if channels.max() >= output.n_channels:
        raise ValueError(
            f"channel is {channels.max()}; {layer} has {output.n_channels} channels: 0 to "
            f"{output.n_channels - 1}. The feature images are of another model; give its store"
        )
