"""Files of a page for its lists and maps of units, and sheets of samples that are shown."""

from collections.abc import Iterator
from functools import partial

from dvis.kinds.listed import ListedUnits
from dvis.kinds.shown import ShownUnits
from dvis.page import lists, maps
from dvis.page.page_file import PICTURES, PageFile, document_file, file_name
from dvis.page.samples import SampleSet, image_set, is_used

_UNITS = 16  # whose parts are in one file


def list_files(shown: ShownUnits) -> Iterator[PageFile]:
    """Documents of all lists."""
    for number, listed in lists.lists_of(shown).items():
        head = partial(lists.list_head, shown, number, _UNITS)
        yield document_file(f"list/{number}", head)
        yield from _files_of(shown, number, listed)


def map_files(shown: ShownUnits) -> Iterator[PageFile]:
    """Documents of all maps of units, one a checkpoint beside what each is of."""
    for number, n_checkpoints in maps.map_checkpoints(shown):
        yield document_file(f"map/{number}", partial(maps.map_head, shown, number))
        for place in range(n_checkpoints):
            make = partial(maps.map_places, shown, number, place)
            yield document_file(f"places/{number}/{place}", make)


def sheet_files(shown: ShownUnits) -> Iterator[PageFile]:
    """Sheets of samples, of which those are written that some document shows."""
    for name in lists.names_of_sets(shown):
        images = image_set(shown, name)
        if images is None or images.sheets is None:
            continue
        for place in range(images.n_sheets):
            yield _sheet(shown, images, place)


def _files_of(shown: ShownUnits, number: int, listed: ListedUnits) -> Iterator[PageFile]:
    n_units = len(listed.head().units)
    for checkpoint in range(len(listed.labels)):
        at = number, checkpoint
        yield document_file(_name("rows", *at), partial(lists.rows, shown, *at))
        for make, size in ((lists.best, lists.BEST_BLOCK), (lists.near, lists.NEAR_BLOCK)):
            for block in range(-(-n_units // size)):
                name = _name(make.__name__, *at, block)
                yield document_file(name, partial(make, shown, *at, block))
    for block in range(-(-n_units // _UNITS)):
        make_units = partial(lists.units, shown, number, block, _UNITS)
        yield document_file(_name("listed", number, block), make_units)


def _sheet(shown: ShownUnits, images: SampleSet, place: int) -> PageFile:
    assert images.sheets is not None, "the set keeps thumbnails"
    number, suffix = images.sheets["number"], images.sheets["suffix"]
    return PageFile(
        f"{PICTURES}/{file_name(f'samples/{number}/{place}')}.{suffix}",
        f"samples {images.name}",
        lambda: lists.samples(shown, number, place).data,
        lambda: is_used(shown, images.name, place),
    )


def _name(*parts: str | int) -> str:
    return "/".join(map(str, parts))
