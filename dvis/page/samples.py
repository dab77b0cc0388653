"""Samples of image sets on the page: what each is, and sheets of thumbnails of them.

A store and names of its image sets in, documents and pictures out.
"""

import base64
import io
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from dvis.kinds.parts import PictureRows
from dvis.kinds.shown import Document, NotShownError, ShownPicture, ShownUnits
from dvis.schema import SchemaError
from dvis.store.contents import StoreLike, resolve
from dvis.store.datasets import SAMPLE, classes_of, open_dataset
from dvis.store.recent import Recent
from dvis.store.thumbnails import THUMBNAIL

SHEET = 16  # samples of one sheet: the best of a unit lie anywhere in a set
_COLUMNS = 4
_SMALL_PX = 40  # thumbnails below this are kept without loss: a jpg would smear their few pixels
_QUALITY = 88
_MAX_OPENED = 4


def number_of(*names: str) -> int:
    """A number that stands for something by its names, also when the store has more by then.

    Examples
    --------
    >>> number_of("run", "layer1") == number_of("run", "layer1") < 10**9
    True
    """
    return int(blake2b("\0".join(names).encode(errors="surrogatepass")).hexdigest(), 16) % 10**9


class SampleSet:
    """An image set of a store."""

    def __init__(self, store: StoreLike, name: str) -> None:
        self.store, self.name = store, name
        self._samples = open_dataset(store, name)

    @cached_property
    def ids(self) -> list[str]:
        """Ids of all samples, in the set's order."""
        return [str(each) for each in self._samples[SAMPLE].values]

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Places of samples by their ids."""
        return {each: place for place, each in enumerate(self.ids)}

    @cached_property
    def classes(self) -> list[str]:
        """What the class of each sample is called."""
        return classes_of(self._samples)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """What its classes are called, in the order of their numbers."""
        return tuple(str(each) for each in self._samples.attrs.get("classes", ()))

    @property
    def n_sheets(self) -> int:
        """Sheets that hold all samples."""
        return -(-len(self.ids) // SHEET)

    @cached_property
    def sheets(self) -> Document | None:
        """How sheets of thumbnails are divided, None where the store keeps none."""
        if THUMBNAIL not in self._samples or not self.ids:
            return None
        height, width = self._samples[THUMBNAIL].shape[1:3]
        return {
            "number": number_of(self.name),
            "block": SHEET,
            "columns": _COLUMNS,
            "cell_height": int(height),
            "cell_width": int(width),
            "suffix": "png" if max(height, width) < _SMALL_PX else "jpg",
            "version": str(number_of(self.name, str(len(self.ids)))),
        }

    def sheet(self, number: int) -> ShownPicture:
        """Thumbnails of some samples.

        Raises
        ------
        NotShownError
            When there is no such sheet.
        """
        sheets = self.sheets
        if sheets is None or not 0 <= number < self.n_sheets:
            n = 0 if sheets is None else self.n_sheets
            raise NotShownError(f"No sheet {number} of {self.name!r}: there are {n}")
        some = slice(number * SHEET, (number + 1) * SHEET)
        pixels = self._samples[THUMBNAIL].isel({SAMPLE: some}).values
        return ShownPicture(
            data=_drawn(pixels, sheets["suffix"]),
            suffix=sheets["suffix"],
            version=sheets["version"],
        )


_OPENED: Recent[SampleSet] = Recent(_MAX_OPENED)
# Sheets that documents of a page point to, by the image set: a page of files has no others.
_USED: WeakKeyDictionary[ShownUnits, dict[str, set[int]]] = WeakKeyDictionary()


def described_rows(shown: ShownUnits, part: PictureRows, images: SampleSet | None) -> Document:
    """Rows of pictures as plain data: samples once each, maps as text of their bytes."""
    samples, cells = numbered(shown, part.samples, images)
    given = vars(part) | {"samples": samples, "cells": cells, "maps": None, "map": None}
    given["sheets"] = None if images is None else images.sheets
    if part.maps is not None:
        height, width = part.maps.shape[2:]
        given["map"] = {"height": height, "width": width}
        given["maps"] = [[_as_text(each) for each in row] for row in part.maps]
    return {"shape": part.shape, **given}


def numbered(
    shown: ShownUnits, ids: np.ndarray, images: SampleSet | None
) -> tuple[list[Document], list[list[int | None]]]:
    """What samples are, each once, and which of them stand where: (row, rank), None for none."""
    names, codes = np.unique(ids, return_inverse=True)
    there = [str(name) for name in names]
    samples = [_sample(each, images) for each in there]
    if images is not None:
        used = _USED.setdefault(shown, {}).setdefault(images.name, set())
        used |= {each["at"] // SHEET for each in samples if each["at"] is not None}
    cells: Any = codes.reshape(ids.shape).tolist()
    is_none = {place for place, name in enumerate(there) if not name}
    return (
        samples,
        [[None if cell in is_none else cell for cell in row] for row in cells],
    )


def _sample(sample_id: str, images: SampleSet | None) -> Document:
    """A sample's id, class, and place in its set, None where it is not there."""
    place = None if images is None else images.places.get(sample_id)
    label = images.classes[place] if images is not None and place is not None else ""
    return {"id": sample_id, "label": label, "at": place}


def image_set(shown: ShownUnits, name: str) -> SampleSet | None:
    """An image set of a page's store, None where it is not there."""
    store = resolve(shown.source, None)
    try:
        return _OPENED.get((shown.name, name), shown.signature(), lambda: SampleSet(store, name))
    except SchemaError:  # whose group was copied without it; `dvis check` says so
        return None


def is_used(shown: ShownUnits, name: str, place: int) -> bool:
    """Whether a document of a page has shown a sample of this sheet of an image set."""
    return place in _USED.get(shown, {}).get(name, ())


def sheet(shown: ShownUnits, names: Iterable[str], number: int, place: int) -> ShownPicture:
    """A sheet of the image set of this number, of those of some names.

    Raises
    ------
    NotShownError
        When there is no such set or sheet.
    """
    for name in names:
        if number_of(name) == number and (images := image_set(shown, name)) is not None:
            return images.sheet(place)
    raise NotShownError(f"No image set has the number {number}")


def _as_text(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values, np.uint8).tobytes()).decode()


def _drawn(pixels: np.ndarray, suffix: str) -> bytes:
    """A sheet of pictures (n, y, x, colour), from left to right, row by row."""
    height, width = pixels.shape[1:3]
    n_rows = -(-len(pixels) // _COLUMNS)
    whole = Image.new("RGB", (_COLUMNS * width, n_rows * height), (128, 128, 128))
    for place, picture in enumerate(pixels):
        row, column = divmod(place, _COLUMNS)
        whole.paste(Image.fromarray(picture), (column * width, row * height))
    buffer = io.BytesIO()
    if suffix == "png":
        whole.save(buffer, "PNG", compress_level=1)
    else:
        whole.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()
