"""How much of each group of a store is there, and what its files take."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dvis.kinds.registry import KINDS
from dvis.schema import SchemaError
from dvis.store.contents import Entry, contents, open_group
from dvis.store.damage import NamedArray
from dvis.store.datasets import DATASETS
from dvis.store.root_file import ROOT
from dvis.store.tally import count_status

Group = tuple[str, str, str]  # kind, run, name


@dataclass(frozen=True)
class Counts:
    """Parts of a group: those that are made, and those that failed."""

    made: int
    failed: int


def counts_of(store: Path) -> dict[Group, Counts]:
    """Parts of all groups of a store, by kind, run and name; none where there is no store."""
    if not (store / "zarr.json").is_file():
        return {}
    found: dict[Group, Counts] = {}
    for entry in contents(store).entries:
        if entry.kind in KINDS and (counts := _counts(store, entry)) is not None:
            found[entry.kind, entry.run, entry.name] = counts
    return found


def _counts(store: Path, entry: Entry) -> Counts | None:
    group = open_group(store, entry)
    if "status" not in group:  # what is written at once
        return None
    try:
        by_name: Mapping[str, int] = count_status(NamedArray(group["status"]))
    except (LookupError, SchemaError):
        return None  # half grown: the step that made it says so
    made = sum(n for name, n in by_name.items() if name not in ("absent", "failed"))
    return Counts(made, by_name.get("failed", 0))


@dataclass(frozen=True)
class Sizes:
    """Bytes of a store: of what all checkpoints share, and of what each has its own of.

    Metadata and image sets are shared.
    """

    shared: int
    own: int

    @classmethod
    def of(cls, folder: Path) -> "Sizes":
        """Those of a folder, which may not be there."""
        shared = own = 0
        for path in folder.rglob("*") if folder.is_dir() else ():
            if path.is_file() and not path.is_symlink():
                n_bytes = path.stat().st_size
                is_shared = path.name == ROOT or path.is_relative_to(folder / DATASETS)
                shared, own = shared + n_bytes * is_shared, own + n_bytes * (not is_shared)
        return cls(shared, own)

    def __sub__(self, other: "Sizes") -> "Sizes":
        return Sizes(self.shared - other.shared, self.own - other.own)
