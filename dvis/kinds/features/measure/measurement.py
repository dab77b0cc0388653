"""Feature visualisation as a measurement: one model in, feature images of its units out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.kinds.features.levels import INPUT_MEAN, INPUT_STD
from dvis.kinds.features.measure.asked_for import check_units, of_layers
from dvis.kinds.features.measure.engine import Normalisation, Optimised, maximise
from dvis.kinds.features.measure.held_out import held_out_means
from dvis.kinds.features.measure.labelled import labelled
from dvis.kinds.features.measure.linearity import is_linear, said_of_linear
from dvis.kinds.features.measure.objectives import Objective, map_size, objectives_of
from dvis.kinds.features.measure.parametrisations import (
    ImageSpace,
    Parametrisation,
    parametrisation,
)
from dvis.kinds.features.measure.reference import ReferenceImages, held_against
from dvis.kinds.features.measure.restarts import (
    Tried,
    all_tried,
    best_tried,
    image_seed,
    images_of_seeds,
    spread,
    start_of_attempt,
)
from dvis.kinds.features.measure.similarity import grey_input, of_seeds, profiles
from dvis.kinds.features.measure.spectra import spectrum_name
from dvis.kinds.features.measure.stored import (
    StoredImage,
    activations,
    model_input,
    quantise,
    values_of,
)
from dvis.kinds.features.options import FeatureSettings, Precision
from dvis.kinds.features.tasks import FeatureTask, ReferenceTask, block_tasks
from dvis.kinds.features.words import (
    CENTER,
    HELD_OUT_MEAN,
    SINGLE,
    neuron_objective,
)
from dvis.models.hooks import LayerOutput, trace_layers
from dvis.schema import NOTES

Aggregation = Literal["average", "sum", "single"]
_SEVERAL = ("restarts", "number_of_seeds")


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
    restarts : int
        Optimisations of each image from different seeds, of which the best is kept.
    number_of_seeds : int
        Seeds whose images are compared with each other, for `seed_similarity`; 1 compares none.
    batch_size : int
        Images that are optimised together.
    magnitude : ndarray, (channel, y frequency, x frequency), optional
        Spectrum for `param="maco"`.
    precision : {"float32", "bfloat16"}
        Numbers of the forward and backward pass.
    reference : ReferenceImages, optional
        Images that every unit's answer is measured to as well.
    directed : mapping of str to tuple of int
        Where directions of layers are maximised, not channels: their numbers by layer.
    variant : str
        What images of these are called.
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
    restarts: int = 1
    number_of_seeds: int = 1
    batch_size: int = 4
    magnitude: np.ndarray | None = None
    precision: Precision = "float32"
    reference: ReferenceImages | None = None
    directed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    variant: str = ""

    @property
    def objectives(self) -> list[str]:
        """Names of what is maximised, as variants bear them."""
        if self.variant:
            return [self.variant]
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
            "spectrum": spectrum_name(self.settings.param, self.magnitude),
            # Not of one, so that what older versions made of the same options is known as such.
            **{n: getattr(self, n) for n in _SEVERAL if getattr(self, n) > 1},
        }

    @property
    def compared(self) -> list[str]:
        """Arrays that its results have beside those of every feature image."""
        asked = {"restart_sd": self.restarts > 1, "seed_similarity": self.number_of_seeds > 1}
        return [HELD_OUT_MEAN, *(name for name, is_asked in asked.items() if is_asked)]

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
        outputs = trace_layers(model, self.blank(model))
        found = of_layers(model, outputs, self.layers)
        for layer, output in found.items():
            self._check(layer, output)
        return found

    def tasks(self, outputs: Mapping[str, LayerOutput]) -> list[FeatureTask]:
        """How the work on one model divides: blocks of channels of one layer."""
        asked = sorted(set(self.channels))
        channels: dict[str, Sequence[int]] = {
            layer: self.directed.get(layer) or asked or range(each.n_channels)
            for layer, each in outputs.items()
        }
        return block_tasks(channels, self.objectives, self.batch_size // self.number_of_images)

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
            `held_out_mean`; with several restarts `restart_sd`, with several seeds
            `seed_similarity`. An image to which no gradient came is tried again from four other
            seeds. With a reference, what it adds (see
            `dvis.kinds.features.measure.reference.answers`), and of a ReferenceTask this alone.
        """
        outputs = trace_layers(model, self.blank(model))
        self._check(task.layer, outputs[task.layer])
        if isinstance(task, ReferenceTask):
            return held_against(xr.Dataset(), model, outputs, self, task)
        pairs = [(n, c) for n in range(self.number_of_images) for c in task.channels]
        units = [index for _, index in pairs]
        n_attempts = max(self.restarts, self.number_of_seeds)

        def attempt(images: Sequence[int], number: int) -> list[Tried]:
            of_pairs = [pairs[image] for image in images]
            at = start if number == 0 else None
            return self.optimised(model, task, outputs, of_pairs, at, number, n_attempts)

        tried = all_tried(attempt, units, n_attempts)
        is_set = self.settings.diversity_weight > 0
        kept = best_tried(tried, units if is_set else range(len(pairs)), self.restarts)
        beside = {}
        if self.restarts > 1:
            beside["restart_sd"] = [spread(of_image, self.restarts) for of_image in tried]
        if self.number_of_seeds > 1:
            images = [images_of_seeds(of_image, self.number_of_seeds) for of_image in tried]
            seen = [self.profiles(model, task.layer, outputs, of_unit) for of_unit in images]
            beside["seed_similarity"] = of_seeds(seen, units, task.read_out)
        result = self.described(model, outputs, task, kept, beside)
        return held_against(result, model, outputs, self, task)

    def optimised(
        self,
        model: nn.Module,
        task: FeatureTask,
        outputs: dict[str, LayerOutput],
        pairs: Sequence[tuple[int, int]],
        start: np.ndarray | None,
        number: int = 0,
        n_attempts: int = 1,
    ) -> list[Tried]:
        """One optimisation of each image, from the start that is given or that of an attempt.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode.
        task : FeatureTask
            Layer, channels and what of them is maximised.
        outputs : dict of str to LayerOutput
            What the model's layers give.
        pairs : sequence of (int, int), (image,)
            Number and channel of each image.
        start : ndarray, (image_number, channel, rgb, y, x), float32, optional
            Model inputs to start from, of all pairs; NaN where an image starts at random.
        number, n_attempts : int
            Which attempt it is, and how many each image has where none is dead.
        """
        some = next(model.parameters())
        param = self._parametrisation(some)
        normalisation = self._normalisation(param)
        of_channels = self._objectives(task, outputs)
        objectives = [of_channels[index] for _, index in pairs]
        of_layer = self.settings.seed, task.layer
        seeds = [image_seed(*of_layer, index, n, number) for n, index in pairs]
        values = start_of_attempt(param, seeds, number, n_attempts)
        if start is not None:
            values = self._start(start, param, normalisation, some)
        is_whole = self.settings.crop_factor == 1
        optimised = maximise(
            model,
            objectives,
            param,
            normalisation,
            self.settings.for_layer(has_map=map_size(outputs[task.layer]) != (1, 1)),
            seeds=seeds,
            start=values,
            groups=[index for _, index in pairs],
            outputs=outputs if is_whole else None,
            autocast=None if self.precision == "float32" else torch.bfloat16,
        )
        stored, reached = self._choose(model, outputs, objectives, optimised, param, normalisation)
        return [Tried(*each) for each in zip(optimised, stored, reached, seeds, strict=True)]

    def _parametrisation(self, like: Tensor) -> Parametrisation:
        side = round(self.image_size * self.settings.crop_factor)
        space = ImageSpace(
            channels=len(self.mean), height=side, width=side, dtype=like.dtype, device=like.device
        )
        magnitude = None if self.magnitude is None else torch.from_numpy(self.magnitude)
        return parametrisation(self.settings.param, space, magnitude)

    def profiles(
        self,
        model: nn.Module,
        layer: str,
        outputs: dict[str, LayerOutput],
        images: Sequence[StoredImage],
    ) -> np.ndarray:
        """What a layer makes of stored images, (image, channel)."""
        some = next(model.parameters())
        normalisation = self._normalisation(self._parametrisation(some))
        inputs = [model_input(images, normalisation, some)] if images else []
        grey = grey_input(self.mean, self.std, self.image_size, some)
        return profiles(model, outputs, layer, torch.cat([*inputs, grey]))

    def as_stored(self, start: np.ndarray, like: Tensor) -> tuple[list[StoredImage], Tensor]:
        """What is stored of model inputs (image, rgb, y, x), and what the model takes of that."""
        param = self._parametrisation(like)
        normalisation = self._normalisation(param)
        values = self._start(start[None], param, normalisation, like)
        stored = [quantise(self._centre(v), is_bounded=param.is_bounded) for v in values]
        return stored, model_input(stored, normalisation, like)

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
            return stored, activations(model, outputs, objectives, inputs)

        stored, reached = verified([image.last for image in optimised])
        if self.settings.keep == "best":
            others, of_others = verified([image.best for image in optimised])
            is_better = of_others > reached
            stored = [
                b if better else a for a, b, better in zip(stored, others, is_better, strict=True)
            ]
            reached = np.where(is_better, of_others, reached)
        return stored, reached

    def described(
        self,
        model: nn.Module,
        outputs: dict[str, LayerOutput],
        task: FeatureTask,
        kept: Sequence[Tried],
        beside: Mapping[str, Sequence[float]],
    ) -> xr.Dataset:
        """Images of a task's channels, those of an image number after each other, as a Dataset.

        With what they activate in views that they were not made for, and with numbers `beside`.
        """
        normalisation = self._normalisation(self._parametrisation(next(model.parameters())))
        images = [each.stored for each in kept]
        objectives = [*self._objectives(task, outputs).values()] * self.number_of_images
        held_out = held_out_means(model, outputs, objectives, images, normalisation)
        numbers: dict[str, Sequence[float] | np.ndarray] = {**beside, HELD_OUT_MEAN: held_out}
        result = labelled(task, kept, numbers, self.number_of_images)
        inputs = model_input(images, normalisation, next(model.parameters()))
        reached = np.array([each.activation for each in kept])
        straight = is_linear(model, outputs, objectives, inputs, reached)
        if straight.any():
            places = np.flatnonzero(straight) % len(task.channels)
            channels = [task.channels[place] for place in dict.fromkeys(places.tolist())]
            result.attrs[NOTES].append(said_of_linear(task.layer, channels))
        return result

    def _objectives(
        self, task: FeatureTask, outputs: dict[str, LayerOutput]
    ) -> dict[int, Objective]:
        return dict(zip(task.channels, objectives_of(task, outputs[task.layer]), strict=True))

    def _check(self, layer: str, output: LayerOutput) -> None:
        check_units(layer, output, self.channels, self.neurons, self.image_size)

    def blank(self, model: nn.Module) -> Tensor:
        """An image of nothing, (1, channel, y, x), such as the model takes."""
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
        border = round(self.image_size * self.settings.crop_factor) - self.image_size
        return values_of(inputs, normalisation, border)

    def _centre(self, values: Tensor) -> Tensor:
        first = (values.shape[-1] - self.image_size) // 2
        inside = slice(first, first + self.image_size)
        return values[:, inside, inside]
