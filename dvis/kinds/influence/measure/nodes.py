"""What has influence, and on what it has: channels of a layer, or latents of its autoencoder.

A layer's output in; numbers of each unit, and copies of the output without a unit, out.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.models.hooks import LayerOutput, as_maps

_CODES_AT_ONCE = 2**24  # 64 MB


class Node(Protocol):
    """Units of one layer's output."""

    @property
    def layer(self) -> str:
        """The layer whose output it is."""

    @property
    def output(self) -> LayerOutput:
        """What the layer gives in a plain pass."""

    @property
    def n_units(self) -> int:
        """Units that there are."""

    def means(self, output: Tensor) -> Tensor:
        """Mean over positions, (image, unit), of a layer's output; shares no memory with it."""

    def without(
        self, output: Tensor, units: Tensor, instead: Tensor | None, other: Tensor | None
    ) -> Tensor:
        """Copies (1 + unit, image, ...) of an output; in all but the first a unit is changed.

        It is a number a unit, `instead` (unit,), or what it is in the `other` output.
        """

    def first_order(self, output: Tensor, gradient: Tensor, instead: Tensor) -> Tensor:
        """Sum over positions, (image, unit), of (value - instead) times the gradient for it."""


@dataclass(frozen=True, kw_only=True)
class Channels:
    """All channels of a layer."""

    layer: str
    output: LayerOutput

    @property
    def n_units(self) -> int:
        """Channels."""
        return self.output.n_channels

    def means(self, output: Tensor) -> Tensor:
        """Mean of each channel's map; see `Node`."""
        return as_maps(output, self.output.channel_dim).mean((2, 3))

    def without(
        self, output: Tensor, units: Tensor, instead: Tensor | None, other: Tensor | None
    ) -> Tensor:
        """Copies with one channel's map replaced; see `Node`."""
        copies = torch.stack([output] * (1 + len(units)))
        dim = self.output.channel_dim
        for place, unit in enumerate(units.tolist()):
            own = copies[1 + place].select(dim, unit)
            if instead is not None:
                own.fill_(instead[place])
            elif other is not None:
                own.copy_(other.select(dim, unit))
        return copies

    def first_order(self, output: Tensor, gradient: Tensor, instead: Tensor) -> Tensor:
        """(x - instead) times its gradient; see `Node`."""
        maps, slopes = (as_maps(each, self.output.channel_dim) for each in (output, gradient))
        return ((maps - instead[:, None, None]) * slopes).sum((2, 3))


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Latents of an autoencoder of a layer's rows: their codes at every position."""

    layer: str
    output: LayerOutput
    autoencoder: Autoencoder

    @property
    def n_units(self) -> int:
        """Latents."""
        return self.autoencoder.n_latents

    def means(self, output: Tensor) -> Tensor:
        """Mean of each latent's code over positions; see `Node`."""
        rows = self._rows(output)
        n_together = max(1, _CODES_AT_ONCE // (rows.shape[1] * self.n_units))
        return torch.cat([self._codes(some).mean(1) for some in torch.split(rows, n_together)])

    def without(
        self, output: Tensor, units: Tensor, instead: Tensor | None, other: Tensor | None
    ) -> Tensor:
        """Copies less what a latent adds along its decoder row; see `Node`."""
        rows = self._rows(output)
        codes = self._codes(rows, units)
        if other is not None:
            taken = codes - self._codes(self._rows(other), units)
        else:
            assert instead is not None
            taken = codes - instead
        along = self._decoder(rows)[units.to(rows.device)]
        less = rows - taken.permute(2, 0, 1)[..., None] * along[:, None, None]
        moved = output.movedim(self.output.channel_dim, -1)
        shaped = less.reshape(len(units), *moved.shape)
        # The dim of channels is one further back, for copies come first.
        changed = shaped.movedim(-1, self.output.channel_dim + 1)
        return torch.cat([output[None], changed])

    def first_order(self, output: Tensor, gradient: Tensor, instead: Tensor) -> Tensor:
        """(code - instead) times the gradient along the decoder row; see `Node`."""
        slopes = self._rows(gradient) @ self._decoder(gradient).T
        return ((self._codes(self._rows(output)) - instead) * slopes).sum(1)

    def _rows(self, output: Tensor) -> Tensor:
        """Rows (image, position, channel)."""
        moved = output.movedim(self.output.channel_dim, -1)
        return moved.reshape(len(output), -1, moved.shape[-1])

    def _codes(self, rows: Tensor, units: Tensor | None = None) -> Tensor:
        """Codes (image, position, latent) by the rule of evaluation, of some latents or all."""
        flat = rows.float().cpu().reshape(-1, rows.shape[-1])
        pattern, values = self.autoencoder.active(flat)
        codes = pattern.dense(values)
        codes = codes if units is None else codes[:, units.cpu()]
        return codes.reshape(*rows.shape[:2], -1).to(rows)

    def _decoder(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self.autoencoder.decoder).to(like)
