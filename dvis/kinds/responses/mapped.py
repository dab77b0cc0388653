"""Channels as the page maps them: by their responses to the same images, on axes that stay."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import xarray as xr

from dvis.analysis.births import births
from dvis.analysis.fixed_maps import MOST_ENTRIES, fixed_map
from dvis.kinds.mapped import MapSource, UnitMap
from dvis.kinds.parts import Asked
from dvis.kinds.responses.read import RESPONSE_READER
from dvis.kinds.responses.words import CLASS, IMAGE, KIND
from dvis.kinds.shown import checkpoint_documents
from dvis.plots.canvas import evenly
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_NOTE, Status
from dvis.store.contents import Entry

_DISTANCE = (
    "The distance of two {noun}s is that of their responses to the same images, standardised "
    "over images: near 0 where they rise and fall together, whatever their gain"
)


def channel_maps(asked: Asked) -> Iterator[MapSource]:
    """A map of the channels of each group of responses to images, or to their classes."""
    for entry in asked.contents.of(KIND, asked.run):
        if entry.attrs.get("kind") in (IMAGE, CLASS):
            yield MapSource(
                run=asked.run,
                name=f"responses/{entry.name}",
                noun=CHANNEL,
                distance=_DISTANCE.format(noun=CHANNEL),
                make=partial(_made, asked, entry),
            )


def _made(asked: Asked, entry: Entry) -> UnitMap:
    """The map of a group of responses.

    Raises
    ------
    SchemaError, ValueError
        When it is half grown, or too few channels are measured.
    """
    dataset = asked.group(RESPONSE_READER, entry)
    of = str(entry.attrs["kind"])
    chosen = evenly(dataset.sizes[of], MOST_ENTRIES)
    known = dataset["status"].transpose(CHECKPOINT, LAYER, CHANNEL) == Status.COMPLETE
    response = dataset["response"].transpose(CHECKPOINT, LAYER, CHANNEL, of)
    found = fixed_map(response.isel({of: chosen}), known=known)
    n_entries, n_chosen = dataset.sizes[of], len(chosen)
    part = [f"By {n_chosen} of the {n_entries} images, evenly chosen"]
    places = np.argwhere(known.values.any(0))
    layer, channel = places.T
    best, classes = _best_classes(response, known, of)
    return UnitMap(
        layers=[str(each) for each in dataset[LAYER].values[layer]],
        units=dataset[CHANNEL].values[channel].tolist(),
        checkpoints=checkpoint_documents(dataset),
        position=found["position"].values[:, layer, channel],
        explained=found["explained"].values,
        birth=_births(dataset, layer, channel),
        classes=classes,
        best_class=None if best is None else best[:, layer, channel],
        notes=_notes(dataset, layer, channel),
        remarks=part if n_chosen < n_entries else (),
    )


def _births(dataset: xr.Dataset, layer: np.ndarray, channel: np.ndarray) -> np.ndarray | None:
    if dataset.sizes[CHECKPOINT] < 2:
        return None
    place = births(dataset)["birth"].transpose(LAYER, CHANNEL).values.astype(float)
    place = np.where(place >= 0, place, np.nan)
    return np.asarray(place[layer, channel])


def _notes(dataset: xr.Dataset, layer: np.ndarray, channel: np.ndarray) -> dict[int, str]:
    if UNIT_NOTE not in dataset.coords:
        return {}
    texts = dataset[UNIT_NOTE].transpose(LAYER, CHANNEL).values[layer, channel].tolist()
    return {place: str(text) for place, text in enumerate(texts) if text}


def _best_classes(
    response: xr.DataArray, known: xr.DataArray, of: str
) -> tuple[np.ndarray | None, list[str]]:
    """The class of highest mean response, (checkpoint, layer, channel), and names of classes."""
    labels = response[CLASS if of == CLASS else "image_class"].values.astype(str)
    names = [name for name in dict.fromkeys(sorted(labels.tolist())) if name]
    if len(names) < 2:
        return None, []
    members = np.stack([labels == name for name in names], 1).astype(np.float64)
    best = np.full(known.shape, -1)
    for row in range(len(best)):
        values = response.isel({CHECKPOINT: row}).values.astype(np.float64)
        means = np.nan_to_num(values @ members / members.sum(0), nan=-np.inf)
        is_known = known.values[row] & np.isfinite(means).any(-1)
        best[row] = np.where(is_known, means.argmax(-1), -1)
    return best, names
