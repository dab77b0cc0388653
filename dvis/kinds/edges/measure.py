"""Shares of every convolution's and linear layer's inputs: one model in, labelled shares out.

One forward pass serves all layers; what is kept of it is of the size of a layer's channels by its
input channels, whatever the number of images.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import nn

from dvis.kinds.edges.sums import LayerSums, weighted_layers
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.hooks import LayerOutput, find_layer, trace_layers
from dvis.models.mixing import why_alone
from dvis.models.recalibration import Recalibrated
from dvis.schema import LAYER, NOTES

_LARGEST = float(np.finfo(np.float16).max)
_SUM_TOLERANCE = 0.01
_NO_SUM = (
    "its shares do not sum to 1: what it gives is not its weight times its input, as where the "
    "layer changes one of them on the way; leave it out of the layers"
)
_NOT_FINITE = "what it gives is not finite: weights that it depends on are not"


@dataclass(frozen=True)
class EdgesTask:
    """Layers that one pass over the images serves.

    Parameters
    ----------
    layers : tuple of str
        All of them.
    parts : tuple of int
        Which of these are asked for.
    """

    layers: tuple[str, ...]
    parts: tuple[int, ...]

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same layers, of which others are asked for."""
        return replace(self, parts=parts)

    mark = "status"

    @property
    def labels(self) -> dict[str, Any]:
        """Layer of each part."""
        return {LAYER: self.wanted}

    @property
    def wanted(self) -> list[str]:
        """The layers that are asked for."""
        return [self.layers[part] for part in self.parts]

    def __str__(self) -> str:
        return ", ".join(self.wanted[:3]) + (", ..." if len(self.parts) > 3 else "")


@dataclass(frozen=True, kw_only=True)
class EdgeShares:
    r"""Share of each input channel in the variance of each output channel, of weighted layers.

    Of a convolution's output :math:`y = K * x`, over images n and positions q,

    .. math:: share_{dc} = \sum_{ij} K_{dcij}\,
        \frac{\mathrm{Cov}_{nq}(x_{c,\,sq+ij},\, y_{dq})}{\mathrm{Var}_{nq}(y_d)},

    with x at the positions that the kernel reads, padding among them. Shares of a channel are
    signed and sum to 1 over its inputs. They are the same whatever scale channels have, and
    whatever batch norm stands behind the layer. A linear layer is a convolution with a kernel of
    one position; its positions are those of tokens. Of a layer that runs several times in a pass
    all calls count alike.

    Parameters
    ----------
    images : FixedImages
        The images.
    recalibrated : Recalibrated
        What gives models their batch-norm statistics.
    batch_size : int
        Images in one forward pass.

    References
    ----------
    Pratt 1987, Dividing the indivisible: using simple symmetry to partition variance explained.
    There of a linear regression; here of a layer, whose regressors are the places of its kernel.
    """

    images: FixedImages
    recalibrated: Recalibrated
    batch_size: int = 32

    def outputs(self, model: nn.Module, layers: Sequence[str] = ()) -> dict[str, LayerOutput]:
        """What some weighted layers give; all of those that run where none are named.

        Raises
        ------
        KeyError
            When the model has no such layer.
        ValueError
            When a layer is neither a convolution nor linear, or does not run; when there is none.
        """
        outputs = trace_layers(model, self.images.batch(0, 1, next(model.parameters())))
        there = weighted_layers(model, outputs)
        called = type(model).__name__
        if not there:
            raise ValueError(
                f"{called} has no 2d convolution and no linear layer that runs in a forward pass; "
                "shares are of these"
            )
        for layer in layers:
            kind = type(find_layer(model, layer)).__name__
            if layer not in there:
                raise ValueError(
                    f"layer {layer!r} of {called} is a {kind} that has no shares of inputs; they "
                    "are of 2d convolutions and linear layers that run in a forward pass: "
                    f"{', '.join([*there][:10])}"
                )
        return {layer: outputs[layer] for layer in layers or there}

    def forget(self) -> None:
        """Let go of what this process keeps: the prepared images and a copy of a model."""
        forget_prepared()
        self.recalibrated.forget()

    def shares(self, model: nn.Module, layers: Sequence[str] = ()) -> dict[str, xr.DataArray]:
        """Shares of layers, by their names.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        layers : sequence of str
            Convolutions and linear layers that run (default: all).

        Returns
        -------
        dict of str to DataArray, (channel, input_channel), float64
            NaN of a channel that does not vary.
        """
        sums, _ = self._sums(model, layers)
        return {layer: of_layer.shares() for layer, of_layer in sums.items()}

    def measure(
        self, model: nn.Module, task: EdgesTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Shares of a task's layers.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : EdgesTask
            The layers.
        start : None
            Not used.

        Returns
        -------
        Dataset
            `share` (pair), float16, of one layer after another, in rows of a channel; over (layer)
            their numbers, `n_outputs` and `n_inputs`, and `error`. In one array the widest layer
            would make all as wide.
        """
        sums, why = self._sums(model, task.wanted)
        flat, errors, shapes = [], [], []
        for of_layer in sums.values():
            shares = of_layer.shares().values
            errors.append(_error_of(shares) if of_layer.is_finite else _NOT_FINITE)
            shapes.append(shares.shape)
            flat.append(np.clip(shares, -_LARGEST, _LARGEST).astype(np.float16).ravel())
        n_outputs, n_inputs = np.array(shapes, np.int64).T
        return xr.Dataset(
            {
                "share": ("pair", np.concatenate(flat)),
                "n_outputs": (LAYER, n_outputs),
                "n_inputs": (LAYER, n_inputs),
                "error": (LAYER, np.array(errors, object)),
            },
            {LAYER: task.wanted},
            {NOTES: [why] if why else []},
        )

    def _sums(self, given: nn.Module, layers: Sequence[str]) -> tuple[dict[str, LayerSums], str]:
        """Sums over all images of each layer, and why images went alone, if they did."""
        model = self.recalibrated(given)
        some = next(model.parameters())
        image = self.images.batch(0, 1, some)
        outputs = self.outputs(model, layers)
        calls = {layer: output.n_calls for layer, output in outputs.items()}
        why = why_alone(model, calls, image)
        step = 1 if why else self.batch_size
        sums = {layer: LayerSums() for layer in outputs}
        with torch.no_grad(), ExitStack() as stack:
            for layer, of_layer in sums.items():
                hook = find_layer(model, layer).register_forward_hook(of_layer.add)
                stack.callback(hook.remove)
            for first in range(0, len(self.images), step):
                model(self.images.batch(first, first + step, some))
        return sums, why


def _error_of(shares: np.ndarray) -> str:
    """What is wrong with a layer's shares, or nothing: most channels' sum to 1, or are dead."""
    off = np.abs(shares.sum(1) - 1)
    off = off[np.isfinite(off)]
    return _NO_SUM if len(off) and np.median(off) > _SUM_TOLERANCE else ""
