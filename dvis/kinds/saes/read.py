"""Sparse autoencoders in a store: the reading side.

A path, a URL or a Zarr store in, a lazy xarray Dataset out. Nothing here writes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from dvis.kinds.activations.read import entry_of
from dvis.kinds.saes.options import TrackMethod
from dvis.kinds.saes.tracks.words import METHOD
from dvis.kinds.saes.words import (
    CHAINED,
    KIND,
    TRACKED,
    group_name,
    is_autoencoders,
    is_chains,
    is_evaluation,
    is_tracks,
)
from dvis.schema import CHECKPOINT, SOURCE, SchemaError, did_you_mean
from dvis.store.contents import (
    Contents,
    Entry,
    StoreLike,
    open_group,
    read_contents,
    resolve,
)
from dvis.store.reader import Reader
from dvis.store.unit_names import with_latent_names
from dvis.store.unit_notes import with_latent_notes


def _noted(dataset: xr.Dataset, run_attrs: Mapping[str, Any]) -> xr.Dataset:
    """The Dataset with what people wrote of its latents, and what programs called them."""
    layer, name = str(dataset.attrs.get("layer")), name_in_layer(dataset)
    noted = with_latent_notes(dataset, run_attrs, layer, name)
    return noted if is_tracks(dataset.attrs) else with_latent_names(noted, run_attrs, layer, name)


SAE_READER = Reader(kind=KIND, noun="sparse autoencoders", made_by="dvis sae train", noted=_noted)


def saes(
    path_or_url: StoreLike,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """A layer's sparse autoencoders as a lazy Dataset, one a checkpoint, in training order.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    layer : str
        Whose activations they are of.
    name : str, optional
        Which autoencoders; needed where the layer has several.
    run : str, optional
        Training run; by default the store's, or the first that has some.
    chunks, storage_options
        As `dvis.open` takes them.

    Returns
    -------
    Dataset
        With, in units of the activations,

        - `encoder`, `decoder` (checkpoint, latent, channel), `encoder_bias`, `threshold`
          (checkpoint, latent), `decoder_bias` (checkpoint, channel), float32: the code of a row x
          is z = s(encoder (x - decoder_bias) + encoder_bias), of which s keeps what exceeds
          `threshold`, and z decoder + decoder_bias reconstructs it;
        - `fvu`, `l0`, `n_dead`, `learning_rate`, `grad_norm` (checkpoint, log_step), float64: the
          log of the training;
        - `scale` (checkpoint), float64, by which rows were multiplied, folded into the weights;
        - `began_from` (checkpoint), of those trained by a warm start: the checkpoint from whose
          autoencoder each began, "" where it began afresh;
        - the coordinates `note` (latent), where `dvis note` wrote some, and `auto_name`, where
          `dvis sae name` did;
        - `status` (checkpoint), uint8, and coordinates of checkpoints, as `dvis.open` has them.

        Its attributes say what was trained: `kind`, `k`, `n_steps`, `activations`, ...

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run, layer or name.
    ValueError
        When the layer has several and none is named.
    SchemaError
        When the store has no sparse autoencoders, or what is there is no dvis store.
    """
    return _opened(path_or_url, layer, name, run, chunks, storage_options, is_evaluated=False)


def latents(
    path_or_url: StoreLike,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """What was found of a layer's sparse autoencoders and their latents, in training order.

    Parameters
    ----------
    path_or_url, layer, name, run, chunks, storage_options
        As `saes` takes them.

    Returns
    -------
    Dataset
        Of the split of samples that `attrs["split"]` names, with

        - `ev`, `mse`, `l0`, `l1`, `cosine` (checkpoint), float64, `n_dead`, `n_dense`, `n_often`,
          int64: explained variance is about the mean, a ratio of sums;
        - `frequency`, `mean`, `max` (checkpoint, latent), float64: of rows in which it fires, and
          of its codes there;
        - `top_sample`, ids, `top_value` (checkpoint, score, latent, rank), and `top_map` (and
          token), uint8, on the scale `map_scale` of the latent: images of highest score, each once;
        - `class_mean`, `class_rate`, `auroc` (checkpoint, latent, class), `best_class` and
          `best_share`, `best_auroc`, `selectivity`, `entropy` (checkpoint, latent), and
          `null_selectivity` and its like (checkpoint, shuffle, latent), of labels that are shuffled
          over samples;
        - the coordinates `note` (latent), where `dvis note` wrote some, and `auto_name`, where
          `dvis sae name` did.

        Where samples have labels, whatever the split, of probes that learned on the training split
        and are scored on what is held out, as `attrs["probe_train_samples"]` and its like say,

        - `probe_accuracy`, `probe_accuracy_sae`, `probe_accuracy_retrained`,
          `probe_accuracy_codes` and `probe_chance` (checkpoint): of rows; of the same probe on
          reconstructions; of probes trained on these, and on codes; of the commonest class;
        - `probe_latent` and `probe_latent_auroc` (checkpoint, class), the latent that tells a class
          best in training, -1 where none fires, and how well it does held out, beside
          `null_probe_latent_auroc` (checkpoint, shuffle, class), of labels that are shuffled.

        What was asked for, NaN at checkpoints where it was not, for `dvis.analysis.control`:

        - `control_ev`, `control_l0` and their like (checkpoint, control), of the autoencoder,
          "value", and of others that were trained alike; `control_mean_max_cosine`,
          `control_mean_matched_cosine` and `control_share_alike`, of its decoder with theirs;
        - `loss_clean`, `loss_sae`, `loss_mean`, `loss_zero` and `recovered` (checkpoint), of the
          model with reconstructions, with the mean row and with zeros for the layer's rows;
        - `effect` (checkpoint, control, latent, class), of a logit where the latent is taken out of
          `n_effect_images` (checkpoint, latent), NaN of latents that were not;
        - `mono_score` (checkpoint, latent), `null_mono_score` (checkpoint, shuffle, latent) and
          `mean_cosine` (checkpoint), by what `attrs["embedding"]` says.

    Raises
    ------
    FileNotFoundError, ImportError, KeyError, ValueError, SchemaError
        As `saes` does.
    """
    return _opened(path_or_url, layer, name, run, chunks, storage_options, is_evaluated=True)


def tracks(
    path_or_url: StoreLike,
    layer: str,
    name: str | None = None,
    run: str | None = None,
    *,
    method: TrackMethod | None = None,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Tracks of a layer's latents over checkpoints, as `dvis sae track` found them.

    Parameters
    ----------
    path_or_url, layer, name, run, chunks, storage_options
        As `saes` takes them.
    method : {"warm", "match", "shared", "cross"}, optional
        By which method; needed where they were tracked by several.

    Returns
    -------
    Dataset
        In training order, with

        - `latent` (checkpoint, track), int32: which latent of the checkpoint's autoencoder the
          track is, -1 where it is not there; of a crosscoder's code, its number;
        - `similarity` and `cosine` (checkpoint, track), float64: correlation of its codes on the
          same samples, and cosine of its decoder, with those at the checkpoint before; NaN where it
          begins. A link was made where `similarity` exceeds `least_similarity` (checkpoint);
        - `drift`: 1 - cosine of its decoder with that at the track's first checkpoint;
        - `frequency`, share of rows in which it fires, `decoder_norm`, and `selectivity`, of what
          `dvis sae evaluate` found;
        - `birth`, `death` (track), text: the first checkpoint at which it is there, "" where it was
          there from the first on; and the one at which it is no more, "" where it stays;
        - `null_similarity`, `null_cosine`, `null_drift` (checkpoint, track), where there is a
          second seed: of the track's latent with its match in an autoencoder that differs by its
          seed alone. A drift that does not exceed `null_drift` is no finding;
        - of crosscoders `strength` (checkpoint, track), the length of the row that reconstructs a
          checkpoint best with the code as it is, and `null_strength`, with codes of other rows; and
          their weights;
        - `n_latents` and `status` (checkpoint).

        Its attributes say the `method`, what is `exchangeable` in its threshold, and what it
        `cannot_tell`.

    Raises
    ------
    FileNotFoundError, ImportError
        As `dvis.open` does.
    KeyError
        When there is no such run, layer, name or method.
    ValueError
        When there are several names or methods and none is named.
    SchemaError
        When the store has no tracks, or what is there is no dvis store.
    """
    store = resolve(path_or_url, storage_options)
    found = read_contents(store, str(path_or_url))
    entry = chosen_tracks(found, layer, name, run, method)
    return SAE_READER.open_entry(store, found, entry, chunks)


