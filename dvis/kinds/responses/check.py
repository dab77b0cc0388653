"""Do groups of responses keep their promises: status against responses, weights and images.

A store on a local disk in, faults out; with `fix`, units that cannot be trusted become failed and
lose their responses, so that the next `dvis respond` measures them again.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dvis.disk import write_lock
from dvis.kinds.responses.read import CLASS, RESPONSES
from dvis.kinds.responses.words import arrays_of
from dvis.progress import progress_bar
from dvis.schema import CHANNEL, CHECKPOINT, IMAGE_CHECKPOINT, LAYER, SOURCE, TEXT, Status
from dvis.store.faults import Fault, label_faults, schema_faults, until_unreadable
from dvis.store.growth import UNREADABLE
from dvis.store.writer import group_names

_KNOWN = (Status.ABSENT, Status.COMPLETE, Status.FAILED)
_PROBLEM, _WEIGHTS, _IMAGES = f"{SOURCE}/problem", f"{SOURCE}/weights", f"{SOURCE}/images"
_SOUND = ""


def check_responses(store: Path, *, fix: bool, progress: bool) -> list[Fault]:
    """Faults of a store's responses."""
    faults: list[Fault] = []
    root = zarr.open_group(store, mode="r", use_consolidated=True)
    for path in group_names(root, RESPONSES):
        attrs = root[path].attrs
        place = f"{attrs['run']}, responses {attrs['name']}"
        with write_lock(store, f"{attrs['run']}/{RESPONSES}") if fix else nullcontext():
            group = zarr.open_group(
                store, path=path, mode="r+" if fix else "r", use_consolidated=False
            )
            of_group = _group_faults(store, group, place, fix=fix, progress=progress)
            faults += until_unreadable(of_group, place)
    return faults


def _group_faults(
    store: Path, group: zarr.Group, place: str, *, fix: bool, progress: bool
) -> Iterator[Fault]:
    """Faults of a group; with `fix`, units are marked as their faults are found."""
    of_schema = _attribute_faults(group, place)
    of_schema += schema_faults(store, group, arrays_of(group.attrs), place)
    yield from of_schema
    if of_schema:
        return
    reader = _ResponseReader(group)
    yield from label_faults(group, reader.labels, place)
    expected = _Expected.of(reader)
    with progress_bar(reader.n_blocks, "blocks", f"check {place}", shown=progress) as bar:
        for block in reader.walk():
            said = _said_of(block, expected)
            for unit in np.argwhere(said != _SOUND):
                at = tuple((unit + block.corner).tolist())
                message = str(said[tuple(unit)])
                yield Fault(f"{place}, {reader.describe(at)}", message, at)
            if block.fault and (said == _SOUND).all():
                yield Fault(f"{place}, {reader.describe(block.corner)}, ...", block.fault)
            if fix and (block.fault or (said != _SOUND).any()):
                _mark_failed(reader, block, said)
            bar.update()


