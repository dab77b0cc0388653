"""The writing side of a store: make it, let its groups be made and grown, show it to readers.

Safe against a killed process at any moment, not against a power cut: Zarr renames files into place
without fsync.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import zarr

from dvis.disk import (
    PARTIAL,
    STORE_LOCK,
    explain_full_disk,
    files_below,
    inside,
    remove_tree,
    unlink_inside,
    write_lock,
)
from dvis.schema import SCHEMA_VERSION, TRAINING, SchemaError, run_group
from dvis.store.contents import groups_below
from dvis.store.growth import settle
from dvis.store.guarded import GuardedStore

_ARCHITECTURE = "architecture"  # attribute of a store: what tells its model from others of its name


def removed_path(store: Path) -> Path:
    """Where a store goes, in one step, that is about to be removed."""
    return store.with_name(f".{store.name}.removed-{uuid4().hex[:8]}")


def clear_removed(store: Path) -> None:
    """Remove what is left of stores that were removed; the caller holds the store's lock."""
    for left in store.parent.glob(f".{escape(store.name)}.removed-*"):
        remove_tree(left, root=store.parent)


def clear_unfinished(store: Path, run: str, kind: str) -> None:
    """Remove files that killed writers had not renamed into their places.

    Those of a run's groups of a kind, whose lock the caller holds, and of the groups around them.
    """
    with write_lock(store, STORE_LOCK):  # under which the metadata of any group are written
        folder = inside(store, run_group(run))
        around = [each for each in (folder, *folder.parents) if each.is_relative_to(store)]
        files = [*(path for each in around for path in each.glob(f"*{PARTIAL}"))]
        for path in [*files, *files_below(inside(folder, kind))]:
            if path.name.endswith(PARTIAL):
                unlink_inside(path, root=store)


def create_store(path: Path, model: str, architecture: str | None = None) -> None:
    """Make an empty store for a model, or check that the one at the path is that model's.

    Raises
    ------
    SchemaError
        When there is something else at the path, or another model's store.
    """
    with write_lock(path, STORE_LOCK):
        clear_removed(path)
        if not (path / "zarr.json").exists():
            if path.exists() and not path.is_dir():
                raise SchemaError(f"{path} is a file; give another --store")
            if path.exists() and any(path.iterdir()):
                raise SchemaError(
                    f"{path} is a folder with other things in it; give another --store"
                )
            root = zarr.create_group(
                GuardedStore(path),
                attributes={
                    "dvis_schema": SCHEMA_VERSION,
                    "model": model,
                    "default_run": "",
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "dvis_version": version("dvis"),
                },
            )
            if architecture is not None:
                root.attrs[_ARCHITECTURE] = architecture
            consolidate(path)
            return
        root = zarr.open_group(GuardedStore(path), mode="r+", use_consolidated=False)
        attrs = root.attrs
        if attrs.get("dvis_schema") != SCHEMA_VERSION:
            raise SchemaError(
                f"{path} has schema {attrs.get('dvis_schema')!r}; this dvis writes schema "
                f"{SCHEMA_VERSION}. Give another --store"
            )
        if attrs.get("model") != model:
            raise SchemaError(
                f"{path} is the store of {attrs.get('model')!r}, not of {model!r}; "
                "give another --store"
            )
        if architecture is not None and attrs.get(_ARCHITECTURE) != architecture:
            if _ARCHITECTURE in attrs:
                raise SchemaError(
                    f"{path} is the store of another model that is called {model!r} too: one of "
                    f"class and weights {attrs[_ARCHITECTURE]}, and this one is {architecture}. "
                    "Give another --store"
                )
            root.attrs[_ARCHITECTURE] = architecture
            consolidate(path)


@contextmanager
def writing(
    store: str | Path, model: str, run: str, kind: str, architecture: str | None = None
) -> Iterator[Path]:
    """Hold the right to write some groups of a model's store, which is made where there is none.

    Parameters
    ----------
    store : str or Path
        The store's folder.
    model : str
        Whose store it is.
    run, kind : str
        What its one writer holds: the groups of a kind of a run.
    architecture : str, optional
        What tells the model from others of its name, where it is known.

    Raises
    ------
    ValueError
        When no run can be called so.
    SchemaError
        When there is something else at the place of the store.
    DiskFullError
        When there is no space left; what was written before is safe.
    """
    path = Path(store).expanduser()
    run_group(run)  # raises for a name that no store can keep, before there is one
    try:
        # The store after the lock: nobody removes it in between.
        with write_lock(path, f"{run}/{kind}"):
            create_store(path, model, architecture)
            clear_unfinished(path, run, kind)
            yield path
    except OSError as err:
        raise explain_full_disk(err, path) from err


@contextmanager
def restructuring(path: Path) -> Iterator[None]:
    """Hold the right to make and grow groups; at the end, show readers the store as it is then.

    Until then they see it as it was: they open the metadata consolidated at its root.
    """
    with write_lock(path, STORE_LOCK):
        yield
        consolidate(path)


def consolidate(path: Path) -> None:
    """Write the metadata of all groups into the root, after setting right what a kill left.

    The caller holds the lock of the store's list of groups.
    """
    with warnings.catch_warnings():
        # The store is Zarr v3, whose specification does not have consolidated metadata yet.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        # What a killed process had not renamed into its place yet, and groups that it half made,
        # which are removed when they are made again.
        warnings.filterwarnings("ignore", message=r"Object at .* is not recognized")
        root = zarr.consolidate_metadata(GuardedStore(path))
        if _settle_groups(root):
            zarr.consolidate_metadata(GuardedStore(path))


def _settle_groups(root: zarr.Group) -> bool:
    """Set half-grown groups of every kind right; return whether there were some."""
    is_changed = False
    for path, attrs in groups_below(root).items():
        if attrs.get("dvis_kind") in (None, TRAINING):
            continue
        group: Any = root[path]
        # Damage of another kind: `dvis check` tells, and who opens the group to write.
        with suppress(SchemaError):
            is_changed |= settle(group)
    return is_changed
