"""Passes of images through a network: what its layers and it give, also with a direction taken out.

A network and images in, numbers of images out. The network is not touched.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.models.data.fixed_images import FixedImages
from dvis.models.hooks import LayerOutput, as_maps, find_layer, first_tensor, stopping

ITSELF = ""  # the network, as its own last layer


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
        self, layer: str, output: LayerOutput, cut: Cut, folds: np.ndarray, draw: int
    ) -> np.ndarray:
        """The output, (image, number), where a layer lacks the direction of each image's fold."""
        found = []
        cutting = _cutting(self.network, layer, output.channel_dim, cut, draw)
        with torch.no_grad(), cutting as of_batch:
            for first, batch in enumerate(self._batches()):
                start = first * self.batch_size
                of_batch[:] = [folds[start : start + len(batch)]]
                given = first_tensor(self.network(batch))
                assert given is not None, "it gave a tensor when it was looked at"
                found.append(given.flatten(1).double().cpu().numpy())
        return np.concatenate(found)

    def _batches(self) -> Iterator[Tensor]:
        some = next(self.network.parameters())
        for first in range(0, len(self.rows), self.batch_size):
            yield self.images.at(self.rows[first : first + self.batch_size], some)


@contextmanager
def _cutting(
    network: nn.Module, layer: str, channel_dim: int, cut: Cut, draw: int
) -> Iterator[list[np.ndarray]]:
    """A layer that lacks directions, of the folds of a batch's images that the list has."""
    of_batch: list[np.ndarray] = []

    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        tensor = first_tensor(output)
        assert tensor is not None, layer
        new = cut.of(tensor, channel_dim, of_batch[0], draw)
        if isinstance(output, tuple | list):
            return type(output)([new, *output[1:]])
        return new

    handle = find_layer(network, layer).register_forward_hook(hook)
    try:
        yield of_batch
    finally:
        handle.remove()


def _mean_code(autoencoder: Autoencoder, rows: Tensor) -> Tensor:
    """Mean code, (latent,), of the rows of an image, (place, channel), each by itself."""
    pattern, values = autoencoder.active(rows)
    return pattern.dense(values).mean(0)


def _joined(batches: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    return {
        layer: torch.cat([batch[layer] for batch in batches]).double().cpu().numpy()
        for layer in batches[0]
    }
