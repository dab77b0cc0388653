"""Tracks of latents of trained autoencoders over checkpoints, into the store that keeps them.

Options in; the group `{run}/saes/{layer}/{name}.{method}-tracks` is made, once for all checkpoints.
What was found before a kill lies beside the store, and is taken up.
"""

import json
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dvis.analysis.control import EXCHANGEABLE
from dvis.disk import write_lock
from dvis.kinds.saes.measure.links import LEAST_ROWS
from dvis.kinds.saes.measure.tracking import CANNOT_TELL, EXCHANGED, with_ends
from dvis.kinds.saes.options import SaeRecipe
from dvis.kinds.saes.plan import forget_state, known_steps, states_beside, train_saes
from dvis.kinds.saes.store_options import TrackOptions, TrainOptions
from dvis.kinds.saes.tracks.pooled import PooledPlan
from dvis.kinds.saes.tracks.selectivity import selectivity_of
from dvis.kinds.saes.tracks.source import Source
from dvis.kinds.saes.tracks.steps import tracks_of_source
from dvis.kinds.saes.tracks.words import (
    CODE,
    CROSS_WEIGHTS,
    METHOD,
    NULLS,
    SELECTIVITY,
    STRENGTHS,
    TRACK,
    shared_name,
    track_words,
    tracks_name,
)
from dvis.kinds.saes.words import KIND, TRACKED
from dvis.models.devices import find_device
from dvis.names import parse_checkpoint
from dvis.schema import CHANNEL, CHECKPOINT, SOURCE, TEXT, Status, counted
from dvis.store.contents import contents
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing
from dvis.sweep.runner import Report

SECOND = "second"
_FEW_SAMPLES = 32
_NO_SECOND = (
    "no second seed stands beside these tracks, so that no drift is a finding; --controls trains "
    "one"
)


def track_saes(options: TrackOptions, *, progress: bool = False) -> Report:
    """Track latents of autoencoders over checkpoints.

    Parameters
    ----------
    options : TrackOptions
        Which, and by which method.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        At how many checkpoints they were tracked, 0 where they were before; notes say how many
        tracks there are.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store, or it has no autoencoders or activations.
    KeyError
        When it has no such run, layer, name or checkpoint.
    ValueError
        When there are fewer than two checkpoints, latents do not keep their numbers and are not to
        be matched, activations are missing or of other weights, a second seed is of another width,
        or tracks are there of other autoencoders or options.
    StoreLockedError
        When another process tracks them.
    DiskFullError
        When there is no space left; what was found before is safe, and a second run goes on.
    """
    find_device(options.device)
    source = Source.of(options)
    pooled = PooledPlan.of(source, options) if options.is_trained else None
    second = _second_name(source, options)
    called = tracks_name(source.layer, source.name, options.method)
    report = Report(store=source.store, run=source.run, name=called, unit="checkpoint")
    model = str(contents(source.store).attrs.get("model", ""))
    with write_lock(source.store, f"{source.run}/{KIND}/{called}", wait=False):
        settings = _settings(source, options, pooled)
        folder = _folder(source, options, settings)
        group = _opened(source, model, called, settings, options, folder)
        if not _is_there(group, second):
            found = _found(source, options, pooled, second, folder, model, progress)
            _keep(group, source, model, found, second)
            report.n_measured = len(source.labels)
            forget_state(source.store, folder)
        _add_selectivity(group, source, model, options)
    report.notes += [*_notes(group, second), *_said_of_few(group, source)]
    return report


