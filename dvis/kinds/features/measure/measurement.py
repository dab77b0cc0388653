"""Feature visualisation as a measurement: one model in, feature images of its units out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.kinds.features.levels import INPUT_MEAN, INPUT_STD
from dvis.kinds.features.measure.engine import Normalisation, Optimised, maximise
from dvis.kinds.features.measure.held_out import held_out_means
from dvis.kinds.features.measure.linearity import is_linear, said_of_linear
from dvis.kinds.features.measure.objectives import Objective, channel, map_size, neuron
from dvis.kinds.features.measure.parametrisations import (
    ImageSpace,
    Parametrisation,
    parametrisation,
)
from dvis.kinds.features.measure.stored import StoredImage, activations, model_input, quantise
from dvis.kinds.features.options import FeatureSettings, Precision
from dvis.kinds.features.words import (
    BLOCK_CHANNELS,
    CENTER,
    HELD_OUT_MEAN,
    IMAGE_NUMBER,
    SINGLE,
    STEP_IN_RUN,
    SUM,
    neuron_objective,
    neuron_of,
)
from dvis.models.hooks import LayerOutput, convolutions, trace_layers
from dvis.schema import CHANNEL, LAYER, NOTES, RGB, X, Y, did_you_mean

Aggregation = Literal["average", "sum", "single"]


@dataclass(frozen=True)
class FeatureTask:
    """Channels of a layer, and what of them is maximised: `average`, `center`, `neuron_3_4`."""

    layer: str
    objective: str
    channels: tuple[int, ...]

    mark = "status"

    @property
    def labels(self) -> dict[str, Any]:
        """The layer, and a channel for each part."""
        return {LAYER: self.layer, CHANNEL: list(self.channels)}

    @property
    def parts(self) -> tuple[int, ...]:
        """The channels: a sweep counts and records them one by one."""
        return self.channels

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layer and objective, and other channels."""
        return replace(self, channels=parts)

    def __str__(self) -> str:
        first, last = self.channels[0], self.channels[-1]
        return f"{self.layer}, channels {first} to {last}, {self.objective}"


