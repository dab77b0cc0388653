"""Sizes of receptive fields as a measurement: one model in, log areas of a layer's units out.

A unit's field is one backward pass over the images. Several units share a pass: the images are
repeated, and each copy is asked for the gradient of another unit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.kinds.sizes.words import LOG_AREA
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.hooks import LayerOutput, as_maps, stopping, trace_layers
from dvis.models.layer_table import prefix_tokens
from dvis.models.mixing import why_alone
from dvis.models.recalibration import Recalibrated
from dvis.schema import CHANNEL, LAYER, NOTES, Status

_PIXEL = 1 / 6  # second moment of a square pixel about its middle, in px^2
_SQUARE = 6  # area of a square over its second moment


@dataclass(frozen=True)
class SizeTask:
    """Channels of a layer.

    Parameters
    ----------
    layer : str
        The layer.
    parts : tuple of int
        The channels.
    """

    layer: str
    parts: tuple[int, ...]

    mark = "status"

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layer, and other channels of it."""
        return replace(self, parts=parts)

    @property
    def labels(self) -> dict[str, Any]:
        """The layer, and the channel of each part."""
        return {LAYER: self.layer, CHANNEL: list(self.parts)}

    def __str__(self) -> str:
        return f"{self.layer}, channels {min(self.parts)} to {max(self.parts)}"


@dataclass(frozen=True, kw_only=True)
class ReceptiveFields:
    """Log areas of effective receptive fields, averaged over fixed images.

    Parameters
    ----------
    images : FixedImages
        The images.
    recalibrated : Recalibrated
        The network that is looked at in place of a checkpoint: with batch norm measured anew.
    batch_size : int
        Images in one pass, those of several units together.
    """

    images: FixedImages
    recalibrated: Recalibrated
    batch_size: int = 32

    def measure(
        self, model: nn.Module, task: SizeTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Log areas of some channels.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : SizeTask
            Layer and channels.
        start : None
            Not used.

        Returns
        -------
        Dataset
            `log_area`, float32, `status` and `error` (channel).
        """
        network = self.recalibrated(model)
        image = self.images.batch(0, 1, next(network.parameters()))
        output = trace_layers(network, image)[task.layer]
        why = why_alone(network, {task.layer: output.n_calls}, image)
        fields = self._fields(network, task, output, is_alone=bool(why))
        is_finite = np.isfinite(fields).all((1, 2))
        error = "a gradient is not finite: weights that it depends on are not"
        is_dead = is_finite & (fields == 0).all((1, 2))
        return xr.Dataset(
            {
                LOG_AREA: (CHANNEL, log_area(fields).astype(np.float32)),
                "status": (CHANNEL, np.where(is_dead, Status.DEAD, Status.COMPLETE)),
                "error": (CHANNEL, np.where(is_finite, "", error).astype(object)),
            },
            {CHANNEL: list(task.parts)},
            {NOTES: [why] if why else []},
        )

    def forget(self) -> None:
        """Let go of the network and of the images, which this process keeps."""
        self.recalibrated.forget()
        forget_prepared()

    def _fields(
        self, network: nn.Module, task: SizeTask, output: LayerOutput, *, is_alone: bool
    ) -> np.ndarray:
        """Squared gradients (channel, y, x), float64, summed over colours and images."""
        size = self.images.transform.size
        fields = np.zeros((len(task.parts), size, size))
        position = middle(network, task.layer, output)

        def at_middle(_layer: str, tensor: Tensor) -> Tensor:
            maps = as_maps(tensor, output.channel_dim)
            return maps[:, :, position[0], position[1]].clone()

        calls = {task.layer: output.n_calls}
        with (
            torch.enable_grad(),
            stopping(network, calls, at_middle, is_alone=is_alone) as forward,
        ):
            for batch in self._batches(network):
                n_together = max(1, self.batch_size // len(batch))
                inputs = batch.repeat(n_together, 1, 1, 1).requires_grad_()
                answers = forward(inputs)[task.layer].view(n_together, len(batch), -1)
                for first in range(0, len(task.parts), n_together):
                    channels = list(task.parts[first : first + n_together])
                    own = answers[torch.arange(len(channels)), :, channels].sum()
                    (gradient,) = torch.autograd.grad(own, inputs, retain_graph=True)
                    # On the CPU, where there are numbers whose squares do not vanish.
                    squares = gradient.cpu().double().square().sum(1)
                    by_unit = squares.view(n_together, len(batch), size, size).sum(1).numpy()
                    fields[first : first + len(channels)] += by_unit[: len(channels)]
        return fields

    def _batches(self, network: nn.Module) -> Iterator[Tensor]:
        some = next(network.parameters())
        for first in range(0, len(self.images), self.batch_size):
            yield self.images.batch(first, first + self.batch_size, some)


def middle(network: nn.Module, layer: str, output: LayerOutput) -> tuple[int, int]:
    """Row and column of the position of a layer's maps that is nearest to the image's centre.

    Raises
    ------
    ValueError
        When the layer gives tokens that are no grid of patches.
    """
    if len(output.shape) == 2:
        return 0, 0
    if len(output.shape) == 4:
        rows, columns = (
            n for dim, n in enumerate(output.shape) if dim not in (0, output.channel_dim)
        )
        return rows // 2, columns // 2
    n_prefix = prefix_tokens(network) or 0
    n_patches = output.shape[1] - n_prefix
    side = round(max(n_patches, 0) ** 0.5)
    if n_patches < 1 or side * side != n_patches:
        raise ValueError(
            f"the {output.shape[1]} tokens of {layer!r} are no square of patches, so that none is "
            "nearest to the centre; take a layer that gives one token a patch"
        )
    return n_prefix + side // 2 * side + side // 2, 0


def log_area(fields: np.ndarray) -> np.ndarray:
    """Log of the areas of squares with the second moments of fields (..., y, x); NaN where empty.

    Examples
    --------
    >>> field = np.zeros((9, 9))
    >>> field[2:5, 3:6] = 1
    >>> round(float(np.exp(log_area(field))), 6)
    9.0
    """
    total = fields.sum((-2, -1))
    moment = np.full(total.shape, _PIXEL)
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis in (-2, -1):
            along = fields.sum(axis) / total[..., None]
            places = np.arange(along.shape[-1])
            mean = (along * places).sum(-1, keepdims=True)
            moment = moment + (along * (places - mean) ** 2).sum(-1)
    return np.asarray(np.log(_SQUARE * moment))