def _said_of_few(group: Group, source: Source) -> list[str]:
    """Of how few rows tracks are, where births may come of that alone."""
    rows, said = source.rows(source.labels[0]), []
    if rows.n_samples < _FEW_SAMPLES:
        said.append(
            f"tracks are of {counted(rows.n_samples, 'sample')} ({source.split}) alone, and "
            f"latents that fire in fewer than {LEAST_ROWS} rows have none; with so few a birth may "
            "be no more than a latent that now fires often enough. Give --split all, or keep "
            "activations of more samples"
        )
    n_latents = np.asarray(group.array("n_latents")[:])
    if not n_latents[0]:
        said.append(
            f"no latent fires in {LEAST_ROWS} rows at {source.labels[0]}: whatever is there later "
            "looks born, and such births are no finding"
        )
    return said


def _settings(source: Source, options: TrackOptions, pooled: PooledPlan | None) -> dict[str, Any]:
    """What all tracks of a group must share."""
    return {
        "layer": source.layer,
        TRACKED: source.name,
        METHOD: options.method,
        "checkpoints": list(source.labels),
        "split": options.split,
        "level": options.level,
        "made_of": [] if pooled else source.hashes,
        **(pooled.settings if pooled else {}),
    }


def _folder(source: Source, options: TrackOptions, settings: dict[str, Any]) -> Path:
    """Where what is found lies until all is there: of these rows, options and a second seed."""
    rows = [source.rows(label).fingerprint for label in source.labels]
    facts = [source.run, source.layer, settings, rows, options.controls, options.second]
    number = blake2b(json.dumps(facts).encode(), digest_size=12).hexdigest()
    return states_beside(source.store) / f"tracks-{number}"


def _opened(
    source: Source,
    model: str,
    called: str,
    settings: dict[str, Any],
    options: TrackOptions,
    folder: Path,
) -> Group:
    """The group, with room for its checkpoints; that of other options only to be overwritten."""
    attrs = {
        EXCHANGEABLE: EXCHANGED[options.method],
        "cannot_tell": CANNOT_TELL[options.method],
        "activations": source.attrs.get("activations", ""),
        "dataset": source.attrs.get("dataset", ""),
    }
    words = track_words(
        n_tracks=source.n_latents, n_codes=source.n_latents, n_channels=source.n_channels
    )
    with writing(source.store, model, source.run, KIND) as path, restructuring(path):
        group = Group.open(
            path, words, source.run, called, settings, attrs=attrs, overwrite=options.overwrite
        )
        if options.method == "cross":
            group.add_arrays([CODE, CHANNEL, *CROSS_WEIGHTS, *STRENGTHS])
    return group


def _second_name(source: Source, options: TrackOptions) -> str:
    """What the second seed is called that stands beside, "" where none does."""
    if options.is_trained:
        return "trained beside" if options.controls else ""
    if options.second is not None:
        return source.second(options.second).name
    there = [*source.seconds()]
    if there:
        return there[0]
    if not options.controls:
        return ""
    if source.recipe is None:
        raise ValueError(
            f"the store does not say how {source.name!r} was trained, as of one that was imported, "
            "so that no second seed can be trained alike; leave --controls out, or name a --second"
        )
    return f"{source.name}-seed{source.recipe.seed + 1}"


def _is_there(group: Group, second: str) -> bool:
    status = np.asarray(group.array("status")[:])
    is_whole = len(status) > 0 and bool((status == Status.COMPLETE).all())
    return is_whole and second in ("", group.attrs.get(SECOND))


def _found(
    source: Source,
    options: TrackOptions,
    pooled: PooledPlan | None,
    second: str,
    folder: Path,
    model: str,
    progress: bool,
) -> xr.Dataset:
    """Tracks of all checkpoints, with their labels."""
    if pooled is not None:
        found, dictionary = pooled.found(folder, progress=progress)
        if options.method == "shared":
            pooled.keep_shared(dictionary, model)
    else:
        if second and options.second is None:
            _train_second(source, second, options.device, progress)
        beside = source.second(second) if second else None
        found = tracks_of_source(
            source, beside, options.method, options.level, folder, progress=progress
        )
    return with_ends(found.assign_coords({CHECKPOINT: [*source.labels]}))


