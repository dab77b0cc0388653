"""Feature images on the page: what it asks for by numbers, out of this folder's parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

from dvis.kinds.features.shown import documents, sheets
from dvis.kinds.features.shown.downloads import (
    file_name,
    numbers_csv,
    stored_image,
    write_archive,
)
from dvis.kinds.features.shown.selection import ShownStore
from dvis.kinds.features.shown.unit_document import unit
from dvis.kinds.shown import (
    Document,
    LayerOutline,
    MovedError,
    NotShownError,
    Selection,
    ShownPicture,
    VariantOutline,
)
from dvis.store.contents import Contents, Entry


class ShownFeatures:
    """Feature images of a store, as `dvis.kinds.shown.ShownUnits` has it.

    Parameters
    ----------
    store : str or Path
        A store's folder or URL.
    selection : Selection, optional
        What of it is shown; by default all.
    """

    picture_noun = "feature image"

    def __init__(self, store: str | Path, selection: Selection | None = None) -> None:
        self.store = ShownStore(store, selection)
        self.name, self.source = self.store.name, self.store.source
        self.selection = self.store.selection

    def warm_up(self) -> None:
        """Open the first variant."""
        if self.entries():
            self.store.variant(0).open()

    def contents(self) -> Contents:
        """What the store holds now."""
        return self.store.contents()

    def signature(self) -> str:
        """A text that changes when something in the store does."""
        return self.store.signature()

    def entries(self) -> Sequence[Entry]:
        """Variants that are shown, in the order of their numbers."""
        return self.store.entries()

    def outline(self, variant: int) -> VariantOutline:
        """What of a variant there is to be shown."""
        shown = self.store.variant(variant)
        layers = (shown.layer(index) for index in range(len(shown.layers)))
        return VariantOutline(
            labels=shown.labels,
            n_checkpoints=shown.n_checkpoints,
            layers=[
                LayerOutline(
                    name=each.name,
                    channels=each.channels,
                    n_channels=each.n_channels,
                    n_blocks=each.n_blocks,
                )
                for each in layers
            ],
            all_layers=shown.all_layers,
            unit=shown.unit,
            thumbs_suffix=sheets.thumb_sheet(shown).suffix,
            strip_suffix=sheets.strip_sheet(shown).suffix,
        )

    def problems(self, most: int) -> tuple[Sequence[Document], int]:
        """What was met at units, and how many in all."""
        return documents.problems(self.store, most)

    def variant(self, variant: int) -> Document:
        """A variant of a run."""
        return documents.variant(self.store, variant)

    def layer(self, variant: int, layer: int) -> Document:
        """A layer."""
        return documents.layer(self.store, variant, layer)

    def unit(self, variant: int, layer: int, channel: int) -> Document:
        """A unit at all checkpoints."""
        return unit(self.store, variant, layer, channel)

    def drift(self, variant: int, layer: int) -> Document:
        """How far the images of a layer move."""
        return documents.drift(self.store, variant, layer)

    def version(self, variant: int, layer: int) -> str:
        """A text that changes when an image of a layer does."""
        return self.store.layer(variant, layer).version_of_all()

    def thumbs(
        self, variant: int, layer: int, checkpoint: int, block: int, told: str = ""
    ) -> ShownPicture:
        """A sheet of thumbnails."""
        shown = self.store.layer(variant, layer)
        version = shown.version(shown.checkpoint(checkpoint))
        shown.require_same_place(checkpoint, told)
        if not 0 <= block < shown.n_blocks:
            raise NotShownError(f"No block {block}: there are {shown.n_blocks}")
        data = sheets.thumbs(shown, checkpoint, block)
        suffix = sheets.thumb_sheet(shown.variant).suffix
        return ShownPicture(data=data, suffix=suffix, version=version)

    def examples(self, variant: int, layer: int, checkpoint: int, told: str = "") -> ShownPicture:
        """A sheet of the channels that a layer's line in the table of layers shows."""
        shown = self.store.layer(variant, layer)
        row, found = shown.checkpoint(checkpoint), documents.examples_of(shown)
        if told and told != found["version"]:
            raise MovedError("The store has other checkpoints or channels by now; refresh")
        data = sheets.examples(shown, row, found["channels"])
        suffix = sheets.thumb_sheet(shown.variant).suffix
        return ShownPicture(data=data, suffix=suffix, version=shown.version(row))

    def strip(self, variant: int, layer: int, channel: int) -> ShownPicture:
        """A unit's images at all checkpoints on one sheet."""
        shown = self.store.layer(variant, layer)
        shown.column(channel)
        version = shown.version_of_all()
        data = sheets.strip(shown, channel)
        suffix = sheets.strip_sheet(shown.variant).suffix
        return ShownPicture(data=data, suffix=suffix, version=version)

    def image(
        self, variant: int, layer: int, channel: int, checkpoint: int, told: str = ""
    ) -> ShownPicture:
        """A unit's image as it is stored."""
        shown = self.store.layer(variant, layer)
        version = shown.version(shown.checkpoint(checkpoint))
        shown.require_same_place(checkpoint, told)
        data, suffix = stored_image(self.store, variant, layer, channel, checkpoint)
        return ShownPicture(data=data, suffix=suffix, version=version)

    def saved_as(self, variant: int, layer: int, channel: int) -> str:
        """How files that are taken away of a unit are called."""
        name = self.store.layer(variant, layer).name
        parts = (self.contents().attrs.get("model", ""), name, channel)
        return "-".join(file_name(str(part)) for part in parts)

    def numbers(self, variant: int, layer: int, channel: int) -> bytes:
        """A unit's numbers as CSV."""
        return numbers_csv(self.store, variant, layer, channel)

    def write_archive(self, file: IO[bytes], variant: int, layer: int, channel: int) -> None:
        """Write a zip of a unit's images, and its numbers."""
        write_archive(file, self.store, variant, layer, channel)
