"""How alike images of different units of a layer are: what two seeds of one unit are held against.

A unit is paired with the next channel of its layer that a sweep was asked for, so that its pair
depends neither on batches nor on what is measured first.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import nn

from dvis.kinds.features.measure.measurement import FeatureVisualisation
from dvis.kinds.features.measure.similarity import apart_from, grey_input, profiles, similarity
from dvis.kinds.features.tasks import PairTask
from dvis.kinds.features.words import IMAGE_NUMBER, SEED_NULL
from dvis.models.hooks import trace_layers
from dvis.schema import CHANNEL


@dataclass(frozen=True, kw_only=True)
class SeedPairs:
    """Similarity of images of different units.

    Parameters
    ----------
    features : FeatureVisualisation
        How the images were made.
    """

    features: FeatureVisualisation

    def measure(self, model: nn.Module, task: PairTask, start: np.ndarray | None) -> xr.Dataset:
        """Similarity of each unit's image to that of its partner.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : PairTask
            Layer and channels.
        start : ndarray, (2, image_number, channel, rgb, y, x), float32
            Model inputs: the units' images, and those of their partners.

        Returns
        -------
        Dataset
            `seed_similarity_null` (image_number, channel).
        """
        assert start is not None, "units without images are in no task"
        outputs = trace_layers(model, self.features.blank(model))
        like = next(model.parameters())
        mean, std = self.features.mean, self.features.std
        colours = start[..., : len(mean), :, :]
        images = torch.from_numpy(colours.reshape(-1, *colours.shape[3:]).copy()).to(like)
        grey = grey_input(mean, std, self.features.image_size, like)
        seen = profiles(model, outputs, task.layer, torch.cat([images, grey]))
        own, others = seen.reshape(2, *start.shape[1:3], -1)
        pairs = list(zip(task.channels, task.partners, strict=True))
        found = [
            [_of_pair(task, *each) for each in zip(first, second, pairs, strict=True)]
            for first, second in zip(own, others, strict=True)
        ]
        dims, numbers = (IMAGE_NUMBER, CHANNEL), np.arange(len(found))
        coordinates = {IMAGE_NUMBER: numbers, CHANNEL: np.array(task.channels)}
        return xr.Dataset({SEED_NULL: (dims, np.array(found, np.float32))}, coordinates)


def _of_pair(
    task: PairTask, first: np.ndarray, second: np.ndarray, made_for: tuple[int, int]
) -> float:
    """Similarity of two profiles (channel,) without what their images were made for."""
    if task.read_out is None:
        return similarity(first, second, made_for)
    rows = task.read_out.of(made_for).rows
    return similarity(apart_from(first, rows), apart_from(second, rows), ())
