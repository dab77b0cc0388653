"""Receptive fields of neurons: which part of an image one depends on at all.

The operations of a forward pass in, a crop out in which the neuron is computed as in the whole
image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Self

from torch import Tensor

from dvis.kinds.features.measure.rewrites import is_norm_by_statistics
from dvis.models.forward_trace import ForwardTrace, Operation, Value

# Kernel, stride, padding and dilation of a pooling, where torch leaves them out.
_POOLING: tuple[Any, ...] = (1, (), 0, 1)
_WORTHWHILE = 0.8  # of the image's area; a crop of more saves little


@dataclass(frozen=True)
class Crop:
    """Rows and columns of images, and how far a neuron moves on its map in them."""

    rows: slice
    columns: slice
    shift: tuple[int, int]

    def __call__(self, images: Tensor) -> Tensor:
        """The crop of images (image, channel, y, x)."""
        return images[:, :, self.rows, self.columns]


@dataclass(frozen=True)
class _Span:
    """Rows (or columns) of a map on which a neuron depends, first and last of them.

    `step` is how many of them one of the neuron's own map stands for. Rows beyond the map are
    kept: they say that the neuron sees its border.
    """

    first: int
    last: int
    step: int = 1

    def seen_by(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> Self:
        """What a window that gives these sees of the map before it."""
        first = self.first * stride - padding
        last = self.last * stride - padding + dilation * (kernel - 1)
        return type(self)(first, last, self.step * stride)

    def moved(self, by: int) -> Self:
        """The same of a map that begins so many later."""
        return type(self)(self.first - by, self.last - by, self.step)

    def __or__(self, other: "_Span") -> "_Span":
        if self.step != other.step:
            raise _UnknownError
        return _Span(min(self.first, other.first), max(self.last, other.last), self.step)


_Field = tuple[_Span, _Span]


class _UnknownError(Exception):
    """An operation may look anywhere."""


def crop_to_field(trace: ForwardTrace, layer: str, neuron: tuple[int, int]) -> Crop | None:
    """The part of images that a neuron depends on, or None where that is most of them, or unknown.

    Parameters
    ----------
    trace : ForwardTrace
        Operations until the layer has run.
    layer : str
        A layer that gives maps (image, channel, row, column).
    neuron : (int, int)
        Row and column on the map.

    Notes
    -----
    The crop begins at a whole number of the map's strides, so that each map before it begins at a
    position of its own; and what the neuron sees of zeros around a map, it sees in the crop too.
    """
    try:
        field = _field_in_image(trace, layer, neuron)
    except _UnknownError:
        return None
    if field is None:
        return None
    height, width = trace.image.shape[2:]
    starts = [max(span.first, 0) // span.step * span.step for span in field]
    stops = [min(span.last + 1, size) for span, size in zip(field, (height, width), strict=True)]
    area = (stops[0] - starts[0]) * (stops[1] - starts[1])
    if not 0 < area < _WORTHWHILE * height * width:
        return None
    rows, columns = map(slice, starts, stops)
    return Crop(rows, columns, (starts[0] // field[0].step, starts[1] // field[1].step))


def _field_in_image(trace: ForwardTrace, layer: str, neuron: tuple[int, int]) -> _Field | None:
    row, column = (_Span(place, place) for place in neuron)
    fields: dict[int, _Field] = {trace.outputs[layer].memory: (row, column)}
    of_image = trace.of_image()
    for operation in reversed(trace.operations):
        given = [fields[v.memory] for v in operation.given if v.memory in fields]
        taken = [value for value in operation.taken if value.memory in of_image]
        if not given or not taken:
            continue
        before = _field_before(operation, _joined(given), taken)
        for value in taken:
            fields[value.memory] = _joined([fields.get(value.memory, before), before])
    return fields.get(trace.image.memory)


def _joined(fields: Sequence[_Field]) -> _Field:
    rows, columns = zip(*fields, strict=True)
    return reduce(or_, rows), reduce(or_, columns)


def _field_before(operation: Operation, field: _Field, taken: Sequence[Value]) -> _Field:
    """What an operation sees, of all that it takes of the image, to give a field."""
    name, arguments = operation.name, operation.arguments
    if any(len(value.shape) != 4 for value in (*taken, operation.given[0])):
        raise _UnknownError
    if name == "constant_pad_nd":
        return _before_padding(field, arguments[1])
    if name == "convolution" and not arguments[6] and taken == [arguments[0]]:
        stride, padding, dilation = map(_pair, arguments[3:6])
        kernel = arguments[1].shape[2:]
        return _before_window(field, kernel, stride, padding, dilation)
    if name in ("max_pool2d_with_indices", "avg_pool2d"):
        given = (*arguments[1:5], *_POOLING[len(arguments[1:5]) :])
        kernel, stride, padding, dilation = map(_pair, given)
        if name == "avg_pool2d":
            dilation = (1, 1)
        return _before_window(field, kernel, stride or kernel, padding, dilation)
    size = operation.given[0].shape[2:]
    if any(value.shape[2:] != size for value in taken):
        raise _UnknownError
    if is_norm_by_statistics(operation) or name == "detach":
        return field
    is_cat = name == "cat" and len(arguments) > 1 and arguments[1] in (1, -3)
    # What else has an extent, such as a code of positions, is not cropped with the image.
    others = (value.shape[-2:] for value in operation.taken if value not in taken)
    if (is_cat or operation.is_pointwise) and all(max(sizes, default=1) == 1 for sizes in others):
        return field
    raise _UnknownError


def _before_window(
    field: _Field,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> _Field:
    rows, columns = (
        span.seen_by(*sizes)
        for span, *sizes in zip(field, kernel, stride, padding, dilation, strict=True)
    )
    return rows, columns


def _before_padding(field: _Field, edges: Sequence[int]) -> _Field:
    if len(edges) > 4 or any(edge < 0 for edge in edges):
        raise _UnknownError
    left, _, top, _ = (*edges, 0, 0)[:4]
    rows, columns = field
    return rows.moved(top), columns.moved(left)


def _pair(sizes: Any) -> tuple[int, ...]:
    """Sizes as torch takes them, for rows and columns: a number, one, two or none."""
    if isinstance(sizes, int):
        return sizes, sizes
    return tuple(sizes) * 2 if len(sizes) == 1 else tuple(sizes)
