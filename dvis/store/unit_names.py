"""Names that programs gave to latents: kept with the run, apart from what people write.

They lie in the run's attribute `latent_names`, so that no name can take the place of a note. A
store and names in, or nothing but a store; a labelled Dataset of names out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
import zarr

from dvis.disk import explain_full_disk
from dvis.schema import (
    AUTOENCODER,
    CHECKPOINT,
    LATENT,
    LAYER,
    SchemaError,
    run_group,
)
from dvis.store.contents import Contents, StoreLike, contents, read_contents, resolve
from dvis.store.guarded import GuardedStore
from dvis.store.noted_units import NO_UNIT, require_units
from dvis.store.unit_notes import MAX_LETTERS, is_found
from dvis.store.writer import restructuring

AUTO_NAME: Final = "auto_name"  # coordinate of latents: what a program called them
_ATTRIBUTE = "latent_names"
_TEXTS = (LAYER, AUTOENCODER, CHECKPOINT, "text", "by", "written")
_NUMBERS = ("score", "null_high")


@dataclass(frozen=True, kw_only=True)
class LatentName:
    """What a program called a latent, and how well that fits.

    Attributes
    ----------
    run, layer, autoencoder, latent, checkpoint
        Of what it is.
    text : str
        The name.
    score, null_high : float
        How well it fits the latent's top images, and what one of 20 random latents' exceeds; NaN
        where that is not known.
    by : str
        Which program, such as "class".
    written : str
        When: UTC, to the second; "" of one that is not kept yet.
    """

    run: str
    layer: str
    autoencoder: str
    latent: int
    checkpoint: str
    text: str
    score: float
    null_high: float
    by: str
    written: str = ""

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What there is one name of."""
        return self.layer, self.autoencoder, self.latent, self.by

    def record(self) -> dict[str, Any]:
        """It as plain values, without its run; what is not known is left out."""
        values = asdict(self)
        del values["run"]
        return {k: v for k, v in values.items() if not (k in _NUMBERS and np.isnan(v))}


def keep_names(store: str | Path, given: Sequence[LatentName]) -> None:
    """Keep names, in place of those that the same program gave to the same latents.

    An empty text takes a name away.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store.
    KeyError
        When there is no such run, layer, autoencoder or latent; then none is kept.
    ValueError
        When a name is too long.
    """
    path = Path(store).expanduser()
    found = contents(path)
    for each in given:
        if len(each.text) > MAX_LETTERS:
            raise ValueError(
                f"the name of latent {each.latent} of {each.autoencoder} has {len(each.text)} "
                f"letters; give at most {MAX_LETTERS}"
            )
    units = [(each.run, each.layer, each.autoencoder, NO_UNIT, each.latent) for each in given]
    require_units(units, path, found)
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    try:
        with restructuring(path):
            for run in sorted({each.run for each in given}):
                group = zarr.open_group(GuardedStore(path), path=run_group(run), mode="a")
                known = {each.key: each for each in names_of({**group.attrs, "run": run})}
                known |= {each.key: replace(each, written=now) for each in given if each.run == run}
                kept = sorted((each for each in known.values() if each.text), key=lambda n: n.key)
                group.update_attributes({"run": run, _ATTRIBUTE: [each.record() for each in kept]})
    except OSError as err:
        raise explain_full_disk(err, path) from err


def latent_names(
    path_or_url: StoreLike,
    run: str | None = None,
    *,
    search: str = "",
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Names that programs gave to latents of a store.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    run : str, optional
        Of this run; by default of all.
    search : str
        Only names in which all these words occur, in any case.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Dataset
        Dims (name), by run, layer, autoencoder and latent, with `text`, `score` and `null_high`,
        what one of 20 random latents exceeds, and the coordinates `run`, `layer`, `autoencoder`,
        `latent`, `checkpoint`, `by`, the program, and `written`, datetime64[s] in UTC. `dvis.saes`
        and `dvis.latents` have the newest of each latent as a coordinate `auto_name`.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run.
    """
    found = read_contents(resolve(path_or_url, storage_options), str(path_or_url))
    kept = chosen_names(found, run, search)
    dim = "name"
    texts = ("run", *_TEXTS[:-1])
    columns: dict[str, Any] = {
        n: (dim, np.array([getattr(each, n) for each in kept], str)) for n in texts
    }
    columns[LATENT] = dim, np.array([each.latent for each in kept], np.int64)
    written = np.array([each.written for each in kept], "datetime64[s]")
    columns["written"] = dim, written, {"long_name": "time, UTC"}
    numbers = {n: (dim, np.array([getattr(each, n) for each in kept], float)) for n in _NUMBERS}
    return xr.Dataset({"text": columns.pop("text"), **numbers}, columns)


def chosen_names(found: Contents, run: str | None, search: str = "") -> list[LatentName]:
    """Names of a run, or of all, in which all words of a search occur.

    Raises
    ------
    KeyError
        When there is no such run.
    """
    return [
        each
        for attrs in found.attrs_of_runs(run)
        for each in names_of(attrs)
        if is_found(each.text, search)
    ]


def names_of(run_attrs: Mapping[str, Any]) -> list[LatentName]:
    """Names out of a run's attributes, by layer, autoencoder, latent and program.

    Raises
    ------
    SchemaError
        When what stands there are none.
    """
    run, stored = str(run_attrs.get("run", "")), run_attrs.get(_ATTRIBUTE, [])
    try:
        kept = [_name(record, run) for record in stored]
    except (KeyError, TypeError, ValueError) as err:
        raise SchemaError(
            f"The run {run!r} has an attribute {_ATTRIBUTE} that holds no names: "
            f"{str(stored)[:80]}. Remove it from the run's zarr.json"
        ) from err
    return sorted(kept, key=lambda each: each.key)


def with_latent_names(
    dataset: xr.Dataset, run_attrs: Mapping[str, Any], layer: str, autoencoder: str
) -> xr.Dataset:
    """A Dataset of an autoencoder with the coordinate `auto_name` (latent), where some are."""
    of_latents = names_of_autoencoder(run_attrs, layer, autoencoder)
    if not of_latents:
        return dataset
    texts = [of_latents[n][0].text if n in of_latents else "" for n in dataset[LATENT].values]
    labels = sorted({some[0].checkpoint for some in of_latents.values()})
    attrs = {"long_name": "what a program called the latent", CHECKPOINT: ", ".join(labels)}
    return dataset.assign_coords({AUTO_NAME: (LATENT, np.array(texts, str), attrs)})


def names_of_autoencoder(
    run_attrs: Mapping[str, Any], layer: str, autoencoder: str
) -> dict[int, list[LatentName]]:
    """Names of an autoencoder's latents by their numbers, the newest first."""
    found: dict[int, list[LatentName]] = {}
    for each in names_of(run_attrs):
        if (each.layer, each.autoencoder) == (layer, autoencoder):
            found.setdefault(each.latent, []).append(each)
    return {n: sorted(some, key=lambda e: e.written, reverse=True) for n, some in found.items()}


def _name(record: Mapping[str, Any], run: str) -> LatentName:
    texts = {name: record[name] for name in _TEXTS}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError(f"{texts} are no texts")
    latent = record[LATENT]
    if not isinstance(latent, int) or isinstance(latent, bool) or latent < 0:
        raise TypeError(f"{latent!r} is no latent")
    np.datetime64(texts["written"], "s")
    score, high = (float(record.get(name, np.nan)) for name in _NUMBERS)
    return LatentName(run=run, latent=latent, score=score, null_high=high, **texts)
