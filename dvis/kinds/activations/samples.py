"""What is known of the samples of an image set, which is looked through once.

An image set in, a Dataset of its samples out; what cannot be read is named before anything runs.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dvis.progress import progress_bar
from dvis.schema import counted
from dvis.store.datasets import SAMPLE, are_held_out
from dvis.store.thumbnails import ThumbnailFiles, encoded

if TYPE_CHECKING:
    from dvis.models.data import ImageSet, InputTransform
    from dvis.models.data.transform import Picture

_SHOWN = 10
_MEASURED = 32  # thumbnails, by which the size of all is told
THUMBNAILS_SHOW = "what the model sees: the centre that its transform crops, before normalisation"


def samples_of(
    images: "ImageSet", *, thumbnails: ThumbnailFiles | None = None, progress: bool = False
) -> xr.Dataset:
    """What is known of a set's samples, each of which is read once.

    Parameters
    ----------
    images : ImageSet
        The set, with the model's transform.
    thumbnails : ThumbnailFiles, optional
        To which each one's thumbnail is added.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Dataset, (sample,)
        As `dvis.store.datasets.open_dataset` describes it.

    Raises
    ------
    ValueError
        When images cannot be read: which, and why.
    """
    n_samples = len(images)
    content = np.zeros(n_samples, np.uint64)
    sizes = np.zeros((n_samples, 2), np.int32)
    unread: list[str] = []
    with progress_bar(n_samples, "images", f"look through {images.name}", shown=progress) as bar:
        for place in range(n_samples):
            try:
                picture = images.picture(place)
                pixels = np.asarray(picture)
            except OSError as err:
                unread.append(str(err))
            else:
                sizes[place] = pixels.shape[:2]
                digest = blake2b(repr(pixels.shape).encode(), digest_size=8)
                digest.update(np.ascontiguousarray(pixels).data)
                content[place] = int.from_bytes(digest.digest(), "little")
                if thumbnails is not None and not unread:
                    thumbnails.add(thumbnail(picture, images.transform, thumbnails.size))
            bar.update()
    if unread:
        more = [f"and {len(unread) - _SHOWN} more"] if len(unread) > _SHOWN else []
        raise ValueError(
            f"{counted(len(unread), 'image')} of {images.name} cannot be read:\n"
            + "\n".join([*unread[:_SHOWN], *more])
        )
    columns = {
        "content": (content, "hash of the picture's pixels"),
        "label": (images.labels, "index of the class"),
        "is_held_out": (are_held_out(images.sample_ids), "whether it is kept out of training"),
        "height": (sizes[:, 0], "height of the picture"),
        "width": (sizes[:, 1], "width of the picture"),
        **{f"factor_{name}": (v, f"factor {name}") for name, v in images.factors.items()},
    }
    return xr.Dataset(
        {name: (SAMPLE, values, {"long_name": told}) for name, (values, told) in columns.items()},
        {SAMPLE: (SAMPLE, np.array(images.sample_ids, object), {"long_name": "id of the sample"})},
        {
            "name": images.name,
            "fingerprint": images.fingerprint,
            "classes": list(images.classes),
        },
    )


def thumbnail(picture: "Picture", transform: "InputTransform", size: int) -> np.ndarray:
    """What a transform leaves of a picture, in colour and of another size.

    Parameters
    ----------
    picture : PIL image, or ndarray, (y, x) or (y, x, rgb), uint8 0-255
    transform : InputTransform
        The model's.
    size : int
        Side in pixels.

    Returns
    -------
    ndarray, (y, x, colour), uint8 0-255
    """
    shorter = round(size * (transform.resize or transform.size) / transform.size)
    return np.asarray(replace(transform, size=size, resize=shorter).fitted(picture).convert("RGB"))


def bytes_of_thumbnails(images: "ImageSet", size: int) -> int:
    """Bytes that the thumbnails of a set take, by those of some samples."""
    places = np.unique(np.linspace(0, len(images) - 1, _MEASURED).astype(int))
    some = [thumbnail(images.picture(place), images.transform, size) for place in places]
    return round(sum(len(encoded(each)) for each in some) / len(some) * len(images))


def duplicates(content: np.ndarray, sample_ids: Sequence[str]) -> str:
    """What is to be said of samples that show the same pixels; nothing where there are none."""
    _, inverse, counts = np.unique(content, return_inverse=True, return_counts=True)
    is_again = counts[inverse] > 1
    if not is_again.any():
        return ""
    same = np.flatnonzero(inverse == inverse[np.argmax(is_again)])[:2]
    pair = " and ".join(str(sample_ids[place]) for place in same)
    return f"{counted(int(is_again.sum()), 'image')} show what another one shows: {pair}, ..."
