"""The commands `note` and `notes`: what people write about units."""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
import xarray as xr
from tyro.conf import Positional

from dvis.schema import AUTOENCODER, CHANNEL, LATENT, LAYER, UNIT_NOTE, counted
from dvis.store import unit_notes
from dvis.store.contents import contents
from dvis.store.unit_names import latent_names


def note(
    store: Positional[Path],
    text: Positional[str],
    *,
    layer: str,
    channel: int | None = None,
    latent: int | None = None,
    autoencoder: Annotated[str | None, tyro.conf.arg(name="sae")] = None,
    run: str | None = None,
) -> int:
    """Write what a unit is, such as "bird heads": shown and searched on the page, and in pictures.

    Parameters
    ----------
    store
        A store's folder.
    text
        The note, in place of one that is there; "" takes it away.
    layer
        The unit's layer.
    channel
        Its channel, or:
    latent
        The latent of an autoencoder of the layer.
    autoencoder
        The latent's autoencoder, by its name (default: the layer's only one).
    run
        Its run (default: the only one).
    """
    unit_notes.note(
        store, text, layer=layer, channel=channel, latent=latent, name=autoencoder, run=run
    )
    said = repr(text.strip()) if text.strip() else "no note"
    of = f" of {autoencoder}" if autoencoder else ""
    unit = f"channel {channel}" if latent is None else f"latent {latent}{of}"
    print(f"{store}: {layer}, {unit}: {said}")
    return 0


def notes(
    store: Positional[str],
    *,
    run: str | None = None,
    search: str = "",
    save: Path | None = None,
    add: Path | None = None,
) -> int:
    """List the notes about units of a store, and names that programs gave; write notes to a file.

    Parameters
    ----------
    store
        A store's folder or URL.
    run
        Notes of this run alone.
    search
        Only notes in which all these words occur.
    save
        A JSON file to write them to.
    add
        A JSON file that --save wrote: of two notes about a unit the newer is kept.
    """
    if add is not None:
        n_added = unit_notes.add_notes(store, add)
        print(f"{store}: {counted(n_added, 'note')} new or newer in {add}")
    if save is not None:
        print(f"{save}: {counted(unit_notes.save_notes(store, save, run, search=search), 'note')}")
    if add is not None or save is not None:
        return 0
    found = unit_notes.notes(store, run, search=search)
    several = len(contents(store).run_attrs) > 1
    for row in range(found.sizes[UNIT_NOTE]):
        of_row = found.isel({UNIT_NOTE: row})
        where = f"{of_row['run'].item()}, " if several else ""
        unit = f"channel {of_row[CHANNEL].item()}"
        if of_row[LATENT] >= 0:
            unit = f"latent {of_row[LATENT].item()} of {of_row[AUTOENCODER].item()}"
        print(f"{where}{of_row[LAYER].item()}, {unit}: {of_row['text'].item()}")
    print(counted(found.sizes[UNIT_NOTE], "note"))
    named = latent_names(store, run, search=search)
    for row in range(named.sizes["name"]):
        print(f"{_where(named.isel(name=row), several)}")
    if named.sizes["name"]:
        print(f"{counted(named.sizes['name'], 'name')} by programs")
    return 0


def _where(name: xr.Dataset, several: bool) -> str:
    """A name that a program gave, in a line."""
    where = f"{name['run'].item()}, " if several else ""
    by, score, high = (name[each].item() for each in ("by", "score", "null_high"))
    chance = f", by chance {high:.2f}" if np.isfinite(high) else ", of too few images to tell"
    unit = f"latent {name[LATENT].item()} of {name[AUTOENCODER].item()}"
    said = f"{name['text'].item()} (named by {by}: {score:.2f}{chance})"
    return f"{where}{name[LAYER].item()}, {unit}: {said}"
