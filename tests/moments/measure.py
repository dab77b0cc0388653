"""One model in, the moments of some channels out, labelled."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import nn

from dvis.models.hooks import as_maps, stopping, trace_layers
from dvis.schema import CHANNEL, LAYER


@dataclass(frozen=True)
class MomentsTask:
    """Channels of a layer."""

    layer: str
    parts: tuple[int, ...]
    mark: str = "status"

    @property
    def labels(self) -> dict[str, Any]:
        return {LAYER: self.layer, CHANNEL: list(self.parts)}

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        return replace(self, parts=parts)


@dataclass(frozen=True)
class Moments:
    """Mean and variance, over images (image, rgb, y, x), of the mean of each channel's map."""

    images: np.ndarray

    def measure(self, model: nn.Module, task: MomentsTask, start: None) -> xr.Dataset:
        inputs = torch.from_numpy(self.images).to(next(model.parameters()))
        output = trace_layers(model, inputs[:1])[task.layer]
        with torch.no_grad(), stopping(model, {task.layer: output.n_calls}) as forward:
            maps = as_maps(forward(inputs)[task.layer], output.channel_dim)
        values = maps.mean((-2, -1)).numpy()[:, list(task.parts)]
        moments = {"mean": (CHANNEL, values.mean(0)), "variance": (CHANNEL, values.var(0))}
        return xr.Dataset(moments, {CHANNEL: list(task.parts)})
