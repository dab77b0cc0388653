"""What is maximised: a channel's mean or sum, a neuron, a class logit, a direction, their sums.

Objectives are added, subtracted and scaled: `channel("layer2", 3) - 0.5 * class_logit(7)`.
Layer outputs in, one number an image out.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dvis.kinds.features.tasks import FeatureTask
from dvis.kinds.features.words import AVERAGE, SUM, neuron_of
from dvis.models.hooks import LayerOutput, as_maps
from dvis.schema import did_you_mean

Reduction = Literal["mean", "sum", "neuron"]
MODEL_OUTPUT = ""


@dataclass(frozen=True)
class Term:
    """A weighted number read off one layer: of a channel, or along a direction of all channels."""

    layer: str
    channel: int | None
    reduction: Reduction
    neuron: tuple[int, int] = (-1, -1)
    direction: tuple[float, ...] = ()
    offset: float = 0.0  # of a direction: what is added at each position
    weight: float = 1.0


@dataclass(frozen=True)
class Objective:
    """A sum of terms."""

    terms: tuple[Term, ...]

    def __add__(self, other: "Objective") -> "Objective":
        return Objective(self.terms + other.terms)

    def __mul__(self, factor: float) -> "Objective":
        return Objective(tuple(replace(term, weight=term.weight * factor) for term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return self * -1.0

    def __sub__(self, other: "Objective") -> "Objective":
        return self + -other

    @property
    def layers(self) -> frozenset[str]:
        """Layers that it reads."""
        return frozenset(term.layer for term in self.terms)


def channel(layer: str, index: int, *, aggregation: Literal["mean", "sum"] = "mean") -> Objective:
    """Mean or sum of a channel over its map."""
    return Objective((Term(layer, index, aggregation),))


def neuron(layer: str, index: int, row: int, column: int) -> Objective:
    """One position of a channel; of tokens, the row is the token and the column 0."""
    return Objective((Term(layer, index, "neuron", (row, column)),))


def class_logit(index: int) -> Objective:
    """The model's own output for a class."""
    return channel(MODEL_OUTPUT, index)


def direction(layer: str, vector: Sequence[float]) -> Objective:
    """Mean over the map of the outputs' component along a direction of channel space.

    The direction is taken with length 1.
    """
    length = sum(value * value for value in vector) ** 0.5
    if length == 0:
        raise ValueError(f"the direction in {layer!r} is zero; give one that points somewhere")
    return Objective((Term(layer, None, "mean", direction=tuple(v / length for v in vector)),))


def read_off(layer: str, row: Sequence[float], offset: float) -> Objective:
    """Mean over the map of a read-out of the outputs: a row of its matrix, and its offset."""
    return Objective((Term(layer, None, "mean", direction=tuple(row), offset=offset),))


def check_objectives(
    objectives: Sequence[Objective], outputs: Mapping[str, LayerOutput], model: str
) -> None:
    """See that a model has what objectives name.

    Raises
    ------
    KeyError
        When a layer is not there, or its output has no channels.
    ValueError
        When a channel, neuron or direction does not fit the layer's output.
    """
    for term in {term for objective in objectives for term in objective.terms}:
        layer = term.layer or "output"
        if term.layer not in outputs:
            raise KeyError(did_you_mean("layer", layer, [n for n in outputs if n], model))
        output = outputs[term.layer]
        if term.channel is not None and not 0 <= term.channel < output.n_channels:
            raise ValueError(
                f"channel is {term.channel}; {layer} of {model} has {output.n_channels} channels: "
                f"0 to {output.n_channels - 1}"
            )
        if term.direction and len(term.direction) != output.n_channels:
            raise ValueError(
                f"the direction has {len(term.direction)} entries; {layer} of {model} has "
                f"{output.n_channels} channels"
            )
        if term.reduction == "neuron":
            height, width = map_size(output)
            row, column = term.neuron
            if not (0 <= row < height and 0 <= column < width):
                raise ValueError(
                    f"neuron is {row},{column}; the map of {layer} of {model} has {height} rows "
                    f"and {width} columns at this image size, counted from 0"
                )


def map_size(output: LayerOutput) -> tuple[int, int]:
    """Rows and columns of a layer's map, as `as_maps` gives it."""
    sizes = [n for i, n in enumerate(output.shape) if i not in (0, output.channel_dim)]
    height, width = (*sizes, 1, 1)[:2]
    return height, width


