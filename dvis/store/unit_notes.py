"""What people write about units: a text a unit, kept with its run.

Notes lie in the run's attributes, where one atomic write changes them, also while a sweep is
writing: `unit_notes` about channels, `latent_notes` about latents, of which an earlier dvis knows
nothing. A store and a unit in, or nothing but a store; a labelled Dataset of notes out.
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
from dvis.schema import (
    AUTOENCODER,
    CHANNEL,
    LATENT,
    LAYER,
    UNIT,
    UNIT_NOTE,
    SchemaError,
    run_group,
)
from dvis.store.contents import Contents, StoreLike, contents, read_contents, resolve
from dvis.store.guarded import GuardedStore
from dvis.store.noted_units import NO_UNIT, name_of_directions, require_units
from dvis.store.writer import restructuring

MAX_LETTERS = 2000
_OF_CHANNELS, _OF_LATENTS = "unit_notes", "latent_notes"
_FORMAT, _WITH_LATENTS = "dvis notes 1", "dvis notes 2"
_COLUMNS = ("run", LAYER, CHANNEL, AUTOENCODER, LATENT, "text", "written")


@dataclass(frozen=True, kw_only=True)
class Note:
    """What somebody wrote about a unit, and when: UTC, to the second.

    The unit is a channel of the layer, or a latent of an autoencoder of the layer's activations;
    what it is not is -1 and "".
    """

    run: str
    layer: str
    channel: int = NO_UNIT
    autoencoder: str = ""
    latent: int = NO_UNIT
    text: str
    written: str

    @property
    def unit(self) -> tuple[str, str, str, int, int]:
        """Which unit it is about."""
        return self.run, self.layer, self.autoencoder, self.channel, self.latent

    def record(self) -> dict[str, Any]:
        """It as plain values, of which those that say nothing are left out."""
        left_out = (AUTOENCODER, LATENT) if self.latent == NO_UNIT else (CHANNEL,)
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def note(
    store: str | Path,
    text: str,
    *,
    layer: str,
    channel: int | None = None,
    latent: int | None = None,
    name: str | None = None,
    run: str | None = None,
) -> None:
    """Keep a note about a unit, in place of one that is there; an empty text takes it away.

    Parameters
    ----------
    store : str or Path
        A store's folder.
    text : str
        The note, of at most 2000 letters, such as "bird heads".
    layer : str
        The unit's layer.
    channel, latent : int, optional
        The unit, of which something is measured: a channel, or a latent of an autoencoder.
    name : str, optional
        The latent's autoencoder; by default the layer's only one.
    run : str, optional
        Its run; by default the only one.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store.
    KeyError
        When it has no such run, layer, channel, autoencoder or latent.
    ValueError
        When the run or the autoencoder is not named and there are several, the text is too long, or
        not one of channel and latent is given.
    """
    if (channel is None) == (latent is None) or (latent is None and name is not None):
        raise ValueError(
            "a note is about one unit: give its channel, or its latent and, where the layer has "
            "several autoencoders, the name of its autoencoder"
        )
    path = Path(store).expanduser()
    found = contents(path)
    of_run, written = found.only_run(run), _now()
    if latent is None:
        unit: dict[str, Any] = {CHANNEL: channel}
    else:
        unit = {LATENT: latent, AUTOENCODER: name_of_directions(path, found, of_run, layer, name)}
    made = Note(run=of_run, layer=layer, text=text.strip(), written=written, **unit)
    _require([made], path, found)
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
        Dims (note), by run, layer and unit, with `text` and `written`, datetime64[s] in UTC, and
        the coordinates `run`, `layer`, `channel`, `autoencoder` and `latent`: -1 and "" where the
        unit is a latent, or is a channel. `dvis.open` has the same as a coordinate `note` (layer,
        channel) where there are some, `dvis.latents` and `dvis.saes` as `note` (latent).

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run.
    """
    found = read_contents(resolve(path_or_url, storage_options), str(path_or_url))
    kept = _chosen(found, run, search)
    columns = {name: np.array([getattr(each, name) for each in kept]) for name in _COLUMNS}
    written = columns["written"].astype("datetime64[s]")
    texts = columns["text"].astype(str)
    return xr.Dataset(
        {"text": (UNIT_NOTE, texts), "written": (UNIT_NOTE, written, {"long_name": "time, UTC"})},
        {
            **{n: (UNIT_NOTE, columns[n].astype(str)) for n in ("run", LAYER, AUTOENCODER)},
            **{n: (UNIT_NOTE, columns[n].astype(np.int64)) for n in (CHANNEL, LATENT)},
        },
    )


def _chosen(found: Contents, run: str | None, search: str) -> list[Note]:
    """Notes of a run, or of all, in which all words of a search occur."""
    return [
        each
        for attrs in found.attrs_of_runs(run)
        for each in notes_of(attrs)
        if is_found(each.text, search)
    ]


