"""Units that the page walks through: their documents and pictures, by the numbers of its addresses.

A kind whose units can be looked at gives `ShownUnits` of a store; the page serves them, or writes
them to files, and knows nothing of what they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
import xarray as xr

from dvis.schema import CHECKPOINT
from dvis.store.contents import Contents, Entry

# Plain values, arrays among them; the page makes JSON of it.
Document: TypeAlias = dict[str, Any]


class NotShownError(LookupError):
    """The page has nothing by this number."""


class MovedError(LookupError):
    """A number stands for something else than when the page was told of it."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What of a store a page shows; nothing named means all.

    Parameters
    ----------
    runs, layers : tuple of str
        Runs, and layers of each variant.
    channels : tuple of int
        Channels of each layer.
    checkpoints : mapping of (str, str) to tuple of int
        Places of checkpoints in training order, by run and variant.
    empty : tuple of (str, str)
        Runs and variants that have nothing of all this, and are left out.
    """

    runs: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    checkpoints: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    empty: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ShownPicture:
    """A picture that a browser draws; its version changes when it does."""

    data: bytes
    suffix: str
    version: str


@dataclass(frozen=True, kw_only=True)
class LayerOutline:
    """What of a layer there is to be shown.

    `n_blocks` sheets hold all channels that are shown, of `n_channels` that the model's layer has.
    """

    name: str
    channels: Sequence[int]
    n_channels: int
    n_blocks: int


@dataclass(frozen=True, kw_only=True)
class VariantOutline:
    """What of a variant there is to be shown.

    Parameters
    ----------
    labels : sequence of str
        Checkpoints that are shown, of `n_checkpoints` that the store has.
    layers : sequence of LayerOutline
        Layers that are shown, of `all_layers`.
    unit : str
        What its channels are called.
    thumbs_suffix, strip_suffix : str
        Formats of its sheets of thumbnails and of its strips.
    """

    labels: Sequence[str]
    n_checkpoints: int
    layers: Sequence[LayerOutline]
    all_layers: Sequence[str]
    unit: str
    thumbs_suffix: str
    strip_suffix: str


class ShownUnits(Protocol):
    """The units of a store as a page shows them; a store may grow meanwhile.

    Whoever asks by a number that is not there gets a `NotShownError`; a store that is none, or
    cannot be read, raises as `dvis.open` does. What was `told` of a picture is its version by then:
    where the numbers stand for another checkpoint or other channels by now, a `MovedError` says so.
    """

    @property
    def name(self) -> str:
        """What the store is called: its path or URL."""

    @property
    def source(self) -> str | Path:
        """Where the store is."""

    @property
    def selection(self) -> Selection:
        """What of the store is shown."""

    @property
    def picture_noun(self) -> str:
        """What a unit's picture is called."""

    def warm_up(self) -> None:
        """Import what the first to ask would have to wait for."""

    def contents(self) -> Contents:
        """What the store holds now."""

    def signature(self) -> str:
        """A text that changes when something in the store does."""

    def entries(self) -> Sequence[Entry]:
        """Variants that are shown, in the order of their numbers."""

    def outline(self, variant: int) -> VariantOutline:
        """What of a variant there is to be shown."""

    def problems(self, most: int) -> tuple[Sequence[Document], int]:
        """What was met at units, with their places where they are shown; and how many in all."""

    def variant(self, variant: int) -> Document:
        """A variant of a run: its `run`, `checkpoints` and layers.

        `unit` is what its channels are called, and `list` the list that has these units too, "".
        `examples` of a layer are a few channels, and a `version` of what a sheet of them holds.
        """

    def layer(self, variant: int, layer: int) -> Document:
        """A layer: numbers of its channels, and what there is of each."""

    def unit(self, variant: int, layer: int, channel: int) -> Document:
        """A unit at all checkpoints: its `layer`, `channel` and numbers."""

    def drift(self, variant: int, layer: int) -> Document:
        """How far the pictures of a layer move, which may take seconds."""

    def version(self, variant: int, layer: int) -> str:
        """A text that changes when a picture of a layer does."""

    def thumbs(
        self, variant: int, layer: int, checkpoint: int, block: int, told: str = ""
    ) -> ShownPicture:
        """A sheet of thumbnails of a block of channels at a checkpoint."""

    def examples(self, variant: int, layer: int, checkpoint: int, told: str = "") -> ShownPicture:
        """A sheet of the few channels at a checkpoint that the variant's document names."""

    def strip(self, variant: int, layer: int, channel: int) -> ShownPicture:
        """A unit's pictures at all checkpoints on one sheet."""

    def image(
        self, variant: int, layer: int, channel: int, checkpoint: int, told: str = ""
    ) -> ShownPicture:
        """A unit's picture as it is stored."""

    def saved_as(self, variant: int, layer: int, channel: int) -> str:
        """How files that are taken away of a unit are called, without a suffix."""

    def numbers(self, variant: int, layer: int, channel: int) -> bytes:
        """A unit's numbers as CSV."""

    def write_archive(self, file: IO[bytes], variant: int, layer: int, channel: int) -> None:
        """Write a zip of a unit's pictures as they are stored, and its numbers."""


def checkpoint_documents(dataset: xr.Dataset) -> list[Document]:
    """Checkpoints with their places in training, null where unknown."""
    columns = {name: whole_numbers(dataset[name].values) for name in ("epoch", "batch", "step")}
    times = dataset["time"].values.astype("datetime64[s]")
    return [
        {
            "label": str(label),
            "phase": str(phase),
            "time": None if np.isnat(time) else str(time),
            **{name: column[row] for name, column in columns.items()},
        }
        for row, (label, phase, time) in enumerate(
            zip(dataset[CHECKPOINT].values, dataset["phase"].values, times, strict=True)
        )
    ]


def whole_numbers(values: Any) -> list[int | None]:
    """Whole numbers of one dimension; None where NaN or below 0, which stand for unknown."""
    given = np.asarray(values, float)
    return [int(value) if value >= 0 else None for value in given.tolist()]
