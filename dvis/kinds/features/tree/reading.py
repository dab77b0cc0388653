"""The parallel part of an import: blocks of units, read by many processes.

A task in, what became of its units out, as columns: they travel between processes and into a store
as they are. The pictures of new units go from here straight into their block.
"""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait as wait_for
from typing import Any

import numpy as np

from dvis.kinds.features.images.blocks import ImageBlocks, Position
from dvis.kinds.features.tree.tree_names import image_name, stem_of
from dvis.kinds.features.tree.unit_files import Info, UnitRead, read_unit, without_image
from dvis.kinds.features.words import Variant
from dvis.models.processes import safely_started
from dvis.store.picture_files import PictureError, decode

# Below this many units, starting processes takes longer than reading the files.
_WORTH_PROCESSES = 4000


@dataclass(frozen=True, kw_only=True)
class BlockTask:
    """Units of one layer to read; where they are new, of one image block that the task owns.

    `folder`, `row`, `channel` and `form` are (unit,) int arrays: index into `folders`, row of the
    checkpoint in the group, channel, and `dvis.schema.Form`.
    """

    folders: tuple[str, ...]
    layer: str
    layer_index: int
    variant: Variant
    folder: np.ndarray
    row: np.ndarray
    channel: np.ndarray
    form: np.ndarray
    blocks: ImageBlocks
    may_write: bool

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, kw_only=True)
class UnitReads:
    """What became of units, by column, (unit,) arrays; texts and pictures by the unit's index.

    `images` holds the pictures that are not in a block yet; `size` is 0 where there is none.
    """

    status: np.ndarray
    form: np.ndarray
    size: np.ndarray
    is_retriable: np.ndarray
    activation: np.ndarray
    stop_step: np.ndarray
    seed: np.ndarray
    parameters: list[bytes]
    params: np.ndarray
    loss: np.ndarray
    loss_length: np.ndarray
    problem: dict[int, str] = field(default_factory=dict)
    verbatim: dict[int, str] = field(default_factory=dict)
    images: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, reads: Sequence[UnitRead], written: Container[int] = ()) -> "UnitReads":
        """Columns of units that were read; the pictures of some are written already."""
        none = Info(activation=float("nan"))
        infos = [read.info or none for read in reads]
        table = {text: i for i, text in enumerate({x.parameters for x in infos if x.parameters})}
        return cls(
            status=np.array([read.status for read in reads], np.uint8),
            form=np.array([read.form for read in reads], np.uint8),
            size=np.array([read.size or (0, 0) for read in reads], np.int32).reshape(-1, 2),
            is_retriable=np.array([read.is_retriable for read in reads], bool),
            activation=np.array([info.activation for info in infos], np.float32),
            stop_step=np.array([info.stop_step for info in infos], np.int32),
            seed=np.array([info.seed for info in infos], np.int32),
            parameters=list(table),
            params=np.array([table.get(x.parameters or b"", -1) for x in infos], np.int32),
            loss=np.concatenate([np.empty(0, np.float32), *(info.loss for info in infos)]),
            loss_length=np.array([len(info.loss) for info in infos], np.int32),
            problem={i: read.problem for i, read in enumerate(reads) if read.problem},
            verbatim={i: info.verbatim for i, info in enumerate(infos) if info.verbatim},
            images={
                i: read.image
                for i, read in enumerate(reads)
                if read.image is not None and i not in written
            },
        )

    def __len__(self) -> int:
        return len(self.status)

    @property
    def losses(self) -> list[np.ndarray]:
        """Each unit's loss curve, (step_in_run,) float32."""
        return np.split(self.loss, np.cumsum(self.loss_length)[:-1]) if len(self) else []

    def take(self, members: np.ndarray) -> "UnitReads":
        """The same columns for some of the units, by their indices in rising order."""
        if len(members) == len(self):
            return self
        losses = self.losses
        kept = members.tolist()

        def of_members(texts: dict[int, Any]) -> dict[int, Any]:
            return {i: texts[m] for i, m in enumerate(kept) if m in texts}

        return UnitReads(
            status=self.status[members],
            form=self.form[members],
            size=self.size[members],
            is_retriable=self.is_retriable[members],
            activation=self.activation[members],
            stop_step=self.stop_step[members],
            seed=self.seed[members],
            parameters=self.parameters,
            params=self.params[members],
            loss=np.concatenate([np.empty(0, np.float32), *(losses[m] for m in kept)]),
            loss_length=self.loss_length[members],
            problem=of_members(self.problem),
            verbatim=of_members(self.verbatim),
            images=of_members(self.images),
        )


