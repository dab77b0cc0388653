"""What units answer to reference images, as a store keeps it: which units lack it, and what is put.

A group keeps the descriptions of its reference sets, and of each unit which of them it stands
against. What is there of an earlier dvis is completed: one forward pass a checkpoint.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.made_of import WEIGHTS, fingerprint_of
from dvis.kinds.features.tasks import ReferenceTask
from dvis.kinds.features.words import CONSTANT_MAX, OF_REFERENCE, REFERENCE
from dvis.schema import CHANNEL, CHECKPOINT, Status

N_IMAGES = "n_images"  # of a reference set, in its description


def make_room(group: FeatureGroup, reference: Mapping[str, Any]) -> int:
    """Have the arrays in a group; the place of the set in its table, -1 of a set without images.

    The caller is `restructuring`.
    """
    if not reference[N_IMAGES]:
        group.add_arrays([CONSTANT_MAX])
        return -1
    group.add_arrays([*OF_REFERENCE, CONSTANT_MAX, REFERENCE])
    return group.place_in_table("references", reference)


def read_sets(group: FeatureGroup, layer: str) -> np.ndarray:
    """Which set each unit of a layer stands against, (checkpoint, channel); -1 against none.

    -2 of units of files, of which nobody can say that these weights made them.
    """
    params = group.read("params", slice(None), group.layers[layer])
    sets = np.full(params.shape, -1, np.int32)
    if REFERENCE in group.words.arrays:
        sets = group.read(REFERENCE, slice(None), group.layers[layer])
    is_of_files = fingerprint_of(params, group.parameters) != WEIGHTS
    return np.where(is_of_files & (sets < 0), -2, sets)


def put(
    group: FeatureGroup, label: str, task: ReferenceTask, result: xr.Dataset, place: int
) -> None:
    """Put a task's result beside the units that are there, which stay as they are."""
    places = group.places({CHECKPOINT: label, **task.labels})
    is_there = group.status(places) == Status.COMPLETE
    places = {**places, CHANNEL: np.asarray(places[CHANNEL])[is_there]}
    if not is_there.any():
        return
    status = np.full(int(is_there.sum()), int(Status.COMPLETE))
    # Which set comes last: a unit without it is done again.
    group.put(REFERENCE, places, np.full(len(status), -1, np.int32), status)
    for name in (*OF_REFERENCE, CONSTANT_MAX):
        group.put(name, places, result[name].values[is_there], status)
    group.put(REFERENCE, places, np.full(len(status), place, np.int32), status)
