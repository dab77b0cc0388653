"""What people write about units: a text a unit, kept with its run.

Notes lie in the run's attributes, `unit_notes`, where one atomic write changes them, also while a
sweep is writing. A store and a unit in, or nothing but a store; a labelled Dataset of notes out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from dvis.disk import explain_full_disk, write_atomically
from dvis.schema import CHANNEL, LAYER, UNIT, UNIT_NOTE, SchemaError, did_you_mean, run_group
from dvis.store.contents import Contents, StoreLike, contents, open_group, read_contents, resolve
from dvis.store.damage import NamedArray
from dvis.store.guarded import GuardedStore
from dvis.store.writer import restructuring

MAX_LETTERS = 2000
_ATTRIBUTE, _FORMAT = "unit_notes", "dvis notes 1"
_COLUMNS = ("run", LAYER, CHANNEL, "text", "written")


@dataclass(frozen=True, kw_only=True)
class Note:
    """What somebody wrote about a unit, and when: UTC, to the second."""

    run: str
    layer: str
    channel: int
    text: str
    written: str

    @property
    def unit(self) -> tuple[str, str, int]:
        """Which unit it is about."""
        return self.run, self.layer, self.channel


def note(store: str | Path, text: str, *, layer: str, channel: int, run: str | None = None) -> None:
    """Keep a note about a unit, in place of one that is there; an empty text takes it away.

    Parameters
    ----------
    store : str or Path
        A store's folder.
    text : str
        The note, of at most 2000 letters, such as "bird heads".
    layer, channel : str, int
        The unit, of which something is measured.
    run : str, optional
        Its run; by default the only one.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store.
    KeyError
        When it has no such run, layer or channel.
    ValueError
        When the run is not named and there are several, or the text is too long.
    """
    path = Path(store).expanduser()
    found = contents(path)
    made = Note(
        run=found.only_run(run), layer=layer, channel=channel, text=text.strip(), written=_now()
    )
    _check([made], path, found)
    _keep(path, [made])


def notes(
    path_or_url: StoreLike,
    run: str | None = None,
    *,
    search: str = "",
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Notes about units of a store.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Of this run; by default of all.
    search : str
        Only notes in which all these words occur, in any case.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        Dims (note), by run, layer and channel, with `text` and `written`, datetime64[s] in UTC, and
        the coordinates `run`, `layer` and `channel`. `dvis.open` has the same as a coordinate
        `note` (layer, channel) where there are some.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run.
    """
    found = read_contents(resolve(path_or_url, storage_options), str(path_or_url))
    if run is not None and run not in found.run_attrs:
        raise KeyError(did_you_mean("run", run, sorted(found.run_attrs), found.name))
    kept = [
        each
        for name, attrs in sorted(found.run_attrs.items())
        if run in (None, name)
        for each in notes_of(attrs)
        if is_found(each.text, search)
    ]
    columns = {name: np.array([getattr(each, name) for each in kept]) for name in _COLUMNS}
    written = columns["written"].astype("datetime64[s]")
    texts, channels = columns["text"].astype(str), columns[CHANNEL].astype(np.int64)
    return xr.Dataset(
        {"text": (UNIT_NOTE, texts), "written": (UNIT_NOTE, written, {"long_name": "time, UTC"})},
        {
            "run": (UNIT_NOTE, columns["run"].astype(str)),
            LAYER: (UNIT_NOTE, columns[LAYER].astype(str)),
            CHANNEL: (UNIT_NOTE, channels),
        },
    )


def save_notes(store: StoreLike, file: str | Path) -> int:
    """Write a store's notes to a JSON file, and return how many there are.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    """
    found = contents(store)
    kept = [
        asdict(each) for _, attrs in sorted(found.run_attrs.items()) for each in notes_of(attrs)
    ]
    document = {"format": _FORMAT, "model": found.attrs.get("model", ""), "notes": kept}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    write_atomically(Path(file).expanduser(), text.encode())
    return len(kept)


def add_notes(store: str | Path, file: str | Path) -> int:
    """Take notes of a JSON file that `save_notes` wrote; of two about a unit the newer is kept.

    Returns
    -------
    int
        How many notes are new or newer.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store, or no file.
    KeyError
        When a note is about a unit that the store does not have; then none is taken.
    ValueError
        When the file holds no notes.
    """
    path, source = Path(store).expanduser(), Path(file).expanduser()
    found = contents(path)
    try:
        document = json.loads(source.read_text("utf-8"))
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']!r}")
        given = [_note(record) for record in document["notes"]]
    except (ValueError, KeyError, TypeError) as err:
        what = f"it lacks {err}" if isinstance(err, KeyError) else err
        raise ValueError(
            f"{file} holds no notes of dvis: {what}. `dvis notes STORE --save FILE` writes some"
        ) from err
    _check(given, path, found)
    known = {each.unit: each for attrs in found.run_attrs.values() for each in notes_of(attrs)}
    new = [
        each
        for each in given
        if each.unit not in known
        or (known[each.unit].written < each.written and known[each.unit].text != each.text)
    ]
    _keep(path, new)
    return len(new)


