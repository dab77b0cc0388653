"""Pictures in: the jpg/json tree of existing runs becomes a store.

A folder in, `stores/{model}.zarr` out. Run again, an import reads what is new or changed, and goes
on where a killed one stopped. Many processes read and judge files and write image blocks, each block
by one of them; one process, which holds the run's lock, commits.
"""

import logging
import multiprocessing
import os
import shutil
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tqdm.auto import tqdm

from dvis.blocks import ImageBlocks, Position, explain_full_disk
from dvis.locks import write_lock
from dvis.pictures import PictureError, decode, inspect
from dvis.schema import BLOCK_MAX_CHECKPOINTS, FEATURES, TEXT, Status, Variant, size_label
from dvis.store import contents
from dvis.survey import Problem, RunSurvey, UnitFiles, VariantSurvey, list_units, survey
from dvis.tree import (
    ModelTree,
    estimate_batches_per_epoch,
    find_models,
    parse_checkpoint,
    training_steps,
)
from dvis.units import Info, UnitRead, read_unit, rebuild_info, without_image
from dvis.writer import (
    FeatureGroup,
    batches_per_epoch,
    create_store,
    finish_import,
    note_batches_per_epoch,
)

logger = logging.getLogger(__name__)

# Below this many units, starting processes takes longer than reading the files.
_WORTH_PROCESSES = 4000
_DEFAULT_SIZE = (224, 224)


@dataclass
class ImportReport:
    """What an import of one model's tree did."""

    store: Path
    model: str
    n_read: int = 0
    n_unchanged: int = 0
    n_kept: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class BlockTask:
    """Units of one image block to read, and where their pictures go."""

    folders: tuple[str, ...]
    layer: str
    variant: Variant
    units: tuple[tuple[int, int, UnitFiles], ...]  # index into folders, row, unit
    blocks: ImageBlocks
    block: tuple[int, int, int]
    may_write: bool

    def position(self, row: int, channel: int) -> Position:
        """Place inside the block of a unit at a row of the group."""
        return row - self.block[0] * self.blocks.checkpoints, channel % self.blocks.channels


@dataclass(frozen=True)
class BlockResult:
    """What became of a task's units, in their order; pictures that were written are left out."""

    task: BlockTask
    reads: list[UnitRead]


