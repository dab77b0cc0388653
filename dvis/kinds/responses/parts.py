"""Parts of the page of responses: a matrix of a unit for each group that measured it."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from dvis.kinds.parts import Asked, Matrix, Unit
from dvis.kinds.responses.read import RESPONSE_READER
from dvis.kinds.responses.words import CLASS, IMAGE, IMAGE_CHECKPOINT
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, Status

_MAX_LABELS = 50  # of images: those with the widest range of responses
_ROW_TITLES = {IMAGE: "images", CLASS: "classes", IMAGE_CHECKPOINT: "image of checkpoint"}


def unit_matrices(asked: Asked) -> Iterator[Matrix]:
    """Responses of a unit, of all groups that the run has."""
    if asked.unit is None or asked.unit.list_name:  # a latent's number is no channel's
        return
    for entry, dataset in asked.groups(RESPONSE_READER):
        found = _of_unit(dataset, asked.unit, entry.name)
        if found is not None:
            yield found


def _of_unit(dataset: xr.Dataset, unit: Unit, name: str) -> Matrix | None:
    """One group's responses of a unit, None where none is complete."""
    if unit.layer not in dataset[LAYER] or unit.channel not in dataset[CHANNEL]:
        return None
    of_unit = dataset.sel({LAYER: unit.layer, CHANNEL: unit.channel})
    response = of_unit["response"].where(of_unit["status"] == Status.COMPLETE)
    others = [dim for dim in response.dims if dim != CHECKPOINT]
    row = str(others[0]) if others else IMAGE_CHECKPOINT
    if not others:  # of the feature images of one checkpoint
        response = response.expand_dims(IMAGE_CHECKPOINT)
    values = response.transpose(row, CHECKPOINT).values
    is_known = np.isfinite(values)
    if not is_known.any():
        return None
    labels = [str(label) for label in response[row].values]
    places = np.arange(len(labels))
    if row == IMAGE and len(labels) > _MAX_LABELS:
        highest = np.where(is_known, values, -np.inf).max(axis=1)
        spread = highest - np.where(is_known, values, np.inf).min(axis=1)
        places = np.sort(np.argsort(-spread, kind="stable")[:_MAX_LABELS])
    is_cross = row == IMAGE_CHECKPOINT
    return Matrix(
        title=f"{'Cross response' if is_cross else 'Responses'} · {name}",
        note=_note(row, len(places), len(labels)),
        row_title=_ROW_TITLES[row],
        rows=[labels[place] for place in places],
        checkpoints=[str(label) for label in response[CHECKPOINT].values],
        values=values[places],
        rows_are_checkpoints=is_cross,
    )


def _note(row: str, n_shown: int, n_labels: int) -> str:
    if row == IMAGE_CHECKPOINT:
        return "How each checkpoint (column) answers to the feature image of each checkpoint (row)."
    n = f"{n_labels:,}".replace(",", "\u202f")  # as the page writes numbers
    part = f", the {n_shown} of {n} that vary most" if n_shown < n_labels else ""
    return f"The unit's answer to fixed {_ROW_TITLES[row]}{part}."
