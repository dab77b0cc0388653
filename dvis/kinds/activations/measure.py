"""Activations of a block of samples: one model in, what its layers give as a Dataset out.

One forward pass serves all layers. A process that reaches the store writes the values itself, and
hands back what is small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dvis.analysis.ranking import RANK
from dvis.kinds.activations.layers import KeptLayer
from dvis.kinds.activations.top import Top, histogram_of
from dvis.kinds.activations.value_files import Lock, ValueFiles
from dvis.kinds.activations.words import BIN, BLOCK, HISTOGRAM, TOKEN, TOP, VALUES, Dtype
from dvis.models.data.fixed_images import FixedImages, forget_prepared
from dvis.models.hooks import stopping
from dvis.models.mixing import why_alone
from dvis.schema import CHANNEL, LAYER, NOTES
from dvis.store.datasets import SAMPLE

LARGEST_HALF = 3e4  # of float16's 65504: what is beyond has few digits left, and little room


@dataclass(frozen=True)
class BlockTask:
    """A block of samples, of some layers.

    Parameters
    ----------
    block : int
        Which of the set's blocks.
    parts : tuple of int
        Which of the layers.
    """

    block: int
    parts: tuple[int, ...]

    mark = "status"

    def with_parts(self, parts: tuple[int, ...], /) -> Self:
        """The same block, of other layers."""
        return replace(self, parts=parts)

    @property
    def labels(self) -> dict[str, Any]:
        """The block."""
        return {BLOCK: self.block}

    def __str__(self) -> str:
        return f"block {self.block}"


@dataclass(frozen=True, kw_only=True)
class ActivationMeasurement:
    """What layers give for samples of an image set.

    Parameters
    ----------
    images : FixedImages
        The set, as the model takes it.
    layers : tuple of KeptLayer
        Layers, and what is kept of each.
    block_samples : int
        Samples of a block.
    dtype : {"float16", "float32"}
        Numbers as they are kept.
    batch_size : int
        Images in one forward pass.
    n_top : int
        Top images of a channel that are found; 0 for none.
    files : tuple of ValueFiles, (layer,)
        Where values lie; without, they are not kept.
    lock : Lock, optional
        By which a process knows whether it reaches them; without, values are handed back.
    """

    images: FixedImages
    layers: tuple[KeptLayer, ...]
    block_samples: int
    dtype: Dtype
    batch_size: int
    n_top: int = 0
    files: tuple[ValueFiles, ...] = field(default=(), compare=False)
    lock: Lock | None = field(default=None, compare=False)

    def forget(self) -> None:
        """Let go of the images as they were prepared, which this process keeps."""
        forget_prepared()

    def samples_of(self, block: int) -> range:
        """Positions of a block's samples in the set."""
        first = block * self.block_samples
        return range(first, min(first + self.block_samples, len(self.images)))

    def measure(
        self, model: nn.Module, task: BlockTask, start: np.ndarray | None = None
    ) -> xr.Dataset:
        """Activations of a block.

        Parameters
        ----------
        model : nn.Module
            The model in eval mode; it is not touched.
        task : BlockTask
            The block, and which of the layers.
        start : ndarray, (layer,), int64, optional
            The checkpoint's place in the group of each of the task's layers.

        Returns
        -------
        Dataset
            `error` (layer), and what `of_layer` and `top_of` take out of it: of each layer `sum`
            and `sum_of_squares` (channel), float64, `count`, and `values` (sample, token, channel),
            unless they are written; `top_position`, `top_value` and `top_map` (channel, rank, ...)
            and `histogram` (channel, bin), where top images are kept.

        Raises
        ------
        OSError
            When an image cannot be read.
        """
        samples = self.samples_of(task.block)
        layers = [self.layers[part] for part in task.parts]
        kept = {layer.name: _Kept.of(layer, len(samples), self.dtype) for layer in layers}
        why = self._pass(model, samples, layers, kept)
        errors = [kept[layer.name].error(layer.name) for layer in layers]
        is_reached = self.lock is not None and self.lock.is_in_reach
        is_written = bool(self.files) and start is not None and is_reached
        variables: dict[str, Any] = {"error": (LAYER, np.array(errors, object))}
        for i, (layer, part) in enumerate(zip(layers, task.parts, strict=True)):
            of_layer = kept[layer.name]
            values = of_layer.values
            if errors[i]:
                values = np.zeros_like(values)
            elif is_written:
                assert start is not None
                self.files[part].write(int(start[i]), task.block, values)
            is_handed = bool(self.files) and not is_written
            variables |= packed(i, of_layer.sums, values if is_handed else None)
            if self.n_top:
                variables |= packed_top(i, values, samples.start, self.n_top)
        return xr.Dataset(variables, attrs={NOTES: [why] if why else []})

    def _pass(
        self,
        model: nn.Module,
        samples: range,
        layers: Sequence[KeptLayer],
        kept: "Mapping[str, _Kept]",
    ) -> str:
        """One forward pass over some samples; why they went through alone, if they did."""
        some = next(model.parameters())
        calls = {layer.name: layer.n_calls for layer in layers}
        by_name = {layer.name: layer for layer in layers}
        dtype = torch.float16 if self.dtype == "float16" else torch.float32

        def reduce(layer: str, output: Tensor) -> Tensor:
            return by_name[layer].taken(output, dtype)

        why = why_alone(model, calls, self.images.batch(samples.start, samples.start + 1, some))
        with torch.no_grad(), stopping(model, calls, reduce, is_alone=bool(why)) as forward:
            for first in range(samples.start, samples.stop, self.batch_size):
                stop = min(first + self.batch_size, samples.stop)
                reduced = forward(self.images.batch(first, stop, some))
                at = slice(first - samples.start, stop - samples.start)
                for name, rows in reduced.items():
                    kept[name].add(at, rows)
        return why


