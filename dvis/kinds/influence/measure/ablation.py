"""Influence by ablation: a channel's map is replaced, and what later layers give is compared."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil, isqrt

import numpy as np
import torch
from torch import Tensor, nn

from dvis.kinds.influence.measure.nodes import Node
from dvis.kinds.influence.measure.replaced import Course, Replaced, Way, outputs_of, replacing
from dvis.kinds.influence.measure.sums import Means, Sums
from dvis.kinds.influence.options import Value
from dvis.models.data.fixed_images import FixedImages
from dvis.models.hooks import Reduce, stopping

_MOST_BYTES = 2**27  # of outputs that go in at once
# Copies of an image in a pass to one image: the clean one beside its copies then costs little.
_COPIES_TO_IMAGES = 16


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A layer's units onto later layers.

    Parameters
    ----------
    model : nn.Module
        The model in eval mode; it is not touched.
    source : Node
        Whose units are ablated.
    units : sequence of int
        Which.
    targets : mapping of str to Node
        Later layers.
    course : Course
        How they depend on the source's layer.
    images : FixedImages
        The images.
    value : {"mean", "zero", "resample"}
        What takes a unit's place.
    partners : ndarray, (image,), int64
        Of which image, for resample.
    batch_size : int
        Rows of one pass at most.
    """

    model: nn.Module
    source: Node
    units: Sequence[int]
    targets: Mapping[str, Node]
    course: Course
    images: FixedImages
    value: Value
    partners: np.ndarray
    batch_size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Images, and copies of each, of one pass."""
        some = next(self.model.parameters())
        n_bytes = int(np.prod(self.source.output.shape[1:])) * some.element_size()
        n_rows = max(2, min(self.batch_size, _MOST_BYTES // max(1, n_bytes)))
        n_images = max(isqrt(n_rows // _COPIES_TO_IMAGES), n_rows // (len(self.units) + 1))
        n_images = min(max(1, n_images), n_rows // 2, len(self.images))
        n_passes = ceil(len(self.units) / (n_rows // n_images - 1))
        return n_images, ceil(len(self.units) / n_passes)

    def sums(self, sources: Means, targets: Means) -> Sums:
        """Sums over all images of (unit, target), of their means without a change."""
        sums = Sums(sources, targets)
        for images, units, changes in self.changes(sources):
            sums.add(changes, images, units)
        return sums

    def changes(self, sources: Means) -> Generator[tuple[np.ndarray, slice, np.ndarray]]:
        """Numbers of some images, places of some units, and changes (unit, image, target).

        The targets of all layers follow each other. A change is what a target gives less what it
        gives without the unit, both of one pass.
        """
        n_images = self.shape[0]
        with torch.no_grad(), self.replacing() as replaced:
            for first in range(0, len(self.images), n_images):
                images = np.arange(first, min(first + n_images, len(self.images)))
                for units, changes in self._of_images(replaced, images, sources):
                    yield images, units, changes

    def replacing(self) -> AbstractContextManager[Replaced]:
        """Passes with given outputs of the source's layer."""
        calls = {node.layer: node.output.n_calls for node in self.targets.values()}
        return replacing(
            self.model, self.source.layer, calls, reduced(self.targets), self.course.way
        )

    def _of_images(
        self, replaced: Replaced, images: np.ndarray, sources: Means
    ) -> Iterator[tuple[slice, np.ndarray]]:
        like = next(self.model.parameters())
        inputs = self.images.at(images, like)
        own, other = self.outputs(images), None
        instead = torch.zeros(len(self.units)).to(own)
        if self.value == "mean":
            instead = torch.from_numpy(sources.mean).to(own)
        elif self.value == "resample":
            other = self.outputs(self.partners[images])
        n_copies = self.shape[1]
        for first in range(0, len(self.units), n_copies):
            units = slice(first, min(first + n_copies, len(self.units)))
            numbers = torch.tensor(self.units[units])
            values = instead[units] if other is None else None
            copies = self.source.without(own, numbers, values, other)
            outputs = copies.flatten(0, 1)
            rows = inputs
            if self.course.way is not Way.SHARED:
                rows = inputs.repeat(len(numbers) + 1, *[1] * (inputs.ndim - 1))
            found = together(replaced(rows, outputs), self.targets)
            by_copy = found.reshape(len(numbers) + 1, len(images), -1).cpu().numpy()
            yield units, by_copy[:1] - by_copy[1:]

    def outputs(self, images: np.ndarray) -> Tensor:
        """What the source's layer gives of some images."""
        inputs = self.images.at(images, next(self.model.parameters()))
        is_alone = self.course.way is Way.ALONE
        return outputs_of(self.model, self.source.layer, 1, inputs, is_alone=is_alone)


def reduced(nodes: Mapping[str, Node]) -> Reduce:
    """What is kept of layers' outputs: means over positions of all nodes of a layer, in order."""

    def reduce(layer: str, output: Tensor) -> Tensor:
        return torch.cat([n.means(output) for n in nodes.values() if n.layer == layer], 1)

    return reduce


def together(found: Mapping[str, Tensor], nodes: Mapping[str, Node]) -> Tensor:
    """Means (row, unit) of all nodes one after the other, of those that `reduced` kept by layer."""
    first = dict.fromkeys(found, 0)
    parts = []
    for node in nodes.values():
        start = first[node.layer]
        first[node.layer] = start + node.n_units
        parts.append(found[node.layer][:, start : start + node.n_units])
    return torch.cat(parts, 1)


def plain_means(
    model: nn.Module,
    nodes: Mapping[str, Node],
    images: FixedImages,
    batch_size: int,
    *,
    is_alone: bool,
) -> dict[str, Means]:
    """Means over positions, of all images, in passes where nothing is changed."""
    calls = {node.layer: node.output.n_calls for node in nodes.values()}
    like = next(model.parameters())
    rows = []
    with torch.no_grad(), stopping(model, calls, reduced(nodes), is_alone=is_alone) as forward:
        for first in range(0, len(images), batch_size):
            found = forward(images.batch(first, first + batch_size, like))
            rows.append(together(found, nodes).cpu().numpy())
    values = np.concatenate(rows)
    stops = np.cumsum([node.n_units for node in nodes.values()])[:-1]
    return {
        name: Means(each) for name, each in zip(nodes, np.split(values, stops, axis=1), strict=True)
    }
