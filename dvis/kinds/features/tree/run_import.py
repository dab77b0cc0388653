"""One run of a jpg/json tree goes into a store: planned, read by many, committed by one.

A run's folders in, its groups grown and filled. Tasks are planned a few checkpoints at a time, so
that memory does not grow with the run.
"""

from collections import Counter, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dvis.kinds.features.group import FeatureGroup, StoredUnits
from dvis.kinds.features.read import codec_of
from dvis.kinds.features.run_notes import batches_per_epoch, note_run
from dvis.kinds.features.tree.planned import PlannedTask, columns_of, places_of
from dvis.kinds.features.tree.problems import Problem
from dvis.kinds.features.tree.reading import BlockTask, UnitReads, read_block, write_images
from dvis.kinds.features.tree.survey import RunSurvey, UnitFiles, list_units
from dvis.kinds.features.tree.tree_names import ModelTree
from dvis.kinds.features.tree.unit_files import MAX_IMAGE_BYTES
from dvis.kinds.features.words import (
    BLOCK_MAX_CHECKPOINTS,
    KIND,
    Variant,
    size_label,
)
from dvis.names import (
    CheckpointName,
    Told,
    estimate_batches_per_epoch,
    merged,
    place_in_run,
    training_steps,
)
from dvis.schema import CHECKPOINT, Status, counted
from dvis.store.contents import contents
from dvis.store.picture_files import PictureError, inspect
from dvis.store.places import keep_places, stored_places
from dvis.store.writer import clear_unfinished, restructuring

_DEFAULT_SIZE = (224, 224)


@dataclass
class ImportReport:
    """What an import of one model's tree did."""

    store: Path
    model: str
    n_read: int = 0
    n_unchanged: int = 0
    n_kept: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass
class ImportJob:
    """What the imports of a tree's runs share."""

    tree: ModelTree
    codec: str | None
    batches_per_epoch: int | None
    told: Mapping[str, Told]
    report: ImportReport
    pool: Executor | None
    n_in_flight: int
    bar: Any

    @property
    def store(self) -> Path:
        """Where the store is."""
        return self.report.store


