"""Faults that groups of any kind can have: arrays that are not the schema's, labels, damaged parts.

A group as it lies on disk in, faults out.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr

from dvis.progress import progress_bar
from dvis.schema import CHANNEL, CHECKPOINT, SOURCE, Mark, Status, VariableSpec, Words
from dvis.store.group import ABSENT, FAILED, Group
from dvis.store.growth import UNREADABLE
from dvis.store.keeping import promises_of
from dvis.store.promised import Promised, Region
from dvis.store.regions import regions

_PRESENT = tuple(status for status in Status if status != Status.ABSENT)
_NOT_MENDED = "`--fix` does not mend labels and coordinates; put a copy of the file in its place"


@dataclass(frozen=True)
class Fault:
    """Something that a store promises and does not keep.

    `unit` is the place in `status` of the part that it is of; `damaged` names the array, and the
    region of the mark's dims, that cannot be read.
    """

    place: str
    message: str
    unit: tuple[int, ...] | None = None
    damaged: tuple[str, Region] | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def attribute_faults(group: zarr.Group, words: Words, place: str) -> list[Fault]:
    """Attributes that a group lacks, or that are of another type than its kind's."""
    return [
        Fault(place, f"does not say {what}")
        for name, (kind_of, what) in words.said.items()
        if not isinstance(group.attrs.get(name), kind_of)
    ]


def unreadable_labels(group: zarr.Group, words: Words, place: str) -> Iterator[Fault]:
    """Labels that cannot be decoded, without which nothing else of a group can be looked at."""
    for dim, of_array in words.arrays.items():
        if of_array.dims == (dim,):
            labels: Any = group[dim]
            try:
                labels[:]
            except UNREADABLE as err:
                message = f"a file of it is damaged, the rest was not looked at: {dim}: {err}"
                yield Fault(place, f"{message}. {_NOT_MENDED}")


def label_faults(group: Group, place: str) -> Iterator[Fault]:
    """Labels that are missing or there twice, and numbers that are out of order."""
    for dim, of_array in group.words.arrays.items():
        if of_array.dims != (dim,):
            continue
        labels = np.asarray(group.array(dim)[:])
        if of_array.dtype == "int32":  # channels, chains, draws: numbered, not named
            if not np.array_equal(labels, np.arange(len(labels))):
                yield Fault(place, f"{dim} is not 0, 1, 2, ...")
            continue
        counts = Counter(labels.tolist())
        if of_array.fill in counts:
            yield Fault(place, f"a {dim} has no label")
        twice = sorted(label for label, n in counts.items() if n > 1 and label != of_array.fill)
        if twice:
            yield Fault(place, f"{dim} {twice[0]!r} is there more than once")
    if "n_channels" in group.words.arrays and (
        (np.asarray(group.array("n_channels")[:]) > group.array(CHANNEL).shape[0]).any()
    ):
        yield Fault(place, "a layer says that it has more channels than the channel axis")


def until_unreadable(faults: Iterable[Fault], place: str) -> Iterator[Fault]:
    """The faults; where a damaged file ends the search for them, a last one says so."""
    try:
        yield from faults
    except UNREADABLE as err:
        yield Fault(place, f"a file of it is damaged, the rest was not looked at: {err}")


def schema_faults(
    group: zarr.Group, specs: Mapping[str, VariableSpec], place: str
) -> Iterator[Fault]:
    """Arrays that are not the schema's."""
    sizes: dict[str, int] = {}
    for name, spec in specs.items():
        array: Any = group.get(name)
        if not isinstance(array, zarr.Array):
            yield Fault(place, f"has no variable {name!r}")
            continue
        dims = tuple(array.metadata.dimension_names or ())  # type: ignore[union-attr]
        if dims != spec.dims:
            yield Fault(place, f"{name} has dims {dims}, the schema says {spec.dims}")
            continue
        if np.dtype(array.dtype) != np.dtype(spec.dtype):
            yield Fault(place, f"{name} is {array.dtype}, the schema says {spec.dtype}")
        for dim, n in zip(dims, array.shape, strict=True):
            if sizes.setdefault(dim, n) != n:
                yield Fault(place, f"{name} has {n} along {dim}, others {sizes[dim]}")


