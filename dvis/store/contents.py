"""What a store holds, read from its root alone: groups of every kind alike.

A path, a URL or a Zarr store in, names and attributes out. Nothing here reads an array or writes.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.core.group import ConsolidatedMetadata, GroupMetadata
from zarr.core.metadata import ArrayV3Metadata

from dvis.names import natural_key
from dvis.schema import SCHEMA_VERSION, TRAINING, SchemaError, did_you_mean
from dvis.store.root_file import CHECKSUM, require_whole

StoreLike = str | Path | Store
# Which of the groups of a run is meant where none is named: None where that cannot be said.
_MOST_FILE_BYTES, _MOST_LABELS = 2**32, 10**8
_NO_METADATA = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
Default = Callable[[Sequence["Entry"], Mapping[str, Any]], "Entry | None"]


@dataclass(frozen=True)
class Entry:
    """A group of a run: its kind and name, its path in the store, and its attributes."""

    kind: str
    run: str
    name: str
    group: str
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """What the metadata at a store's root say that it holds.

    Attributes
    ----------
    name : str
        What the store is called: its path or URL.
    attrs : dict
        Its attributes: `model`, `created`, `default_run`, ...
    run_attrs : dict of str to dict
        Attributes of each run.
    entries : list of Entry
        Groups of every kind, by kind, run and name.
    training : dict of str to str
        Path of the group with the numbers of its training, of each run that has some.
    arrays : mapping of str to ArrayV3Metadata
        What is said of each array, by its path.
    """

    name: str
    attrs: dict[str, Any]
    run_attrs: dict[str, dict[str, Any]]
    entries: list[Entry]
    training: dict[str, str]
    arrays: Mapping[str, ArrayV3Metadata] = field(default_factory=dict, repr=False, compare=False)

    def of(self, kind: str, run: str | None = None) -> list[Entry]:
        """Groups of a kind, of one run or of all, by run and name."""
        return [e for e in self.entries if e.kind == kind and run in (None, e.run)]

    def runs(self, kind: str) -> list[str]:
        """Runs that have groups of a kind."""
        return list(dict.fromkeys(entry.run for entry in self.of(kind)))

    def names(self, kind: str, run: str | None = None) -> list[str]:
        """Names of a run's groups of a kind; of all runs unless one is named."""
        names = {entry.name for entry in self.of(kind, run)}
        return sorted(names, key=natural_key)

    def only_run(self, run: str | None) -> str:
        """The run that is asked for, or the only one that has something.

        Raises
        ------
        KeyError
            When there is no such run.
        ValueError
            When there are several and none is named.
        """
        runs = sorted({entry.run for entry in self.entries})
        if run is None:
            if len(runs) != 1:
                raise ValueError(
                    f"{self.name} has several runs: {', '.join(runs) or 'none'}; name one"
                )
            return runs[0]
        if run not in runs:
            raise KeyError(did_you_mean("run", run, runs, self.name))
        return run

    def attrs_of_runs(self, run: str | None) -> list[dict[str, Any]]:
        """Attributes of a run, or of all by name.

        Raises
        ------
        KeyError
            When there is no such run.
        """
        if run is None:
            return [attrs for _, attrs in sorted(self.run_attrs.items())]
        if run not in self.run_attrs:
            raise KeyError(did_you_mean("run", run, sorted(self.run_attrs), self.name))
        return [self.run_attrs[run]]

    def default_run(self, kind: str) -> str:
        """The store's default run, or the first that has groups of a kind."""
        runs = self.runs(kind)
        chosen = self.attrs.get("default_run")
        return chosen if chosen in runs else runs[0]

    def choose(
        self,
        kind: str,
        run: str | None,
        name: str | None,
        *,
        noun: str,
        called: str = "name",
        default: Default,
    ) -> Entry:
        """The group that is asked for, or the one that is meant where none is named.

        Parameters
        ----------
        kind : str
            Its kind, of which the store has groups.
        run, name : str, optional
            What is asked for.
        noun, called : str
            What groups of the kind hold, and what their names are called, as errors say it.
        default : callable
            Which of several is meant where none is named.

        Raises
        ------
        KeyError
            When there is no such run or name.
        ValueError
            When there are several and none is named.
        """
        run = self.default_run(kind) if run is None else run
        if run not in self.runs(kind):
            raise KeyError(
                did_you_mean("run", str(run), self.runs(kind), f"the {noun} of {self.name}")
            )
        entries = self.of(kind, run)
        names = [entry.name for entry in entries]
        where = f"{self.name}, run {run!r}"
        if name is None:
            entry = default(entries, self.run_attrs.get(run, {}))
            if entry is None:
                raise ValueError(
                    f"Which {called}? {where}, has {noun} by several names: {', '.join(names)}"
                )
            return entry
        if name not in names:
            raise KeyError(did_you_mean(called, str(name), names, where))
        return entries[names.index(name)]

    @property
    def import_problems(self) -> list[str]:
        """Problems that imports met at files of no unit."""
        listed = list(self.attrs.get("import_problems", []))
        hidden = int(self.attrs.get("n_import_problems", 0)) - len(listed)
        return [*listed, f"... and {hidden} more like these"] if hidden > 0 else listed

    def __str__(self) -> str:
        columns = ("run", "kind", "name")
        rows = [columns, *((entry.run, entry.kind, entry.name) for entry in self.entries)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        head = f"{self.name}: {self.attrs.get('model', '')}, made {self.attrs.get('created', '')}"
        return "\n".join([head, *lines] if self.entries else [head, "nothing is measured yet"])

    __repr__ = __str__


def contents(path_or_url: StoreLike, *, storage_options: dict[str, Any] | None = None) -> Contents:
    """What a store holds, of every kind: it prints as a table.

    Parameters
    ----------
    path_or_url : str, Path or zarr Store
        As `dvis.open` takes it.
    storage_options : dict, optional
        For a URL: credentials and other options of its file system.

    Returns
    -------
    Contents
        Its groups by kind, run and name, and the attributes of the store and of its runs.

    Raises
    ------
    FileNotFoundError, SchemaError, ImportError
        As `dvis.open` does.
    """
    return read_contents(resolve(path_or_url, storage_options), str(path_or_url))


def read_contents(store: StoreLike, name: str) -> Contents:
    """What a resolved store holds, by the metadata at its root."""
    is_whole = not isinstance(store, str | Path) or require_whole(Path(store), name)
    try:
        root = zarr.open_group(store, mode="r", use_consolidated=None)
        groups, arrays = groups_below(root), _arrays_below(root)
    except FileNotFoundError as err:
        if isinstance(store, str | Path) and (Path(store) / "zarr.json").is_file():
            raise SchemaError(  # Zarr takes a KeyError in the metadata for a file that is missing
                f"{name}/zarr.json, which says what the store holds, names groups in groups that "
                "it does not name. Put a copy of the file in its place"
            ) from err
        raise FileNotFoundError(f"No store at {name}") from err
    except json.JSONDecodeError as err:
        raise SchemaError(
            f"{name}/zarr.json, which says what the store holds, is damaged: {err}. Put a copy of "
            "the file in its place"
        ) from err
    except (*_NO_METADATA, RecursionError) as err:
        raise SchemaError(
            f"{name}/zarr.json, which says what the store holds, says what no Zarr group is "
            f"({type(err).__name__}: {err}). Put a copy of the file in its place"
        ) from err
    version = root.attrs.get("dvis_schema")
    if version is None:
        raise SchemaError(f"{name} is a Zarr group, but no dvis store: it has no `dvis_schema`")
    if version != SCHEMA_VERSION:
        raise SchemaError(
            f"{name} has schema {version!r}; this dvis reads {SCHEMA_VERSION}. Update dvis"
        )
    entries: list[Entry] = []
    run_attrs: dict[str, dict[str, Any]] = {}
    training: dict[str, str] = {}
    for path, attrs in groups.items():
        if "run" not in attrs:
            continue
        run, kind = str(attrs["run"]), attrs.get("dvis_kind")
        if kind is None:
            run_attrs[run] = attrs
        elif kind == TRAINING:
            training[run] = path
        else:
            # What a group is called was an attribute of another name in the first kind that was.
            called = attrs.get("name", attrs.get("variant", ""))
            entries.append(Entry(str(kind), run, str(called), path, attrs))
    entries.sort(key=lambda e: (e.kind, natural_key(e.run), natural_key(e.name)))
    if not is_whole:
        warnings.warn(
            f"{name}/zarr.json was changed by another program, or is damaged: its checksum does "
            "not match. Of its groups it says what they say; `dvis check --fix` takes it as it is",
            stacklevel=3,
        )
    own = {key: value for key, value in root.attrs.items() if key != CHECKSUM}
    return Contents(name, own, run_attrs, entries, training, arrays)


def groups_below(root: zarr.Group) -> dict[str, dict[str, Any]]:
    """Attributes of the groups below a root with consolidated metadata, by their paths."""
    metadata = root.metadata.consolidated_metadata or ConsolidatedMetadata(metadata={})
    return {
        path: dict(node.attributes)
        for path, node in metadata.flattened_metadata.items()
        if isinstance(node, GroupMetadata)
    }


def _arrays_below(root: zarr.Group) -> dict[str, ArrayV3Metadata]:
    metadata = root.metadata.consolidated_metadata or ConsolidatedMetadata(metadata={})
    return {
        path: node
        for path, node in metadata.flattened_metadata.items()
        if isinstance(node, ArrayV3Metadata)
    }


def require_plausible(found: Contents, entry: Entry) -> None:
    """Raise where a group's metadata ask for what no store holds, before memory is asked for it.

    Raises
    ------
    SchemaError
        When a file would hold more than 4 GiB, there are more than 100 million labels, or an array
        has a dim twice.
    """
    for path, metadata in found.arrays.items():
        if not path.startswith(f"{entry.group}/"):
            continue
        of_file = metadata.chunk_grid.chunk_shape  # type: ignore[attr-defined]  # regular
        n_bytes = prod(of_file) * metadata.dtype.to_native_dtype().itemsize
        is_label = (metadata.dimension_names or ()) == (path.rpartition("/")[2],)
        dims = [dim for dim in metadata.dimension_names or () if dim is not None]
        is_odd = len({*dims}) < len(dims)
        if is_odd or n_bytes > _MOST_FILE_BYTES or (is_label and metadata.shape[0] > _MOST_LABELS):
            raise SchemaError(
                f"{path} of {found.name} has the dims {dims} and the shape {metadata.shape} in "
                f"files of {of_file}, which no store has: its zarr.json is damaged. Put a copy of "
                "the file in its place"
            )


def open_group(store: StoreLike, entry: Entry) -> zarr.Group:
    """A group as Zarr has it, for whoever needs what a Dataset does not show."""
    return zarr.open_group(resolve(store, None), path=entry.group, mode="r", use_consolidated=False)


def resolve(path_or_url: StoreLike, storage_options: dict[str, Any] | None) -> StoreLike:
    """Something that Zarr opens, after a look that gives a clear error where it cannot."""
    if isinstance(path_or_url, Store):
        return path_or_url
    text = str(path_or_url)
    if "://" in text:
        return _remote_store(text, storage_options)
    path = Path(text).expanduser()
    if not (path / "zarr.json").is_file():
        raise FileNotFoundError(f"No store at {text}. {_what_is_there(path)}")
    return path


def _remote_store(url: str, storage_options: dict[str, Any] | None) -> Store:
    try:
        return zarr.storage.FsspecStore.from_url(
            url, storage_options=storage_options, read_only=True
        )
    except (ImportError, ValueError) as err:
        missing = ImportError(
            f"{url} needs fsspec and the package for its kind of storage, or obstore "
            f"({err}): pip install 'dvis[remote]', and s3fs for s3://"
        )
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise missing from None
    try:
        store = from_url(url, **(storage_options or {}))
    except BaseError as err:
        raise missing from err
    return zarr.storage.ObjectStore(store, read_only=True)


def _what_is_there(path: Path) -> str:
    if path.is_file():
        return f"{path} is a file; a store is a folder, which `dvis ingest` or a measurement makes"
    if path.is_dir():
        return f"{path} is a folder, but no Zarr group; a jpg/json tree goes in by `dvis ingest`"
    parent = path.parent
    if not parent.is_dir():
        return f"There is no folder {path}"
    stores = sorted(child.name for child in parent.glob("*.zarr"))
    if not stores:
        return f"There is no folder {path}"
    return did_you_mean("store", path.name, stores, str(parent.resolve()))
