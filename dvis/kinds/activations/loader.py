"""Rows of one layer's activations for training: shuffled by a seed, each once an epoch, resumable.

A store, a layer and a checkpoint in; batches out, as numpy arrays. Which rows make a batch is a
function of the seed and the step alone: there is no cursor to lose, and threads change nothing.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import count, pairwise
from threading import Lock
from typing import Any, Self, get_args

import numpy as np

from dvis.kinds.activations.half import take_as_float32
from dvis.kinds.activations.read import entry_of
from dvis.kinds.activations.stored_blocks import StoredBlocks, stored_blocks
from dvis.kinds.activations.words import VALUES, Split
from dvis.models.option_numbers import at_least
from dvis.schema import CHECKPOINT, SOURCE, Status, counted, did_you_mean
from dvis.store.contents import Entry, StoreLike, open_group, read_contents, resolve
from dvis.store.datasets import SAMPLE, open_dataset

# Measured: random rows of a cold disk cost twenty times a read of such a block.
BLOCK_ROWS = 1024
POOL_BLOCKS = 64
# Attributes of a group that tell its rows from others.
_TOLD = ("fingerprint", "transform", "layer", "tokens", "seed", "dtype")
_POOLS_KEPT = 2  # a batch may lie across two
_PREFETCHED = 2
_SUMMED_ROWS = 2**16


@dataclass(frozen=True, eq=False)
class ActivationRows:
    """Rows (activation vectors) of one layer at one checkpoint, in seeded block-shuffled order.

    Made by `open`. Blocks of consecutive rows are drawn in a random order, at least `pool_blocks`
    of them, from distant places, make a pool, and the rows of a pool are permuted: nearly as random
    as rows drawn one by one, at the price of reading blocks. An epoch permutes blocks and rows
    anew; a last batch that would not be full is left out of it. In memory are at most two pools of
    fewer than twice `pool_blocks` blocks each.

    Parameters
    ----------
    blocks : StoredBlocks
        The values as they are stored.
    samples : ndarray, (sample,), int64
        Places of the split's samples in the set.
    tokens : ndarray, (token,), int64
        Which of the stored tokens are taken.
    sample_ids : ndarray, (sample,), str
        Ids of the split's samples, in order.
    labels : ndarray, (sample,), int64
        Index into `classes` of each.
    classes : tuple of str
        Names of the labels.
    fingerprint : str
        What tells these rows from others: image set, weights, layer, tokens, numbers and split. A
        training that goes on compares it.
    seed, batch_size, block_rows, pool_blocks : int
        As `open` takes them.
    """

    blocks: StoredBlocks
    samples: np.ndarray
    tokens: np.ndarray
    sample_ids: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    fingerprint: str
    seed: int = 0
    batch_size: int = 4096
    block_rows: int = BLOCK_ROWS
    pool_blocks: int = POOL_BLOCKS

    def __post_init__(self) -> None:
        for name in ("batch_size", "block_rows", "pool_blocks"):
            at_least(name, getattr(self, name), 1)
        at_least("seed", self.seed, 0)

    @classmethod
    def open(
        cls,
        store: StoreLike,
        layer: str,
        checkpoint: str,
        *,
        name: str | None = None,
        run: str | None = None,
        split: Split = "train",
        seed: int = 0,
        batch_size: int = 4096,
        block_rows: int = BLOCK_ROWS,
        pool_blocks: int = POOL_BLOCKS,
        include_special: bool = True,
        storage_options: dict[str, Any] | None = None,
    ) -> Self:
        """The rows of a layer at a checkpoint.

        Parameters
        ----------
        store : str, Path or zarr Store
            As `dvis.open` takes it. Files of a store on a local disk are mapped; others are read
            by Zarr, whole chunks at a time, of which some are kept.
        layer, checkpoint : str
            The layer, and the label of the checkpoint.
        name, run : str, optional
            As `dvis.activations` takes them.
        split : {"train", "held_out", "all"}
            Which samples: one in ten is held out, by a hash of its id.
        seed : int
            Seed of the order.
        batch_size : int
            Rows of a batch.
        block_rows, pool_blocks : int
            Rows that are read together, and blocks that are shuffled together, at least; all, where
            there are not as many.
        include_special : bool
            Whether class and register tokens are taken too.
        storage_options : dict, optional
            As `dvis.open` takes them.

        Raises
        ------
        FileNotFoundError, ImportError, SchemaError
            As `dvis.open` does.
        KeyError
            When there is no such run, layer, name or checkpoint.
        ValueError
            When the checkpoint lacks blocks, the split has no samples, there are no tokens, or an
            option is out of its range.
        """
        if split not in get_args(Split):
            raise ValueError(did_you_mean("split", split, get_args(Split), "activations"))
        resolved = resolve(store, storage_options)
        found = read_contents(resolved, str(store))
        entry = entry_of(found, layer, name, run, with_values=True)
        group: Any = open_group(resolved, entry)
        if VALUES not in group:
            raise ValueError(
                f"{entry.name!r} keeps top images alone, of which nothing can be trained: run "
                "`dvis activations` with --keep values, under another --name"
            )
        row = _row_of(group, checkpoint, entry)
        samples = open_dataset(resolved, str(entry.attrs["dataset"]))
        samples = samples.sel({SAMPLE: np.array(np.asarray(group[SAMPLE][:]).tolist(), str)})
        is_held = samples["is_held_out"].values
        is_taken = {"all": np.ones_like(is_held), "held_out": is_held, "train": ~is_held}[split]
        if not is_taken.any():
            raise ValueError(
                f"None of the {counted(len(is_held), 'sample')} of {entry.name!r} is in the split "
                f"{split!r}: one in ten is held out, by its id. Ask for another, or keep more"
            )
        is_special = np.asarray(group["is_special"][:])
        tokens = np.flatnonzero(~is_special | include_special)
        if not len(tokens):
            raise ValueError(f"{entry.name!r} has special tokens alone; take them along")
        weights = int(np.asarray(group[f"{SOURCE}/weights"][row]).max())
        told = {key: entry.attrs.get(key) for key in _TOLD}
        told |= {"weights": weights, "split": split, "include_special": include_special}
        taken = samples.isel({SAMPLE: is_taken})
        return cls(
            blocks=stored_blocks(resolved, entry, group, row),
            samples=np.flatnonzero(is_taken),
            tokens=tokens,
            sample_ids=taken[SAMPLE].values,
            labels=taken["label"].values,
            classes=tuple(samples.attrs["classes"]),
            fingerprint=blake2b(
                json.dumps(told, sort_keys=True).encode(), digest_size=16
            ).hexdigest(),
            seed=seed,
            batch_size=batch_size,
            block_rows=block_rows,
            pool_blocks=pool_blocks,
        )

    @property
    def n_samples(self) -> int:
        """Samples of the split."""
        return len(self.samples)

    @property
    def n_tokens(self) -> int:
        """Rows of a sample."""
        return len(self.tokens)

    @property
    def n_rows(self) -> int:
        """Rows of all samples."""
        return self.n_samples * self.n_tokens

    @property
    def n_channels(self) -> int:
        """Numbers of a row."""
        return self.blocks.shape[2]

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in which every row is at most once."""
        return self.n_rows // self.batch_size

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of all rows of the split, (channel,) float64; the first look reads them all."""
        total = np.zeros(self.n_channels)
        for first in range(0, self.n_rows, _SUMMED_ROWS):
            rows = self.rows(first, min(first + _SUMMED_ROWS, self.n_rows))
            total += rows.astype(np.float32, copy=False).sum(0, dtype=np.float64)
        mean: np.ndarray = total / self.n_rows
        return mean

    def rows(self, first: int, stop: int) -> np.ndarray:
        """Rows as they are stored, (row, channel), token by token and sample by sample."""
        rows = np.empty((stop - first, self.n_channels), self.blocks.dtype)
        self.gather(first, stop, rows)
        return rows

    def gather(self, first: int, stop: int, rows: np.ndarray) -> None:
        """Copy stored rows, sample by sample, into an array (row, channel)."""
        sample, token = np.divmod(np.arange(first, stop), self.n_tokens)
        n_samples, n_tokens, _ = self.blocks.shape
        block, inside = np.divmod(self.samples[sample], n_samples)
        places = inside * n_tokens + self.tokens[token]
        borders = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(places)]
        for begin, end in pairwise(borders):
            _copy(self.blocks.rows(int(block[begin])), places[begin:end], rows[begin:end])

    def batch(self, step: int) -> np.ndarray:
        """The rows of a step, (row, channel) float32: the same whatever was asked for before.

        Raises
        ------
        ValueError
            When a batch would have more rows than there are.
        """
        if not self.steps_per_epoch:
            raise ValueError(
                f"batch_size is {self.batch_size}, and there are {self.n_rows} rows: ask for at "
                "most that, or keep activations of more samples or tokens"
            )
        epoch, of_epoch = divmod(step, self.steps_per_epoch)
        return self._pools.rows(epoch, of_epoch * self.batch_size, self.batch_size)

    @cached_property
    def _pools(self) -> "_Pools":
        return _Pools(self)

    def batches(self, first_step: int = 0) -> Iterator[np.ndarray]:
        """The batches from a step on, without end; the next are read while one is used."""
        with ThreadPoolExecutor(1) as thread:
            steps = count(first_step)
            waiting = [thread.submit(self.batch, next(steps)) for _ in range(_PREFETCHED)]
            try:
                while True:
                    batch = waiting.pop(0).result()
                    waiting.append(thread.submit(self.batch, next(steps)))
                    yield batch
            finally:
                for future in waiting:
                    future.cancel()

    def ordered(self, n_samples: int = 64) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All samples once, in their order.

        Parameters
        ----------
        n_samples : int
            How many at a time.

        Yields
        ------
        positions : ndarray, (sample,), int64
            Places of the samples in the split: into `sample_ids` and `labels`.
        values : ndarray, (sample, token, channel), float32
            Their activations.
        """
        for first in range(0, self.n_samples, n_samples):
            stop = min(first + n_samples, self.n_samples)
            values = self.rows(first * self.n_tokens, stop * self.n_tokens).astype(np.float32)
            yield np.arange(first, stop), values.reshape(stop - first, self.n_tokens, -1)

    def taken(self, samples: np.ndarray) -> Self:
        """The rows of some samples alone, by their places in the split; no others are read."""
        ids = self.sample_ids[samples]
        told = json.dumps([self.fingerprint, *ids.tolist()]).encode()
        return replace(
            self,
            samples=self.samples[samples],
            sample_ids=ids,
            labels=self.labels[samples],
            fingerprint=blake2b(told, digest_size=16).hexdigest(),
        )