@dataclass(frozen=True, kw_only=True)
class FeatureVisualisation:
    """Feature images of a model's units.

    Parameters
    ----------
    settings : FeatureSettings
        How images are made.
    mean, std : tuple of float, (channel,)
        How the model takes values in 0 to 1: (value - mean) / std.
    image_size : int
        Side of the images in pixels.
    layers : tuple of str
        Layers; none means all convolutions.
    channels : tuple of int
        Channels of each layer; none means all.
    neurons : tuple of (int, int)
        Rows and columns of neurons; none means the channels themselves.
    aggregation : {"average", "sum", "single"}
        What of a channel is maximised: its mean, its sum, or the neuron at its centre.
    number_of_images : int
        Images of each unit.
    batch_size : int
        Images that are optimised together.
    magnitude : ndarray, (channel, y frequency, x frequency), optional
        Spectrum for `param="maco"`.
    precision : {"float32", "bfloat16"}
        Numbers of the forward and backward pass.
    """

    settings: FeatureSettings
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    layers: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    neurons: tuple[tuple[int, int], ...] = ()
    aggregation: Aggregation = "average"
    number_of_images: int = 1
    batch_size: int = 4
    magnitude: np.ndarray | None = None
    precision: Precision = "float32"

    @property
    def objectives(self) -> list[str]:
        """Names of what is maximised, as variants bear them."""
        if self.neurons:
            return [neuron_objective(row, column) for row, column in self.neurons]
        return [CENTER if self.aggregation == SINGLE else self.aggregation]

    @property
    def parameters(self) -> dict[str, Any]:
        """What a store keeps of how the images were made."""
        is_pixel = self.settings.param == "pixel"
        n_channels = len(self.mean)
        return {
            **self.settings.to_parameters(),
            "feature_image_size": self.image_size,
            INPUT_MEAN: [0.0] * n_channels if is_pixel else list(self.mean),
            INPUT_STD: [1.0] * n_channels if is_pixel else list(self.std),
            "number_of_images": self.number_of_images,
            "precision": self.precision,
            "spectrum": self._spectrum,
        }

    @property
    def _spectrum(self) -> str:
        """What tells the spectrum of maco images from others: 1/f, or a hash."""
        if self.magnitude is None:
            return "1/f" if self.settings.param == "maco" else ""
        return hashlib.blake2b(self.magnitude.tobytes(), digest_size=8).hexdigest()

    def outputs(self, model: nn.Module) -> dict[str, LayerOutput]:
        """What each of the layers gives.

        Raises
        ------
        KeyError
            When the model has no such layer, or its output has no channels.
        ValueError
            When a layer has no such channel or neuron.
        """
        kernel = self.settings.gauss_kernel_size
        if self.settings.use_gauss and kernel >= 2 * self.image_size:
            raise ValueError(
                f"gauss_kernel_size is {kernel}, too wide for images of {self.image_size} px; give "
                f"less than {2 * self.image_size}"
            )
        outputs = trace_layers(model, self._blank(model))
        layers = self.layers or convolutions(model, outputs)
        modules = dict(model.named_modules())
        for layer in layers:
            if layer in modules and layer not in outputs:
                raise ValueError(
                    f"layer {layer!r} of {type(model).__name__} gives no channels in a forward "
                    "pass in eval mode: (batch, channel), (batch, token, channel) or "
                    "(batch, channel, row, column); take another layer"
                )
            if layer not in outputs:
                names = [name for name in outputs if name]
                raise KeyError(did_you_mean("layer", layer, names, type(model).__name__))
            self._check(layer, outputs[layer])
        return {layer: outputs[layer] for layer in layers}

    def tasks(self, outputs: Mapping[str, LayerOutput]) -> list[FeatureTask]:
        """How the work on one model divides: blocks of channels of one layer."""
        size = max(1, min(BLOCK_CHANNELS, self.batch_size // self.number_of_images))
        size = next(n for n in range(size, 0, -1) if BLOCK_CHANNELS % n == 0)
        tasks = []
        for layer, output in outputs.items():
            wanted = sorted(set(self.channels)) or range(output.n_channels)
            blocks: dict[int, list[int]] = {}
            for index in wanted:
                blocks.setdefault(index // size, []).append(index)
            tasks += [
                FeatureTask(layer, objective, tuple(block))
                for objective in self.objectives
                for block in blocks.values()
            ]
        return tasks

    def measure(
        self, model: nn.Module, task: FeatureTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Feature images of a task's channels.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : FeatureTask
            Layer, channels and what of them is maximised.
        start : ndarray, (image_number, channel, rgb, y, x), float32, optional
            Model inputs to start from; NaN throughout for images that start at random.

        Returns
        -------
        Dataset
            Dims (image_number, channel, y, x, rgb, step_in_run) with `image`, `activation`,
            `value_min`, `value_max`, `stop_step`, `seed`, `loss`, `is_dead`, `error` and
            `held_out_mean`.
        """
        some = next(model.parameters())
        outputs = trace_layers(model, self._blank(model))
        self._check(task.layer, outputs[task.layer])
        side = round(self.image_size * self.settings.crop_factor)
        space = ImageSpace(
            channels=len(self.mean), height=side, width=side, dtype=some.dtype, device=some.device
        )
        magnitude = None if self.magnitude is None else torch.from_numpy(self.magnitude)
        param = parametrisation(self.settings.param, space, magnitude)
        normalisation = self._normalisation(param)
        pairs = [(n, c) for n in range(self.number_of_images) for c in task.channels]
        objectives = [self._objective(task, index, outputs) for _, index in pairs]
        seeds = [image_seed(self.settings.seed, task.layer, c, n) for n, c in pairs]
        optimised = maximise(
            model,
            objectives,
            param,
            normalisation,
            self.settings.for_layer(has_map=map_size(outputs[task.layer]) != (1, 1)),
            seeds=seeds,
            start=None if start is None else self._start(start, param, normalisation, some),
            groups=[index for _, index in pairs],
            outputs=outputs if side == self.image_size else None,
            autocast=None if self.precision == "float32" else torch.bfloat16,
        )
        stored, reached = self._choose(model, outputs, objectives, optimised, param, normalisation)
        result = self._labelled(task, optimised, stored, reached, seeds)
        inputs = model_input(stored, normalisation, some)
        if is_linear(model, outputs, objectives, inputs, reached).any():
            result.attrs[NOTES].append(said_of_linear(task.layer))
        held_out = held_out_means(model, outputs, objectives, stored, normalisation)
        dims, shape = result["activation"].dims, result["activation"].shape
        return result.assign({HELD_OUT_MEAN: (dims, held_out.reshape(shape))})

    def _choose(
        self,
        model: nn.Module,
        outputs: dict[str, LayerOutput],
        objectives: Sequence[Objective],
        optimised: Sequence[Optimised],
        param: Parametrisation,
        normalisation: Normalisation,
    ) -> tuple[list[StoredImage], np.ndarray]:
        """Of each image's candidates the one whose stored form activates more, and how much."""
        like = next(model.parameters())

        def verified(values: Sequence[Tensor]) -> tuple[list[StoredImage], np.ndarray]:
            stored = [quantise(self._centre(v), is_bounded=param.is_bounded) for v in values]
            inputs = model_input(stored, normalisation, like)
            return stored, activations(model, outputs, objectives, inputs).cpu().numpy()

        stored, reached = verified([image.last for image in optimised])
        if self.settings.keep == "best":
            others, of_others = verified([image.best for image in optimised])
            is_better = of_others > reached
            stored = [
                b if better else a for a, b, better in zip(stored, others, is_better, strict=True)
            ]
            reached = np.where(is_better, of_others, reached)
        return stored, reached

    def _labelled(
        self,
        task: FeatureTask,
        optimised: Sequence[Optimised],
        stored: Sequence[StoredImage],
        reached: np.ndarray,
        seeds: Sequence[int],
    ) -> xr.Dataset:
        shape = self.number_of_images, len(task.channels)
        n_steps = max(image.stop_step for image in optimised)
        losses = np.full((len(optimised), n_steps), np.nan, np.float32)
        for row, image in zip(losses, optimised, strict=True):
            row[: image.stop_step] = image.losses
        errors = [image.error for image in optimised]
        notes = sorted({image.note for image in optimised} - {""})
        for i, value in enumerate(reached):
            if not errors[i] and not np.isfinite(value):
                errors[i] = f"the activation is {value}: weights that it depends on are not finite"
        pixels = np.stack([image.pixels for image in stored])
        if pixels.shape[-1] == 1:
            pixels = pixels.repeat(3, axis=-1)
        dims = (IMAGE_NUMBER, CHANNEL)

        def per_unit(values: Sequence[Any] | np.ndarray, dtype: Any) -> tuple[Any, np.ndarray]:
            return dims, np.array(values, dtype).reshape(shape)

        return xr.Dataset(
            {
                "image": ((*dims, Y, X, RGB), pixels.reshape(*shape, *pixels.shape[1:])),
                "activation": per_unit(reached, np.float32),
                "value_min": per_unit([image.value_min for image in stored], np.float32),
                "value_max": per_unit([image.value_max for image in stored], np.float32),
                "stop_step": per_unit([image.stop_step for image in optimised], np.int32),
                "seed": per_unit(seeds, np.int32),
                "is_dead": per_unit([image.is_dead for image in optimised], bool),
                "error": per_unit(errors, object),
                "loss": ((*dims, STEP_IN_RUN), losses.reshape(*shape, n_steps)),
            },
            {IMAGE_NUMBER: np.arange(shape[0]), CHANNEL: np.array(task.channels)},
            {LAYER: task.layer, "objective": task.objective, NOTES: notes},
        )

    def _objective(
        self, task: FeatureTask, index: int, outputs: dict[str, LayerOutput]
    ) -> Objective:
        return objective_of(task.layer, index, task.objective, outputs[task.layer])

    def _check(self, layer: str, output: LayerOutput) -> None:
        for index in self.channels:
            if not 0 <= index < output.n_channels:
                raise ValueError(
                    f"channel is {index}; {layer} has {output.n_channels} channels: 0 to "
                    f"{output.n_channels - 1}"
                )
        height, width = map_size(output)
        for row, column in self.neurons:
            if not (0 <= row < height and 0 <= column < width):
                raise ValueError(
                    f"neuron is {row},{column}; the map of {layer} has {height} rows and {width} "
                    f"columns at {self.image_size} px, counted from 0"
                )

    def _blank(self, model: nn.Module) -> Tensor:
        some = next(model.parameters())
        return some.new_zeros(1, len(self.mean), self.image_size, self.image_size)

    def _normalisation(self, param: Parametrisation) -> Normalisation:
        if param.is_bounded:
            return Normalisation(mean=self.mean, std=self.std)
        n_channels = len(self.mean)
        return Normalisation(mean=(0.0,) * n_channels, std=(1.0,) * n_channels)

    def _start(
        self, start: np.ndarray, param: Parametrisation, normalisation: Normalisation, like: Tensor
    ) -> Tensor:
        """Values of model inputs (image_number, channel, rgb, y, x) as one batch."""
        inputs = torch.from_numpy(start).flatten(0, 1).to(like)[:, : len(self.mean)]
        std = like.new_tensor(normalisation.std)[:, None, None]
        values = inputs * std + like.new_tensor(normalisation.mean)[:, None, None]
        border = round(self.image_size * self.settings.crop_factor) - self.image_size
        if border:
            before, after = border // 2, border - border // 2
            padding = (before, after, before, after)
            values = nn.functional.pad(values, padding, mode="replicate")
        return values

    def _centre(self, values: Tensor) -> Tensor:
        first = (values.shape[-1] - self.image_size) // 2
        inside = slice(first, first + self.image_size)
        return values[:, inside, inside]


def objective_of(layer: str, index: int, name: str, output: LayerOutput) -> Objective:
    """The objective of a unit that a variant's name tells: average, sum, center, neuron_3_4."""
    if at := neuron_of(name, *map_size(output)):
        return neuron(layer, index, *at)
    return channel(layer, index, aggregation="sum" if name == SUM else "mean")


def image_seed(seed: int, layer: str, index: int, number: int) -> int:
    """Seed of one image, the same at every checkpoint and in every batch, below 2**31."""
    text = f"{seed}/{layer}/{index}/{number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1
