"""Passes of images through a network: what its layers and it give, also with a direction taken out.

A network and images in, numbers of images out. The network is not touched.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.models.data.fixed_images import FixedImages
from dvis.models.hooks import LayerOutput, as_maps, find_layer, first_tensor, stopping

ITSELF = ""  # the network, as its own last layer
_TOGETHER = 4  # batches whose rows go on together
_TOLERANCE = 1e-4  # of the largest output: rows beside change the order of sums


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """Directions of a layer that are taken out, a row for each fold and draw.

    At every place the component along the direction is moved towards its mean: by all of the way
    where the strength is 1, so that nothing is left to tell images apart along it; by none where it
    is 0.

    Attributes
    ----------
    directions : ndarray, (fold, draw, channel)
        Unit vectors.
    offsets : ndarray, (fold, draw)
        Means along them.
    strengths : ndarray, (fold, draw)
        How much is taken.
    """

    directions: np.ndarray
    offsets: np.ndarray
    strengths: np.ndarray

    def of(self, output: Tensor, channel_dim: int, folds: np.ndarray, draw: int) -> Tensor:
        """A layer's output without the direction of each image's fold."""
        direction, offset, strength = (
            torch.from_numpy(each[folds, draw]).to(output)
            for each in (self.directions, self.offsets, self.strengths)
        )
        maps = as_maps(output, channel_dim)
        along = torch.einsum("bchw,bc->bhw", maps, direction) - offset[:, None, None]
        change = (strength[:, None, None] * along)[:, None] * direction[:, :, None, None]
        moved = output.movedim(channel_dim, 1)
        return output - change.reshape(moved.shape).movedim(1, channel_dim)


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Passes of some images through a network.

    Parameters
    ----------
    network : nn.Module
        The network in eval mode.
    images : FixedImages
        The images.
    rows : ndarray, (image,), int64
        Places of those that go through.
    batch_size : int
        Images in one pass; 1 of networks that mix those of a batch.
    """

    network: nn.Module
    images: FixedImages
    rows: np.ndarray
    batch_size: int

    def looked_at(
        self, layers: Mapping[str, LayerOutput]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Means over places of layers, (image, channel) each, and the output, (image, number)."""

        def reduce(layer: str, output: Tensor) -> Tensor:
            if layer == ITSELF:
                return output.flatten(1).clone()
            return as_maps(output, layers[layer].channel_dim).mean((2, 3))

        calls = {**dict.fromkeys(layers, 1), ITSELF: 1}
        with torch.no_grad(), stopping(self.network, calls, reduce) as forward:
            found = _joined([forward(batch) for batch in self._batches()])
        outputs = found.pop(ITSELF)
        return found, outputs

    def codes(
        self, layers: Mapping[str, LayerOutput], autoencoders: Mapping[str, Autoencoder]
    ) -> dict[str, np.ndarray]:
        """Mean codes over places of layers' autoencoders, (image, latent) each."""

        def reduce(layer: str, output: Tensor) -> Tensor:
            maps = as_maps(output, layers[layer].channel_dim)
            rows = maps.flatten(2).transpose(1, 2).float().cpu()
            return torch.stack([_mean_code(autoencoders[layer], of_image) for of_image in rows])

        with torch.no_grad(), stopping(self.network, dict.fromkeys(autoencoders, 1), reduce) as go:
            return _joined([go(batch) for batch in self._batches()])

    def squares(
        self, layers: Mapping[str, LayerOutput], directions: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Mean squares over places along directions (direction, channel), (image, direction)."""

        def reduce(layer: str, output: Tensor) -> Tensor:
            maps = as_maps(output, layers[layer].channel_dim)
            along = torch.einsum(
                "bchw,dc->bdhw", maps, torch.from_numpy(directions[layer]).to(output)
            )
            return (along**2).mean((2, 3))

        with torch.no_grad(), stopping(self.network, dict.fromkeys(layers, 1), reduce) as forward:
            return _joined([forward(batch) for batch in self._batches()])

    def without(
        self, layer: str, output: LayerOutput, cut: Cut, folds: np.ndarray, draws: Sequence[int]
    ) -> np.ndarray:
        """The output, (draw, image, number), where a layer lacks the direction of a draw and fold.

        Where all that comes later passes through the layer, what comes before runs once for all
        draws, whose outputs of the layer go on together.
        """
        way = _Cutting(self.network, layer, output.channel_dim, cut)
        size = self.batch_size
        is_together = len(draws) > 1 and self.batch_size > 1 and self._agree(way, folds, draws)
        if is_together:
            size = max(1, _TOGETHER * self.batch_size // len(draws))
        found = []
        for start in range(0, len(self.rows), size):
            batch, of_batch = self._batch(start, size), folds[start : start + size]
            if is_together:
                found.append(way.together(batch, of_batch, draws))
            else:
                found.append(np.stack([way.alone(batch, of_batch, draw) for draw in draws]))
        return np.concatenate(found, axis=1)

    def _agree(self, way: "_Cutting", folds: np.ndarray, draws: Sequence[int]) -> bool:
        """Whether draws that go on together give, of two images, what they give by themselves."""
        batch, ends = self._batch(0, 2), (draws[0], draws[-1])
        try:
            found = way.together(batch, folds[:2], ends)
        except RuntimeError:  # some goes around the layer, and is of fewer rows
            return False
        expected = np.stack([way.alone(batch, folds[:2], draw) for draw in ends])
        if found.shape != expected.shape:
            return False
        largest = float(np.abs(np.nan_to_num(expected)).max(initial=0))
        return np.allclose(found, expected, rtol=0, atol=_TOLERANCE * largest, equal_nan=True)

    def _batches(self) -> Iterator[Tensor]:
        for first in range(0, len(self.rows), self.batch_size):
            yield self._batch(first, self.batch_size)

    def _batch(self, first: int, size: int) -> Tensor:
        return self.images.at(self.rows[first : first + size], next(self.network.parameters()))


@dataclass(frozen=True)
class _Cutting:
    """Passes in which a layer lacks directions, by a hook that is gone afterwards."""

    network: nn.Module
    layer: str
    channel_dim: int
    cut: Cut

    def alone(self, batch: Tensor, folds: np.ndarray, draw: int) -> np.ndarray:
        """The output, (image, number), without one draw's."""
        return self._passed(batch, lambda tensor: self._cut(tensor, folds, draw))

    def together(self, batch: Tensor, folds: np.ndarray, draws: Sequence[int]) -> np.ndarray:
        """The output, (draw, image, number), without each draw's."""
        found = self._passed(
            batch, lambda tensor: torch.cat([self._cut(tensor, folds, draw) for draw in draws])
        )
        return found.reshape(len(draws), len(batch), -1)

    def _cut(self, tensor: Tensor, folds: np.ndarray, draw: int) -> Tensor:
        return self.cut.of(tensor, self.channel_dim, folds, draw)

    def _passed(self, batch: Tensor, change: Callable[[Tensor], Tensor]) -> np.ndarray:
        def hook(_module: nn.Module, _inputs: object, output: object) -> object:
            tensor = first_tensor(output)
            assert tensor is not None, self.layer
            new = change(tensor)
            if isinstance(output, tuple | list):
                return type(output)([new, *output[1:]])
            return new

        handle = find_layer(self.network, self.layer).register_forward_hook(hook)
        try:
            with torch.no_grad():
                given = first_tensor(self.network(batch))
        finally:
            handle.remove()
        assert given is not None, "it gave a tensor when it was looked at"
        return np.asarray(given.flatten(1).double().cpu().numpy())


def _mean_code(autoencoder: Autoencoder, rows: Tensor) -> Tensor:
    """Mean code, (latent,), of the rows of an image, (place, channel), each by itself."""
    pattern, values = autoencoder.active(rows)
    return pattern.dense(values).mean(0)


def _joined(batches: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    return {
        layer: torch.cat([batch[layer] for batch in batches]).double().cpu().numpy()
        for layer in batches[0]
    }
