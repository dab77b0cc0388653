"""What of a layer's output a probe reads: its mean over places, the class token, or all of it.

A model's layers and images in, numbers (sample, input) of each layer out, by one forward pass;
by several where layers whose outputs are kept whole would not fit into memory together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from dvis.analysis.linear_probes import reduced
from dvis.kinds.probes.options import CLS, FLATTEN
from dvis.models.data.fixed_images import FixedImages
from dvis.models.hooks import LayerOutput, as_maps, stopping
from dvis.models.layer_table import prefix_tokens
from dvis.models.mixing import why_alone

_PASS_BYTES = 2**29  # of outputs that are kept whole in one pass
_MOST_BYTES = 2**32  # of those of a layer alone
_ITEM_BYTES = 4
_PIXEL_SIDE = 32  # of images whose pixels are read: larger ones are averaged to it


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """What is read of layers' outputs.

    Parameters
    ----------
    how : {"mean", "cls", "flatten"}
        Mean over places or tokens, the class token, or all numbers.
    n_components : int
        Principal components of what is flattened, where it has more numbers.
    seed : int
        Of the search for them.
    """

    how: str
    n_components: int
    seed: int

    def fitting(
        self, module: nn.Module, outputs: Mapping[str, LayerOutput], n_images: int, *, is_all: bool
    ) -> dict[str, LayerOutput]:
        """The layers of which it can be read; all that are asked for by name.

        Raises
        ------
        ValueError
            When a layer that is named, or every one, has no class token, or is too large.
        """
        found = {}
        for layer, output in outputs.items():
            why = self._why_not(module, layer, output, n_images)
            if why and not is_all:
                raise ValueError(why)
            if not why:
                found[layer] = output
        if not found:
            raise ValueError(self._why_not(module, *next(iter(outputs.items())), n_images))
        return found

    def n_inputs(self, output: LayerOutput, n_train: int) -> int:
        """Numbers that a probe of a layer reads."""
        if self.how != FLATTEN:
            return output.n_channels
        return min(prod(output.shape[1:]), self.n_components, n_train)

    def inputs(
        self,
        network: nn.Module,
        outputs: Mapping[str, LayerOutput],
        images: FixedImages,
        train: np.ndarray,
        batch_size: int,
    ) -> tuple[Iterator[tuple[str, np.ndarray]], str]:
        """Layers with what is read of them, (sample, input); and why images went through alone."""
        image = images.batch(0, 1, next(network.parameters()))
        why = why_alone(network, {name: each.n_calls for name, each in outputs.items()}, image)

        def found() -> Iterator[tuple[str, np.ndarray]]:
            for names in self._passes(outputs, len(images)):
                some = {name: outputs[name] for name in names}
                kept = self._pass(network, some, images, batch_size, is_alone=bool(why))
                for name in names:
                    yield name, self._read(kept.pop(name), train)

        return found(), why

    def pixels(self, images: FixedImages, train: np.ndarray, batch_size: int) -> np.ndarray:
        """Principal components of images, (sample, input), of 32 x 32 pixels at most."""
        side = min(images.transform.size, _PIXEL_SIDE)
        parts = []
        for first in range(0, len(images), batch_size):
            batch = images.batch(first, first + batch_size, torch.zeros(()))
            parts.append(nn.functional.adaptive_avg_pool2d(batch, side).flatten(1).numpy())
        return reduced(np.concatenate(parts), train, self.n_components, self.seed)

    def _read(self, values: np.ndarray, train: np.ndarray) -> np.ndarray:
        if self.how != FLATTEN or not np.isfinite(values).all():
            return values
        return reduced(values, train, self.n_components, self.seed)

    def _passes(self, outputs: Mapping[str, LayerOutput], n_images: int) -> list[list[str]]:
        """Layers of each forward pass."""
        passes: list[list[str]] = [[]]
        n_bytes = 0
        for layer, output in outputs.items():
            own = n_images * _ITEM_BYTES * prod(output.shape[1:]) if self.how == FLATTEN else 0
            if passes[-1] and n_bytes + own > _PASS_BYTES:
                passes.append([])
                n_bytes = 0
            passes[-1].append(layer)
            n_bytes += own
        return passes

    def _pass(
        self,
        network: nn.Module,
        outputs: Mapping[str, LayerOutput],
        images: FixedImages,
        batch_size: int,
        *,
        is_alone: bool,
    ) -> dict[str, np.ndarray]:
        def reduce(layer: str, output: Tensor) -> Tensor:
            return self._pooled(output, outputs[layer].channel_dim)

        calls = {layer: output.n_calls for layer, output in outputs.items()}
        some = next(network.parameters())
        kept: dict[str, np.ndarray] = {}
        with torch.no_grad(), stopping(network, calls, reduce, is_alone=is_alone) as forward:
            for first in range(0, len(images), batch_size):
                for layer, values in forward(images.batch(first, first + batch_size, some)).items():
                    of_batch = values.float().cpu().numpy()
                    if layer not in kept:
                        kept[layer] = np.empty((len(images), of_batch.shape[1]), np.float32)
                    kept[layer][first : first + len(of_batch)] = of_batch
        return kept

    def _pooled(self, output: Tensor, channel_dim: int) -> Tensor:
        """What is read of an output, (sample, input), in memory of its own."""
        if self.how == FLATTEN:
            return output.flatten(1).clone()
        if self.how == CLS and output.ndim == 3:
            return output[:, 0].clone()
        return as_maps(output, channel_dim).mean((-2, -1))

    def _why_not(self, module: nn.Module, layer: str, output: LayerOutput, n_images: int) -> str:
        """Why it cannot be read of a layer, or nothing."""
        if self.how == FLATTEN:
            n_bytes = n_images * _ITEM_BYTES * prod(output.shape[1:])
            if n_bytes > _MOST_BYTES:
                return (
                    f"{layer} gives {' x '.join(map(str, output.shape[1:]))} numbers of an image, "
                    f"{n_bytes / 1e9:.1f} GB of {n_images} images; give fewer --n-images, or "
                    "--pool mean"
                )
        n_dims = len(output.shape)
        if self.how == CLS and n_dims > 2 and (n_dims != 3 or not prefix_tokens(module)):
            return (
                f"{layer} of {type(module).__name__} has no class token; take layers of a "
                "transformer that give (batch, token, channel), or --pool mean"
            )
        return ""
