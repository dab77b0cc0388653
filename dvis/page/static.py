"""`dvis page`: a page as a folder that opens by itself, without a server or a network.

A store in, a folder of html, scripts and pictures out: the documents and sheets that the server
would give, each as a file.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from dvis.disk import explain_full_disk, inside, remove_tree, write_new
from dvis.kinds.shown import LayerOutline, Selection, ShownPicture, ShownUnits, VariantOutline
from dvis.page import documents
from dvis.page.front import assets, html
from dvis.page.list_files import list_files, map_files, sheet_files
from dvis.page.lists import layers_of, lists_of
from dvis.page.page_file import DATA, PICTURES, PageFile, document_file
from dvis.page.swap import clear_up, place_beside, put_in_place
from dvis.page.unit_words import called
from dvis.progress import progress_bar
from dvis.schema import counted, did_you_mean

INDEX = "index.html"
_ASSETS = "assets"
_PARTS = {INDEX, DATA, PICTURES, _ASSETS}
_SAMPLED = 3  # files of each kind whose sizes tell those of the others
_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class PagePlan:
    """What a page will be.

    `n_bytes` is estimated from some files of each kind; `n_images` counts units at checkpoints, and
    `notes` say what of the store is left out.
    """

    shown: ShownUnits
    files: Sequence[PageFile]
    n_images: int
    n_bytes: int
    notes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class PageReport:
    """A page that was written: its html, and how much there is."""

    index: Path
    n_files: int
    n_images: int
    n_bytes: int
    notes: Sequence[str]


def export_page(
    store: str | Path,
    out: str | Path,
    *,
    runs: Sequence[str] = (),
    layers: Sequence[str] = (),
    channels: Sequence[int] = (),
    max_images: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
    on_plan: Callable[[PagePlan], None] = lambda plan: None,
) -> PageReport:
    """Write a page that shows a store, as a folder that a browser opens from a disk.

    Parameters
    ----------
    store : str or Path
        A store's folder or URL.
    out : str or Path
        The page's folder. It is there as a whole or not at all, and so is one that it replaces.
    runs, layers : sequence of str
        Runs, and layers; none means all.
    channels : sequence of int
        Channels of each layer; none means all that have something.
    max_images : int, optional
        How many images to show at most. Where there are more, evenly spread checkpoints are
        chosen, the first and the last among them.
    overwrite : bool
        Replace a page that is there.
    progress : bool
        Show a progress bar.
    on_plan : callable
        Is given the plan, with its size, before anything is written; may raise to stop.

    Returns
    -------
    PageReport
        What was written.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    FileExistsError
        When there is something at `out`, unless it is a page and `overwrite` is true.
    KeyError
        When there is no such run or layer.
    ValueError
        When nothing is left to show, `max_images` is too few for two checkpoints, or `out` lies
        inside the store.
    ImportError
        When jinja2 is not installed.
    DiskFullError
        When there is no space left.
    """
    folder = Path(out).expanduser()
    clear_up(folder)
    _require_room(folder, overwrite)
    _require_outside(folder, store)
    plan = plan_page(store, runs=runs, layers=layers, channels=channels, max_images=max_images)
    on_plan(plan)
    return write_page(plan, folder, overwrite=overwrite, progress=progress)


def plan_page(
    store: str | Path,
    *,
    runs: Sequence[str] = (),
    layers: Sequence[str] = (),
    channels: Sequence[int] = (),
    max_images: int | None = None,
) -> PagePlan:
    """What a page of a store will hold; parameters and errors are those of `export_page`."""
    asked = Selection(runs=tuple(runs), layers=tuple(layers), channels=tuple(channels))
    whole = documents.shown_units(store, asked)
    _require_layers(whole)
    n_units = _units_of_variants(whole)
    if not any(n_channels for n_channels, _ in n_units.values()) and not lists_of(whole):
        wanted = " with these runs, layers and channels" if runs or layers or channels else ""
        raise ValueError(
            f"{store} has no units to show{wanted}: a page walks through feature images; "
            f"`dvis info {store}` says what there is"
        )
    empty = tuple(key for key, (n_channels, _) in n_units.items() if not n_channels)
    n_units = {key: numbers for key, numbers in n_units.items() if key not in empty}
    chosen = {} if max_images is None or not n_units else _chosen_checkpoints(n_units, max_images)
    shown = documents.shown_units(store, replace(asked, checkpoints=chosen, empty=empty))
    files = list(_files_of(shown))
    return PagePlan(
        shown=shown,
        files=files,
        n_images=sum(n * len(chosen.get(key, range(m))) for key, (n, m) in n_units.items()),
        n_bytes=_estimated_bytes(files),
        notes=documents.notes(shown),
    )


def write_page(
    plan: PagePlan, out: str | Path, *, overwrite: bool = False, progress: bool = False
) -> PageReport:
    """Write a planned page beside its place, and put it there when it is whole."""
    folder = Path(out).expanduser()
    _require_room(folder, overwrite)
    _require_outside(folder, plan.shown.source)
    partial_folder = place_beside(folder)
    try:
        partial_folder.parent.mkdir(parents=True, exist_ok=True)
        partial_folder.mkdir()  # so that it is ours, and no link
        try:
            sizes = _write_files(plan, partial_folder, progress)
            put_in_place(partial_folder, folder)
        finally:
            with suppress(OSError):
                remove_tree(partial_folder, root=folder.parent)
    except OSError as err:
        raise explain_full_disk(err, folder) from err
    return PageReport(
        index=folder / INDEX,
        n_files=len(sizes),
        n_images=plan.n_images,
        n_bytes=sum(sizes),
        notes=plan.notes,
    )


def _write_files(plan: PagePlan, folder: Path, progress: bool) -> list[int]:
    """Write all files of a page; return the bytes of each."""
    for part in (DATA, PICTURES, _ASSETS):
        inside(folder, part).mkdir()

    def write(file: PageFile) -> int | None:
        if file.is_wanted is not None and not file.is_wanted():
            return None
        data = file.make()
        write_new(folder / file.path, data, root=folder)
        return len(data)

    sizes: list[int] = []
    always = [file for file in plan.files if file.is_wanted is None]
    pointed_to = [file for file in plan.files if file.is_wanted is not None]
    with (
        progress_bar(len(plan.files), "files", "page", shown=progress) as bar,
        ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool,
    ):
        try:
            for files in (always, pointed_to):
                for size in pool.map(write, files):
                    sizes += [] if size is None else [size]
                    bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return sizes


def _require_room(folder: Path, overwrite: bool) -> None:
    """Raise where something is in the way that is not to be replaced."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FileExistsError(f"{folder} is no folder; give another place for the page")
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if not there:
        return
    strangers = [name for name in there if name not in _PARTS]
    if strangers or INDEX not in there:
        what = ", ".join((strangers or there)[:3])
        raise FileExistsError(
            f"{folder} holds other things ({what}); give a new folder for the page"
        )
    if not overwrite:
        raise FileExistsError(f"{folder} holds a page; give another folder, or --overwrite")