def save_notes(
    store: StoreLike, file: str | Path, run: str | None = None, *, search: str = ""
) -> int:
    """Write a store's notes to a JSON file, and return how many there are.

    Parameters
    ----------
    store : str, Path or zarr Store
        As `dvis.open` takes it.
    file : str or Path
        The file.
    run, search
        As `notes` takes them.

    Raises
    ------
    FileNotFoundError, SchemaError
        As `dvis.open` does.
    KeyError
        When there is no such run.
    """
    found = contents(store)
    kept = [each.record() for each in _chosen(found, run, search)]
    # What an earlier dvis can read says so.
    written_as = _WITH_LATENTS if any(LATENT in record for record in kept) else _FORMAT
    document = {"format": written_as, "model": found.attrs.get("model", ""), "notes": kept}
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
        if document["format"] not in (_FORMAT, _WITH_LATENTS):
            raise ValueError(f"its format is {document['format']!r}")
        given = [_note(record) for record in document["notes"]]
    except (ValueError, KeyError, TypeError) as err:
        what = f"it lacks {err}" if isinstance(err, KeyError) else err
        raise ValueError(
            f"{file} holds no notes of dvis: {what}. `dvis notes STORE --save FILE` writes some"
        ) from err
    _require(given, path, found)
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
    """Notes out of a run's attributes, by layer and unit.

    Raises
    ------
    SchemaError
        When what stands there are none.
    """
    run, kept = str(run_attrs.get("run", "")), []
    for attribute in (_OF_CHANNELS, _OF_LATENTS):
        stored = run_attrs.get(attribute, [])
        try:
            kept += [_note({**record, "run": run}) for record in stored]
        except (KeyError, TypeError, ValueError) as err:
            raise SchemaError(
                f"The run {run!r} has an attribute {attribute} that holds no notes: "
                f"{str(stored)[:80]}. Remove it from the run's zarr.json"
            ) from err
    return sorted(kept, key=lambda each: each.unit)


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


def with_latent_notes(
    dataset: xr.Dataset, run_attrs: Mapping[str, Any], layer: str, autoencoder: str
) -> xr.Dataset:
    """A Dataset of an autoencoder with the coordinate `note` (latent), where there are some."""
    texts = latent_notes(run_attrs, layer, autoencoder)
    if not texts:
        return dataset
    of_latents = [texts.get(int(latent), "") for latent in dataset[LATENT].values]
    attrs = {"long_name": "what was written about the latent"}
    return dataset.assign_coords({UNIT_NOTE: (LATENT, np.array(of_latents, str), attrs)})


def latent_notes(run_attrs: Mapping[str, Any], layer: str, autoencoder: str) -> dict[int, str]:
    """Texts of the notes about an autoencoder's latents, by their numbers."""
    return {
        each.latent: each.text
        for each in notes_of(run_attrs)
        if (each.layer, each.autoencoder) == (layer, autoencoder) and each.latent != NO_UNIT
    }


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
    dim = LATENT if LATENT in record else CHANNEL
    unit = record[dim]
    if not isinstance(unit, int) or isinstance(unit, bool) or unit < 0:
        raise TypeError(f"{unit!r} is no {dim}")
    columns = ("run", LAYER, "text", "written", *((AUTOENCODER,) if dim == LATENT else ()))
    texts = {name: record[name] for name in columns}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"{name} is {text!r}, no text")
    written = datetime.fromisoformat(texts["written"])
    if written.tzinfo is not None:
        written = written.astimezone(UTC).replace(tzinfo=None)
    texts["written"] = written.isoformat(timespec="seconds")
    if dim == LATENT:
        return Note(**texts, latent=unit)
    return Note(**texts, channel=unit)


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def _require(given: Sequence[Note], store: Path, found: Contents) -> None:
    """Raise where a note is too long, or about a unit of which nothing is measured."""
    for each in given:
        if len(each.text) > MAX_LETTERS:
            dim = CHANNEL if each.latent == NO_UNIT else LATENT
            raise ValueError(
                f"the note about {dim} {max(each.channel, each.latent)} of {each.layer} has "
                f"{len(each.text)} letters; write at most {MAX_LETTERS}"
            )
    require_units([each.unit for each in given], store, found)


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
                records = [{k: v for k, v in n.record().items() if k != "run"} for n in kept]
                of_latents = [each for each in records if LATENT in each]
                of_channels = [each for each in records if LATENT not in each]
                changed = {"run": run, _OF_CHANNELS: of_channels}
                if of_latents or _OF_LATENTS in group.attrs:
                    changed[_OF_LATENTS] = of_latents
                group.update_attributes(changed)
    except OSError as err:
        raise explain_full_disk(err, store) from err
