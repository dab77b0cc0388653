"""The writing side of a store: make it, let its groups be made and grown, show it to readers.

Safe against a killed process at any moment, not against a power cut: Zarr renames files into place
without fsync.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.group import ConsolidatedMetadata

from dvis.disk import explain_full_disk, write_lock
from dvis.kinds.features.group import array_specs
from dvis.kinds.llc.words import array_specs as arrays_of_chains
from dvis.kinds.responses.read import RESPONSES
from dvis.kinds.responses.words import arrays_of
from dvis.schema import (
    COORDINATES,
    DEFAULT_VARIANT,
    FEATURES,
    LLC,
    SCHEMA_VERSION,
    SchemaError,
    Status,
    VariableSpec,
    run_group,
)
from dvis.store.growth import settle
from dvis.store.guarded import GuardedStore

STORE_LOCK = "store"
# Problems that belong to no unit, such as folders that cannot be listed.
MAX_TREE_PROBLEMS = 1000

# The arrays of the groups of each kind that grows, by a group's attributes.
_ARRAYS: dict[str, Callable[[Mapping[str, Any]], Mapping[str, VariableSpec]]] = {
    FEATURES: lambda _attrs: array_specs(),
    RESPONSES: arrays_of,
    LLC: lambda _attrs: arrays_of_chains(),
}


def create_store(path: Path, model: str) -> None:
    """Make an empty store for a model, or check that the one at the path is that model's.

    Raises
    ------
    SchemaError
        When there is something else at the path, or another model's store.
    """
    with write_lock(path, STORE_LOCK):
        if not (path / "zarr.json").exists():
            if path.exists() and not path.is_dir():
                raise SchemaError(f"{path} is a file; give another --store")
            if path.exists() and any(path.iterdir()):
                raise SchemaError(
                    f"{path} is a folder with other things in it; give another --store"
                )
            zarr.create_group(
                GuardedStore(path),
                attributes={
                    "dvis_schema": SCHEMA_VERSION,
                    "model": model,
                    "default_run": "",
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "dvis_version": version("dvis"),
                },
            )
            _consolidate(path)
            return
        attrs = zarr.open_group(path, mode="r", use_consolidated=False).attrs
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


@contextmanager
def writing(store: str | Path, model: str, groups: str) -> Iterator[Path]:
    """Hold the right to write some groups of a model's store, which is made where there is none.

    Parameters
    ----------
    store : str or Path
        The store's folder.
    model : str
        Whose store it is.
    groups : str
        What its one writer holds: a run and a kind of groups.

    Raises
    ------
    SchemaError
        When there is something else at the place of the store.
    DiskFullError
        When there is no space left; what was written before is safe.
    """
    path = Path(store).expanduser()
    create_store(path, model)
    try:
        with write_lock(path, groups):
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
        _consolidate(path)


def _consolidate(path: Path) -> None:
    """Write the metadata of all groups into the root, after setting right what a kill left."""
    with warnings.catch_warnings():
        # The store is Zarr v3, whose specification does not have consolidated metadata yet.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        # What a killed process had not renamed into its place yet.
        warnings.filterwarnings("ignore", message=r"Object at \S+\.partial is not recognized")
        root = zarr.consolidate_metadata(GuardedStore(path))
        if _settle_groups(root):
            zarr.consolidate_metadata(GuardedStore(path))


def _settle_groups(root: zarr.Group) -> bool:
    """Set half-grown groups of every kind right; return whether there were some."""
    is_changed = False
    for kind, arrays_of_group in _ARRAYS.items():
        for name in group_names(root, kind):
            group: Any = root[name]
            # Damage of another kind: `dvis check` tells, and who opens the group to write.
            with suppress(SchemaError):
                is_changed |= settle(group, arrays_of_group(group.attrs))
    return is_changed


def group_names(root: zarr.Group, kind: str) -> list[str]:
    """Paths of the groups of a kind, such as `features`, from a root with consolidated metadata."""
    consolidated = root.metadata.consolidated_metadata or ConsolidatedMetadata(metadata={})
    return [
        name
        for name, node in consolidated.flattened_metadata.items()
        if node.attributes.get("dvis_kind") == kind
    ]


def batches_per_epoch(store: Path, run: str) -> int | None:
    """Batches in an epoch of a run's training as an earlier import was told them."""
    attrs = zarr.open_group(store, path=run_group(run), mode="r", use_consolidated=False).attrs
    given = attrs.get("batches_per_epoch")
    return int(given) if isinstance(given, int) and not attrs.get("is_estimated") else None


def note_run(
    store: Path, run: str, *, batches: int | None, is_estimated: bool, flat: Iterable[str]
) -> None:
    """Keep with a run what no variable holds.

    Parameters
    ----------
    store : Path
        The store.
    run : str
        The run.
    batches : int, optional
        Batches in an epoch, from which the `step` coordinate was computed.
    is_estimated : bool
        Whether the number of batches was not given, but read off the checkpoints' times.
    flat : iterable of str
        Checkpoints whose folders lie in the model's folder itself, not in the run's.
    """
    group = zarr.open_group(
        GuardedStore(store), path=run_group(run), mode="r+", use_consolidated=False
    )
    known: list[str] = list(group.attrs.get("flat_checkpoints", []))  # type: ignore[arg-type]
    group.update_attributes(
        {
            "batches_per_epoch": batches,
            "is_estimated": is_estimated,
            "flat_checkpoints": sorted({*known, *flat}),
        }
    )


def finish_import(path: Path, problems: Sequence[str] = (), below: str = "") -> None:
    """Choose the default run and variants, keep the problems of the tree, show all to readers.

    Parameters
    ----------
    path : Path
        The store.
    problems : sequence of str
        Problems that belong to no unit, each beginning with its path.
    below : str
        The part of the tree that was looked at: earlier problems with paths below it are gone.
    """
    with restructuring(path):
        root = zarr.open_group(GuardedStore(path), mode="r+", use_consolidated=False)
        names = group_names(zarr.open_group(path, mode="r"), FEATURES)
        groups = {name: root[name] for name in names}
        runs: dict[str, dict[str, zarr.Group]] = {}
        for group in groups.values():
            run, variant = str(group.attrs["run"]), str(group.attrs["variant"])
            runs.setdefault(run, {})[variant] = group  # type: ignore[assignment]  # by its attrs
        n_timed = {}
        for run, variants in sorted(runs.items()):
            default = DEFAULT_VARIANT
            if default not in variants:
                default = max(sorted(variants), key=lambda name: _n_complete(variants[name]))
            root[run_group(run)].update_attributes({"default_variant": default})
            n_timed[run] = max(_n_timed(group) for group in variants.values())
        default_run = max(n_timed, key=lambda run: n_timed[run], default="")
        # Through the consolidated root: writing it without would hide every group from readers
        # until it is consolidated again.
        shown = zarr.open_group(GuardedStore(path), mode="r+", use_consolidated=True)
        earlier: list[str] = list(shown.attrs.get("import_problems", []))  # type: ignore[arg-type]
        listed = [problem for problem in earlier if not problem.startswith(below)] + [*problems]
        shown.update_attributes(
            {
                "default_run": default_run,
                "import_problems": listed[:MAX_TREE_PROBLEMS],
                "n_import_problems": len(listed),
            }
        )


def _n_complete(group: zarr.Group) -> int:
    return int((np.asarray(group["status"][:]) == Status.COMPLETE).sum())  # type: ignore[index]


def _n_timed(group: zarr.Group) -> int:
    return int((np.asarray(group["time"][:]) != COORDINATES["time"].fill).sum())  # type: ignore[index]