def _require_outside(folder: Path, store: str | Path) -> None:
    """Raise where a page would lie inside the store that it is of."""
    if "://" in str(store):
        return
    root = Path(store).expanduser().resolve()
    if folder.resolve().is_relative_to(root):
        raise ValueError(f"{folder} lies inside the store {store}; give a folder outside it")


def _require_layers(shown: ShownUnits) -> None:
    """Raise where no run has a layer that was asked for."""
    variants = (shown.outline(index) for index in range(len(shown.entries())))
    there = dict.fromkeys(layer for variant in variants for layer in variant.all_layers)
    there |= dict.fromkeys(layers_of(shown))
    for layer in shown.selection.layers:
        if layer not in there:
            raise KeyError(did_you_mean("layer", layer, [*there], shown.name))


def _units_of_variants(shown: ShownUnits) -> dict[tuple[str, str], tuple[int, int]]:
    """Numbers of units and of checkpoints, by run and variant."""
    found = {}
    for index, entry in enumerate(shown.entries()):
        outline = shown.outline(index)
        n_units = sum(len(layer.channels) for layer in outline.layers)
        found[entry.run, entry.name] = n_units, len(outline.labels)
    return found


def _chosen_checkpoints(
    n_units: Mapping[tuple[str, str], tuple[int, int]], max_images: int
) -> dict[tuple[str, str], tuple[int, ...]]:
    """Evenly spread checkpoints of each variant, as many as the bound allows."""
    n_most = max(n_checkpoints for _, n_checkpoints in n_units.values())

    def n_images(n_shown: int) -> int:
        return sum(n * min(n_checkpoints, n_shown) for n, n_checkpoints in n_units.values())

    n_shown = next((n for n in range(n_most, 1, -1) if n_images(n) <= max_images), 1)
    if n_images(n_shown) > max_images or (n_shown == 1 and n_most > 1):
        raise ValueError(
            f"--max-images {max_images} is too few: the first and last checkpoint alone have "
            f"{counted(n_images(min(2, n_most)), 'image')}. Give more, or fewer "
            "--layers or --channels"
        )
    return {
        key: tuple(np.linspace(0, n - 1, min(n, n_shown)).round().astype(int).tolist())
        for key, (_, n) in n_units.items()
    }


