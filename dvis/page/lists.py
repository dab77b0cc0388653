"""Lists of units on the page: documents of what kinds give, by numbers of a list.

The units that are shown in, mappings out that `dvis.page.plain` writes. A list's number stands for
its run, layer and name, and so for the same list when the store has more of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from dvis.kinds.listed import ListedUnits, ListHead
from dvis.kinds.parts import Asked, Part, PictureRows
from dvis.kinds.registry import KINDS
from dvis.kinds.shown import Document, NotShownError, ShownPicture, ShownUnits
from dvis.page.samples import described_rows, image_set, number_of, numbered, sheet
from dvis.schema import SchemaError, counted
from dvis.store.contents import resolve
from dvis.store.recent import Recent

# Units of one document: rows of a list in sight, and units whose neighbours are found together.
BEST_BLOCK, NEAR_BLOCK = 64, 256
_MAX_KEPT = 2


def lists_of(shown: ShownUnits) -> Mapping[int, ListedUnits]:
    """Lists of what a page shows, by their numbers."""
    key = shown.signature(), repr(shown.selection)
    return _KEPT.get(shown.name, key, lambda: dict(_numbered(shown)))


def outlines(shown: ShownUnits) -> list[Document]:
    """What lists there are."""
    return [
        {"number": number, "noun": each.noun, "about": each.about, **each.key._asdict()}
        for number, each in lists_of(shown).items()
    ]


def list_head(shown: ShownUnits, number: int, size: int = 1) -> Document:
    """What a list is of; a document has the parts of so many units."""
    listed = _list(shown, number)
    head = listed.head()
    images = image_set(shown, head.image_set) if head.image_set else None
    pictured = _pictured(shown, head)
    return {
        "number": number,
        **head.key._asdict(),
        "noun": listed.noun,
        "title": head.title,
        "about": listed.about,
        "units": head.units,
        "checkpoints": head.checkpoints,
        "columns": [asdict(column) for column in head.columns],
        "remarks": head.remarks,
        "pictured": {"variant": head.pictured, "units": pictured},
        "facts": head.facts,
        "notes": {str(unit): text for unit, text in listed.notes().items()},
        "names": {str(unit): text for unit, text in head.names.items()},
        "sheets": None if images is None else images.sheets,
        "blocks": {"units": size, "best": BEST_BLOCK, "near": NEAR_BLOCK},
    }


def _pictured(shown: ShownUnits, head: ListHead) -> list[int]:
    """Units of a list that are shown as channels of the variant of their pictures."""
    for variant, entry in enumerate(shown.entries()):
        if head.pictured and (entry.run, entry.name) == (head.key.run, head.pictured):
            layers = shown.outline(variant).layers
            return [
                unit for each in layers if each.name == head.key.layer for unit in each.channels
            ]
    return []


def rows(shown: ShownUnits, number: int, checkpoint: int) -> Document:
    """Numbers of all units of a list at a checkpoint."""
    listed, label = _at(shown, number, checkpoint)
    columns = listed.head().columns
    shown_ones = {name for column in columns for name in (column.name, column.null)}
    numbers = listed.numbers(checkpoint)
    return {"label": label, "numbers": {n: v for n, v in numbers.items() if n in shown_ones}}


def best(shown: ShownUnits, number: int, checkpoint: int, block: int) -> Document:
    """The best samples of a block of units at a checkpoint."""
    listed, label = _at(shown, number, checkpoint)
    head, units = listed.head(), _block(listed, block, BEST_BLOCK)
    images = image_set(shown, head.image_set) if head.image_set else None
    samples, cells = numbered(shown, listed.top(checkpoint, units), images)
    return {"label": label, "samples": samples, "cells": cells}


def near(shown: ShownUnits, number: int, checkpoint: int, block: int) -> Document:
    """Units that are most like each of a block of units at a checkpoint."""
    listed, label = _at(shown, number, checkpoint)
    found = listed.nearest(checkpoint, _block(listed, block, NEAR_BLOCK))
    if found is None:
        return {"label": label, "units": [], "likeness": []}
    return {"label": label, "units": found.units, "likeness": found.likeness}


def units(shown: ShownUnits, number: int, block: int, size: int = 1) -> Document:
    """Parts of a block of units."""
    listed = _list(shown, number)
    there, labels = _block(listed, block, size), list(listed.labels)
    return {
        "units": [
            {
                "unit": unit,
                "select": listed.select(unit),
                "parts": [_without_labels(described(shown, part), labels) for part in parts],
            }
            for unit, parts in zip(there, listed.parts(there), strict=True)
        ]
    }


def samples(shown: ShownUnits, number: int, place: int) -> ShownPicture:
    """A sheet of thumbnails of an image set that something in the store was measured on."""
    return sheet(shown, names_of_sets(shown), number, place)


def names_of_sets(shown: ShownUnits) -> list[str]:
    """Names of the image sets that something in the store was measured on."""
    entries = shown.contents().entries
    return sorted({str(each.attrs["dataset"]) for each in entries if "dataset" in each.attrs})


def described(shown: ShownUnits, part: Part) -> Document:
    """A part with its shape, which says to the page's scripts how it is drawn."""
    if isinstance(part, PictureRows):
        return described_rows(shown, part, image_set(shown, part.image_set))
    return {"shape": part.shape, **vars(part)}


