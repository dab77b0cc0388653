"""Chains of the autoencoders of a store, into the store that keeps them.

Options in; the group `{run}/saes/{layer}/{name}.chain-{on}` grows, a checkpoint at a time. What is
there is skipped, and trainings that were killed go on where they were last saved.
"""

import json
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.control import CONTROL, EXCHANGEABLE, VALUE
from dvis.disk import write_lock
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.saes.chains.options import ChainOptions
from dvis.kinds.saes.chains.words import (
    DEPTH,
    EXCHANGED,
    INPUT,
    LEAF,
    ON,
    READ_WITH,
    SEED,
    chain_name,
    chain_words,
)
from dvis.kinds.saes.dims import LATENT, SHUFFLE
from dvis.kinds.saes.measure.chaining import CANNOT_TELL, ChainShape, chained
from dvis.kinds.saes.options import ChainRecipe
from dvis.kinds.saes.plan import (
    chosen_checkpoints,
    forget_state,
    known_steps,
    states_beside,
)
from dvis.kinds.saes.plan_evaluation import weights_told
from dvis.kinds.saes.read import name_in_layer, saes
from dvis.kinds.saes.tracks.source import Source
from dvis.kinds.saes.words import CHAINED, KIND
from dvis.models.devices import find_device
from dvis.names import parse_checkpoint
from dvis.progress import progress_bar
from dvis.schema import CHECKPOINT, SOURCE, TEXT, Status, counted
from dvis.store.contents import contents
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing
from dvis.sweep.record import OTHER_WEIGHTS
from dvis.sweep.runner import Report


def chain_saes(options: ChainOptions, *, progress: bool = False) -> Report:
    """Train the chains that a store lacks below its autoencoders.

    Parameters
    ----------
    options : ChainOptions
        Which, and of which autoencoders.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        At how many checkpoints chains were trained; notes say what each level is, beside its
        controls, and which chains ended early. What is there of another autoencoder under a label
        is kept, and said.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store, or it has no autoencoders or activations.
    KeyError
        When it has no such run, layer, name, checkpoint or activations.
    ValueError
        When a level would be narrower than k or as wide as the one above, activations are missing
        or of other weights, or chains are there of other options.
    StoreLockedError
        When another process trains them.
    DiskFullError
        When there is no space left; what was trained before is safe, and a second run goes on.
    """
    find_device(options.device)
    source = _source(options)
    recipe = options.recipe(source.n_latents)
    called = chain_name(source.layer, source.name, options.on, options.read_with or "")
    report = Report(store=source.store, run=source.run, name=called, unit="checkpoint")
    model = str(contents(source.store).attrs.get("model", ""))
    settings = _settings(source, options, recipe)
    n_others = 0
    with write_lock(source.store, f"{source.run}/{KIND}/{called}", wait=False):
        group = _opened(source, model, called, settings, options, recipe)
        with progress_bar(len(source.labels), "checkpoints", "chain", shown=progress) as bar:
            for label in source.labels:
                one = source.autoencoder(label)
                weights = weights_told(one)
                row = group.rows[CHECKPOINT][label]
                is_there = int(group.array("status")[row]) == Status.COMPLETE
                is_other = bool(group.other_weights(label, weights))
                n_others += is_other and not options.overwrite
                if not is_there or (is_other and options.overwrite):
                    folder = _folder(source, label, weights, settings)
                    found = chained(
                        one,
                        _rows(source, label, recipe),
                        recipe,
                        seeds=options.seeds,
                        read=source.rows(label, name=options.read_with),
                        n_shuffles=options.n_shuffles,
                        n_parents=options.n_parents,
                        state=folder,
                        device=options.device,
                    )
                    with writing(source.store, model, source.run, KIND):
                        group.commit(_committed(found, label, weights))
                    forget_state(source.store, folder)
                    report.n_measured += 1
                    report.notes += _notes(found, label)
                bar.update()
    report.kept = {OTHER_WEIGHTS: n_others}
    return report


def _source(options: ChainOptions) -> Source:
    """The autoencoders that chains begin with, and their rows."""
    store = options.store.expanduser()
    trained = saes(store, options.layer, options.name, options.run)
    there = trained.isel({CHECKPOINT: trained["status"].values == Status.COMPLETE})
    if not there.sizes[CHECKPOINT]:
        raise ValueError(
            f"no autoencoder {name_in_layer(trained)!r} of {options.layer} is trained yet; run the "
            "same `dvis sae train` again"
        )
    labels = tuple(chosen_checkpoints(there, options.checkpoints))
    source = Source.at(store, trained, labels, options.split)
    if options.read_with is not None:
        source.check_rows(options.read_with)
    return source


