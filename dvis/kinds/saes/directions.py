"""Latents of a store's sparse autoencoders as directions of their layers' outputs.

A store, a name and numbers in; rows of encoders at each checkpoint out. Nothing here writes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.saes.dims import LATENT
from dvis.kinds.saes.lineage import why_unmatched
from dvis.kinds.saes.read import SAE_READER, name_of
from dvis.kinds.saes.words import KIND, evaluation_name, is_autoencoders
from dvis.models.directions import Directions, ReadOut
from dvis.schema import AUTOENCODER, CHECKPOINT, SOURCE, UNMATCHED, SchemaError, Status, counted
from dvis.schema import UNIT as OF_UNIT
from dvis.store.contents import Contents, Entry, StoreLike, open_group, read_contents, resolve

_CODE = (
    "mean over positions of encoder (x - decoder_bias) + encoder_bias: the latent's code before "
    "the threshold"
)
_READ = ("encoder", "encoder_bias", "decoder_bias")


def latent_directions(
    path_or_url: StoreLike,
    name: str,
    numbers: Sequence[int] = (),
    *,
    layers: Sequence[str] = (),
    run: str | None = None,
    weights: Mapping[str, int] | None = None,
) -> Directions:
    r"""Directions of latents in their layers' outputs, at each checkpoint with an autoencoder.

    Of a latent this is its code before the threshold,

    .. math:: E_i \cdot (x - b_d) + (b_e)_i = E_i \cdot x + ((b_e)_i - E_i \cdot b_d)

    and not after, because behind the threshold no gradient leads to an image where the latent does
    not fire yet, which is everywhere one begins; what lies above the threshold is the same. Of topk
    autoencoders it is what latents compete by.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.saes` takes it.
    name : str
        Name of the autoencoders.
    numbers : sequence of int, optional
        Of their latents (default: all).
    layers : sequence of str, optional
        Whose autoencoders (default: all layers that have some of the name).
    run : str, optional
        Training run; by default the store's, or the first that has some.
    weights : mapping of str to int, optional
        What tells the weights of checkpoints apart, by label. An autoencoder of other weights
        under a label is left out, and said.

    Returns
    -------
    Directions
        Rows and offsets in units of the activations, float32.

    Raises
    ------
    FileNotFoundError, ImportError, KeyError, SchemaError
        As `dvis.saes` does.
    ValueError
        When they have no such latent, or no autoencoder is trained.
    """
    store = resolve(path_or_url, None)
    found = read_contents(store, str(path_or_url))
    read_outs: dict[tuple[str, str], ReadOut] = {}
    widths, others, unmatched = {}, 0, ""
    for entry in _entries(found, name, layers, run):
        dataset, layer = SAE_READER.open_entry(store, found, entry), str(entry.attrs["layer"])
        widths[layer] = dataset.sizes[LATENT]
        unmatched = unmatched or why_unmatched(dataset, name)
        wanted = _checked(numbers, widths[layer], name, layer)
        made_of = _made_of(store, entry)
        for label in _complete(dataset):
            known = (weights or {}).get(label, 0), made_of.get(label, 0)
            if 0 not in known and len(set(known)) > 1:
                others += 1
            else:
                read_outs[layer, label] = _read_out(dataset, label, wanted)
    if not read_outs:
        why = "is of other weights than these checkpoints'" if others else "is trained yet"
        raise ValueError(
            f"no autoencoder {name!r} of {', '.join(widths)} {why}; run `dvis sae train` with "
            "--checkpoints all first"
        )
    said = f"{counted(others, 'autoencoder')} of other weights under the same label left out"
    return Directions(
        name=name,
        read_outs=read_outs,
        unit=LATENT,
        attrs={
            OF_UNIT: LATENT,
            AUTOENCODER: name,
            "activation_is": _CODE,
            UNMATCHED: unmatched,
        },
        widths=widths,
        notes=(said,) if others else (),
    )


def stored_autoencoders(
    path_or_url: StoreLike,
    name: str,
    *,
    run: str | None = None,
    weights: Mapping[str, int] | None = None,
) -> dict[str, xr.Dataset]:
    """Autoencoders of a name by their layers, lazy, at the checkpoints that have one.

    Parameters
    ----------
    path_or_url, name, run, weights
        As `latent_directions` takes them.

    Returns
    -------
    dict of str to Dataset
        As `dvis.saes` gives them, without checkpoints that have none, or one of other weights.

    Raises
    ------
    FileNotFoundError, ImportError, KeyError, SchemaError
        As `dvis.saes` does.
    """
    store = resolve(path_or_url, None)
    found = read_contents(store, str(path_or_url))
    opened = {}
    for entry in _entries(found, name, (), run):
        dataset, made_of = SAE_READER.open_entry(store, found, entry), _made_of(store, entry)
        known = {label: {(weights or {}).get(label, 0), of} for label, of in made_of.items()}
        labels = [each for each in _complete(dataset) if 0 in known[each] or len(known[each]) == 1]
        opened[str(entry.attrs["layer"])] = dataset.sel({CHECKPOINT: labels})
    return opened


def dead_latents(
    path_or_url: StoreLike, directions: Directions, *, run: str | None = None
) -> dict[tuple[str, str], int]:
    """How many of some latents never fire, by layer and checkpoint, where they are evaluated.

    Parameters
    ----------
    path_or_url, run
        As `latent_directions` takes them.
    directions : Directions
        As that gives them.

    Raises
    ------
    FileNotFoundError, ImportError, KeyError, SchemaError
        As `dvis.saes` does.
    """
    store = resolve(path_or_url, None)
    found = read_contents(store, str(path_or_url))
    numbers: dict[tuple[str, str], int] = {}
    for trained in _entries(found, directions.name, directions.layers, run):
        layer = str(trained.attrs["layer"])
        called = evaluation_name(layer, directions.name)
        for entry in (each for each in found.of(KIND, trained.run) if each.name == called):
            try:
                dataset = SAE_READER.open_entry(store, found, entry)
            except SchemaError:  # half grown; the next `dvis sae evaluate` repairs it
                continue
            for label in _complete(dataset):
                if (of := directions.read_outs.get((layer, label))) is not None:
                    at = dataset["frequency"].sel({CHECKPOINT: label, LATENT: [*of.numbers]})
                    numbers[layer, label] = int((at == 0).sum())
    return numbers


def _entries(found: Contents, name: str, layers: Sequence[str], run: str | None) -> list[Entry]:
    """Groups of autoencoders of a name, of the layers that are asked for or all that have some."""

    def called(entry: Entry) -> str | None:
        return name_of(entry) if is_autoencoders(entry.attrs) else None

    if not layers and found.of(KIND):
        of_run = found.default_run(KIND) if run is None else run
        named = [e for e in found.of(KIND, of_run) if called(e) == name]
        # Where none has it, the first layer that has others says which there are.
        any_layer = [e for e in found.of(KIND, of_run) if called(e) is not None]
        layers = [str(e.attrs["layer"]) for e in named or any_layer[:1]]
    layers = layers or ("",)  # which says what the store holds instead
    return [
        SAE_READER.choose_of_layer(found, layer, name, run, called, instead="none is there")
        for layer in dict.fromkeys(layers)
    ]


def _checked(numbers: Sequence[int], width: int, name: str, layer: str) -> list[int]:
    """Latents that are asked for, in order; all where none is."""
    for number in numbers:
        if not 0 <= number < width:
            raise ValueError(
                f"latent is {number}; the autoencoder {name!r} of {layer} has {width:,} latents: "
                f"0 to {width - 1}"
            )
    return sorted(set(numbers)) or list(range(width))


def _complete(dataset: xr.Dataset) -> list[str]:
    is_there = dataset["status"].values == Status.COMPLETE
    return [str(label) for label in dataset[CHECKPOINT].values[is_there]]


def _made_of(store: StoreLike, entry: Entry) -> dict[str, int]:
    """Of which weights of the network the autoencoder of each checkpoint is, 0 where unknown."""
    group: Any = open_group(store, entry)
    labels = np.asarray(group[CHECKPOINT][:]).tolist()
    weights = np.asarray(group[f"{SOURCE}/weights"][:]).tolist()
    return dict(zip(labels, weights, strict=True))


def _read_out(dataset: xr.Dataset, label: str, numbers: list[int]) -> ReadOut:
    at = dataset[[*_READ]].sel({CHECKPOINT: label}).isel({LATENT: numbers}).load()
    rows, encoder_bias, decoder_bias = (at[name].values for name in _READ)
    offsets = encoder_bias - rows.astype(np.float64) @ decoder_bias
    return ReadOut(numbers=tuple(numbers), rows=rows, offsets=offsets.astype(np.float32))
