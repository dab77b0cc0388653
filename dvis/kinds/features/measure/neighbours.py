"""A unit's images at the checkpoints beside, tried at this one; better ones are begun at.

One model and stored images in; how much the images activate the model's units out, and where that
is asked for the images that optimisation makes of the better ones.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import nn

from dvis.kinds.features.measure.measurement import FeatureVisualisation
from dvis.kinds.features.measure.objectives import Objective, objectives_of
from dvis.kinds.features.measure.restarts import Tried
from dvis.kinds.features.measure.stored import activations
from dvis.kinds.features.tasks import FeatureTask
from dvis.kinds.features.words import IMAGE_NUMBER, NEIGHBOUR_MAX, is_beaten
from dvis.models.hooks import LayerOutput, trace_layers

TRIED, IS_BETTER = "tried", "is_better"  # channels that were tried; whether an image is kept


@dataclass(frozen=True, kw_only=True)
class NeighbourCheck:
    """Images of the checkpoints beside, tried.

    Parameters
    ----------
    features : FeatureVisualisation
        How the images are made.
    is_refined : bool
        Whether units are optimised again that an image of another checkpoint activates more than
        their own. Dead units always are, where there is one that activates them at all.
    """

    features: FeatureVisualisation
    is_refined: bool = False

    def measure(self, model: nn.Module, task: FeatureTask, start: np.ndarray | None) -> xr.Dataset:
        """How much the images beside activate a task's units, and better images of some.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : FeatureTask
            Layer, channels and what of them is maximised.
        start : ndarray, (3, image_number, channel, rgb, y, x), float32
            Model inputs: the units' own images, those before and those after; NaN throughout where
            there is none. None where there is none at all.

        Returns
        -------
        Dataset
            `neighbour_max` (image_number, tried): the highest activation of the images beside, NaN
            where there is none. Of units that were optimised again what
            `FeatureVisualisation.measure` gives of them, and `is_better` (image_number, channel).
        """
        shape = self.features.number_of_images, len(task.channels)
        if start is None:
            return _told(task, np.full(shape, np.nan))
        outputs = trace_layers(model, self.features.blank(model))
        own, *beside = self._reached(model, task, outputs, start)
        others = np.where(np.isnan(beside), -np.inf, beside)
        highest = np.where(np.isfinite(others).any(0), others.max(0), np.nan)
        is_dead = np.isnan(own)
        is_begun = is_dead & np.isfinite(highest) & (highest != 0)
        if self.is_refined:
            is_begun |= ~is_dead & is_beaten(own, highest)
        columns = np.flatnonzero(is_begun.any(0))
        told = _told(task, highest)
        if not len(columns):
            return told
        better = np.where((others.argmax(0) == 0)[..., None, None, None], start[1], start[2])
        begin = np.where(is_begun[..., None, None, None], better, start[0])[:, columns]
        part = replace(task, channels=tuple(task.channels[i] for i in columns))
        kept = self._refined(model, part, outputs, begin)
        of_own = own[:, columns].ravel()
        is_better = [
            not (each.is_dead or each.has_failed)
            and (np.isnan(before) or bool(each.activation > before))
            for each, before in zip(kept, of_own, strict=True)
        ]
        # What an image began at that was not to begin anew is its own, or noise.
        is_kept = np.array(is_better).reshape(shape[0], -1) & is_begun[:, columns]
        # An image that failed is not kept, and the unit has its own: nothing is to be told.
        found = self.features.described(model, outputs, part, kept, {}).drop_vars("error")
        dims = found["activation"].dims
        return found.assign({NEIGHBOUR_MAX: told[NEIGHBOUR_MAX], IS_BETTER: (dims, is_kept)})

    def _reached(
        self,
        model: nn.Module,
        task: FeatureTask,
        outputs: dict[str, LayerOutput],
        start: np.ndarray,
    ) -> np.ndarray:
        """Activations of model inputs, (3, image_number, channel), NaN where there is no image."""
        like = next(model.parameters())
        n_colours = len(self.features.mean)
        reached = np.full(start.shape[:3], np.nan)
        objectives = self._objectives(task, outputs)
        for which, given in enumerate(start.reshape(3, -1, *start.shape[3:])):
            there = np.flatnonzero(~np.isnan(given).any((1, 2, 3)))
            if len(there):
                # In plain order, for models that take a view of what their convolutions give.
                inputs = torch.from_numpy(given[there][:, :n_colours].copy()).to(like)
                of_images = [objectives[i] for i in there]
                values = activations(model, outputs, of_images, inputs)
                reached[which].reshape(-1)[there] = values
        return reached

    def _refined(
        self,
        model: nn.Module,
        task: FeatureTask,
        outputs: dict[str, LayerOutput],
        begin: np.ndarray,
    ) -> list[Tried]:
        """The better of each image that is begun at and what optimisation makes of it."""
        pairs = [(n, c) for n in range(len(begin)) for c in task.channels]
        optimised = self.features.optimised(model, task, outputs, pairs, begin)
        is_there = ~np.isnan(begin).any((2, 3, 4)).ravel()
        given = np.nan_to_num(begin.reshape(-1, *begin.shape[2:]))
        objectives = self._objectives(task, outputs)
        stored, inputs = self.features.as_stored(given, next(model.parameters()))
        reached = activations(model, outputs, objectives, inputs)
        return [
            replace(each, stored=image, activation=value)
            if there and value > each.activation
            else each
            for each, image, value, there in zip(optimised, stored, reached, is_there, strict=True)
        ]

    def _objectives(self, task: FeatureTask, outputs: dict[str, LayerOutput]) -> list[Objective]:
        return objectives_of(task, outputs[task.layer]) * self.features.number_of_images


def _told(task: FeatureTask, highest: np.ndarray) -> xr.Dataset:
    coordinates = {IMAGE_NUMBER: np.arange(len(highest)), TRIED: np.array(task.channels)}
    of_tried = (IMAGE_NUMBER, TRIED), highest.astype(np.float32)
    return xr.Dataset({NEIGHBOUR_MAX: of_tried}, coordinates)