def chunk_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Chunks that cannot be decoded, of every array but those whose files the kind looks at.

    Every part of a damaged chunk is a fault; where it has none, the chunk is one.
    """
    names = [name for name in group.words.arrays if name not in group.own_files]
    promised = promises_of(group)
    with progress_bar(len(names), "arrays", f"decode {place}", shown=progress) as bar:
        for name in names:
            array = group.array(name)
            for region in regions(array.shape, array.shards or array.chunks):
                if name in promised and _file_of(group, promised[name], region).is_dir():
                    message = f"a folder lies in the place of a file of its {name}: remove it"
                    yield Fault(place, f"{message}, then `dvis check --fix`")
                    continue
                try:
                    array[region]
                except UNREADABLE as err:
                    message = f"its {name} is damaged: {err.__cause__ or err}"
                    yield from _of_chunk(group, name, region, message, place)
                    continue
                if name in promised and _is_lost(group, promised[name], region):
                    message = f"a file of its {name} is missing"
                    yield from _of_chunk(group, name, region, message, place, (Status.COMPLETE,))
            bar.update()


def _is_lost(group: Group, promised: Promised, region: Region) -> bool:
    """Whether the file of a region is missing that must be there."""
    path = _file_of(group, promised, region)
    index = promised.index_of(str(path.relative_to(group.folder / promised.name)))
    if index is None or path.exists():
        return False

    def has_complete(status: Promised, of_parts: Region) -> bool:
        return bool((readable(group.array(status.name), of_parts) == Status.COMPLETE).any())

    return promised.is_due(index, has_complete)


def _file_of(group: Group, promised: Promised, region: Region) -> Path:
    pairs = zip(region, promised.file_shape, strict=True)
    key = promised.key(tuple(along.start // of_file for along, of_file in pairs))
    return group.folder / promised.name / key


def _of_chunk(
    group: Group,
    name: str,
    region: Region,
    message: str,
    place: str,
    lost: Sequence[int] = _PRESENT,
) -> Iterator[Fault]:
    """A fault of each part of a chunk whose status is one of those that lose something by it."""
    mark = group.words.marks[0]
    if not _is_emptied(group.words, name):
        yield Fault(place, f"{message}. {_NOT_MENDED}")
        return
    damaged, units = (name, region), np.empty((0, 0), np.int64)
    if name in group.words.arrays_of(mark):
        status = group.array(mark.status)
        of_parts = region[: len(status.shape)]
        is_lost = np.isin(readable(status, of_parts), lost)
        units = np.argwhere(is_lost) + [along.start for along in of_parts]
    if not len(units):
        yield Fault(place, message, None, damaged)
        return
    labels = _labels(group, mark)
    for unit in map(tuple, units.tolist()):
        yield Fault(f"{place}, {_described(labels, unit)}", message, unit, damaged)


def _is_emptied(words: Words, name: str) -> bool:
    """Whether what is damaged of an array may be emptied: labels and coordinates are not."""
    return words.arrays[name].dims != (name,) and name not in words.coordinates


def empty_chunk(group: Group, name: str, region: Region) -> None:
    """Empty a region of whole chunks that cannot be read, so that the others can be again.

    What parts have in common is no longer marked as there, and is measured again.
    """
    of_array = group.words.arrays[name]
    group.array(name)[region] = of_array.fill
    for mark in group.words.marks[1:]:
        of_mark = group.words.arrays[mark.status].dims
        if of_array.dims[0] == CHECKPOINT and set(of_array.dims) <= set(of_mark):
            group.array(mark.status)[region] = ABSENT
    group.read_labels()  # nothing of it is kept in memory


def readable(array: Any, region: Any) -> np.ndarray:
    """Values of a region of an array; its fill value where they cannot be decoded."""
    try:
        return np.asarray(array[region])
    except UNREADABLE:
        shape = np.broadcast_to(False, array.shape)[region].shape
        return np.full(shape, array.fill_value, array.dtype)


def _labels(group: Group, mark: Mark) -> dict[str, list[Any]]:
    """Labels along the dims of a mark; places where they cannot be decoded."""
    dims = group.words.arrays[mark.status].dims
    return {dim: readable(group.array(dim), slice(None)).tolist() for dim in dims}


@dataclass(frozen=True, kw_only=True)
class Block:
    """Parts that lie in the same files: where, and what the group holds of them.

    `status` and `weights` have the dims of the mark, `values` (by array) one more, which holds all
    that a part has. Values that cannot be read are the array's fill value, which `chunk_faults`
    says.
    """

    region: Region
    status: np.ndarray
    weights: np.ndarray
    values: Mapping[str, np.ndarray]


# What is wrong with which parts of a block: whether it is so, and in words.
Says: TypeAlias = Callable[[Block], Iterator[tuple[np.ndarray, str]]]


def lacks_values(mark: Mark, block: Block) -> Iterator[tuple[np.ndarray, str]]:
    """Parts that are there without a single finite value of some array."""
    is_there = np.isin(block.status, mark.kept)
    for name, values in block.values.items():
        if values.dtype.kind == "f":
            yield is_there & ~np.isfinite(values).any(-1), f"is there, but has no finite {name}"


def part_faults(
    group: Group, place: str, progress: bool, *, says: Says | None = None
) -> Iterator[Fault]:
    """Faults of the parts of a group: status, weights, and what a kind says.

    Parameters
    ----------
    group : Group
        A group whose schema is sound.
    place : str
        What to call it.
    progress : bool
        Show a progress bar.
    says : callable, optional
        What more is wrong with parts of a block; by default that a part has no finite value.
    """
    mark = group.words.marks[0]
    says = says or partial(lacks_values, mark)
    labels = _labels(group, mark)
    weighed = _weighed_checkpoints(group, mark)
    spans = list(_spans(group, mark))
    with progress_bar(len(spans), "blocks", f"check {place}", shown=progress) as bar:
        for span in spans:
            for block in _blocks(group, mark, span):
                yield from _of_block(block, mark, weighed, says, labels, place)
            bar.update()


def _of_block(
    block: Block,
    mark: Mark,
    weighed: np.ndarray,
    says: Says,
    labels: Mapping[str, list[Any]],
    place: str,
) -> Iterator[Fault]:
    said = np.full(block.status.shape, "", object)
    is_there = np.isin(block.status, mark.kept)
    for name, values in block.values.items():
        if values.dtype.kind == "f":
            stray = np.isin(block.status, (ABSENT, FAILED)) & ~np.isnan(values).all(-1)
            said[stray] = f"holds {name}, but is not done: a run goes on, or died"
    of_row = np.expand_dims(weighed[block.region[0]], tuple(range(1, is_there.ndim)))
    said[is_there & (block.weights == 0) & of_row] = (
        "does not say of which weights it is, as others there do"
    )
    for is_so, message in says(block):
        said[is_so] = message
    for inside in np.argwhere(~np.isin(block.status, (ABSENT, FAILED, *mark.kept))):
        at = tuple(inside)
        said[at] = f"has status {block.status[at]}, which is none of its kind"
    for inside in np.argwhere(said != ""):
        pairs = zip(inside, block.region, strict=True)
        unit = tuple(int(i) + along.start for i, along in pairs)
        message = str(said[tuple(inside)])
        yield Fault(f"{place}, {_described(labels, unit)}", message, unit)


def _described(labels: Mapping[str, list[Any]], unit: tuple[int, ...]) -> str:
    """A part in words: its labels."""
    return words_of_labels(
        {dim: of_dim[i] for (dim, of_dim), i in zip(labels.items(), unit, strict=True)}
    )


def words_of_labels(labels: Mapping[str, Any]) -> str:
    """Labels of a part in words: names as they are, numbers after what they are.

    Examples
    --------
    >>> words_of_labels({"checkpoint": "step_10", "layer": "conv1", "channel": 3})
    'step_10, conv1, channel 3'
    """
    words = []
    for dim, label in labels.items():
        if not isinstance(label, str):
            words.append(f"{dim.replace('_', ' ')} {label:g}")
        elif dim.endswith(f"_{CHECKPOINT}"):
            words.append(f"{dim.removesuffix(f'_{CHECKPOINT}')} of {label}")
        else:
            words.append(label)
    return ", ".join(words)


def _spans(group: Group, mark: Mark) -> Iterator[Region]:
    """Regions of the mark whose status lies in one file along checkpoints."""
    status, widest = group.array(mark.status), group.array(_widest(group, mark))
    n_dims = len(status.shape)
    return regions(status.shape, (status.chunks[0], *widest.chunks[1:n_dims]))


def _blocks(group: Group, mark: Mark, span: Region) -> Iterator[Block]:
    """Blocks of a span, of which one file of the widest array each; status is read first."""
    status, weights = (readable(group.array(name), span) for name in (mark.status, mark.weights))
    height = group.array(_widest(group, mark)).chunks[0]
    names = [n for n in group.words.arrays_of(mark) if not n.startswith(SOURCE)]
    for first in range(0, len(status), height):
        rows = slice(first, min(first + height, len(status)))
        region = (slice(span[0].start + rows.start, span[0].start + rows.stop), *span[1:])
        parts = status[rows].shape
        values = {n: readable(group.array(n), region).reshape(*parts, -1) for n in names}
        yield Block(region=region, status=status[rows], weights=weights[rows], values=values)


def _widest(group: Group, mark: Mark) -> str:
    """The array of parts with the most dims."""
    names = group.words.arrays_of(mark)
    return max(names, key=lambda name: len(group.words.arrays[name].dims))


def _weighed_checkpoints(group: Group, mark: Mark) -> np.ndarray:
    """Whether it is known of which weights parts of a checkpoint are, (checkpoint,) bool."""
    status, weights = group.array(mark.status), group.array(mark.weights)
    is_weighed = np.zeros(status.shape[0], bool)
    for region in regions(status.shape, status.chunks):
        is_known = np.isin(readable(status, region), mark.kept) & (readable(weights, region) != 0)
        is_weighed[region[0]] |= is_known.any(tuple(range(1, is_known.ndim)))
    return is_weighed