def _attribute_faults(group: zarr.Group, place: str) -> list[Fault]:
    faults = []
    if not arrays_of(group.attrs):
        faults.append(Fault(place, f"is of the kind {group.attrs.get('kind')!r}, which is none"))
    if not isinstance(group.attrs.get("images"), dict):
        faults.append(Fault(place, "does not say what its images are"))
    if not isinstance(group.attrs.get("aggregation"), str):
        faults.append(Fault(place, "does not say what of a channel's map its responses are"))
    return faults


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Units whose responses lie in one file: where they are, and what the group holds of them.

    `status`, `weights` and `images` have the dims of units, `responses` one of images after them.
    """

    region: tuple[slice, ...]
    status: np.ndarray
    weights: np.ndarray
    images: np.ndarray | None
    responses: np.ndarray
    fault: str = ""

    @property
    def corner(self) -> tuple[int, ...]:
        """Indices of the first unit."""
        return tuple(along.start for along in self.region)


class _ResponseReader:
    """A group of responses on a local disk, read as blocks."""

    def __init__(self, group: zarr.Group) -> None:
        self.group = group
        self.dims = arrays_of(group.attrs)["status"].dims
        self.labels: dict[str, list[str]] = {
            dim: np.asarray(self.array(dim)[:]).tolist()
            for dim in (CHECKPOINT, LAYER, str(group.attrs["kind"]))
        }
        self._chunks = self.array("response").chunks[: len(self.dims)]

    def array(self, name: str) -> Any:
        """One of the group's arrays."""
        return self.group[name]

    def describe(self, unit: tuple[int, ...]) -> str:
        """A unit in words."""
        of_dims = dict(zip(self.dims, unit, strict=True))
        channel = of_dims.pop(CHANNEL)
        labels = {dim: self.labels[dim][place] for dim, place in of_dims.items()}
        if IMAGE_CHECKPOINT in labels:
            labels[IMAGE_CHECKPOINT] = f"image of {labels[IMAGE_CHECKPOINT]}"
        return f"{', '.join(labels.values())}, channel {channel}"

    @property
    def n_blocks(self) -> int:
        """How many blocks `walk` visits."""
        shape = self.array("status").shape
        return prod(-(-n // chunk) for n, chunk in zip(shape, self._chunks, strict=True))

    def walk(self) -> Iterator[_Block]:
        """Blocks of units: status is read before what it vouches for."""
        arrays = {name: self.array(name) for name in ("status", _WEIGHTS, "response")}
        # Scalars of many checkpoints lie in one file, which is read once.
        n_rows = arrays["status"].chunks[0]
        for span in _regions(arrays["status"].shape, (n_rows, *self._chunks[1:])):
            status, weights = (np.asarray(arrays[name][span]) for name in ("status", _WEIGHTS))
            images = self._images(span)
            for inside in _regions(status.shape, self._chunks):
                rows = slice(span[0].start + inside[0].start, span[0].start + inside[0].stop)
                region = (rows, *span[1:])
                responses, fault = self._responses(region)
                yield _Block(
                    region=region,
                    status=status[inside[0]],
                    weights=weights[inside[0]],
                    images=images,
                    responses=responses,
                    fault=fault,
                )

    def _images(self, span: tuple[slice, ...]) -> np.ndarray | None:
        """Hashes of the feature images, (1, image_checkpoint, layer, channel), if it is of some."""
        if IMAGE_CHECKPOINT not in self.dims:
            return None
        return np.asarray(self.array(_IMAGES)[span[1:]])[None]

    def _responses(self, region: tuple[slice, ...]) -> tuple[np.ndarray, str]:
        """Responses, and what is wrong with their file; NaN where it cannot be read."""
        array = self.array("response")
        shape = tuple(along.stop - along.start for along in region)
        try:
            responses, fault = np.array(array[region]), ""
        except UNREADABLE as err:
            responses = np.full((*shape, *array.shape[len(shape) :]), np.nan, array.dtype)
            fault = f"its responses are damaged: {err}"
        return responses.reshape(*shape, -1), fault


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """What complete units have: responses to these images, and weights at these checkpoints."""

    images: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, reader: _ResponseReader) -> "_Expected":
        """What some complete unit of a group has."""
        return cls(images=_answered_images(reader), weights=_weighed_checkpoints(reader))


def _answered_images(reader: _ResponseReader) -> np.ndarray:
    """Whether there is a response to an image, (image,) bool: to a class without images is none."""
    shape = reader.array("response").shape[len(reader.dims) :]
    is_answered = np.full(prod(shape), CLASS not in reader.labels)
    for block in () if is_answered.all() else reader.walk():
        is_answered |= np.isfinite(block.responses[block.status == Status.COMPLETE]).any(0)
        if is_answered.all():
            break
    return is_answered


def _weighed_checkpoints(reader: _ResponseReader) -> np.ndarray:
    """Whether it is known of which weights units of a checkpoint are, (checkpoint,) bool."""
    status, weights = reader.array("status"), reader.array(_WEIGHTS)
    is_weighed = np.zeros(status.shape[0], bool)
    for region in _regions(status.shape, status.chunks):
        is_known = (status[region] == Status.COMPLETE) & (weights[region] != 0)
        is_weighed[region[0]] |= is_known.any(tuple(range(1, is_known.ndim)))
    return is_weighed


def _regions(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Chunks of an array as slices."""
    sizes = list(zip(shape, chunks, strict=True))
    for corner in product(*(range(0, n, chunk) for n, chunk in sizes)):
        at = zip(corner, sizes, strict=True)
        yield tuple(slice(first, min(first + chunk, n)) for first, (n, chunk) in at)


def _said_of(block: _Block, expected: _Expected) -> np.ndarray:
    """What is wrong with each unit of a block, text, in the shape of its status."""
    is_complete = block.status == Status.COMPLETE
    is_finite = np.isfinite(block.responses)
    lacks_some = ~(is_finite[..., expected.images].all(-1) & is_finite.any(-1))
    has_some = ~np.isnan(block.responses).all(-1)
    rows = expected.weights[block.region[0]]
    lacks_weights = (block.weights == 0) & np.expand_dims(rows, tuple(range(1, is_complete.ndim)))
    lacks_image = False if block.images is None else block.images == 0
    said = np.full(block.status.shape, _SOUND, object)
    for is_so, message in (
        (is_complete & lacks_image, "does not say to which image it is"),
        (is_complete & lacks_weights, "does not say of which weights it is, as others there do"),
        (~is_complete & has_some, "holds responses, but is not complete: a run goes on, or died"),
        (is_complete & lacks_some, "is complete, but not all of its responses are finite"),
        ((block.status != Status.ABSENT) & bool(block.fault), block.fault),
    ):
        said[is_so] = message
    for unit in np.argwhere(~np.isin(block.status, _KNOWN)):
        at = tuple(unit)
        said[at] = f"has status {block.status[at]}, which is none of responses"
    return said


def _mark_failed(reader: _ResponseReader, block: _Block, said: np.ndarray) -> None:
    """Mark units failed, say why, and take their responses away; the whole file is written."""
    is_wrong = said != _SOUND
    problems = np.array(reader.array(_PROBLEM)[block.region])
    problems[is_wrong] = np.array([f"failed: {message}" for message in said[is_wrong]], TEXT)
    status, responses = block.status.copy(), block.responses.copy()
    status[is_wrong] = int(Status.FAILED)
    responses[is_wrong] = np.nan
    array = reader.array("response")
    reader.array("status")[block.region] = status
    reader.array(_PROBLEM)[block.region] = problems
    array[block.region] = responses.reshape(*is_wrong.shape, *array.shape[is_wrong.ndim :])
