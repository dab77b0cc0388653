"""Linear probes of activations that a store keeps, into the same store, without the model.

Options in; the group `{run}/probes/{name}` grows, a checkpoint at a time. What is there is skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr

from dvis.analysis.linear_probes import reduced
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.read import activations, name_of
from dvis.kinds.activations.words import KIND as ACTIVATIONS
from dvis.kinds.activations.words import VALUES
from dvis.kinds.probes.fits import Fits
from dvis.kinds.probes.group import (
    columns_of,
    labels_of,
    noted_classes,
    settings_of,
    write_counts,
)
from dvis.kinds.probes.options import ALL, CLS, FLATTEN, LinearProbeOptions
from dvis.kinds.probes.targets import LabelFile, targets_of
from dvis.kinds.probes.words import (
    KIND,
    PART_DIMS,
    TARGET,
    WEIGHTS,
    WEIGHTS_KEPT,
    probe_words,
)
from dvis.models.model_reference import model_name
from dvis.names import chosen, parse_checkpoint
from dvis.progress import progress_bar
from dvis.schema import CHECKPOINT, LAYER, SOURCE, UNIT, SchemaError, Status, did_you_mean
from dvis.store.contents import Entry, contents, open_group
from dvis.store.datasets import SAMPLE
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing
from dvis.sweep.record import OTHER_WEIGHTS, said_of
from dvis.sweep.runner import Report

_NO_BASELINES = (
    "no baselines of the network untrained and of pixels: they take images, of which the store has "
    "activations alone; the first checkpoint may stand for the former"
)
_MOST_BYTES = 2**32  # of what is flattened of a layer
_ITEM_BYTES = 4


def probes_of_activations(options: LinearProbeOptions, *, progress: bool = False) -> Report:
    """Train the probes that a store lacks, of activations that it keeps.

    Raises
    ------
    FileNotFoundError, SchemaError
        When there is no store, or it keeps no activations.
    KeyError
        When it has no such run, activations, layer or target.
    ValueError
        When values are missing or were not kept, there is nothing to tell apart, an option is out
        of its range, or the store has probes of other activations under the name.
    StoreLockedError
        When another process writes probes of the run.
    DiskFullError
        When there is no space left; what was measured before is safe, and a second run goes on.
    """
    kept = _Kept.of(options)
    labels = None
    if options.labels is not None:
        labels = LabelFile.read(options.labels, kept.samples, is_part=True)
    targets = targets_of(kept.samples, options.targets, {} if labels is None else labels.columns)
    fits = Fits.of(options, targets, len(kept.samples.sample_ids))
    report = Report(store=kept.store, run=options.run, name=options.called, unit="probe")
    with writing(kept.store, kept.model, options.run, KIND) as path:
        group = _opened(path, options, kept, fits, labels)
        write_counts(group, fits)
        others = 0
        with progress_bar(len(kept.checkpoints), "checkpoints", "probe", shown=progress) as bar:
            for label in kept.checkpoints:
                others += _trained(group, options, kept, fits, label, report)
                bar.update()
    report.kept = {OTHER_WEIGHTS: others}
    report.notes += [_NO_BASELINES, *(() if labels is None else labels.notes)]
    return report


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """Samples of kept activations, as targets are read off them."""

    name: str
    sample_ids: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    # A store keeps classes alone.
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    periods: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Activations of several layers under one name."""

    store: Path
    model: str
    run: str
    entries: Mapping[str, Entry]
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: LinearProbeOptions) -> Self:
        """Those that are asked for.

        Raises
        ------
        FileNotFoundError, KeyError, SchemaError, ValueError
            As `probes_of_activations` does.
        """
        store = options.store_of(model_name(options.model))
        found = contents(store)
        asked_for, own = model_name(options.model), str(found.attrs.get("model", ""))
        if asked_for != own:
            raise ValueError(
                f"the model is {asked_for!r}, and {found.name} is of {own!r}; give --model {own}"
            )
        if not found.of(ACTIVATIONS):
            raise SchemaError(
                f"{found.name} keeps no activations; keep some with `dvis activations`, or train "
                "probes on images: leave --from-activations out"
            )
        of_run = found.of(ACTIVATIONS, options.run)
        if not of_run:
            raise KeyError(did_you_mean("run", options.run, found.runs(ACTIVATIONS), found.name))
        name = str(options.from_activations)
        named = {str(each.attrs["layer"]): each for each in of_run if name_of(each) == name}
        if not named:
            there = dict.fromkeys(map(name_of, of_run))
            raise KeyError(did_you_mean("activations", name, [*there], found.name))
        asked = [*named] if options.layers == (ALL,) and ALL not in named else options.layers
        for layer in asked:
            if layer not in named:
                raise KeyError(did_you_mean("layer", layer, [*named], f"activations {name!r}"))
        entries = {layer: named[layer] for layer in asked}
        for entry in entries.values():
            if VALUES not in entry.attrs.get("keep", (VALUES,)):
                raise ValueError(
                    f"{entry.name!r} keeps top images alone; keep values too, by `dvis activations "
                    "--keep values` under another --name"
                )
        return cls(
            store=store,
            model=own,
            run=options.run,
            entries=entries,
            patterns=options.checkpoint_patterns,
        )

    @cached_property
    def opened(self) -> dict[str, xr.Dataset]:
        """The activations of each layer; ValueError where some are missing."""
        return {
            layer: activations(self.store, layer, name_of(entry), self.run)
            for layer, entry in self.entries.items()
        }

    @cached_property
    def samples(self) -> _Samples:
        """The samples of all layers.

        Raises
        ------
        ValueError
            When layers have other samples, which no probe can be compared on.
        """
        (layer, first), *others = self.opened.items()
        ids = tuple(first[SAMPLE].values.tolist())
        for other, dataset in others:
            if tuple(dataset[SAMPLE].values.tolist()) != ids:
                raise ValueError(f"{other} has activations of other samples than {layer}")
        return _Samples(
            name=str(first.attrs["dataset"]),
            sample_ids=ids,
            labels=first["label"].values if "label" in first.coords else np.full(len(ids), -1),
            classes=tuple(first.attrs.get("classes", ())),
        )

    @cached_property
    def checkpoints(self) -> list[str]:
        """Labels of the checkpoints that are asked for and all layers have, in training order."""
        first, *others = ([*each[CHECKPOINT].values.tolist()] for each in self.opened.values())
        shared = [label for label in first if all(label in other for other in others)]
        wanted = set(chosen(shared, self.patterns))
        return [label for label in shared if label in wanted]

    @cached_property
    def steps(self) -> dict[str, int]:
        """Training steps of the checkpoints whose is known."""
        first = next(iter(self.opened.values()))
        pairs = zip(first[CHECKPOINT].values.tolist(), first["step"].values.tolist(), strict=True)
        return {str(label): int(step) for label, step in pairs if step >= 0}

    def weights(self, label: str) -> int:
        """What tells the network's weights of a checkpoint."""
        group: Any = open_group(self.store, next(iter(self.entries.values())))
        row = np.asarray(group[CHECKPOINT][:]).tolist().index(label)
        return int(np.asarray(group[f"{SOURCE}/weights"][row]).max())

    def n_inputs(self, options: LinearProbeOptions, layer: str, n_train: int) -> int:
        """Numbers that a probe of a layer reads.

        Raises
        ------
        ValueError
            When the layer keeps no class token, or is too large to be flattened.
        """
        dataset = self.opened[layer]
        n_tokens, n_channels = dataset.sizes["token"], dataset.sizes["channel"]
        if options.how == CLS and not bool(dataset["is_special"].values[0]):
            raise ValueError(
                f"{layer} keeps no class token; keep it with `dvis activations --tokens all`, or "
                "give --pool mean"
            )
        if options.how != FLATTEN:
            return n_channels
        n_bytes = dataset.sizes[SAMPLE] * n_tokens * n_channels * _ITEM_BYTES
        if n_bytes > _MOST_BYTES:
            raise ValueError(f"{layer} has {n_bytes / 1e9:.1f} GB of numbers; give --pool mean")
        return min(n_tokens * n_channels, options.n_components, n_train)

    def inputs(
        self, options: LinearProbeOptions, layer: str, label: str, train: np.ndarray
    ) -> np.ndarray:
        """What is read of a layer at a checkpoint, (sample, input)."""
        rows = ActivationRows.open(
            self.store, layer, label, name=name_of(self.entries[layer]), run=self.run, split="all"
        )
        parts = []
        for _, values in rows.ordered():
            if options.how == FLATTEN:
                parts.append(values.reshape(len(values), -1))
            else:
                parts.append(values[:, 0] if options.how == CLS else values.mean(1))
        read = np.concatenate(parts)
        if options.how != FLATTEN or not np.isfinite(read).all():
            return read
        return reduced(read, train, options.n_components, options.seed)