def read_block(task: BlockTask) -> UnitReads:
    """Read a task's units; put their pictures into the block where the task may write."""
    reads = [
        read_unit(task.folders[folder], task.layer, channel, task.variant, form)
        for folder, channel, form in zip(
            task.folder.tolist(), task.channel.tolist(), task.form.tolist(), strict=True
        )
    ]
    if task.blocks.codec == "raw":
        reads = [_decoded(task, i, read) for i, read in enumerate(reads)]
    if not task.may_write:
        return UnitReads.of(reads)
    size = (task.blocks.height, task.blocks.width)
    fitting = {i: read.image for i, read in enumerate(reads) if read.image and read.size == size}
    _die_with_parent()
    write_images(task, fitting)
    return UnitReads.of(reads, written=fitting)


def write_images(task: BlockTask, images: dict[int, bytes]) -> None:
    """Put pictures, by the index of their unit, into the blocks where the task's units belong."""
    blocks = task.blocks
    by_block: dict[tuple[int, int], dict[Position, bytes]] = {}
    for i, data in images.items():
        block_row, row = divmod(int(task.row[i]), blocks.checkpoints)
        column, channel = divmod(int(task.channel[i]), blocks.channels)
        by_block.setdefault((block_row, column), {})[row, channel] = data
    for (block_row, column), inside in by_block.items():
        blocks.merge(blocks.path(block_row, task.layer_index, column), inside)


def _decoded(task: BlockTask, i: int, read: UnitRead) -> UnitRead:
    """The same unit with its picture as raw pixels."""
    if read.image is None:
        return read
    try:
        return replace(read, image=decode(read.image).tobytes())
    except PictureError as err:
        stem = stem_of(task.layer, int(task.channel[i]), task.variant, read.form)
        return without_image(read, f"{image_name(stem, read.form)}: {err}")


@contextmanager
def reading_pool(workers: int | None, n_units: int) -> Iterator[tuple[Executor | None, int]]:
    """Processes that read, or None where this one reads by itself, and how many."""
    if workers is None:
        workers = (os.cpu_count() or 1) if n_units >= _WORTH_PROCESSES else 1
    if workers == 1:
        yield None, 1
        return
    with safely_started():
        pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_start_worker)
        try:
            with warnings.catch_warnings():
                # Python warns of any fork beside other threads; here they are those of numpy's
                # linear algebra, which sees to forks itself.
                warnings.simplefilter("ignore", DeprecationWarning)
                pool.submit(int)  # a forking pool starts all of its processes now
            yield pool, workers
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _context() -> multiprocessing.context.BaseContext:
    # A fork takes no time, a fresh process two seconds of imports; but only a process without
    # other threads (Zarr has one) can be forked without fear of a lock that nobody will release.
    methods = multiprocessing.get_all_start_methods()
    if "fork" in methods and threading.active_count() == 1:
        return multiprocessing.get_context("fork")
    return multiprocessing.get_context("spawn")


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end_with(sentinel: int = parent.sentinel) -> None:
        wait_for([sentinel])
        os._exit(1)

    threading.Thread(target=end_with, daemon=True).start()


def _die_with_parent() -> None:
    """End an orphan: what it wrote would come in the way of the import that follows."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)