def ingest_tree(
    path: str | Path,
    *,
    store: str | Path | None = None,
    model: str | None = None,
    codec: str = "jpeg",
    workers: int | None = None,
    batches_per_epoch: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> list[ImportReport]:
    """Import jpg/json trees into stores, one for each model.

    Parameters
    ----------
    path : str or Path
        The folder of a model (`feature_images/resnet50`), of several, or a part of one.
    store : str or Path, optional
        Where the store is to be; by default `stores/{model}.zarr` in the current folder. With
        several models, the folder for their stores.
    model : str, optional
        Name of the model, where the folder's is not it.
    codec : {"jpeg", "raw"}
        Keep the jpgs' own bytes, or decode them to pixels, which any Zarr reads but which takes
        four to six times the space.
    workers : int, optional
        Processes; by default one for each core, or none beside this one for small trees.
    batches_per_epoch : int, optional
        Batches in an epoch of the training, for the `step` coordinate. By default it is
        estimated from the checkpoints' times where they agree.
    overwrite : bool
        Start the store anew.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of ImportReport

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or nothing to import below it.
    ValueError
        When an argument is out of its range.
    SchemaError
        When the place of a store is taken by something else.
    DiskFullError
        When there is no space left; what was committed is safe, and a second run goes on.
    """
    if codec not in ("jpeg", "raw"):
        raise ValueError(f"codec is {codec!r}; it can be 'jpeg' or 'raw'")
    for name, number in (("workers", workers), ("batches_per_epoch", batches_per_epoch)):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1")
    trees = find_models(Path(path), model)
    plans = [(tree, *survey(tree)) for tree in trees]
    if not any(runs for _, runs, _ in plans):
        raise FileNotFoundError(_nothing_there(path, [p for *_, found in plans for p in found]))
    reports = []
    for tree, runs, problems in plans:
        if not runs:
            continue
        target = _store_path(store, tree.model, several=len(trees) > 1)
        if overwrite:
            _remove_store(target)
        report = ImportReport(target, tree.model, problems=problems)
        importer = _TreeImport(tree, target, codec, workers, batches_per_epoch, report, progress)
        try:
            importer.run(runs)
        except OSError as err:
            raise explain_full_disk(err, target) from err
        reports.append(report)
    return reports


def read_block(task: BlockTask) -> BlockResult:
    """Read a task's units; put their pictures into the block where the task may write."""
    reads = [
        read_unit(task.folders[i], task.layer, unit.channel, task.variant, unit.form)
        for i, _, unit in task.units
    ]
    if not task.may_write:
        return BlockResult(task, reads)
    reads, images = _encode(task, reads)
    if images:
        _die_with_parent()
        task.blocks.merge(task.blocks.path(*task.block), images)
    size = (task.blocks.height, task.blocks.width)
    return BlockResult(task, [_stripped(read) if read.size == size else read for read in reads])


def _encode(
    task: BlockTask, reads: Sequence[UnitRead]
) -> tuple[list[UnitRead], dict[Position, bytes]]:
    """What the block is to hold of the pictures that have its size."""
    blocks = task.blocks
    judged, images = [], {}
    for (_, row, unit), read in zip(task.units, reads, strict=True):
        if read.image is not None and read.size == (blocks.height, blocks.width):
            try:
                data = read.image if blocks.codec == "jpeg" else decode(read.image).tobytes()
                images[task.position(row, unit.channel)] = data
            except PictureError as err:
                read = without_image(read, f"channel {unit.channel}: the jpg {err}")
        judged.append(read)
    return judged, images


def _stripped(read: UnitRead) -> UnitRead:
    # A mark in place of the bytes: they are on disk, and need not travel between processes.
    return UnitRead(**{**vars(read), "image": b""}) if read.image is not None else read


class _TreeImport:
    """One import of one model's tree."""

    def __init__(
        self,
        tree: ModelTree,
        store: Path,
        codec: str,
        workers: int | None,
        batches_per_epoch: int | None,
        report: ImportReport,
        progress: bool,
    ) -> None:
        self.tree, self.store, self.codec = tree, store, codec
        self.workers, self.batches_per_epoch = workers, batches_per_epoch
        self.report, self.progress = report, progress

    def run(self, runs: Sequence[RunSurvey]) -> None:
        """Import the runs, one after the other, each under its lock."""
        create_store(self.store, self.tree.model)
        n_units = sum(run.n_units for run in runs)
        bar = tqdm(
            total=n_units,
            unit=" units",
            desc=f"import {self.tree.model}",
            disable=None if self.progress else True,
        )
        with bar, _pool(self.workers, n_units) as (pool, workers):
            for run in runs:
                with write_lock(self.store, f"{run.run}/{FEATURES}"):
                    _RunImport(self, run, pool, 2 * workers, bar).run()
        finish_import(self.store, [str(problem) for problem in self.report.problems])


class _RunImport:
    """One import of one run: plans tasks a few checkpoints at a time, commits their results."""

    def __init__(
        self,
        parent: _TreeImport,
        run: RunSurvey,
        pool: Executor | None,
        in_flight: int,
        bar: Any,
    ) -> None:
        self.parent, self.survey, self.pool, self.in_flight = parent, run, pool, in_flight
        self.report, self.bar = parent.report, bar
        self.groups: dict[str, FeatureGroup] = {}
        self.names = {name.label: name for name in run.checkpoints}

    def run(self) -> None:
        """Import the run's variants."""
        for variant, found in sorted(self.survey.variants.items()):
            self._open_group(variant, found)
        checkpoints = self.survey.checkpoints
        pending: deque[Future[BlockResult]] = deque()
        for start in range(0, len(checkpoints), BLOCK_MAX_CHECKPOINTS):
            span = [name.label for name in checkpoints[start : start + BLOCK_MAX_CHECKPOINTS]]
            for task in self._plan(span):
                if self.pool is None:
                    self._finish(read_block(task))
                    continue
                pending.append(self.pool.submit(read_block, task))
                while len(pending) >= self.in_flight:
                    self._finish(pending.popleft().result())
            # The next checkpoints may share blocks with these: a block has one owner at a time.
            while pending:
                self._finish(pending.popleft().result())
        self._write_steps()

    def _open_group(self, variant: str, found: VariantSurvey) -> None:
        store, run = self.parent.store, self.survey.run
        group = FeatureGroup.open(store, run, variant)
        if group is None:
            height, width = _most_common_size(found.samples)
            group = FeatureGroup.create(
                store, run, variant, height=height, width=width, codec=self.parent.codec
            )
        group.grow(
            sorted((self.names[label] for label in found.labels), key=lambda name: name.sort_key),
            dict(sorted(found.n_channels.items())),
        )
        self.groups[variant] = group
        for sized in _sized_variants(store, run, variant):
            other = FeatureGroup.open(store, run, sized)
            if other is not None:
                self.groups[sized] = other

    def _siblings(self, variant: str) -> list[FeatureGroup]:
        """Groups that hold the same variant at other sizes."""
        return [
            group
            for name, group in self.groups.items()
            if name != variant and Variant.parse(name).base == variant
        ]

    def _plan(self, labels: Sequence[str]) -> Iterator[BlockTask]:
        """Tasks for what is new or changed at some checkpoints."""
        units: dict[tuple[str, str], list[tuple[int, UnitFiles]]] = {}
        for i, label in enumerate(labels):
            folder = self.survey.folders[label]
            listed = list_units(folder, self.parent.tree.root, self.report.problems)
            for key, found in listed.items():
                if key[0] in self.groups and key[1] in self.groups[key[0]].layers:
                    units.setdefault(key, []).extend((i, unit) for unit in found)
        folders = tuple(str(self.survey.folders[label]) for label in labels)
        for variant, layer in sorted(units):
            yield from self._plan_layer(variant, layer, labels, folders, units[variant, layer])

    def _plan_layer(
        self,
        variant: str,
        layer: str,
        labels: Sequence[str],
        folders: tuple[str, ...],
        units: list[tuple[int, UnitFiles]],
    ) -> Iterator[BlockTask]:
        group = self.groups[variant]
        # What the tree gained between the survey and now has no place yet; the next import has.
        units = [
            (i, unit)
            for i, unit in units
            if labels[i] in group.rows and unit.channel < group.n_channels[layer]
        ]
        stored = [
            _Stored(each, labels, layer) for each in [group, *self._siblings(variant)]
        ]
        blocks, tasks = group.blocks, {}
        for i, unit in units:
            if any(s.fingerprint(i, unit.channel) == unit.fingerprint for s in stored):
                self.report.n_unchanged += 1
                self.bar.update()
                continue
            row = group.rows[labels[i]]
            block = (
                row // blocks.checkpoints,
                group.layers[layer],
                unit.channel // blocks.channels,
            )
            tasks.setdefault(block, []).append((i, row, unit))
        for block, members in sorted(tasks.items()):
            is_new = all(
                s.status(i, unit.channel) == Status.ABSENT for i, _, unit in members for s in stored
            )
            yield BlockTask(
                folders, layer, Variant.parse(variant), tuple(members), blocks, block, is_new
            )

    def _finish(self, result: BlockResult) -> None:
        """Commit a task's units, each to the group of its size."""
        task = result.task
        group = self.groups[str(task.variant)]
        by_size: dict[tuple[int, int], list[int]] = {}
        for i, read in enumerate(result.reads):
            by_size.setdefault(read.size or group.image_size, []).append(i)
        for size, members in sorted(by_size.items()):
            target = group if size == group.image_size else self._sized_group(task, size, members)
            rows = [task.units[i][1] for i in members]
            labels = [os.path.basename(task.folders[task.units[i][0]]) for i in members]
            part = BlockTask(
                task.folders,
                task.layer,
                task.variant,
                tuple(
                    (task.units[i][0], target.rows[label], task.units[i][2])
                    for i, label in zip(members, labels, strict=True)
                ),
                target.blocks,
                task.block,
                task.may_write,
            )
            is_written = task.may_write and target is group
            assert target is not group or rows == [row for _, row, _ in part.units]
            self._store(target, part, [result.reads[i] for i in members], is_written)
        self.report.n_read += len(task.units)
        self.bar.update(len(task.units))

    def _sized_group(
        self, task: BlockTask, size: tuple[int, int], members: Sequence[int]
    ) -> FeatureGroup:
        """The group for pictures of a size that differs from most of the variant's."""
        variant = str(Variant(task.variant.objective, task.variant.image, size_label(*size)))
        if variant not in self.groups:
            store, run = self.parent.store, self.survey.run
            self.groups[variant] = FeatureGroup.open(store, run, variant) or FeatureGroup.create(
                store, run, variant, height=size[0], width=size[1], codec=self.parent.codec
            )
        group = self.groups[variant]
        labels = {os.path.basename(task.folders[task.units[i][0]]) for i in members}
        width = max(task.units[i][2].channel for i in members) + 1
        names = sorted((self.names[label] for label in labels), key=lambda name: name.sort_key)
        group.grow(names, {task.layer: max(width, group.n_channels.get(task.layer, 0))})
        return group

    def _store(
        self, group: FeatureGroup, task: BlockTask, reads: list[UnitRead], is_written: bool
    ) -> None:
        """Commit units of one layer to a group, after their pictures if those are not written."""
        layer = group.layers[task.layer]
        if not is_written:
            task, reads = self._without_degraded(group, task, reads)
            if not reads:
                return
            self._retract(group, task)
            reads = self._write_pictures(task, layer, reads)
        rows = np.array([row for _, row, _ in task.units])
        channels = np.array([unit.channel for _, _, unit in task.units])
        infos = [read.info for read in reads]
        group.write_losses(
            rows,
            layer,
            channels,
            [info.loss if info else np.empty(0, "f4") for info in infos],
            is_new=is_written,
        )
        group.commit(rows, layer, channels, _columns(group, task, reads, is_written))

    def _without_degraded(
        self, group: FeatureGroup, task: BlockTask, reads: list[UnitRead]
    ) -> tuple[BlockTask, list[UnitRead]]:
        """Leave out units of which the store holds more than the tree does by now."""
        keep = []
        labels = [os.path.basename(folder) for folder in task.folders]
        groups = [self.groups[str(task.variant)], *self._siblings(str(task.variant))]
        stored = [_Stored(each, labels, task.layer) for each in groups]
        for i, ((folder, _, unit), read) in enumerate(zip(task.units, reads, strict=True)):
            was_complete = any(
                s.status(folder, unit.channel) == Status.COMPLETE for s in stored
            )
            if read.status is Status.COMPLETE or not was_complete:
                keep.append(i)
                continue
            self.report.n_kept += 1
            place = f"{self.parent.tree.model}/{self.survey.run}/{labels[folder]}"
            self.report.problems.append(
                Problem(place, f"{read.problem}; the store keeps the complete unit that it has")
            )
        units = tuple(task.units[i] for i in keep)
        return BlockTask(**{**vars(task), "units": units}), [reads[i] for i in keep]

    def _retract(self, group: FeatureGroup, task: BlockTask) -> None:
        """Mark units absent wherever they are, before their pictures change."""
        labels = [os.path.basename(folder) for folder in task.folders]
        base = str(task.variant)
        for each in [self.groups[base], *self._siblings(base)]:
            stored = _Stored(each, labels, task.layer)
            there = [
                (each.rows[labels[i]], unit.channel)
                for i, _, unit in task.units
                if stored.status(i, unit.channel) != Status.ABSENT
            ]
            if there:
                rows, channels = np.array(there).T
                each.retract(rows, each.layers[task.layer], channels)

    def _write_pictures(
        self, task: BlockTask, layer: int, reads: list[UnitRead]
    ) -> list[UnitRead]:
        """Put pictures that came back with a result into the blocks of a group."""
        blocks = task.blocks
        members: dict[tuple[int, int, int], list[int]] = {}
        for i, (_, row, unit) in enumerate(task.units):
            block = (row // blocks.checkpoints, layer, unit.channel // blocks.channels)
            members.setdefault(block, []).append(i)
        judged = list(reads)
        for block, inside in members.items():
            part = BlockTask(
                **{**vars(task), "block": block, "units": tuple(task.units[i] for i in inside)}
            )
            updated, images = _encode(part, [reads[i] for i in inside])
            for i, read in zip(inside, updated, strict=True):
                judged[i] = read
            if images:
                blocks.merge(blocks.path(*block), images)
        return judged

    def _write_steps(self) -> None:
        store, run = self.parent.store, self.survey.run
        labels = {label for group in self.groups.values() for label in group.rows}
        names = [parse_checkpoint(label) for label in sorted(labels)]
        given = self.parent.batches_per_epoch or batches_per_epoch(store, run)
        batches = given or estimate_batches_per_epoch(names)
        steps = training_steps(names, batches)
        by_label = {name.label: step for name, step in zip(names, steps, strict=True)}
        for group in self.groups.values():
            group.write_steps(by_label)
        note_batches_per_epoch(store, run, batches, is_given=given is not None)


class _Stored:
    """What a group holds of one layer at some checkpoints."""

    def __init__(self, group: FeatureGroup, labels: Sequence[str], layer: str) -> None:
        self._rows = [group.rows.get(label, -1) for label in labels]
        known = [row for row in self._rows if row >= 0]
        self._is_known = bool(known) and layer in group.layers
        if self._is_known:
            self._first = min(known)
            rows = slice(self._first, max(known) + 1)
            self._status = group.read("status", rows, group.layers[layer])
            self._fingerprint = group.read("source/fingerprint", rows, group.layers[layer])

    def _at(self, i: int, channel: int) -> tuple[int, int] | None:
        row = self._rows[i]
        if not self._is_known or row < 0 or channel >= self._status.shape[1]:
            return None
        return row - self._first, channel

    def status(self, i: int, channel: int) -> int:
        """Status of a channel at the i-th checkpoint."""
        at = self._at(i, channel)
        return int(Status.ABSENT) if at is None else int(self._status[at])

    def fingerprint(self, i: int, channel: int) -> int:
        """Fingerprint of the files of a unit that is committed, else 0."""
        at = self._at(i, channel)
        if at is None or self._status[at] == Status.ABSENT:
            return 0
        return int(self._fingerprint[at])


def _columns(
    group: FeatureGroup, task: BlockTask, reads: Sequence[UnitRead], is_new: bool
) -> dict[str, np.ndarray]:
    """Variables of units, by name, in the order of the task."""
    indices: dict[bytes, int] = {}
    params, verbatim = [], []
    for (_, _, unit), read in zip(task.units, reads, strict=True):
        index, text = _parameters_and_text(group, task, unit, read.info, indices)
        params.append(index)
        verbatim.append(text)
    infos = [read.info for read in reads]
    notes = [
        "; ".join(filter(None, [read.problem, unit.note]))
        for (_, _, unit), read in zip(task.units, reads, strict=True)
    ]
    columns: dict[str, np.ndarray] = {
        "activation": np.array([info.activation if info else np.nan for info in infos]),
        "stop_step": np.array([info.stop_step if info else -1 for info in infos]),
        "seed": np.array([info.seed if info else -1 for info in infos]),
        "params": np.array(params),
        "source/form": np.array([read.form for read in reads]),
        "source/fingerprint": np.array(
            [
                0 if read.is_retriable else unit.fingerprint
                for (_, _, unit), read in zip(task.units, reads, strict=True)
            ],
            np.uint64,
        ),
        "status": np.array([int(read.status) for read in reads]),
    }
    for name, texts in (("source/problem", notes), ("source/info", verbatim)):
        # Most units have neither: no chunk is made for them.
        if not is_new or any(texts):
            columns[name] = np.array(texts, TEXT)
    return columns


def _parameters_and_text(
    group: FeatureGroup,
    task: BlockTask,
    unit: UnitFiles,
    info: Info | None,
    indices: dict[bytes, int],
) -> tuple[int, str]:
    """Index of a unit's parameters, and its info.json where the variables cannot repeat it."""
    if info is None or info.parameters is None:
        return -1, info.verbatim if info else ""
    if info.parameters not in indices:
        indices[info.parameters] = group.parameter_index(orjson.loads(info.parameters))
    index = indices[info.parameters]
    if index >= 0 or info.verbatim:
        return index, info.verbatim
    parameters = orjson.loads(info.parameters)
    record = rebuild_info(info, task.layer, unit.channel, task.variant, parameters)
    return index, orjson.dumps(record).decode()


def _most_common_size(samples: Sequence[Path]) -> tuple[int, int]:
    """Size of most of the pictures, the larger where two are as common."""
    sizes: Counter[tuple[int, int]] = Counter()
    for path in samples:
        try:
            picture = inspect(path.read_bytes())
        except (OSError, PictureError):
            continue
        sizes[picture.height, picture.width] += 1
    if not sizes:
        return _DEFAULT_SIZE
    return max(sizes, key=lambda size: (sizes[size], size))


def _sized_variants(store: Path, run: str, variant: str) -> list[str]:
    found = contents(store)
    return [
        name
        for name in found.variants(run)
        if name != variant and Variant.parse(name).base == variant
    ]


@contextmanager
def _pool(workers: int | None, n_units: int) -> Iterator[tuple[Executor | None, int]]:
    """Processes that read, or None where this one reads by itself, and how many."""
    if workers is None:
        workers = (os.cpu_count() or 1) if n_units >= _WORTH_PROCESSES else 1
    if workers == 1:
        yield None, 1
        return
    # Not fork: Zarr runs a thread of its own, which a forked child would find dead.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dvis.ingest"])
    with ExitStack() as stack:
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_watch_parent)
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        yield pool, workers


def _watch_parent() -> None:
    """End this worker with its parent: an orphan must not write beside the next import."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int = parent.sentinel) -> None:
        wait_for([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def _store_path(store: str | Path | None, model: str, *, several: bool) -> Path:
    if store is None:
        return Path("stores") / f"{model}.zarr"
    return Path(store).expanduser() / f"{model}.zarr" if several else Path(store).expanduser()


def _remove_store(path: Path) -> None:
    """Remove a store that nobody writes; refuse what is none."""
    if not path.exists():
        return
    found = contents(path)
    with ExitStack() as locks:
        for run in sorted(found.runs):
            locks.enter_context(write_lock(path, f"{run}/{FEATURES}", wait=False))
        doomed = path.with_name(f".{path.name}.removed-{os.getpid()}")
        path.rename(doomed)
    shutil.rmtree(doomed)


def _nothing_there(path: str | Path, problems: Sequence[Problem]) -> str:
    text = (
        f"Nothing to import below {path}: no folder there holds files like "
        "layer_layer2_channel_0_average.jpg"
    )
    return text + "".join(f"\n  {problem}" for problem in problems[:10])