def _opened(
    path: Path,
    options: LinearProbeOptions,
    kept: _Kept,
    fits: Fits,
    labels: LabelFile | None,
) -> Group:
    """The group, with room for all probes."""
    n_train = len(fits.splits.train)
    n_inputs = {layer: kept.n_inputs(options, layer, n_train) for layer in kept.entries}
    depths = {
        layer: int(each["depth"]) if "depth" in each.coords else -1
        for layer, each in kept.opened.items()
    }
    first = next(iter(kept.entries.values()))
    settings = {
        "images": {
            "name": first.attrs["dataset"],
            "fingerprint": first.attrs["fingerprint"],
            "n_images": len(kept.samples.sample_ids),
            "activations": options.from_activations,
            "tokens": first.attrs.get("tokens", ""),
        },
        "batch_norm": "running",
        **settings_of(options, labels),
    }
    with restructuring(path):
        group = Group.open(
            path,
            probe_words({WEIGHTS_KEPT: options.keep_weights}),
            options.run,
            options.called,
            settings,
            overwrite=options.overwrite,
        )
        names = [parse_checkpoint(label) for label in kept.checkpoints]
        columns = columns_of(fits, n_inputs, depths)
        group.grow(names, labels_of(fits, n_inputs), {**columns, "step": kept.steps})
        group.note(**noted_classes(group, fits))
    return group


