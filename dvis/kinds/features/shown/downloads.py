"""What a page gives to take away: a unit's numbers as CSV, its images as they are stored."""

import csv
import io
import re
import zipfile
from typing import IO, Any

import numpy as np

from dvis.kinds.features.shown.selection import ShownStore
from dvis.kinds.features.shown.stored_pictures import encoded, stored_pictures
from dvis.kinds.shown import NotShownError, checkpoint_documents
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, Status

_PLACES = ("epoch", "phase", "batch", "step", "time")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run
_NUMBERS = ("activation", "value_min", "value_max", "stop_step", "seed")


def numbers_csv(store: ShownStore, variant: int, index: int, channel: int) -> bytes:
    """A unit's numbers, one checkpoint a line; what is unknown is left empty."""
    layer = store.layer(variant, index)
    column = layer.column(channel)
    dataset = layer.variant.open().sel({LAYER: layer.name, CHANNEL: channel})
    at_rows = dataset[list(_NUMBERS)].isel({CHECKPOINT: layer.variant.rows}).load()
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([CHECKPOINT, *_PLACES, "status", *_NUMBERS])
    for row, place in enumerate(checkpoint_documents(at_rows)):
        status = Status(int(layer.status[row, column]))
        values = [at_rows[name].values[row] for name in _NUMBERS]
        writer.writerow(
            [
                _as_text(place["label"]),
                *("" if place[name] is None else _as_text(place[name]) for name in _PLACES),
                status.name.lower(),
                *(_text(value) for value in values),
            ]
        )
    return file.getvalue().encode()


def write_archive(
    file: IO[bytes], store: ShownStore, variant: int, index: int, channel: int
) -> None:
    """Write a zip of a unit's images as they are stored, and its numbers."""
    layer = store.layer(variant, index)
    layer.column(channel)
    labels = layer.variant.labels
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("numbers.csv", numbers_csv(store, variant, index, channel))
        units = [(row, channel) for row in range(len(labels))]
        for row, picture in stored_pictures(layer, units):
            data, suffix = encoded(picture)
            archive.writestr(f"{row:05d}_{file_name(labels[row])}.{suffix}", data)


def stored_image(
    store: ShownStore, variant: int, index: int, channel: int, checkpoint: int
) -> tuple[bytes, str]:
    """A unit's image at a checkpoint as it is stored: its bytes and suffix.

    Raises
    ------
    NotShownError
        When the unit has no image there.
    """
    layer = store.layer(variant, index)
    layer.column(channel)
    for _, picture in stored_pictures(layer, [(layer.checkpoint(checkpoint), channel)]):
        return encoded(picture)
    raise NotShownError(
        f"Channel {channel} of {layer.name!r} has no image at {layer.variant.labels[checkpoint]!r}"
    )


def file_name(text: str, most: int = 80) -> str:
    """A text as a part of a file's name that every system takes, without folders."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:most] or "_"


def _as_text(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula; numbers as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _text(value: Any) -> str:
    if isinstance(value, np.integer):
        return str(value) if value >= 0 else ""
    return "" if np.isnan(value) else str(value)