def _rows(source: Source, label: str, recipe: ChainRecipe) -> ActivationRows:
    """The rows that levels learn from, in batches."""
    n_rows = source.rows(label, "train").n_rows
    return source.rows(label, "train", min(recipe.batch_size, n_rows))


def _settings(source: Source, options: ChainOptions, recipe: ChainRecipe) -> dict[str, Any]:
    """What all chains of a group must share."""
    told = asdict(recipe)
    return {
        "layer": source.layer,
        CHAINED: source.name,
        ON: told.pop("on"),
        READ_WITH: options.read_with or "",
        "split": options.split,
        "seeds": list(options.seeds),
        "n_shuffles": options.n_shuffles,
        "n_parents": options.n_parents,
        **told,
        "widths": list(recipe.widths),
    }


def _folder(source: Source, label: str, weights: int, settings: dict[str, Any]) -> Path:
    """Where states of trainings lie until a checkpoint's chains are there."""
    facts = [source.run, label, weights, source.rows(label, "train").fingerprint, settings]
    number = blake2b(json.dumps(facts).encode(), digest_size=12).hexdigest()
    return states_beside(source.store) / f"chains-{number}"


def _opened(
    source: Source,
    model: str,
    called: str,
    settings: dict[str, Any],
    options: ChainOptions,
    recipe: ChainRecipe,
) -> Group:
    """The group, with room for its checkpoints; that of other options only to be overwritten."""
    read = source.rows(source.labels[0], name=options.read_with)
    shape = ChainShape(
        recipe=recipe,
        n_latents=source.n_latents,
        n_channels=source.n_channels,
        seeds=options.seeds,
        classes=read.classes,
        n_shuffles=options.n_shuffles,
        n_parents=options.n_parents,
    )
    attrs = {
        EXCHANGEABLE: EXCHANGED,
        "cannot_tell": CANNOT_TELL[options.on],
        "activations": source.activations or "",
        "dataset": source.attrs.get("dataset", ""),
        "n_samples": read.n_samples,
    }
    words = chain_words(
        n_latents=shape.sizes[LATENT], n_inputs=shape.sizes[INPUT], n_leaves=shape.sizes[LEAF]
    )
    with writing(source.store, model, source.run, KIND) as path, restructuring(path):
        group = Group.open(
            path, words, source.run, called, settings, attrs=attrs, overwrite=options.overwrite
        )
        group.grow([parse_checkpoint(label) for label in source.labels], shape.labels)
        group.write_column("step", known_steps(source.trained))
    return group


def _committed(found: xr.Dataset, label: str, weights: int) -> xr.Dataset:
    """Chains of a checkpoint as the group takes them."""
    return (
        found.assign(stopped=(SEED, found["stopped"].values.astype(TEXT)))
        .expand_dims({CHECKPOINT: [label]})
        .assign({f"{SOURCE}/weights": (CHECKPOINT, np.array([weights], np.uint64))})
    )


def _notes(found: xr.Dataset, label: str) -> list[str]:
    """What each level is, means over seeds beside their controls, and which chains ended early."""
    means = found[["ev", "selectivity"]].mean(SEED)
    null = found["null_selectivity"].mean((SEED, SHUFFLE))
    other = str(found[CONTROL].values[1])
    said = []
    for depth in found[DEPTH].values[1:].tolist():
        n_latents = int(found["n_latents"].sel({DEPTH: depth}).max())
        if n_latents < 0:
            continue
        ev, low = means["ev"].sel({DEPTH: depth}).values[:2]
        selectivity = float(means["selectivity"].sel({DEPTH: depth, CONTROL: VALUE}))
        said.append(
            f"{label}, level {depth}: {counted(n_latents, 'latent')}, explained variance {ev:.2f} "
            f"({other} {low:.2f}), median selectivity {selectivity:.2f} (labels shuffled "
            f"{float(null.sel({DEPTH: depth})):.2f})"
        )
    stopped = dict.fromkeys(filter(None, found["stopped"].values.tolist()))
    return said + [f"{label}: {why}" for why in stopped]
