"""Maps of units on the page: documents of what kinds give, by numbers of a map.

The units that are shown in, mappings out that `dvis.page.plain` writes; places are a document a
checkpoint.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from dvis.kinds.mapped import MapSource, UnitMap
from dvis.kinds.parts import Asked
from dvis.kinds.registry import KINDS
from dvis.kinds.shown import Document, NotShownError, ShownUnits
from dvis.page.samples import number_of
from dvis.schema import SchemaError, counted
from dvis.store.contents import resolve
from dvis.store.recent import Recent

_MAX_KEPT = 4
MAPS_NEED = "A map needs " + " or ".join(
    f"{kind.noun} (`{kind.reader.made_by}`)" for kind in KINDS.values() if kind.maps is not None
)


def map_outlines(shown: ShownUnits) -> list[Document]:
    """What maps there are."""
    return [
        {"number": number, "run": each.run, "name": each.name, "noun": each.noun}
        for number, each in _sources(shown).items()
    ]


def map_head(shown: ShownUnits, number: int) -> Document:
    """What a map is of: its units, and what they are coloured by."""
    source, found = _source(shown, number), _made(shown, number)
    layers = list(dict.fromkeys(found.layers))
    return {
        "number": number,
        "run": source.run,
        "name": source.name,
        "noun": source.noun,
        "list": source.list_name,
        "distance": source.distance,
        "layers": layers,
        "layer": [layers.index(each) for each in found.layers],
        "units": found.units,
        "checkpoints": found.checkpoints,
        "explained": found.explained,
        "reach": _reach(found),
        "birth": found.birth,
        "classes": found.classes,
        "notes": {str(place): text for place, text in found.notes.items()},
        "remarks": found.remarks,
    }


def map_places(shown: ShownUnits, number: int, checkpoint: int) -> Document:
    """Where the units of a map lie at a checkpoint."""
    found = _made(shown, number)
    if checkpoint >= len(found.checkpoints):
        n = counted(len(found.checkpoints), "checkpoint")
        raise NotShownError(f"No checkpoint number {checkpoint}: there are {n}")
    best = found.best_class
    return {
        "label": found.checkpoints[checkpoint]["label"],
        "x": found.position[checkpoint, :, 0],
        "y": found.position[checkpoint, :, 1],
        "best_class": None if best is None else best[checkpoint],
    }


def map_checkpoints(shown: ShownUnits) -> Iterator[tuple[int, int]]:
    """Numbers of the maps that can be made, each with its number of checkpoints."""
    for number in _sources(shown):
        try:
            yield number, len(_made(shown, number).checkpoints)
        except NotShownError:
            continue


MAP_DOCUMENTS: Mapping[str, Callable[..., Document]] = {
    "map/{map:number}": map_head,
    "places/{map:number}/{checkpoint:number}": map_places,
}
_FOUND: Recent[Mapping[int, MapSource]] = Recent(2)
_MADE: Recent[UnitMap] = Recent(_MAX_KEPT)


def _sources(shown: ShownUnits) -> Mapping[int, MapSource]:
    key = shown.signature(), repr(shown.selection)
    return _FOUND.get(shown.name, key, lambda: dict(_numbered(shown)))


def _numbered(shown: ShownUnits) -> Iterator[tuple[int, MapSource]]:
    contents, selection = shown.contents(), shown.selection
    store = resolve(shown.source, None)
    runs = dict.fromkeys(entry.run for entry in contents.entries)
    for kind in KINDS.values():
        for run in selection.runs or runs:
            asked = Asked(store=store, contents=contents, run=run)
            for each in () if kind.maps is None else kind.maps(asked):
                yield number_of("map", kind.name, each.run, each.name), each


def _source(shown: ShownUnits, number: int) -> MapSource:
    there = _sources(shown)
    if number not in there:
        raise NotShownError(f"No map has the number {number}: there are {len(there)}")
    return there[number]


def _made(shown: ShownUnits, number: int) -> UnitMap:
    source = _source(shown, number)
    key = shown.name, number
    try:
        return _MADE.get(key, shown.signature(), source.make)
    except (SchemaError, ValueError) as err:
        raise NotShownError(f"There is no map of {source.name}: {err}") from err


def _reach(found: UnitMap) -> float:
    """The farthest place from the middle, of all checkpoints: the scale that all are drawn at."""
    size = np.abs(found.position[np.isfinite(found.position)])
    return float(size.max()) if size.size else 1.0