def chosen_tracks(
    found: Contents, layer: str | None, name: str | None, run: str | None, method: str | None
) -> Entry:
    """The group of tracks that is asked for, or the only one.

    Raises
    ------
    KeyError, ValueError, SchemaError
        As `tracks` does.
    """

    def chosen(of_method: str | None) -> Entry:
        def named(entry: Entry) -> str | None:
            is_meant = is_tracks(entry.attrs) and of_method in (None, entry.attrs[METHOD])
            return name_of(entry) if is_meant else None

        return SAE_READER.choose_of_layer(
            found, layer, name, run, named, instead="none is tracked yet; run `dvis sae track`"
        )

    one = chosen(None)
    several = [
        str(entry.attrs[METHOD])
        for entry in found.of(KIND, one.run)
        if is_tracks(entry.attrs)
        and (entry.attrs["layer"], name_of(entry)) == (one.attrs["layer"], name_of(one))
    ]
    where = f"the tracks of {one.attrs['layer']}, {name_of(one)}"
    if method is None and len(several) > 1:
        raise ValueError(f"Which method? {where}, are by {', '.join(several)}")
    if method not in (None, *several):
        raise KeyError(did_you_mean(METHOD, str(method), several, where))
    return chosen(method)


def _opened(
    path_or_url: StoreLike,
    layer: str,
    name: str | None,
    run: str | None,
    chunks: Any,
    storage_options: dict[str, Any] | None,
    *,
    is_evaluated: bool,
) -> xr.Dataset:
    store = resolve(path_or_url, storage_options)
    found = read_contents(store, str(path_or_url))
    is_meant = is_evaluation if is_evaluated else is_autoencoders
    if is_evaluated and name is not None:
        _require_evaluated(found, layer, name, run)
    entry = SAE_READER.choose_of_layer(
        found,
        layer,
        name,
        run,
        lambda each: name_of(each) if is_meant(each.attrs) else None,
        instead="none is evaluated yet; run `dvis sae evaluate`"
        if is_evaluated
        else "none is there",
    )
    return SAE_READER.open_entry(store, found, entry, chunks)


