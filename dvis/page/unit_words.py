"""What units of a page are called: by classes of image sets, by people and by programs.

The units that are shown in, mappings out that `dvis.page.plain` writes.
"""

from collections.abc import Iterator, Mapping

from dvis.kinds.shown import Document, ShownUnits
from dvis.page.lists import lists_of, names_of_sets
from dvis.page.samples import image_set
from dvis.schema import CHANNEL
from dvis.store.unit_notes import notes_of

_MOST = 20_000  # units of one document


def class_names(shown: ShownUnits, variant: int, layer: int) -> Document | None:
    """Names of the classes that channels of a layer are logits of, None where that is not known.

    Logits are the channels of the last layer of the store, where an image set that something was
    measured on has as many classes, and no other set has as many by other names.
    """
    outline = shown.outline(variant)
    of_layer = outline.layers[layer]
    if outline.unit != CHANNEL or of_layer.name != outline.all_layers[-1]:
        return None
    found = {
        names: of_set
        for names, of_set in _classes_of_sets(shown).items()
        if len(names) == of_layer.n_channels
    }
    if len(found) != 1:
        return None
    ((names, of_set),) = found.items()
    return {"names": [names[channel] for channel in of_layer.channels], "set": of_set}


def called(shown: ShownUnits) -> Document:
    """Units that have a note, a name or a class: what is searched for words of a whole store."""
    found = [*_of_channels(shown), *_of_lists(shown)]
    return {"units": found[:_MOST], "n_left_out": max(0, len(found) - _MOST)}


def _classes_of_sets(shown: ShownUnits) -> Mapping[tuple[str, ...], str]:
    """Names of sets by the classes that they have, in their order."""
    found = {}
    for name in names_of_sets(shown):
        images = image_set(shown, name)
        if images is not None and images.class_names:
            found[images.class_names] = name
    return found


def _of_channels(shown: ShownUnits) -> Iterator[Document]:
    run_attrs = shown.contents().run_attrs
    of_runs = {
        run: {(each.layer, each.channel): each.text for each in notes_of(attrs)}
        for run, attrs in run_attrs.items()
    }
    seen = set()
    for variant, entry in enumerate(shown.entries()):
        outline = shown.outline(variant)
        if outline.unit != CHANNEL:
            continue
        for index, layer in enumerate(outline.layers):
            of_classes = class_names(shown, variant, index)
            for place, channel in enumerate(layer.channels):
                key = entry.run, layer.name, channel
                text = of_runs.get(entry.run, {}).get((layer.name, channel), "")
                name = of_classes["names"][place] if of_classes else ""
                if (text or name) and key not in seen:
                    seen.add(key)
                    yield {
                        **_place(entry.run, layer.name, "", channel),
                        "variant": entry.name,
                        "noun": outline.unit,
                        "texts": [*_known(note=text, **{"class": name})],
                    }


def _of_lists(shown: ShownUnits) -> Iterator[Document]:
    for listed in lists_of(shown).values():
        notes, names = listed.notes(), listed.head().names
        for unit in sorted({*notes, *names}):
            yield {
                **_place(listed.key.run, listed.key.layer, listed.key.name, unit),
                "variant": "",
                "noun": listed.noun,
                "texts": [*_known(note=notes.get(unit, ""), name=names.get(unit, ""))],
            }


def _place(run: str, layer: str, name: str, unit: int) -> Document:
    return {"run": run, "layer": layer, "list": name, "unit": unit}


def _known(**texts: str) -> Iterator[tuple[str, str]]:
    """What a text is, and the text, of those that say something."""
    return ((what, text) for what, text in texts.items() if text)