def _files_of(shown: ShownUnits) -> Iterator[PageFile]:
    """All files of a page."""
    yield PageFile(INDEX, "html", partial(html, shown, "static"))
    for name, path in assets().items():
        yield PageFile(f"{_ASSETS}/{name}", f"asset {name}", path.read_bytes)
    yield document_file("overview", partial(documents.overview, shown))
    yield document_file("called", partial(called, shown))
    for variant, entry in enumerate(shown.entries()):
        yield document_file(f"variant/{variant}", partial(documents.variant, shown, variant))
        outline = shown.outline(variant)
        for index, layer in enumerate(outline.layers):
            yield from _documents_of_layer(shown, layer, variant, index)
            for file in _pictures_of_layer(shown, outline, layer, variant, index):
                # Files of one kind have about the same size.
                yield replace(file, kind=f"{file.kind} of {entry.group}")
    yield from list_files(shown)
    yield from map_files(shown)
    yield from sheet_files(shown)


def _documents_of_layer(
    shown: ShownUnits, layer: LayerOutline, variant: int, index: int
) -> Iterator[PageFile]:
    place = f"{variant}/{index}"
    yield document_file(f"layer/{place}", partial(documents.layer, shown, variant, index))
    yield document_file(f"drift/{place}", partial(documents.drift, shown, variant, index))
    for channel in layer.channels:
        make = partial(documents.unit, shown, variant, index, channel)
        yield document_file(f"unit/{place}/{channel}", make)


def _pictures_of_layer(
    shown: ShownUnits, outline: VariantOutline, layer: LayerOutline, *place: int
) -> Iterator[PageFile]:
    for checkpoint in range(len(outline.labels)):
        for block in range(layer.n_blocks):
            numbers = (*place, checkpoint, block)
            yield _picture("thumbs", numbers, outline.thumbs_suffix, shown.thumbs)
        numbers = (*place, checkpoint)
        yield _picture("examples", numbers, outline.thumbs_suffix, shown.examples)
    for channel in layer.channels:
        yield _picture("strip", (*place, channel), outline.strip_suffix, shown.strip)


def _picture(
    what: str, numbers: Sequence[int], suffix: str, draw: Callable[..., ShownPicture]
) -> PageFile:
    name = "_".join(map(str, (what, *numbers)))
    return PageFile(f"{PICTURES}/{name}.{suffix}", what, lambda: draw(*numbers).data)


def _estimated_bytes(files: Sequence[PageFile]) -> int:
    """About how many bytes files will have, by some of each kind."""
    of_kinds: dict[str, list[PageFile]] = {}
    for file in files:
        of_kinds.setdefault(file.kind, []).append(file)
    total = 0.0
    for kind, members in of_kinds.items():
        if kind == "drift":  # two numbers a channel: to compute one takes seconds
            continue
        places = np.linspace(0, len(members) - 1, min(len(members), _SAMPLED)).round().astype(int)
        sizes = [len(members[place].make()) for place in places.tolist()]
        total += len(members) * sum(sizes) / len(sizes)
    return round(total)