def notes_of(run_attrs: Mapping[str, Any]) -> list[Note]:
    """Notes out of a run's attributes, by layer and channel.

    Raises
    ------
    SchemaError
        When what stands there are none.
    """
    run, stored = str(run_attrs.get("run", "")), run_attrs.get(_ATTRIBUTE, [])
    try:
        return [_note({**record, "run": run}) for record in stored]
    except (KeyError, TypeError, ValueError) as err:
        raise SchemaError(
            f"The run {run!r} has an attribute {_ATTRIBUTE} that holds no notes: "
            f"{str(stored)[:80]}. Remove it from the run's zarr.json"
        ) from err


def with_notes(dataset: xr.Dataset, run_attrs: Mapping[str, Any]) -> xr.Dataset:
    """A Dataset of channels with the coordinate `note` (layer, channel), where there are some."""
    if dataset.attrs.get(UNIT, CHANNEL) != CHANNEL:  # a latent is not the channel of its number
        return dataset
    if not {LAYER, CHANNEL} <= set(dataset.dims) or not (kept := notes_of(run_attrs)):
        return dataset
    rows, columns = (
        {label: place for place, label in enumerate(dataset[dim].values.tolist())}
        for dim in (LAYER, CHANNEL)
    )
    texts = np.full((len(rows), len(columns)), "", object)
    for each in kept:
        if each.layer in rows and each.channel in columns:
            texts[rows[each.layer], columns[each.channel]] = each.text
    if not texts.any():
        return dataset
    # Of a fixed width, as other text of a Dataset is, so that it goes into any file.
    attrs = {"long_name": "what was written about the unit"}
    return dataset.assign_coords({UNIT_NOTE: ((LAYER, CHANNEL), texts.astype(str), attrs)})


def is_found(text: str, search: str) -> bool:
    """Whether all words of a search occur in a text, in any case.

    Examples
    --------
    >>> is_found("Heads of birds", "bird head"), is_found("Heads of birds", "bird wing")
    (True, False)
    """
    return all(word in text.casefold() for word in search.casefold().split())


def _note(record: Mapping[str, Any]) -> Note:
    """A note of plain values, which somebody may have written by hand.

    Raises
    ------
    KeyError, TypeError, ValueError
        When they make none.
    """
    channel = record[CHANNEL]
    if not isinstance(channel, int) or isinstance(channel, bool) or channel < 0:
        raise TypeError(f"{channel!r} is no channel")
    texts = {name: record[name] for name in ("run", LAYER, "text", "written")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"{name} is {text!r}, no text")
    written = datetime.fromisoformat(texts["written"])
    if written.tzinfo is not None:
        written = written.astimezone(UTC).replace(tzinfo=None)
    texts["written"] = written.isoformat(timespec="seconds")
    return Note(**texts, channel=channel)


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def _check(given: Sequence[Note], store: Path, found: Contents) -> None:
    """Raise where a note is too long, or about a unit of which nothing is measured."""
    units: dict[str, dict[str, set[int]]] = {}
    for each in given:
        if len(each.text) > MAX_LETTERS:
            raise ValueError(
                f"the note about channel {each.channel} of {each.layer} has {len(each.text)} "
                f"letters; write at most {MAX_LETTERS}"
            )
        if each.run not in units:
            units[each.run] = _units_of(store, found, found.only_run(each.run))
        layers = units[each.run]
        where = f"{found.name}, run {each.run!r}"
        if each.layer not in layers:
            raise KeyError(did_you_mean(LAYER, each.layer, [*layers], where))
        if each.channel not in layers[each.layer]:
            there = sorted(layers[each.layer])
            raise KeyError(
                f"No channel {each.channel} in {each.layer} of {where}: there are {len(there)}"
                + (f", {there[0]} to {there[-1]}" if there else "")
            )


def _units_of(store: StoreLike, found: Contents, run: str) -> dict[str, set[int]]:
    """Channels by layer of which any group of a run has something."""
    units: dict[str, set[int]] = {}
    for entry in found.entries:
        group = open_group(store, entry)
        is_of_channels = entry.attrs.get(UNIT, CHANNEL) == CHANNEL
        if entry.run != run or LAYER not in group or CHANNEL not in group or not is_of_channels:
            continue
        layers, channels = (
            np.asarray(NamedArray(group[dim])[:]).tolist() for dim in (LAYER, CHANNEL)
        )
        widths = [-1] * len(layers)
        if "n_channels" in group:
            widths = np.asarray(NamedArray(group["n_channels"])[:]).tolist()
        for layer, width in zip(layers, widths, strict=True):
            there = {c for c in channels if width < 0 or c < width}
            units[layer] = units.get(layer, set()) | there
    return units


def _keep(store: Path, new: Sequence[Note]) -> None:
    """Keep notes beside, or in place of, those that are there; those without a text go."""
    if not new:
        return
    try:
        with restructuring(store):
            for run in sorted({each.run for each in new}):
                group = zarr.open_group(GuardedStore(store), path=run_group(run), mode="a")
                known = {each.unit: each for each in notes_of({**group.attrs, "run": run})}
                known |= {each.unit: replace(each, run=run) for each in new if each.run == run}
                kept = sorted((n for n in known.values() if n.text), key=lambda n: n.unit)
                records = [{k: v for k, v in asdict(n).items() if k != "run"} for n in kept]
                group.update_attributes({"run": run, _ATTRIBUTE: records})
    except OSError as err:
        raise explain_full_disk(err, store) from err