@dataclass
class _Kept:
    """A layer's block as batches come in: values, their sums, and how far they reach."""

    values: np.ndarray
    sums: dict[str, np.ndarray]
    largest: float = 0.0

    @classmethod
    def of(cls, layer: KeptLayer, n_samples: int, dtype: Dtype) -> "_Kept":
        shape = (n_samples, layer.n_tokens, layer.n_channels)
        sums = {name: np.zeros(layer.n_channels) for name in ("sum", "sum_of_squares")}
        return cls(np.empty(shape, dtype), sums)

    def add(self, at: slice, rows: Tensor) -> None:
        """Take rows (sample, token, channel)."""
        self.values[at] = rows.cpu().numpy()
        numbers = rows.flatten(0, 1).cpu().float()
        low, high = torch.aminmax(numbers)
        self.largest = float(np.maximum(self.largest, max(abs(float(low)), abs(float(high)))))
        if not np.isfinite(self.largest):
            return
        # Of the values as they are kept, in one order whatever the threads.
        doubles = numbers.double().numpy()
        self.sums["sum"] += doubles.sum(0)
        self.sums["sum_of_squares"] += np.einsum("ij,ij->j", doubles, doubles)

    def error(self, layer: str) -> str:
        """Why the block cannot be kept, or nothing."""
        is_half = self.values.dtype == np.float16
        if is_half and self.largest > LARGEST_HALF:
            return (
                f"activations of {layer} reach {self.largest:.3g} as float16, which is kept up to "
                f"{LARGEST_HALF:.0f}: give --dtype float32, and another --name"
            )
        if not np.isfinite(self.largest):
            return f"an activation of {layer} is not finite: weights that it depends on are not"
        return ""


def packed(
    number: int, sums: Mapping[str, np.ndarray], values: np.ndarray | None
) -> dict[str, Any]:
    """Variables of one of a result's layers, whose dims are its own."""
    token, channel = f"{TOKEN}_{number}", f"{CHANNEL}_{number}"
    variables: dict[str, Any] = {f"{name}_{number}": (channel, of) for name, of in sums.items()}
    if values is not None:
        variables[f"{VALUES}_{number}"] = ((SAMPLE, token, channel), values)
    return variables


def packed_top(number: int, values: np.ndarray, first: int, n_top: int) -> dict[str, Any]:
    """Variables of the top images of one of a result's layers, and its histogram."""
    dims = (f"{CHANNEL}_{number}", RANK)
    top = Top.of(values, first, n_top)
    return {
        f"top_position_{number}": (dims, top.sample),
        f"top_value_{number}": (dims, top.value),
        f"top_map_{number}": ((*dims, f"{TOKEN}_{number}"), top.map),
        f"{HISTOGRAM}_{number}": ((f"{CHANNEL}_{number}", BIN), histogram_of(values)),
    }


def top_of(result: xr.Dataset, number: int) -> Top:
    """The top images of one of a result's layers."""
    return Top(*(result[f"{name}_{number}"].values for name in TOP))


def of_layer(result: xr.Dataset, number: int, task: BlockTask, count: int) -> xr.Dataset:
    """One of a result's layers, (block,), as its group has it."""
    names = ("sum", "sum_of_squares")
    variables: dict[str, Any] = {
        name: ((BLOCK, CHANNEL), result[f"{name}_{number}"].values[None]) for name in names
    }
    if f"{VALUES}_{number}" in result:
        values = result[f"{VALUES}_{number}"].values[None]
        variables[VALUES] = ((BLOCK, SAMPLE, TOKEN, CHANNEL), values)
    if f"{HISTOGRAM}_{number}" in result:
        counts = result[f"{HISTOGRAM}_{number}"].values[None]
        variables[HISTOGRAM] = ((BLOCK, CHANNEL, BIN), counts)
    error = result["error"].values[number : number + 1]
    variables["error"] = (BLOCK, error)
    variables["count"] = (BLOCK, np.where(error == "", count, 0))
    return xr.Dataset(variables, {BLOCK: [task.block]})