class RunImport:
    """One import of one run: plans tasks a few checkpoints at a time, commits their results."""

    def __init__(self, job: ImportJob, run: RunSurvey) -> None:
        self.job, self.survey, self.report = job, run, job.report
        self.groups: dict[str, FeatureGroup] = {}
        self.ordered = run.checkpoints
        there = codec_of(contents(job.store))
        if job.codec and there and job.codec != there:
            raise ValueError(
                f"{job.store} keeps its images as {there}, not {job.codec}; leave the codec out, "
                "or start the store anew (--overwrite)"
            )
        self.codec = there or job.codec or "jpeg"

    def run(self) -> None:
        """Import the run's variants."""
        with restructuring(self.job.store):
            for variant in sorted(self.survey.variants):
                self._open_group(variant)
        self._open_siblings()
        pending: deque[tuple[PlannedTask, Future[UnitReads]]] = deque()
        for planned in self._plan_all():
            if self.job.pool is None:
                self._finish(planned, read_block(planned.task))
                continue
            # A block has one owner at a time: a task waits for the one that holds its block.
            while any(planned.block == other.block for other, _ in pending):
                self._finish_next(pending)
            pending.append((planned, self.job.pool.submit(read_block, planned.task)))
            if len(pending) >= self.job.n_in_flight:
                self._finish_next(pending)
        while pending:
            self._finish_next(pending)
        self._write_places()
        # Reading processes of an import that was killed may have gone on for a moment.
        clear_unfinished(self.job.store, self.survey.run, KIND)

    def _plan_all(self) -> Iterator[PlannedTask]:
        labels = [name.label for name in self.ordered]
        for start in range(0, len(labels), BLOCK_MAX_CHECKPOINTS):
            yield from self._plan(tuple(labels[start : start + BLOCK_MAX_CHECKPOINTS]))

    def _finish_next(self, pending: deque[tuple[PlannedTask, Future[UnitReads]]]) -> None:
        planned, future = pending.popleft()
        self._finish(planned, future.result())

    def _open_group(self, variant: str) -> None:
        """Open or make a variant's group, with room for what the survey saw."""
        store, run, found = self.job.store, self.survey.run, self.survey.variants[variant]
        group = FeatureGroup.existing(store, run, variant)
        if group is None:
            height, width = _most_common_size(found.samples)
            group = FeatureGroup.create(
                store, run, variant, height=height, width=width, codec=self.codec
            )
        group.grow_units(self._names_of(found.labels), dict(sorted(found.n_channels.items())))
        self.groups[variant] = group

    def _names_of(self, labels: Container[str]) -> list[CheckpointName]:
        return [name for name in self.ordered if name.label in labels]

    def _open_siblings(self) -> None:
        """Open the groups that hold the same variants at other sizes."""
        store, run = self.job.store, self.survey.run
        bases = list(self.groups)
        for name in contents(store).names(KIND, run):
            if any(_is_sized(name, base) for base in bases):
                sibling = FeatureGroup.existing(store, run, name)
                assert sibling is not None, "the root names it"
                self.groups[name] = sibling

    def _family(self, variant: Variant) -> list[FeatureGroup]:
        """The variant's group and those that hold it at other sizes."""
        sized = [group for name, group in self.groups.items() if _is_sized(name, variant.base)]
        return [self.groups[variant.base], *sized]

    def _plan(self, labels: tuple[str, ...]) -> Iterator[PlannedTask]:
        """Tasks for what is new or changed at some checkpoints."""
        units: dict[tuple[str, str], list[tuple[int, UnitFiles]]] = {}
        for i, label in enumerate(labels):
            folder = self.survey.folders[label]
            listed = list_units(folder, self.job.tree.root, self.report.problems)
            for key, found in listed.items():
                units.setdefault(key, []).extend((i, unit) for unit in found)
        for variant, layer in sorted(units):
            # What the tree gained since the survey has no place yet; the next import finds it.
            if variant in self.groups and layer in self.groups[variant].layers:
                yield from self._plan_layer(
                    Variant.parse(variant), layer, labels, units[variant, layer]
                )

    def _plan_layer(
        self,
        variant: Variant,
        layer: str,
        labels: tuple[str, ...],
        units: list[tuple[int, UnitFiles]],
    ) -> Iterator[PlannedTask]:
        group, blocks = self.groups[variant.base], self.groups[variant.base].blocks
        stored = [StoredUnits(each, labels, layer) for each in self._family(variant)]
        folder = np.array([i for i, _ in units])
        channel = np.array([unit.channel for _, unit in units])
        form = np.array([unit.form for _, unit in units])
        fingerprint = np.array([unit.fingerprint for _, unit in units], np.uint64)
        rows = np.array([group.rows[CHECKPOINT].get(label, -1) for label in labels])[folder]
        has_place = (rows >= 0) & (channel < group.n_channels[layer])
        unchanged = np.any([s.fingerprint(folder, channel) == fingerprint for s in stored], axis=0)
        is_there = np.any([s.status(folder, channel) != Status.ABSENT for s in stored], axis=0)
        n_unchanged = int((unchanged & has_place).sum())
        self.report.n_unchanged += n_unchanged
        self.job.bar.update(n_unchanged)
        wanted = np.flatnonzero(has_place & ~unchanged)
        block = np.stack([rows // blocks.checkpoints, channel // blocks.channels], -1)[wanted]
        folders = tuple(str(self.survey.folders[label]) for label in labels)
        for each in np.unique(block, axis=0):
            members = wanted[(block == each).all(-1)]
            members = members[np.lexsort((rows[members], channel[members]))]
            task = BlockTask(
                folders=folders,
                layer=layer,
                layer_index=group.layers[layer],
                variant=variant,
                folder=folder[members],
                row=rows[members],
                channel=channel[members],
                form=form[members],
                blocks=blocks,
                may_write=not is_there[members].any(),
            )
            notes = ((i, units[m][1].note) for i, m in enumerate(members.tolist()))
            yield PlannedTask(
                task=task,
                block=(variant.base, layer, *each.tolist()),
                labels=labels,
                fingerprint=fingerprint[members],
                notes={i: note for i, note in notes if note},
            )

    def _finish(self, planned: PlannedTask, reads: UnitReads) -> None:
        """Commit a task's units, each to the group of its size."""
        base = self.groups[planned.task.variant.base]
        sizes = [(h, w) if h else base.image_size for h, w in reads.size.tolist()]
        for size in sorted(set(sizes)):
            members = np.array([i for i, each in enumerate(sizes) if each == size])
            group = base if size == base.image_size else self._sized_group(planned, size, members)
            part, some = planned.take(members, group), reads.take(members)
            if planned.task.may_write and group is base:
                self._commit(group, part, some, is_new=True)
            else:
                self._replace(group, part, some)
        self.report.n_read += len(planned.task)
        self.job.bar.update(len(planned.task))

    def _sized_group(
        self, planned: PlannedTask, size: tuple[int, int], members: np.ndarray
    ) -> FeatureGroup:
        """The group for pictures of a size that differs from most of the variant's."""
        task = planned.task
        variant = str(replace(task.variant, size=size_label(*size)))
        store, run = self.job.store, self.survey.run
        labels = {planned.labels[i] for i in task.folder[members].tolist()}
        with restructuring(store):
            if variant not in self.groups:
                self.groups[variant] = FeatureGroup.create(
                    store, run, variant, height=size[0], width=size[1], codec=self.codec
                )
            self.groups[variant].grow_units(
                self._names_of(labels), {task.layer: int(task.channel[members].max()) + 1}
            )
        return self.groups[variant]

    def _replace(self, group: FeatureGroup, planned: PlannedTask, reads: UnitReads) -> None:
        """Commit units whose pictures are not written, or that were there before."""
        task = planned.task
        family = self._family(task.variant)
        stored = [StoredUnits(each, planned.labels, task.layer) for each in family]
        status = np.stack([each.status(task.folder, task.channel) for each in stored])
        was_complete = (status == Status.COMPLETE).any(0)
        is_worse = was_complete & (reads.status != Status.COMPLETE)
        for i in np.flatnonzero(is_worse).tolist():
            self._report_kept(planned.labels[task.folder[i]], reads.problem.get(i, ""))
        for each, there in zip(family, (status != Status.ABSENT) & ~is_worse, strict=True):
            if there.any():
                retracted = planned.take(np.flatnonzero(there), each).task
                each.retract(places_of(retracted))
        members = np.flatnonzero(~is_worse)
        if len(members):
            part, some = planned.take(members, group), reads.take(members)
            write_images(part.task, some.images)
            self._commit(group, part, some, is_new=False)

    def _report_kept(self, label: str, problem: str) -> None:
        self.report.n_kept += 1
        place = f"{self.job.tree.model}/{self.survey.run}/{label}"
        self.report.problems.append(
            Problem(place, f"{problem}; the store keeps the complete unit that it has")
        )

    def _commit(
        self, group: FeatureGroup, planned: PlannedTask, reads: UnitReads, *, is_new: bool
    ) -> None:
        columns = columns_of(group, planned, reads, is_new=is_new)
        group.write(places_of(planned.task), columns, reads.status)

    def _write_places(self) -> None:
        """Set the places in training of all of the run's variants, as new checkpoints tell more."""
        store, run = self.job.store, self.survey.run
        opened = (
            FeatureGroup.existing(store, run, name) for name in contents(store).names(KIND, run)
        )
        groups = [group for group in opened if group is not None]
        labels = {label for group in groups for label in group.rows[CHECKPOINT]}
        told = {label: place for label, place in self.job.told.items() if label in labels}
        placed = place_in_run(labels, told=merged(stored_places(store, run), told))
        keep_places(store, run, told, placed.notes or None)
        before, was_estimated = batches_per_epoch(store, run)
        given = self.job.batches_per_epoch or (None if was_estimated else before)
        batches = given or estimate_batches_per_epoch(placed.names)
        steps = training_steps(placed.names, batches)
        names = [replace(n, step=step) for n, step in zip(placed.names, steps, strict=True)]
        estimated = training_steps(placed.names, before if was_estimated else None)
        withdrawn = {n.label for n, old in zip(names, estimated, strict=True) if n.step < 0 <= old}
        for group in groups:
            group.write_column("step", dict.fromkeys(withdrawn, -1))
            _write_places(group, names)
        self.report.notes += [*placed.notes, *_lacking(names, given)]
        root = self.job.tree.root
        note_run(
            store,
            run,
            batches=batches,
            is_estimated=batches is not None and given is None,
            flat=[label for label, path in self.survey.folders.items() if path.parent == root],
        )


def _write_places(group: FeatureGroup, names: Sequence[CheckpointName]) -> None:
    """Set what is known of places; what a sweep read in files stays where names do not tell it."""
    for column, unknown in (("epoch", -1), ("phase", ""), ("batch", -1), ("step", -1)):
        known = {name.label: getattr(name, column) for name in names}
        group.write_column(column, {k: value for k, value in known.items() if value != unknown})


def _lacking(names: Sequence[CheckpointName], batches: int | None) -> list[str]:
    """What to do about steps that are not known, though epochs are."""
    lacking = [name for name in names if name.step < 0 and name.epoch >= 0]
    if not lacking:
        return []
    told = f"steps of {counted(len(lacking), 'checkpoint')} are not known"
    if batches is None and any(name.phase for name in lacking):
        return [f"{told}: give --batches-per-epoch, or --steps"]
    if batches is None:
        return [f"{told}, only epochs: --steps tells them"]
    return [
        f"{told}: {counted(batches, 'batch', 'batches')} in an epoch do not tell them, for names "
        f"such as {lacking[0].label} do not say whether epochs count from 0 or 1; give --steps"
    ]


def _is_sized(name: str, base: str) -> bool:
    """Whether a variant is the one named `base` at another size than most."""
    return name != base and Variant.parse(name).base == base


def _most_common_size(samples: Sequence[Path]) -> tuple[int, int]:
    """Size of most of the pictures, the larger where two are as common."""
    sizes: Counter[tuple[int, int]] = Counter()
    for path in samples:
        try:
            if path.stat().st_size > MAX_IMAGE_BYTES:
                continue
            picture = inspect(path.read_bytes())
        except (OSError, PictureError):
            continue
        sizes[picture.height, picture.width] += 1
    if not sizes:
        return _DEFAULT_SIZE
    return max(sizes, key=lambda size: (sizes[size], size))
