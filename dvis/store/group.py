"""A group of a store: labelled arrays that grow along named dims and are committed by label.

Every kind of measurement keeps its results in such groups. A part of a group (a unit at a
checkpoint, a chain) is there for readers once its mark, the array `status`, says so, and that is
written last; what is killed on the way has no mark and is done again.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
import zarr

from dvis.names import CheckpointName
from dvis.schema import CHECKPOINT, TEXT, Mark, Status, Words, is_forgotten
from dvis.store import making
from dvis.store.damage import NamedArray
from dvis.store.growth import resize, settle
from dvis.store.keeping import Keeper
from dvis.store.making import add_later_arrays, existing_group, make_group, other_settings
from dvis.store.part_cache import PartCache
from dvis.store.placing import (
    Places,
    as_stored,
    first_of_each,
    plain_labels,
    put_curves,
    put_parts,
    taken,
)
from dvis.store.replaced import retracting, settle_replaced
from dvis.store.results import texts_of, without_failed

ABSENT, FAILED = int(Status.ABSENT), int(Status.FAILED)
_OF_NAMES = ("epoch", "batch", "phase", "time")


class Group:
    """A group of some kind, open for the one process that holds its lock, or for a look at it.

    `rows` tells by dim at which place each label is; `own_files` are the arrays whose files a kind
    writes and looks at by itself.
    """

    own_files: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, store: Path, words: Words, group: zarr.Group) -> None:
        self.store, self.zarr = store, group
        self.folder = store / group.path
        self._all_words, self.words = words, words.there(group.__contains__)
        self._arrays: dict[str, Any] = {}
        self._caches: dict[str, PartCache] = {}
        self.read_labels()

    @classmethod
    def open(
        cls,
        store: Path,
        words: Words,
        run: str,
        name: str,
        settings: Mapping[str, Any],
        *,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Self:
        """The group, made where there is none, and set right where a killed writer left it.

        Parameters
        ----------
        store : Path
            The store; the caller is `restructuring` it.
        words : Words
            Its arrays.
        run, name : str
            Whose it is, and what it is called.
        settings : mapping of str to plain values
            What all of the group must share to compare; kept as its attributes.
        attrs : mapping of str to plain values, optional
            Further attributes of a group that is made.
        overwrite : bool
            Make it anew where it has other settings.

        Raises
        ------
        ValueError
            When it is there with other settings, and is not to be overwritten.
        SchemaError
            When it is damaged in another way than a killed writer leaves it.
        """
        settings = json.loads(json.dumps(dict(settings)))  # as a store has them
        group = existing_group(store, words, run, name)
        if group is not None:
            stored = dict(group.attrs)
            differing = [k for k, asked in settings.items() if not words.agrees(stored, k, asked)]
            if not differing:
                settle(group)
                settle_replaced(group)
                later = add_later_arrays(group, words)
                opened = cls(store, words, group)
                opened._keeper.keep_arrays(later)
                return opened
            if not overwrite:
                where = f"{name!r} of {store}, run {run!r},"
                raise ValueError(
                    other_settings(
                        words.noun,
                        where,
                        stored,
                        settings,
                        differing,
                        can_be_named=not words.is_of_others,
                    )
                )
        made = make_group(store, words, run, name, {**(attrs or {}), **settings})
        return cls(store, words, made)

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the group."""
        return dict(self.zarr.attrs)

    def note(self, **attrs: Any) -> None:
        """Keep attributes with the group; readers hear of them when the store is shown anew."""
        self.zarr.update_attributes(attrs)

    def array(self, name: str) -> Any:
        """One of the group's arrays, `source/...` included."""
        if name not in self._arrays:
            stored: Any = self.zarr[name]
            # A chunk of nothing but the fill value is a file too: one that is missing was lost.
            self._arrays[name] = NamedArray(stored.with_config({"write_empty_chunks": True}))
        return self._arrays[name]

    def add_arrays(self, names: Sequence[str]) -> None:
        """Have these optional arrays from now on; the caller is `restructuring`."""
        added = making.add_arrays(self.zarr, self._all_words, names)
        self.words = self._all_words.there(self.zarr.__contains__)
        self.read_labels()
        self._keeper.keep_arrays(added)

    def grow(
        self,
        checkpoints: Sequence[CheckpointName],
        labels: Mapping[str, Sequence[Any]],
        columns: Mapping[str, Mapping[Any, Any]] | None = None,
    ) -> None:
        """Make room for checkpoints and labels that the group does not have yet.

        The caller is `restructuring`. Data arrays grow first, other coordinates are written after
        them, labels last: what is cut off has no label and is taken back.

        Parameters
        ----------
        checkpoints : sequence of CheckpointName
            Checkpoints.
        labels : mapping of str to sequence
            Labels by every other dim.
        columns : mapping of str to mapping, optional
            Values by label of coordinates that no dim bears, such as `n_channels`.
        """
        wanted = {CHECKPOINT: [name.label for name in checkpoints], **labels}
        new = {
            dim: [label for label in dict.fromkeys(given) if label not in self.rows[dim]]
            for dim, given in wanted.items()
        }
        first = {dim: self.array(dim).shape[0] for dim in new}
        sizes = {dim: first[dim] + len(added) for dim, added in new.items()}
        was_empty = [name for name in self.words.arrays if 0 in self.array(name).shape]
        if any(new.values()):
            arrays = self.words.arrays
            dims = {name: of_array.dims for name, of_array in arrays.items()}
            resize({name: self.array(name) for name in arrays}, dims, sizes)
        of_new = [name for name in checkpoints if name.label in set(new[CHECKPOINT])]
        for column in _OF_NAMES if of_new else ():
            values = [getattr(name, column) for name in of_new]
            self.array(column)[first[CHECKPOINT] :] = as_stored(column, values)
        places = {
            dim: {**self.rows[dim], **{label: first[dim] + i for i, label in enumerate(added)}}
            for dim, added in new.items()
        }
        # Of those that are there already a name or a file may tell more by now.
        epochs = {name.label: name.epoch for name in checkpoints if name.epoch >= 0}
        for column, by_label in {"epoch": epochs, **(columns or {})}.items():
            self._write_column(column, by_label, places)
        for dim, added in new.items():
            if added:
                self.array(dim)[first[dim] :] = np.array(added, self.words.arrays[dim].dtype)
        self.read_labels()
        self._keeper.keep_labels()
        if self.words.marks[0].status not in was_empty:
            self._keeper.keep_arrays(was_empty)

    def write_column(self, name: str, by_label: Mapping[Any, Any]) -> None:
        """Set a coordinate, such as `step`, at the labels that are named and there."""
        self._write_column(name, by_label, self.rows)

    def places(self, labels: Mapping[str, Any]) -> Places:
        """Where parts are along each dim, by their labels: one for all, or one a part."""
        return {
            dim: np.array([self.rows[dim][label] for label in plain_labels(of_parts)], np.int64)
            if np.ndim(of_parts)
            else self.rows[dim][plain_labels(of_parts)]
            for dim, of_parts in labels.items()
        }

    def status(self, places: Places, mark: Mark | None = None) -> np.ndarray:
        """Status of parts, (part,) uint8."""
        return self.values((mark or self.words.marks[0]).status, places)

    def values(self, name: str, places: Places) -> np.ndarray:
        """Values of an array that has one a part, (part,)."""
        return self._cache_of(name).at(places)

    def status_at(self, row: int, mark: Mark | None = None) -> np.ndarray:
        """Status of all parts of a checkpoint, over the other dims of the mark."""
        return self._cache_of((mark or self.words.marks[0]).status).row(row)

    def commit(self, result: xr.Dataset, mark: Mark | None = None) -> None:
        """Write what was measured of parts, and their status after everything else.

        Parameters
        ----------
        result : Dataset
            Its coordinates tell the labels of the parts along each dim of the mark, one for all or
            one a part. Variables by their names in the group have one value a part, and along
            further dims; those that lack some of the mark's dims are written with the first of
            their parts that has not failed. `error` and `note` (part) say what was wrong with a
            part: one with an error has failed. `status` (part) is what the others are; by default
            complete.
        mark : Mark, optional
            What it is committed by; by default the group's first.
        """
        mark = mark or self.words.marks[0]
        dims = self.words.arrays[mark.status].dims
        places = self.places({dim: result[dim].values for dim in dims})
        n_parts = max(len(np.atleast_1d(place)) for place in places.values())
        errors, notes = (texts_of(result, name, n_parts) for name in ("error", "note"))
        status = result["status"].values if "status" in result else np.full(n_parts, 1)
        status = np.where(errors == "", status, FAILED)
        values: dict[str, np.ndarray] = {}
        for name, variable in result.data_vars.items():
            if name in self.words.arrays and name != mark.status:
                values[str(name)] = without_failed(variable.values, errors)
        if mark.problem:
            problems = [f"failed: {e}" if e else n for e, n in zip(errors, notes, strict=True)]
            if any(problems) or (self.status(places, mark) != ABSENT).any():
                values[mark.problem] = np.array(problems, TEXT)
        self.write(places, values, np.atleast_1d(status), mark)

    def write(
        self,
        places: Places,
        values: Mapping[str, np.ndarray],
        status: np.ndarray,
        mark: Mark | None = None,
    ) -> None:
        """Write arrays of parts, (part, ...), and their status after everything else."""
        mark = mark or self.words.marks[0]
        self.retract(places, mark)
        for name, of_parts in values.items():
            if set(self.words.arrays[name].dims) >= set(places):
                self.put(name, places, of_parts, status)
            else:
                self._put_shared(name, places, of_parts, status, mark)
        if mark is self.words.marks[0]:
            self._keeper.keep_parts(places, values)
        self.put(mark.status, places, status, status)

    def put(self, name: str, places: Places, values: np.ndarray, status: np.ndarray) -> None:
        """Write an array's values of parts, whose status is about to be written."""
        dims = self.words.arrays[name].dims
        n_own = len(dims) - len(places)
        if n_own == 1 and dims[-1] not in self.words.arrays:
            self._keeper.lengthen(name, values.shape[-1])
        if n_own:
            put_curves(self.array(name), dims, places, values)
        else:
            put_parts(self.array(name), dims, places, values)
            if name in self._caches:
                self._caches[name].put(places, values)

    def retract(self, places: Places, mark: Mark | None = None) -> None:
        """Mark parts absent, as whoever is about to write them again must do first."""
        mark = mark or self.words.marks[0]
        status = self.status(places, mark)
        if not (status != ABSENT).any():
            return
        absent = np.zeros(len(status), np.uint8)
        with retracting(self.zarr):
            self.put(mark.status, places, absent, absent)

    def empty(self, places: Places, mark: Mark | None = None) -> None:
        """Take parts back with all that was measured of them."""
        mark = mark or self.words.marks[0]
        self.retract(places, mark)
        n_parts = len(self.status(places, mark))
        for name in self.words.arrays_of(mark):
            spec = self.words.arrays[name]
            sizes = dict(zip(spec.dims, self.array(name).shape, strict=True))
            own = [size for dim, size in sizes.items() if dim not in places]
            nothing = np.broadcast_to(np.array(spec.fill, spec.dtype), (n_parts, *own))
            self.put(name, places, nothing, np.zeros(n_parts))

    def clear(self, name: str, dim: str, place: int) -> None:
        """Empty an array at a place along a dim; what it marks or holds is absent already."""
        self._keeper.clear(name, dim, place)

    def fail(self, places: Places, error: str, mark: Mark | None = None) -> None:
        """Mark parts failed, with the error; those that are there are kept."""
        mark = mark or self.words.marks[0]
        if not mark.problem:
            return  # nothing of it is there then, and it is measured again
        is_open = ~np.isin(self.status(places, mark), mark.kept)
        if not is_open.any():
            return
        n_open = int(is_open.sum())
        problems = {mark.problem: np.full(n_open, f"failed: {error}", TEXT)}
        self.write(taken(places, is_open), problems, np.full(n_open, FAILED), mark)

    def mark_failed(
        self,
        units: np.ndarray,
        messages: Sequence[str],
    ) -> None:
        """Mark parts failed, say why, and take their values away.

        Parameters
        ----------
        units : ndarray, (part, dim), int
            Places of the parts in the array of the first mark.
        messages : sequence of str
            What is wrong with each.
        """
        mark = self.words.marks[0]
        dims = self.words.arrays[mark.status].dims
        places = dict(zip(dims, units.T, strict=True))
        self.empty(places, mark)
        problems = {mark.problem: np.array([f"failed: {m}" for m in messages], TEXT)}
        self.write(places, problems, np.full(len(units), FAILED), mark)

    def other_weights(self, label: str, weights: int, mark: Mark | None = None) -> np.ndarray:
        """Whether parts of a checkpoint are there of other weights, over the mark's other dims."""
        mark = mark or self.words.marks[0]
        row = self.rows[CHECKPOINT][label]
        status = self.status_at(row, mark)
        made_of = np.asarray(self.array(mark.weights)[row])
        is_other = np.isin(status, mark.kept) & (made_of != 0) & (made_of != weights)
        return np.asarray(is_other & (weights != 0))

    def _put_shared(
        self, name: str, places: Places, values: np.ndarray, status: np.ndarray, mark: Mark
    ) -> None:
        """Write what several parts have in common, where none of them is there yet."""
        dims, of_mark = self.words.arrays[name].dims, self.words.arrays[mark.status].dims
        shared = {dim: place for dim, place in places.items() if dim in dims}
        n_own = len(dims) - len(shared)
        values = values if values.ndim > n_own else values[np.newaxis]
        for part, at in first_of_each(shared, status != FAILED):
            index = tuple(at.get(dim, slice(None)) for dim in of_mark)
            if not np.isin(self.array(mark.status)[index], (ABSENT, FAILED)).all():
                continue
            put = put_curves if n_own else put_parts
            put(self.array(name), dims, at, values[part if len(values) > 1 else 0])

    def _cache_of(self, name: str) -> PartCache:
        if name not in self._caches:
            self._caches[name] = PartCache(self.array(name), self.words.arrays[name].dims)
        return self._caches[name]

    def _write_column(
        self, name: str, by_label: Mapping[Any, Any], places: Mapping[str, Mapping[Any, int]]
    ) -> None:
        (dim,) = self.words.arrays[name].dims
        known = {places[dim][label]: v for label, v in by_label.items() if label in places[dim]}
        array = self.array(name)
        values = np.array(array[:])
        updated = values.copy()
        updated[list(known)] = as_stored(name, list(known.values())) if known else []
        if not np.array_equal(values, updated):
            array[:] = updated

    def read_labels(self) -> None:
        """See which labels there are now, those left out that were taken back."""
        self.rows: dict[str, dict[Any, int]] = {
            dim: {
                label: place
                for place, label in enumerate(np.asarray(self.array(dim)[:]).tolist())
                if not is_forgotten(label)
            }
            for dim, spec in self.words.arrays.items()
            if spec.dims == (dim,)
        }
        self._caches.clear()
        self._keeper = Keeper(self)
