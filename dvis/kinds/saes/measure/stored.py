"""Autoencoders of a store: out of it into SAELens' folders, and out of such folders into it."""

from pathlib import Path

import numpy as np
import xarray as xr

from dvis.kinds.activations.read import activations as activations_of
from dvis.kinds.activations.read import entry_of, name_of
from dvis.kinds.activations.words import KIND as ACTIVATIONS
from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.measure.autoencoder import Autoencoder
from dvis.kinds.saes.measure.exchange import read_saelens, write_saelens
from dvis.kinds.saes.read import saes
from dvis.kinds.saes.words import KIND, LOG_STEP, WEIGHTS, group_name, sae_words
from dvis.names import parse_checkpoint
from dvis.schema import CHANNEL, CHECKPOINT, Status, did_you_mean
from dvis.store.contents import Contents, contents
from dvis.store.group import Group
from dvis.store.noted_units import known_checkpoints, layer_widths
from dvis.store.writer import restructuring, writing


def autoencoder_at(dataset: xr.Dataset, checkpoint: str | None = None) -> Autoencoder:
    """The autoencoder of a checkpoint, of what `dvis.saes` gave.

    Parameters
    ----------
    dataset : Dataset
        Autoencoders of a layer.
    checkpoint : str, optional
        Label of the checkpoint; by default the last that has one.

    Raises
    ------
    KeyError
        When there is none at the checkpoint.
    ValueError
        When there is none at all.
    """
    is_there = dataset["status"].values == Status.COMPLETE
    labels = dataset[CHECKPOINT].values[is_there].tolist()
    if not labels:
        raise ValueError("no autoencoder is trained yet: run the same `dvis sae train` again")
    label = labels[-1] if checkpoint in (None, "last") else checkpoint
    if label not in labels:
        raise KeyError(did_you_mean(CHECKPOINT, str(label), labels, "the autoencoders"))
    at = dataset[[*WEIGHTS]].sel({CHECKPOINT: label}).load()
    arrays = {name: at[name].values for name in WEIGHTS}
    return Autoencoder(**arrays, kind=dataset.attrs["kind"], k=int(dataset.attrs["k"]))


def export_sae(
    store: str | Path,
    folder: str | Path,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    checkpoint: str | None = None,
) -> Path:
    """Write an autoencoder of a store as a folder that SAELens reads, and return the folder.

    Parameters
    ----------
    store : str or Path
        As `dvis.saes` takes it.
    folder : str or Path
        Made where it is missing.
    layer, name, run
        As `dvis.saes` takes them.
    checkpoint : str, optional
        Label of the checkpoint; by default the last that has one.

    Raises
    ------
    KeyError, ValueError, SchemaError
        As `dvis.saes` and `autoencoder_at` do.
    FileExistsError
        When the folder holds an autoencoder.
    """
    dataset = saes(store, layer, name, run)
    out = Path(folder).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    told = {key: str(dataset.attrs[key]) for key in ("model", "run", "layer", "name")}
    write_saelens(autoencoder_at(dataset, checkpoint), out, metadata=told)
    return out


def import_sae(
    store: str | Path,
    folder: str | Path,
    layer: str,
    name: str,
    run: str | None = None,
    *,
    checkpoint: str,
    activations: str | None = None,
    overwrite: bool = False,
) -> None:
    """Take an autoencoder of SAELens' folder into a store that has measurements of the run.

    Parameters
    ----------
    store : str or Path
        A store's folder.
    folder : str or Path
        With `sae_weights.safetensors` and `cfg.json`.
    layer : str
        Whose activations it is of.
    name : str
        What it is called from now on.
    run : str, optional
        Its run, which is made where there is none; by default the only one.
    checkpoint : str
        Label of the checkpoint that it was trained at, as the store has it.
    activations : str, optional
        Name of the activations on which it is to be looked at; needed where the store keeps values
        of the layer under several.
    overwrite : bool
        Replace what has the name and is of another kind or k.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store, or no such folder.
    KeyError
        When the run has no such checkpoint, or the layer no such activations.
    ValueError
        When the run is not named and there is not one, the folder holds no autoencoder that dvis
        can read, the store has another one of the name, the layer has several activations and none
        is named, or channels or latents are other in number.
    """
    one, path = read_saelens(Path(folder).expanduser()), Path(store).expanduser()
    found = contents(path)
    of_run = found.only_run(None) if run is None else run
    there = known_checkpoints(path, found, of_run)
    if there and checkpoint not in there:
        raise KeyError(did_you_mean(CHECKPOINT, checkpoint, there, f"run {of_run!r}"))
    made_of = _activations_named(found, layer, activations, of_run)
    width = layer_widths(path, found, of_run).get(layer)
    if made_of:
        width = activations_of(
            path, layer, made_of["activations"], of_run, allow_partial=True
        ).sizes[CHANNEL]
    if width not in (None, one.n_channels):
        raise ValueError(
            f"the autoencoder of {folder} is of {one.n_channels} channels, and {layer} has "
            f"{width}; give the layer that it was trained on"
        )
    model = str(found.attrs.get("model", ""))
    settings = {"layer": layer, "kind": one.kind, "k": one.k, "is_imported": True}
    settings |= {"n_latents": one.n_latents, "n_channels": one.n_channels}
    words = sae_words(n_latents=one.n_latents, n_channels=one.n_channels)
    labels = {LATENT: range(one.n_latents), CHANNEL: range(one.n_channels), LOG_STEP: ()}
    called = group_name(layer, name)
    with writing(path, model, of_run, KIND):
        with restructuring(path):
            group = Group.open(
                path, words, of_run, called, settings, attrs=made_of, overwrite=overwrite
            )
            group.grow([parse_checkpoint(checkpoint)], labels)
        group.commit(committed(one, checkpoint).assign(scale=(CHECKPOINT, np.ones(1))))


def _activations_named(found: Contents, layer: str, name: str | None, run: str) -> dict[str, str]:
    """Attribute that tells on which activations an autoencoder is looked at, where there are."""
    is_there = any(each.attrs.get("layer") == layer for each in found.of(ACTIVATIONS, run))
    if name is None and not is_there:
        return {}
    return {"activations": name_of(entry_of(found, layer, name, run, with_values=True))}


def committed(one: Autoencoder, checkpoint: str) -> xr.Dataset:
    """An autoencoder of a checkpoint as a group takes it."""
    dims = {
        "encoder": (LATENT, CHANNEL),
        "decoder": (LATENT, CHANNEL),
        "encoder_bias": (LATENT,),
        "decoder_bias": (CHANNEL,),
        "threshold": (LATENT,),
    }
    arrays = {name: ((CHECKPOINT, *dims[name]), getattr(one, name)[np.newaxis]) for name in WEIGHTS}
    return xr.Dataset(arrays, {CHECKPOINT: [checkpoint]})