class _Pools:
    """Blocks of rows that are shuffled together, the latest of which are kept."""

    def __init__(self, rows: ActivationRows) -> None:
        self._rows, self._lock = rows, Lock()
        self._kept: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._spare: np.ndarray = np.empty((0, 0))
        self._n_blocks = -(-rows.n_rows // rows.block_rows)
        self._n_pools = max(1, self._n_blocks // rows.pool_blocks)
        self._laid_out: tuple[int, list[np.ndarray], np.ndarray] = (-1, [], np.empty(0))

    def rows(self, epoch: int, first: int, n_rows: int) -> np.ndarray:
        """Rows of an epoch's order, (row, channel) float32."""
        with self._lock:
            blocks, ends = self._layout(epoch)
            batch = np.empty((n_rows, self._rows.n_channels), np.float32)
            done = 0
            while done < n_rows:
                pool = int(np.searchsorted(ends, first + done, "right"))
                begin = first + done - (int(ends[pool - 1]) if pool else 0)
                values, order = self._pool(epoch, pool, blocks[pool])
                wanted = order[begin : begin + n_rows - done]
                take_as_float32(values, wanted, batch[done : done + len(wanted)])
                done += len(wanted)
            return batch

    def _layout(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Blocks of each pool of an epoch, and the row after its last; those of one are kept."""
        if self._laid_out[0] != epoch:
            order = self._generator(epoch).permutation(self._n_blocks)
            blocks = np.array_split(order, self._n_pools)
            last = np.cumsum([len(each) for each in blocks]) - 1
            self._laid_out = epoch, blocks, np.cumsum(self._lengths(order))[last]
        return self._laid_out[1:]

    def _pool(self, epoch: int, pool: int, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored rows of a pool, (row, channel), and their order."""
        key = (epoch, pool)
        if key not in self._kept:
            lengths = self._lengths(blocks).tolist()
            values = self._memory(sum(lengths))
            done = 0
            for block, length in zip(blocks.tolist(), lengths, strict=True):
                first = block * self._rows.block_rows
                self._rows.gather(first, first + length, values[done : done + length])
                done += length
            self._kept[key] = values, self._generator(epoch, 1 + pool).permutation(len(values))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _memory(self, n_rows: int) -> np.ndarray:
        """Room for rows: that of the oldest pool, if it is large enough, for new room is slow."""
        while len(self._kept) >= _POOLS_KEPT:
            _, (self._spare, _) = self._kept.popitem(last=False)
        base = self._spare if self._spare.base is None else self._spare.base
        if len(base) < n_rows:
            base = np.empty((n_rows, self._rows.n_channels), self._rows.blocks.dtype)
        self._spare = np.empty((0, 0))
        return base[:n_rows]

    def _lengths(self, blocks: np.ndarray) -> np.ndarray:
        """Rows of blocks, of which the last one may have fewer."""
        n_before = blocks * self._rows.block_rows
        lengths: np.ndarray = np.minimum(self._rows.block_rows, self._rows.n_rows - n_before)
        return lengths

    def _generator(self, epoch: int, stream: int = 0) -> np.random.Generator:
        key = np.array([self._rows.seed, epoch], np.uint64)
        counter = np.array([0, 0, 0, stream], np.uint64)
        return np.random.Generator(np.random.Philox(counter=counter, key=key))


def _copy(stored: np.ndarray, places: np.ndarray, rows: np.ndarray) -> None:
    """Copy rows at some places, which mostly follow one another."""
    first = int(places[0])
    if int(places[-1]) - first == len(places) - 1:
        rows[:] = stored[first : first + len(places)]
    else:
        np.take(stored, places, 0, rows, "clip")  # "raise" would copy the rows once more


def _row_of(group: Any, checkpoint: str, entry: Entry) -> int:
    labels = np.asarray(group[CHECKPOINT][:]).tolist()
    if checkpoint not in labels:
        raise KeyError(
            did_you_mean("checkpoint", checkpoint, labels, f"activations {entry.name!r}")
        )
    row = labels.index(checkpoint)
    n_lacking = int((np.asarray(group["status"][row]) != Status.COMPLETE).sum())
    if n_lacking:
        raise ValueError(
            f"{counted(n_lacking, 'block')} of the activations {entry.name!r} of {checkpoint} "
            "are not there. Run the same `dvis activations` again"
        )
    return int(row)
