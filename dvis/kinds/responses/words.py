"""The words of responses: what tells some from others, and the arrays of a group.

{run}/responses/{name}/    response (checkpoint, layer, channel, image), or (..., class), or
(checkpoint, image_checkpoint, layer, channel) of feature images;
status (without image or class), and the coordinates of units
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import numpy as np

from dvis.schema import (
    CHANNEL,
    CHECKPOINT,
    COORDINATES,
    DEPTH,
    LAYER,
    SCALAR_CHUNK,
    SOURCE,
    TEXT,
    UNIT_DIMS,
    Status,
    VariableSpec,
    Words,
    spec,
    status_spec,
)

KIND = "responses"
IMAGE: Final = "image"
CLASS: Final = "class"
IMAGE_CHECKPOINT = "image_checkpoint"  # whose feature image a cross response is to
IMAGES = f"{SOURCE}/images"

Of = Literal["image", "class", "image_checkpoint"]
_FEATURE_DIMS = (CHECKPOINT, IMAGE_CHECKPOINT, LAYER, CHANNEL)
_CHUNK_ITEMS = 2**18  # of float32: 1 MB
_LONG_NAMES = {IMAGE: "image", CLASS: "class", IMAGE_CHECKPOINT: "checkpoint of the image"}


@dataclass(frozen=True, kw_only=True)
class ResponseSettings:
    """What tells some responses from others.

    Parameters
    ----------
    of : {"image", "class", "image_checkpoint"}
        What they have one of: an image, a class of them, or a checkpoint's feature images.
    labels : tuple of str
        Names of the images, the classes, or the checkpoints.
    images : mapping
        What the images are, with their fingerprint: plain values.
    aggregation : str
        What of a channel's map a response is.
    image_classes : tuple of str, (image,)
        Class of each image, where they have one.
    """

    of: Of
    labels: tuple[str, ...]
    images: Mapping[str, Any]
    aggregation: str
    image_classes: tuple[str, ...] = ()

    @property
    def attrs(self) -> dict[str, Any]:
        """The same as attributes of a group."""
        return {"kind": self.of, "images": dict(self.images), "aggregation": self.aggregation}


def words_of(attrs: Mapping[str, Any]) -> Words:
    """Words of the group of responses with these attributes, as readers need them.

    Without arrays where they say what no dvis of this version has written.
    """
    of: Any = attrs.get("kind")
    if of not in get_args(Of):
        return Words(kind=KIND, arrays={})
    images = attrs.get("images")
    run = images.get("run") if of == IMAGE_CHECKPOINT and isinstance(images, dict) else None
    return replace(response_words(of), of_runs={} if run is None else {of: str(run)})


def response_words(of: Of, *, n_channels: int = 1, n_images: int = 1) -> Words:
    """Words of a group of responses, with chunks for so many channels and images."""
    of_images = of == IMAGE_CHECKPOINT
    dims = _FEATURE_DIMS if of_images else UNIT_DIMS
    layout = {"chunks": (SCALAR_CHUNK[0], 1, *SCALAR_CHUNK[1:])} if of_images else {}
    arrays: dict[str, VariableSpec] = {
        **COORDINATES,
        of: spec((of,), TEXT, "", _LONG_NAMES[of]),
        "response": spec(
            dims if of_images else (*dims, of),
            "float32",
            np.nan,
            "response",
            layout=layout or _of_whole_layers(n_channels, n_images),
            units="1",
        ),
        "status": status_spec(dims, "unit", Status, layout),
        f"{SOURCE}/problem": spec(dims, TEXT, "", "what was wrong", layout=layout),
        f"{SOURCE}/weights": spec(
            dims, "uint64", 0, "hash of the checkpoint's weights", layout=layout
        ),
    }
    coordinates = ["epoch", "phase", "batch", "step", "time", "n_channels", DEPTH]
    if of == IMAGE:
        arrays["image_class"] = spec((IMAGE,), TEXT, "", "class of the image")
        coordinates.append("image_class")
    if of_images:
        arrays[IMAGES] = spec(
            dims[1:],
            "uint64",
            0,
            "hash of what the store says of the image",
            layout={"chunks": SCALAR_CHUNK},
        )
    return Words(
        kind=KIND,
        arrays=arrays,
        coordinates=tuple(coordinates),
        noun="responses",
        said={
            "images": (dict, "what its images are"),
            "aggregation": (str, "what of a channel's map its responses are"),
        },
    )


def _of_whole_layers(n_channels: int, n_images: int) -> dict[str, Any]:
    """Whole layers at one checkpoint in a chunk, as far as it holds them."""
    n_images = min(max(1, n_images), _CHUNK_ITEMS)
    return {"chunks": (1, 1, min(max(1, n_channels), _CHUNK_ITEMS // n_images), n_images)}
