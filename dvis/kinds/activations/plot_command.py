"""What `dvis plot` draws of activations, of its options."""

from pathlib import Path
from typing import Any

import xarray as xr

from dvis.kinds.activations import pictures
from dvis.kinds.activations.pictures.sheets import MAX_IMAGES
from dvis.kinds.activations.read import READER, name_of
from dvis.kinds.activations.words import n_top_of
from dvis.kinds.picture import Picture, one_layer
from dvis.store.contents import Contents, Entry


def _top_images(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: Any,
    checkpoint: str | None = None,
    max_images: int = MAX_IMAGES,
    path: Path,
) -> None:
    pictures.top_images(dataset, channel, checkpoint=checkpoint, max_images=max_images, path=path)


def _top_image_timeline(
    dataset: xr.Dataset,
    *,
    layer: Any,
    channel: int | None,
    unit_images: xr.Dataset | None,
    max_images: int = MAX_IMAGES,
    path: Path,
) -> None:
    pictures.top_image_timeline(
        dataset, channel, unit_images=unit_images, max_images=max_images, path=path
    )


def _chosen(found: Contents, options: Any) -> tuple[str | None, str | None]:
    """Run and name of the activations of a layer that keep top images."""
    instead = "none of them keeps top images; `dvis activations --keep top:64` does"
    layer = one_layer(options)
    entry = READER.choose_of_layer(
        found, layer, options.name, options.run, _name_with_top, instead=instead
    )
    return entry.run, entry.name


def _name_with_top(entry: Entry) -> str | None:
    return name_of(entry) if n_top_of(entry.attrs.get("keep", ())) else None


PICTURES = {
    "top-images": Picture(
        draw=_top_images,
        options=("checkpoint", "max_images"),
        opens=("name",),
        chosen=_chosen,
    ),
    "top-image-timeline": Picture(
        draw=_top_image_timeline,
        options=("max_images",),
        opens=("name", "variant"),
        one=("channel",),
        chosen=_chosen,
        beside=lambda _dataset: None,
    ),
}
