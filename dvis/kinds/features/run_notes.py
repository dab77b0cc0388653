"""What is kept with a run beside its groups: default run and variants, and notes of its imports."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import zarr

from dvis.kinds.features.words import DEFAULT_VARIANT, KIND, Variant
from dvis.schema import COORDINATES, Status, run_group
from dvis.store.contents import contents, open_group
from dvis.store.guarded import GuardedStore
from dvis.store.writer import restructuring

# Problems that belong to no unit, such as folders that cannot be listed.
MAX_TREE_PROBLEMS = 1000


def batches_per_epoch(store: Path, run: str) -> tuple[int | None, bool]:
    """Batches in an epoch that an earlier import of a run went by, and whether it guessed them."""
    attrs = zarr.open_group(store, path=run_group(run), mode="r", use_consolidated=False).attrs
    batches = attrs.get("batches_per_epoch")
    return batches if isinstance(batches, int) else None, bool(attrs.get("is_estimated"))


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
    with restructuring(store):
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
        groups: dict[str, dict[str, zarr.Group]] = {}
        for entry in contents(path).of(KIND):
            groups.setdefault(entry.run, {})[entry.name] = open_group(path, entry)
        n_timed = {}
        for run, variants in sorted(groups.items()):
            default = DEFAULT_VARIANT
            if default not in variants:
                usual = Variant.usual(sorted(variants))
                default = max(usual, key=lambda name: _n_complete(variants[name]))
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
