"""What a store holds of its units' pictures, file by file: for export, check and compact.

A local store in, blocks of encoded pictures or raw pixels out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.disk import inside
from dvis.kinds.features.images.blocks import ImageBlocks, Position
from dvis.schema import CHECKPOINT, LAYER, Status
from dvis.store.picture_codec import BlockError


@dataclass(frozen=True)
class Block:
    """One image block: where it stands in its group, and what it holds.

    `row`, `layer` and `channel` are the indices of its corner; `status` and `form` are
    (checkpoint, channel) arrays of what the group says of its units, cut at the group's edge.
    `damaged` are pictures that the file holds and that are not those that were written.
    """

    path: Path
    row: int
    layer: int
    channel: int
    status: np.ndarray
    form: np.ndarray
    images: dict[Position, bytes]
    fault: str = ""
    damaged: frozenset[Position] = frozenset()


class BlockReader:
    """A variant's group on a local disk, read as blocks."""

    def __init__(self, store: Path, group: zarr.Group) -> None:
        self.group = group
        folder = inside(store, group.path, "image")
        self.blocks = ImageBlocks.of(self.array("image"), folder, store)
        self.labels: list[str] = np.asarray(self.array(CHECKPOINT)[:]).tolist()
        self.layers: list[str] = np.asarray(self.array(LAYER)[:]).tolist()

    @property
    def run(self) -> str:
        """Whose the group is."""
        return str(self.group.attrs["run"])

    def array(self, name: str) -> zarr.Array[Any]:
        """One of the group's arrays."""
        return self.group[name]  # type: ignore[return-value]  # an array by schema

    @property
    def n_blocks(self) -> int:
        """How many blocks `walk` visits."""
        n_checkpoints, n_layers, n_channels = self.array("status").shape
        per_layer = -(-n_checkpoints // self.blocks.checkpoints)
        return per_layer * n_layers * -(-n_channels // self.blocks.channels)

    def walk(self) -> Iterator[Block]:
        """Blocks with their pictures, those of which no unit has a status too."""
        status, form = self.array("status"), self.array("source/form")
        for row in range(0, status.shape[0], self.blocks.checkpoints):
            rows = slice(row, row + self.blocks.checkpoints)
            for layer in range(status.shape[1]):
                of_layer = np.asarray(status[rows, layer, :])
                forms = np.asarray(form[rows, layer, :])
                for channel in range(0, status.shape[2], self.blocks.channels):
                    channels = slice(channel, channel + self.blocks.channels)
                    yield self._block(
                        row, layer, channel, of_layer[:, channels], forms[:, channels]
                    )

    def _block(
        self, row: int, layer: int, channel: int, status: np.ndarray, form: np.ndarray
    ) -> Block:
        path = self.blocks.path(
            row // self.blocks.checkpoints, layer, channel // self.blocks.channels
        )
        if not (status != Status.ABSENT).any() and not path.exists():
            return Block(path, row, layer, channel, status, form, {})
        try:
            images = self.blocks.read(path)
        except (BlockError, OSError) as err:
            return Block(path, row, layer, channel, status, form, {}, str(err))
        damaged = frozenset(self.blocks.damaged(path, images))
        return Block(path, row, layer, channel, status, form, images, damaged=damaged)