def objectives_of(task: FeatureTask, output: LayerOutput) -> list[Objective]:
    """The objectives of a task's channels, (channel,), or of what it reads off the layer."""
    read_out = task.read_out
    if read_out is None:
        return [objective_of(task.layer, c, task.objective, output) for c in task.channels]
    own = read_out.of(task.channels)
    units = zip(own.rows.tolist(), own.offsets.tolist(), strict=True)
    return [read_off(task.layer, *unit) for unit in units]


def objective_of(layer: str, index: int, name: str, output: LayerOutput) -> Objective:
    """The objective of a channel that a variant's name tells: average, sum, neuron_3_4."""
    if at := neuron_of(name, *map_size(output)):
        return neuron(layer, index, *at)
    return channel(layer, index, aggregation="sum" if name == SUM else "mean")


def aggregated(maps: Tensor, aggregation: str) -> Tensor:
    """One number of each map: (..., row, column) to (...), float32 at least.

    Parameters
    ----------
    maps : Tensor, (..., row, column)
        Maps of channels.
    aggregation : str
        `mean` (or `average`), `max`, `sum`, `center`, or `neuron_3_4`, as variants name it.
    """
    if maps.dtype in (torch.float16, torch.bfloat16):
        maps = maps.float()
    if aggregation in ("mean", AVERAGE):
        return maps.mean((-2, -1))
    if aggregation == "max":
        return maps.amax((-2, -1))
    if aggregation == SUM:
        return maps.sum((-2, -1))
    at = neuron_of(aggregation, *maps.shape[-2:])
    if at is None:
        raise ValueError(f"{aggregation!r} is nothing that a map is reduced to; give mean or max")
    return maps[..., at[0], at[1]].clone()


class ObjectiveBatch:
    """Objectives of the images of a batch, one each, evaluated together."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        channel_dims: Mapping[str, int],
        device: torch.device,
    ) -> None:
        self._n_images, self._channel_dims = len(objectives), channel_dims
        kinds: dict[tuple[str, Reduction, tuple[int, int], bool], list[tuple[int, Term]]]
        kinds = defaultdict(list)
        for image, objective in enumerate(objectives):
            for term in objective.terms:
                kind = term.layer, term.reduction, term.neuron, term.channel is None
                kinds[kind].append((image, term))
        self._groups = [
            (
                kind,
                torch.tensor([image for image, _ in members], device=device),
                [term for _, term in members],
            )
            for kind, members in kinds.items()
        ]
        self._directions: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Values (image,) of outputs by layer."""
        reference = next(iter(outputs.values()))
        total = reference.new_zeros(self._n_images, dtype=_summing_dtype(reference))
        for place, (kind, images, terms) in enumerate(self._groups):
            layer, reduction, (row, column), is_direction = kind
            maps = as_maps(outputs[layer], self._channel_dims[layer])
            if is_direction:
                chosen = self._along(place, terms, maps[images], total.dtype)
            else:
                chosen = maps[images, [term.channel for term in terms]]
            chosen = chosen.to(total.dtype)
            if reduction == "neuron":
                values = chosen[:, row, column]
            else:
                values = chosen.sum((1, 2)) if reduction == "sum" else chosen.mean((1, 2))
            weights = total.new_tensor([term.weight for term in terms])
            total = total.index_add(0, images, values * weights)
        return total

    def _along(self, place: int, terms: Sequence[Term], maps: Tensor, dtype: torch.dtype) -> Tensor:
        """What each term reads off its image's map, (image, row, column)."""
        if place not in self._directions:
            rows = torch.tensor([term.direction for term in terms], dtype=dtype)
            offsets = torch.tensor([term.offset for term in terms], dtype=dtype)
            self._directions[place] = rows.to(maps.device), offsets.to(maps.device)
        rows, offsets = self._directions[place]
        along = torch.einsum("nchw,nc->nhw", maps, rows.to(maps))
        return along.to(dtype) + offsets[:, None, None]


def _summing_dtype(tensor: Tensor) -> torch.dtype:
    is_half = tensor.dtype in (torch.bfloat16, torch.float16)
    return torch.float32 if is_half else tensor.dtype