def _trained(
    group: Group,
    options: LinearProbeOptions,
    kept: _Kept,
    fits: Fits,
    label: str,
    report: Report,
) -> int:
    """Train what a checkpoint lacks; how many are there of other weights, and were kept."""
    weights, n_others = kept.weights(label), 0
    is_other = group.other_weights(label, weights)
    for layer in kept.entries:
        at = {CHECKPOINT: label, LAYER: layer}
        lacking = []
        for target in fits.targets:
            row = tuple(group.rows[dim][each] for dim, each in ((LAYER, layer), (TARGET, target)))
            if bool(is_other[row]) and not options.overwrite:
                n_others += 1
            elif bool(is_other[row]) or not _is_there(group, {**at, TARGET: target}):
                lacking.append(target)
        if not lacking:
            continue
        inputs = kept.inputs(options, layer, label, fits.splits.train)
        found = dict(fits.of_layer(layer, inputs, lacking))
        parts = {LAYER: np.array([layer] * len(found), object), TARGET: np.array([*found], object)}
        result = fits.result([*found.values()], parts).assign_coords({CHECKPOINT: label})
        of_weights = np.full(len(found), weights, np.uint64)
        group.commit(result.assign({WEIGHTS: (UNIT, of_weights)}))
        n_failed = int((result["error"] != "").sum())
        report.n_failed += n_failed
        report.n_measured += len(found) - n_failed
        report.notes += said_of(result, PART_DIMS)
    return n_others


def _is_there(group: Group, labels: Mapping[str, str]) -> bool:
    status = group.status(group.places(labels))
    return bool(np.all(status == Status.COMPLETE))