def _require_evaluated(found: Contents, layer: str, name: str, run: str | None) -> None:
    """Raise where autoencoders of a name are there, but nothing was found of them yet."""
    named = [
        each
        for each in found.of(KIND, run)
        if each.attrs.get("layer") == layer and name_of(each) == name
    ]
    if any(is_autoencoders(each.attrs) for each in named) and not any(
        is_evaluation(each.attrs) for each in named
    ):
        raise SchemaError(
            f"autoencoders {name!r} of {layer} are not evaluated yet; run `dvis sae evaluate`"
        )


def name_of(entry: Entry) -> str:
    """What autoencoders, or what was found of them, are called within their layer."""
    if is_tracks(entry.attrs):
        return str(entry.attrs[TRACKED])
    if is_chains(entry.attrs):
        return str(entry.attrs[CHAINED])
    if is_evaluation(entry.attrs):
        return str(entry.attrs["evaluated"])
    return entry.name.removeprefix(group_name(str(entry.attrs.get("layer")), ""))


def name_in_layer(dataset: xr.Dataset) -> str:
    """What opened autoencoders, or what was found of them, are called within their layer."""
    if is_tracks(dataset.attrs):
        return str(dataset.attrs[TRACKED])
    if is_chains(dataset.attrs):
        return str(dataset.attrs[CHAINED])
    if is_evaluation(dataset.attrs):
        return str(dataset.attrs["evaluated"])
    name, layer = dataset.attrs.get("name", "autoencoders"), dataset.attrs.get("layer", "layer")
    return str(name).removeprefix(group_name(str(layer), ""))


def weights_told_of(store: StoreLike, entry: Entry) -> dict[str, int]:
    """What tells the weights that a group is of at each checkpoint, by label, 0 where unknown."""
    group: Any = open_group(store, entry)
    labels = np.asarray(group[CHECKPOINT][:]).tolist()
    weights = np.asarray(group[f"{SOURCE}/weights"][:]).tolist()
    return dict(zip(labels, weights, strict=True))


def activations_made_of(
    found: Contents, attrs: Mapping[str, Any], layer: str, run: str
) -> Entry | None:
    """The activations that autoencoders with these attributes are of, None where there are none."""
    name = attrs.get("activations")
    try:
        return entry_of(found, layer, None if name is None else str(name), run, with_values=True)
    except (KeyError, ValueError):  # SchemaError is one
        return None
