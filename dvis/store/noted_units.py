"""Which units a store knows of a run: channels of layers, latents of autoencoders, checkpoints.

A channel is one of which any group has something. An autoencoder is a group of one layer whose
latents are directions among its channels, and is called by its name within that layer.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from dvis.schema import AUTOENCODER, CHANNEL, CHECKPOINT, LATENT, LAYER, UNIT, did_you_mean
from dvis.store.contents import Contents, Entry, StoreLike, open_group
from dvis.store.damage import NamedArray

NO_UNIT: Final = -1
N_CHANNELS: Final = "n_channels"
Unit = tuple[str, str, str, int, int]  # run, layer, autoencoder, channel, latent
_Units = dict[tuple[str, str], set[int]]  # numbers by layer and autoencoder, "" of channels


def require_units(units: Sequence[Unit], store: StoreLike, found: Contents) -> None:
    """Raise where there is no such unit.

    Raises
    ------
    KeyError
        When a run, layer, autoencoder, channel or latent is not there.
    """
    known: dict[tuple[str, bool], _Units] = {}
    for run, layer, autoencoder, channel, latent in units:
        key = run, latent != NO_UNIT
        if key not in known:
            of = _latents_of if key[1] else _channels_of
            known[key] = of(store, found, found.only_run(run))
        there, where = known[key], f"{found.name}, run {run!r}"
        if key[1]:
            _require_autoencoder(there, layer, autoencoder, where)
        elif (layer, "") not in there:
            raise KeyError(did_you_mean(LAYER, layer, [name for name, _ in there], where))
        numbers = sorted(there[layer, autoencoder])
        dim, number = (LATENT, latent) if key[1] else (CHANNEL, channel)
        if number not in there[layer, autoencoder]:
            what = f"{autoencoder} of {layer}" if key[1] else layer
            raise KeyError(
                f"No {dim} {number} in {what} of {where}: there are {len(numbers)}"
                + (f", {numbers[0]} to {numbers[-1]}" if numbers else "")
            )


def name_of_directions(
    store: StoreLike, found: Contents, run: str, layer: str, name: str | None
) -> str:
    """Name of the autoencoder that is meant: the one that is asked for, or the layer's only one.

    Raises
    ------
    KeyError
        When the layer has none, or none of that name.
    ValueError
        When it has several and none is named.
    """
    there = _latents_of(store, found, run)
    names = [autoencoder for of_layer, autoencoder in there if of_layer == layer]
    if name is None and len(names) > 1:
        raise ValueError(
            f"{layer} of {found.name}, run {run!r}, has several autoencoders: name one of "
            + ", ".join(names)
        )
    chosen = name or (names[0] if names else "")
    _require_autoencoder(there, layer, chosen, f"{found.name}, run {run!r}")
    return chosen


def _require_autoencoder(there: _Units, layer: str, autoencoder: str, where: str) -> None:
    layers = dict.fromkeys(name for name, _ in there)
    if layer not in layers:
        raise KeyError(did_you_mean(LAYER, layer, layers, f"the autoencoders of {where}"))
    if (layer, autoencoder) not in there:
        names = [name for of_layer, name in there if of_layer == layer]
        raise KeyError(did_you_mean(AUTOENCODER, autoencoder, names, f"{layer} of {where}"))


def _channels_of(store: StoreLike, found: Contents, run: str) -> _Units:
    """Channels by layer of which any group of a run has something."""
    units: _Units = {}
    for entry in _entries(found, run):
        group = open_group(store, entry)
        is_of_channels = entry.attrs.get(UNIT, CHANNEL) == CHANNEL
        if CHANNEL not in group or LATENT in group or not is_of_channels:
            continue
        channels = np.asarray(NamedArray(group[CHANNEL])[:]).tolist()
        if LAYER in group:
            layers = np.asarray(NamedArray(group[LAYER])[:]).tolist()
        elif isinstance(entry.attrs.get(LAYER), str):  # a group of one layer
            layers = [entry.attrs[LAYER]]
        else:
            continue
        widths = [-1] * len(layers)
        if N_CHANNELS in group:
            widths = np.asarray(NamedArray(group[N_CHANNELS])[:]).tolist()
        for layer, width in zip(layers, widths, strict=True):
            there = {c for c in channels if width < 0 or c < width}
            units[layer, ""] = units.get((layer, ""), set()) | there
    return units


def layer_widths(store: StoreLike, found: Contents, run: str) -> dict[str, int]:
    """How many channels layers have, of those of which some group of a run tells it."""
    widths: dict[str, int] = {}
    for entry in _entries(found, run):
        group = open_group(store, entry)
        if LAYER in group and N_CHANNELS in group:
            layers, own = (
                np.asarray(NamedArray(group[n])[:]).tolist() for n in (LAYER, N_CHANNELS)
            )
            widths |= {layer: n for layer, n in zip(layers, own, strict=True) if n > 0}
    return widths


def known_checkpoints(store: StoreLike, found: Contents, run: str) -> list[str]:
    """Labels of checkpoints of which some group of a run has something."""
    labels: dict[str, None] = {}
    for entry in _entries(found, run):
        group = open_group(store, entry)
        if CHECKPOINT in group:
            labels |= dict.fromkeys(np.asarray(NamedArray(group[CHECKPOINT])[:]).tolist())
    return [*labels]


def _latents_of(store: StoreLike, found: Contents, run: str) -> _Units:
    """Latents by layer and autoencoder of a run."""
    units: _Units = {}
    for entry in _entries(found, run):
        layer = entry.attrs.get(LAYER)
        if not isinstance(layer, str):
            continue
        group = open_group(store, entry)
        if LATENT not in group or CHANNEL not in group:
            continue
        numbers = np.asarray(NamedArray(group[LATENT])[:]).tolist()
        units[layer, entry.name.removeprefix(f"{layer}/")] = set(numbers)
    return units


def _entries(found: Contents, run: str) -> Iterator[Entry]:
    return (entry for entry in found.entries if entry.run == run)
