"""What a latent's top images are images of: the samples and the tokens of its activations."""

from collections.abc import Iterable

import xarray as xr

from dvis.kinds.activations.pictures.samples import Samples, TokenMap
from dvis.kinds.activations.read import READER
from dvis.kinds.activations.words import TOKEN
from dvis.kinds.saes.pictures.chosen import layer_of
from dvis.kinds.saes.read import activations_made_of, name_in_layer
from dvis.kinds.saes.words import KIND, group_name
from dvis.store.reader import store_of

_DVIS_LATENTS = "what dvis.latents gave"


def samples_and_tokens(
    dataset: xr.Dataset, sample_ids: Iterable[str]
) -> tuple[Samples, TokenMap | None]:
    """Samples of latents' top images, and where the tokens of their maps lie.

    Parameters
    ----------
    dataset : Dataset
        As `dvis.latents` gives it, tied to its store.
    sample_ids : iterable of str
        The samples.

    Returns
    -------
    Samples
        With a note, and nothing else, where the store does not keep them.
    TokenMap or None
        None where the store has the activations no more, or they have other tokens.
    """
    try:
        store, found = store_of(dataset, _DVIS_LATENTS)
    except ValueError:
        return Samples.of(None, None, sample_ids), None
    run, layer = str(dataset.attrs.get("run", "")), layer_of(dataset)
    called = group_name(layer, name_in_layer(dataset))
    trained = [entry for entry in found.of(KIND, run) if entry.name == called]
    attrs = trained[0].attrs if trained else {}
    entry = activations_made_of(found, attrs, layer, run)
    if entry is None:
        tokens, set_name = None, attrs.get("dataset")
    else:
        kept = READER.open_entry(store, found, entry)
        is_same = kept.sizes[TOKEN] == dataset.sizes.get(TOKEN, -1)
        tokens = TokenMap.of(kept) if is_same else None
        set_name = attrs.get("dataset", entry.attrs.get("dataset"))
    return Samples.of(store, None if set_name is None else str(set_name), sample_ids), tokens
