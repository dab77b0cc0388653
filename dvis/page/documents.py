"""What a page knows of a store, a variant, a layer and a unit: documents of what kinds give.

The units that are shown in, mappings out that `dvis.page.plain` writes. Units, and parts of runs
and of units, come from `KINDS`; nothing here knows one of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import xarray as xr

from dvis.kinds.parts import Asked, Part, Unit
from dvis.kinds.registry import KINDS, OF_UNITS
from dvis.kinds.shown import Document, Selection, ShownUnits
from dvis.page import lists
from dvis.page.lists import described, outlines
from dvis.page.maps import MAP_DOCUMENTS, MAPS_NEED, map_outlines
from dvis.page.training import training_curves
from dvis.page.unit_words import called, class_names
from dvis.schema import AUTOENCODER, SchemaError
from dvis.store.contents import Contents, resolve
from dvis.store.recent import Recent

_MAX_PROBLEMS = 1000
_MAX_STORES = 4
_OPENED: Recent[dict[str, xr.Dataset]] = Recent(_MAX_STORES)
# Documents by their names and the numbers that follow these, where no variant stands first.
BY_NUMBERS: Mapping[str, Callable[..., Document]] = {
    "called": called,
    **lists.DOCUMENTS,
    **MAP_DOCUMENTS,
}


def shown_units(store: str | Path, selection: Selection | None = None) -> ShownUnits:
    """The units that a page of a store walks through."""
    shown = KINDS[OF_UNITS].shown
    assert shown is not None, "the kind of units has some to show"
    return shown(store, selection or Selection())


def overview(shown: ShownUnits) -> Document:
    """What the store holds, and what is wrong with it."""
    signature = shown.signature()
    found = shown.contents()
    of_units, n_of_units = shown.problems(_MAX_PROBLEMS)
    problems = [*of_units, *({"text": text} for text in found.import_problems)]
    return {
        "model": found.attrs.get("model", ""),
        "store": shown.name,
        "created": found.attrs.get("created", ""),
        "dvis_version": found.attrs.get("dvis_version", ""),
        "default": _default(shown),
        "runs": _runs(shown),
        "problems": problems[:_MAX_PROBLEMS],
        "n_problems": n_of_units + len(found.import_problems),
        "notes": notes(shown),
        "lists": outlines(shown),
        "maps": map_outlines(shown),
        "maps_need": MAPS_NEED,
        "nouns": {"units": KINDS[OF_UNITS].noun, "picture": shown.picture_noun},
        "signature": signature,
    }


def variant(shown: ShownUnits, index: int) -> Document:
    """A variant of a run: its checkpoints, its layers, and the parts of the run."""
    document = shown.variant(index)
    asked = _asked(shown, document["run"])
    labels = [checkpoint["label"] for checkpoint in document["checkpoints"]]
    parts = [*training_curves(asked, labels), *_parts(asked)]
    return {**document, "parts": [described(shown, part) for part in parts]}


def layer(shown: ShownUnits, variant: int, index: int) -> Document:
    """A layer: numbers of its channels, and what there is of each."""
    document = shown.layer(variant, index)
    return {**document, "classes": class_names(shown, variant, index)}


def unit(shown: ShownUnits, variant: int, layer: int, channel: int) -> Document:
    """A unit at all checkpoints, and its parts."""
    document = shown.unit(variant, layer, channel)
    entry = shown.entries()[variant]
    of_list = str(entry.attrs.get(AUTOENCODER, ""))
    of_unit = Unit(layer=document["layer"], channel=channel, list_name=of_list)
    asked = _asked(shown, entry.run, of_unit)
    return {**document, "parts": [described(shown, part) for part in _parts(asked)]}


def drift(shown: ShownUnits, variant: int, layer: int) -> Document:
    """How far the pictures of a layer move, by channel; it takes seconds."""
    return shown.drift(variant, layer)


def notes(shown: ShownUnits) -> list[str]:
    """What is to be said of a page that shows a part of a store."""
    said = []
    selection = shown.selection
    for index, entry in enumerate(shown.entries()):
        if (entry.run, entry.name) in selection.checkpoints:
            outline = shown.outline(index)
            if len(outline.labels) < outline.n_checkpoints:
                said.append(
                    f"{len(outline.labels)} of the {outline.n_checkpoints} checkpoints of run "
                    f"{entry.run}, {entry.name}, are on this page; births are of all of them"
                )
    if selection.layers:
        said.append(f"Only layers {', '.join(selection.layers)} are on this page")
    if selection.channels:
        said.append(_note_of_channels(shown))
    said += [
        f"Run {run}, {variant}, is not on this page: it has nothing of what is shown"
        for run, variant in selection.empty
    ]
    return said


def _note_of_channels(shown: ShownUnits) -> str:
    """Which of the channels that were asked for are shown, and which no layer has."""
    there = {
        channel
        for index in range(len(shown.entries()))
        for layer in shown.outline(index).layers
        for channel in layer.channels
    }
    asked = dict.fromkeys(shown.selection.channels)
    found = [str(channel) for channel in asked if channel in there]
    lacking = [str(channel) for channel in asked if channel not in there]
    words = ("channels", "are") if len(found) > 1 else ("channel", "is")
    said = f"Only {words[0]} {', '.join(found)} {words[1]} on this page"
    return said + (f"; there is nothing of {', '.join(lacking)}" if lacking else "")


def _runs(shown: ShownUnits) -> list[Document]:
    """Runs with the variants that are shown, and with their groups of every kind."""
    runs: dict[str, Document] = {}
    found = shown.contents()
    for index, entry in enumerate(shown.entries()):
        if entry.run not in runs:
            runs[entry.run] = {
                "name": entry.run,
                "variants": [],
                "default": _default_variant(shown, entry.run),
                "groups": _groups(found, entry.run),
            }
        runs[entry.run]["variants"].append({"name": entry.name, "index": index})
    return list(runs.values())


def _groups(found: Contents, run: str) -> Sequence[Document]:
    """Groups that a run has, of all kinds that dvis knows."""
    return [
        {"kind": entry.kind, "noun": KINDS[entry.kind].noun, "name": entry.name}
        for entry in found.entries
        if entry.run == run and entry.kind in KINDS
    ]


def _default(shown: ShownUnits) -> Document | None:
    entries = shown.entries()
    if not entries:
        return None
    chosen = KINDS[OF_UNITS].reader.choose(shown.contents(), None, None)
    run = chosen.run if chosen.run in {entry.run for entry in entries} else entries[0].run
    return {"run": run, "variant": _default_variant(shown, run)}


def _default_variant(shown: ShownUnits, run: str) -> str:
    """The run's default variant, or the first of those that are shown."""
    there = [entry.name for entry in shown.entries() if entry.run == run]
    chosen = KINDS[OF_UNITS].reader.choose(shown.contents(), run, None).name
    return chosen if chosen in there else there[0]


def _asked(shown: ShownUnits, run: str, unit: Unit | None = None) -> Asked:
    store, contents = resolve(shown.source, None), shown.contents()
    opened = _OPENED.get(shown.name, shown.signature(), dict)
    return Asked(store=store, contents=contents, run=run, unit=unit, opened=opened)


def _parts(asked: Asked) -> Iterator[Part]:
    """Parts of a run or of a unit, of every kind that has some."""
    for kind in KINDS.values():
        if kind.parts is None:
            continue
        try:
            yield from kind.parts(asked)
        except SchemaError:  # half grown; who measures next repairs it
            continue