def keep_list_note(shown: ShownUnits, text: str, number: int, unit: int) -> None:
    """Keep a note about a unit of a list.

    Raises
    ------
    NotShownError
        When there is no such list or unit.
    ValueError
        When the store does not take it.
    """
    listed = _list(shown, number)
    if unit not in listed.head().units:
        raise NotShownError(f"No {listed.noun} {unit} in {listed.key.name!r}")
    listed.keep_note(unit, text)


DOCUMENTS: Mapping[str, Callable[..., Document]] = {
    "list/{list:number}": list_head,
    "rows/{list:number}/{checkpoint:number}": rows,
    "best/{list:number}/{checkpoint:number}/{block:number}": best,
    "near/{list:number}/{checkpoint:number}/{block:number}": near,
    "listed/{list:number}/{block:number}": units,
}
_KEPT: Recent[Mapping[int, ListedUnits]] = Recent(_MAX_KEPT)


def layers_of(shown: ShownUnits) -> list[str]:
    """Layers of which the runs that are shown have lists."""
    return list(dict.fromkeys(each.key.layer for _, each in _of_runs(shown)))


def _numbered(shown: ShownUnits) -> Iterator[tuple[int, ListedUnits]]:
    """Lists of the runs and layers that are shown, by their numbers."""
    layers = shown.selection.layers
    for kind, each in _of_runs(shown):
        if (not layers or each.key.layer in layers) and _is_whole(each):
            yield number_of(kind, *each.key), each


def _is_whole(listed: ListedUnits) -> bool:
    """Whether a list can be read; a half-grown one is repaired by who measures next."""
    try:
        return listed.labels is not None
    except SchemaError:
        return False


def _of_runs(shown: ShownUnits) -> Iterator[tuple[str, ListedUnits]]:
    """Kinds and lists of the runs that are shown, in the order of kinds, runs and groups."""
    contents, selection = shown.contents(), shown.selection
    store = resolve(shown.source, None)
    runs = dict.fromkeys(entry.run for entry in contents.entries)
    for kind in KINDS.values():
        if kind.listed is None:
            continue
        for run in selection.runs or runs:
            for each in kind.listed(Asked(store=store, contents=contents, run=run)):
                yield kind.name, each


def _list(shown: ShownUnits, number: int) -> ListedUnits:
    there = lists_of(shown)
    if number not in there:
        raise NotShownError(f"No list has the number {number}: there are {len(there)}")
    return there[number]


def _at(shown: ShownUnits, number: int, checkpoint: int) -> tuple[ListedUnits, str]:
    """A list, and the label of its checkpoint, by which a page sees that a number has moved."""
    listed = _list(shown, number)
    labels = listed.labels
    if checkpoint >= len(labels):
        raise NotShownError(
            f"No checkpoint number {checkpoint}: there are {counted(len(labels), 'checkpoint')}"
        )
    return listed, labels[checkpoint]


def _without_labels(part: Document, labels: Sequence[str]) -> Document:
    """A part that does not say again which checkpoints it has, where they are the list's."""
    return part | {"checkpoints": None} if part.get("checkpoints") == labels else part


def _block(listed: ListedUnits, block: int, size: int) -> Sequence[int]:
    there = listed.head().units[block * size : (block + 1) * size]
    if not there:
        raise NotShownError(f"No {listed.noun} has the number {block * size}")
    return there
