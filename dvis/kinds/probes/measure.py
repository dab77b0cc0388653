"""Linear probes as a measurement: one model in, how well targets are read off its layers out.

One forward pass serves all layers. What the scores are held against is measured the same way: the
network untrained and pixels once, shuffled targets at every checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import xarray as xr
from torch import nn

from dvis.kinds.probes.fits import OF_PARTS, Fields, Fits
from dvis.kinds.probes.pooling import Pooling
from dvis.kinds.probes.words import SCORE, TARGET
from dvis.models.architectures import load_model
from dvis.models.building import Shapes, seeded_model
from dvis.models.checkpoints import CheckpointFile
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.devices import device_of
from dvis.models.hooks import LayerOutput
from dvis.models.model_reference import Model
from dvis.models.recalibration import Recalibrated
from dvis.schema import LAYER, NOTES


@dataclass(frozen=True)
class ProbeTask:
    """Probes of one checkpoint.

    Parameters
    ----------
    layers, targets : tuple of str
        All of them.
    parts : tuple of int
        Which of their pairs, counted on from layer to layer.
    """

    layers: tuple[str, ...]
    targets: tuple[str, ...]
    parts: tuple[int, ...]

    mark = "status"

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layers and targets, and other pairs of them."""
        return replace(self, parts=parts)

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """Layer and target of each part."""
        n_targets = len(self.targets)
        return [(self.layers[p // n_targets], self.targets[p % n_targets]) for p in self.parts]

    @property
    def labels(self) -> dict[str, Any]:
        """Layer and target of each part."""
        layers, targets = zip(*self.wanted, strict=True)
        return {LAYER: np.array(layers, object), TARGET: np.array(targets, object)}

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(layer for layer, _ in self.wanted))


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """The network before training: weights of a checkpoint, or drawn by a seed.

    Parameters
    ----------
    model : str or GivenModel
        The model.
    checkpoint : CheckpointFile or None
        The file of its weights.
    shapes : mapping of str to Size
        Shapes of the weights that are drawn where there is no file.
    seed : int
        What draws them.
    """

    model: Model
    checkpoint: CheckpointFile | None
    shapes: Shapes
    seed: int

    def made(self, like: nn.Module) -> nn.Module:
        """The network, where another one computes."""
        device = device_of(like)
        if self.checkpoint is not None:
            return load_model(self.model, self.checkpoint, device)
        drawn = seeded_model(self.model, self.shapes, self.seed)
        assert drawn is not None, "the plan has seen that weights are drawn"
        return drawn.to(device).eval()


class LinearProbes:
    """Scores of probes of layers, and what they are held against.

    Parameters
    ----------
    images : FixedImages
        The images.
    fits : Fits
        What is read off them, and how.
    outputs : mapping of str to LayerOutput
        The layers.
    pooling : Pooling
        What of their outputs is read.
    recalibrated : Recalibrated
        The network that is looked at in place of a checkpoint: with batch norm measured anew.
    untrained : Untrained, optional
        The network before training.
    batch_size : int
        Images in one forward pass.
    """

    def __init__(
        self,
        *,
        images: FixedImages,
        fits: Fits,
        outputs: Mapping[str, LayerOutput],
        pooling: Pooling,
        recalibrated: Recalibrated,
        untrained: Untrained | None = None,
        batch_size: int = 32,
    ) -> None:
        self.images, self.fits = images, fits
        self.outputs, self.pooling = dict(outputs), pooling
        self.untrained = untrained
        self.batch_size = batch_size
        self._recalibrated = recalibrated
        self._known: dict[ProbeTask, Fields] = {}

    def measure(
        self, model: nn.Module, task: ProbeTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Scores of a checkpoint's probes.

        Parameters
        ----------
        model : nn.Module
            The checkpoint in eval mode; it is not touched.
        task : ProbeTask
            Which layers, and what is read off them.
        start : ndarray of bool, optional
            Whether what the scores are held against is known already, of the network untrained
            and of pixels; by default it is not.

        Returns
        -------
        Dataset
            Arrays of `dvis.kinds.probes.words` and `error`, `note`, (unit, ...), with the layer and
            target of each part.
        """
        found, why = self._probed(self._recalibrated(model), task)
        result = self.fits.result(found, task.labels)
        if start is None or not start.all():
            against = self._held_against(model, task).items()
            result = result.assign({name: (OF_PARTS, values) for name, values in against})
        return result.assign_attrs({NOTES: [why] if why else []})

    def forget(self) -> None:
        """Let go of what this process keeps."""
        self._known.clear()
        self._recalibrated.forget()
        forget_prepared()

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: nothing that it measures itself."""
        return {**self.__dict__, "_known": {}}

    def _probed(
        self, network: nn.Module, task: ProbeTask, *, n_shuffles: int | None = None
    ) -> tuple[list[Fields], str]:
        """What is known of each part, in the task's order; and why images went through alone."""
        wanted = task.wanted
        outputs = {each: self.outputs[each] for each in dict.fromkeys(name for name, _ in wanted)}
        of_layers, why = self.pooling.inputs(
            network, outputs, self.images, self.fits.splits.train, self.batch_size
        )
        found = {}
        for layer, inputs in of_layers:
            targets = [target for name, target in wanted if name == layer]
            for target, of_part in self.fits.of_layer(layer, inputs, targets, n_shuffles):
                found[layer, target] = of_part
        return [found[each] for each in wanted], why

    def _held_against(self, model: nn.Module, task: ProbeTask) -> dict[str, np.ndarray]:
        """Scores of the network untrained and of pixels, (unit, split), with their errors."""
        if task not in self._known:
            pixels = self.pooling.pixels(self.images, self.fits.splits.train, self.batch_size)
            of_pixels = dict(self.fits.of_layer("pixels", pixels, list(self.fits.targets), 0))
            of_parts = {"pixel_score": [of_pixels[target] for _, target in task.wanted]}
            if self.untrained is not None:
                network = self._recalibrated(self.untrained.made(model))
                of_parts["untrained_score"] = self._probed(network, task, n_shuffles=0)[0]
                self._recalibrated.forget()
            self._known = {
                task: {
                    f"{name}{end}": np.array([each[f"{SCORE}{end}"] for each in found])
                    for name, found in of_parts.items()
                    for end in ("", "_se")
                }
            }
        return self._known[task]
