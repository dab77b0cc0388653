"""Chains of autoencoders in a store: the reading side. Nothing here writes."""

from typing import Any

import xarray as xr

from dvis.kinds.saes.chains.words import ON, READ_WITH
from dvis.kinds.saes.options import ChainOn
from dvis.kinds.saes.read import SAE_READER, name_of
from dvis.kinds.saes.words import KIND, is_chains
from dvis.schema import did_you_mean
from dvis.store.contents import Contents, Entry, StoreLike, read_contents, resolve


def chains(
    path_or_url: StoreLike,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    on: ChainOn | None = None,
    read_with: str | None = None,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Chains of autoencoders on a layer's autoencoders, as `dvis sae chain` trained them.

    Level 0 is the autoencoder; level d + 1 was trained on what level d learned, and is the same for
    no two seeds. Arrays are as wide as the widest level: `n_latents` says how many there are.

    Parameters
    ----------
    path_or_url, layer, name, run, chunks, storage_options
        As `saes` takes them.
    on : {"decoder", "codes"}, optional
        Those trained on decoder rows, or on codes; needed where there are both.
    read_with : str, optional
        Those whose statistics are of the images of other activations, by their name; by default
        those of the activations that the autoencoders were trained on.

    Returns
    -------
    Dataset
        In training order,

        - `ev`, `l0`, `l0_sd`, `nonzero_share`, `n_dead` (checkpoint, control, seed, depth),
          float64: explained variance of what a level is trained on; active latents of a row, their
          standard deviation over rows, and their share in all; latents that never fire. Level 0 and
          all levels on codes are looked at on samples of `attrs["split"]`, levels on decoder rows
          on the rows that they were trained on: there are no others;
        - `selectivity`, `best_share` (checkpoint, control, seed, depth), medians over latents that
          fire in some sample, beside `null_selectivity`, `null_best_share` (checkpoint, shuffle,
          seed, depth), of labels that are shuffled. A latent of decoder rows fires on an image
          through its parents: codes of level 0 times its code on each one's row;
        - `mean_max_cosine` (checkpoint, control, seed, depth): mean of the largest cosines of the
          level's directions with those of an autoencoder of its width that was trained on
          activations. Directions of a level on codes are sums of those above;
        - `n_latents` (checkpoint, seed, depth), -1 where there is no level, and `stopped`
          (checkpoint, seed), why there is none below the last;
        - `parent`, `parent_weight` (checkpoint, seed, depth, latent, rank): the latents above that
          a latent is made of, strongest first, -1 and NaN where there are no more, and `n_parents`,
          how many have a tenth of the weight of the strongest. A weight is the latent's code on the
          parent's decoder row, or the parent's in the latent's decoder row;
        - `frequency`, `latent_selectivity`, `latent_best_share`, `best_class` (checkpoint, seed,
          depth, latent), and of level 0 `leaf_frequency` and its like (checkpoint, leaf);
        - `encoder`, `decoder` (checkpoint, seed, depth, latent, input), `encoder_bias`,
          `threshold` (checkpoint, seed, depth, latent), NaN of level 0, whose are in `saes`. There
          is no decoder bias. An `input` is a channel, or a latent of the level above.

        Controls are "value"; "random directions", the same on as many random unit rows, and "codes
        exchanged", on codes of which each latent's are exchanged between rows; and "activations",
        an autoencoder of that width and k trained on activations. The attributes say what is
        `exchangeable`, and what chains `cannot_tell`. `ds.dvis.chain_trends()` tests numbers for a
        trend over depth.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run, layer, name, or no chains of that kind.
    ValueError
        When there are several and none is named.
    SchemaError
        When the store has no chains, or what is there is no dvis store.
    """
    store = resolve(path_or_url, storage_options)
    found = read_contents(store, str(path_or_url))
    entry = chosen_chains(found, layer, name, run, on, read_with)
    return SAE_READER.open_entry(store, found, entry, chunks)


def chosen_chains(
    found: Contents,
    layer: str | None,
    name: str | None,
    run: str | None,
    on: str | None,
    read_with: str | None,
) -> Entry:
    """The group of chains that is asked for, or the only one.

    Raises
    ------
    KeyError, ValueError, SchemaError
        As `chains` does.
    """
    one = SAE_READER.choose_of_layer(
        found,
        layer,
        name,
        run,
        lambda entry: name_of(entry) if is_chains(entry.attrs) else None,
        instead="none is there; run `dvis sae chain`",
    )
    alike = [
        entry
        for entry in found.of(KIND, one.run)
        if is_chains(entry.attrs)
        and (entry.attrs["layer"], name_of(entry)) == (one.attrs["layer"], name_of(one))
    ]
    where = f"the chains of {one.attrs['layer']}, {name_of(one)}"
    reads = list(dict.fromkeys(str(entry.attrs[READ_WITH]) for entry in alike))
    if (read_with or "") not in reads:
        there = [each or "its own" for each in reads]
        raise KeyError(did_you_mean(READ_WITH, read_with or "its own", there, where))
    by_on = {str(e.attrs[ON]): e for e in alike if e.attrs[READ_WITH] == (read_with or "")}
    if on is None and len(by_on) > 1:
        raise ValueError(f"On what? {where}, are on {', '.join(by_on)}; give on")
    if on not in (None, *by_on):
        raise KeyError(did_you_mean(ON, str(on), by_on, where))
    return by_on[on] if on is not None else next(iter(by_on.values()))