def _train_second(source: Source, name: str, device: str, progress: bool) -> None:
    """Train what a second seed lacks at the checkpoints, as the first one was trained."""
    recipe, attrs = source.recipe, source.attrs
    assert recipe is not None
    seeds = source.seconds()
    seed = int(seeds[name].attrs["seed"]) if name in seeds else recipe.seed + 1
    shared = {each.name: getattr(recipe, each.name) for each in fields(SaeRecipe)}
    n_rows = int(attrs["n_steps"]) * int(attrs["batch_size"])
    if name in seeds and source.second(name).has_all():
        return
    train_saes(
        TrainOptions(
            store=source.store,
            layer=source.layer,
            activations=attrs["activations"],
            run=source.run,
            checkpoints=source.labels,
            k=(recipe.k,),
            expansion=(recipe.expansion,),
            seeds=(seed,),
            tokens=str(n_rows),
            batch_size=int(attrs["batch_size"]),
            log_every=int(attrs.get("log_every", 100)),
            device=device,
            warm_start=bool(attrs["warm_start"]),
            name=name,
            **shared,
        ),
        progress=progress,
    )


def _keep(group: Group, source: Source, model: str, found: xr.Dataset, second: str) -> None:
    """Write tracks, and their status after everything else."""
    with writing(source.store, model, source.run, KIND) as path:
        with restructuring(path):
            group.add_arrays([name for name in NULLS if name in found])
            dims = {TRACK: range(found.sizes[TRACK])}
            if CODE in found.dims:
                dims |= {CODE: range(found.sizes[CODE]), CHANNEL: range(found.sizes[CHANNEL])}
            group.grow([parse_checkpoint(label) for label in source.labels], dims)
            group.write_column("step", known_steps(source.trained))
        texts = {name: (TRACK, found[name].values.astype(TEXT)) for name in ("birth", "death")}
        weights = {f"{SOURCE}/weights": (CHECKPOINT, np.array(source.hashes, np.uint64))}
        group.commit(found.assign({**texts, **weights}).transpose(CHECKPOINT, ...))
        with restructuring(path):  # after all else: without it they are found again
            group.note(**{SECOND: second})


def _add_selectivity(group: Group, source: Source, model: str, options: TrackOptions) -> None:
    """Add what `dvis sae evaluate` found of latents since, where it is of these autoencoders."""
    name = {"shared": shared_name(source.name), "cross": ""}.get(options.method, source.name)
    if not name:
        return
    found = selectivity_of(source.store, source.layer, name, source.run, source.labels)
    if not found:
        return
    with writing(source.store, model, source.run, KIND) as path:
        with restructuring(path):
            group.add_arrays([SELECTIVITY])
        for label, values in found.items():
            row = group.rows[CHECKPOINT][label]
            latent = np.asarray(group.array("latent")[row])
            of_tracks = np.where(latent >= 0, values[latent], np.nan)
            group.array(SELECTIVITY)[row] = of_tracks


def _notes(group: Group, second: str) -> list[str]:
    """How many tracks there are, and what stands beside them."""
    latent = np.asarray(group.array("latent")[:])
    births, deaths = (np.asarray(group.array(name)[:]) != "" for name in ("birth", "death"))
    said = [
        f"{counted(latent.shape[1], 'track')} over {counted(len(latent), 'checkpoint')}, "
        f"{counted(int(births.sum()), 'birth')} and {counted(int(deaths.sum()), 'death')} seen"
    ]
    if not second:
        return [*said, _NO_SECOND]
    drift, null = (np.asarray(group.array(name)[-1]) for name in ("drift", "null_drift"))
    is_known = np.isfinite(drift) & np.isfinite(null) & (births.size > 0)
    n_more = int((drift > null)[is_known].sum())
    said.append(
        f"at the last checkpoint {n_more} of {counted(int(is_known.sum()), 'track')} drifted "
        f"farther than two seeds are apart ({second})"
    )
    return said
