"""What an import costs a unit as trees grow, and what opening a large store and `import dvis` cost.

Made-up trees of tiny images in, one table for each question out.
"""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro
from fresh import Cost, cost_of, import_cpu_s
from jobs import import_tree, open_store
from results import Row, at_most, print_machine, print_table, seconds
from trees import checkpoint_label, make_tree

from dvis.kinds.features.group import FeatureGroup
from dvis.kinds.features.run_notes import finish_import
from dvis.names import parse_checkpoint
from dvis.store.writer import create_store, restructuring

WORKERS = 2
# Checkpoints, layers and channels of the trees.
TREES = [(10, 2, 50), (50, 4, 50), (100, 10, 100)]
LARGEST_TREE = (200, 20, 250)
IMAGE_SIZE, N_LOSSES = 8, 4
# A resnet50 with all of its convolutions.
LARGE_STORE = (200, 53, 2048)
OPEN_TARGET_S, OPEN_TARGET_MB, IMPORT_TARGET = 0.3, 150.0, 2.0
N_OPENINGS, N_IMPORTS = 5, 7


@dataclass(frozen=True, kw_only=True)
class Options:
    """How far the trees grow, and what is left out."""

    full: bool = False
    """Also a tree of 10^6 units: 2 million files."""
    max_units: int | None = None
    """Leave out trees that are larger."""
    folder: Path | None = None
    """Where to make the trees; the system's temporary folder by default."""


def main(options: Options) -> None:
    """Measure everything and print the tables."""
    print_machine()
    with tempfile.TemporaryDirectory(prefix="dvis-scale-", dir=options.folder) as name:
        folder = Path(name)
        print_table(
            time_imports_of_dvis(), ["import in a fresh Python, CPU", "dvis", "xarray", "", ""]
        )
        print_table(time_opening(folder), ["open", "measured", "", "", "target"])
        print_table(
            time_trees(folder, options),
            ["import of a tree", "a unit, wall", "a unit, CPU", "peak memory", "whole"],
        )


def time_imports_of_dvis() -> list[Row]:
    """Processor time of `import dvis` against `import xarray`."""
    import_cpu_s("dvis")  # compiles what was never imported
    pairs = [(import_cpu_s("dvis"), import_cpu_s("xarray")) for _ in range(N_IMPORTS)]
    ours, peer = (seconds(median(column)) for column in zip(*pairs, strict=True))
    ratio = median(a / b for a, b in pairs)
    return [at_most(f"median of {N_IMPORTS}", ratio, IMPORT_TARGET, ours, peer)]


def time_opening(folder: Path) -> list[Row]:
    """Time and memory of opening a store of many checkpoints, layers and channels."""
    store = _large_store(folder / "large.zarr")
    cost_of(open_store, str(store))  # compiles what was never imported
    costs = [cost_of(open_store, str(store)) for _ in range(N_OPENINGS)]
    shutil.rmtree(store)
    wall_s = median(cost.wall_s for cost in costs)
    added_mb = median(cost.added_mb for cost in costs)
    name = "{} checkpoints x {} layers x {} channels".format(*LARGE_STORE)
    return [
        Row(
            name=f"{name}, wall",
            ours=seconds(wall_s),
            target=f"<= {OPEN_TARGET_S} s",
            is_met=wall_s <= OPEN_TARGET_S,
        ),
        Row(
            name=f"{name}, memory above imports",
            ours=f"{added_mb:.1f} MB",
            target=f"<= {OPEN_TARGET_MB:g} MB",
            is_met=added_mb <= OPEN_TARGET_MB,
        ),
    ]


def time_trees(folder: Path, options: Options) -> list[Row]:
    """Cost of importing trees of rising size; each is deleted after its import."""
    rows = []
    for shape in [*TREES, *([LARGEST_TREE] if options.full else [])]:
        n_units = shape[0] * shape[1] * shape[2]
        if options.max_units is not None and n_units > options.max_units:
            continue
        start = time.perf_counter()
        cost = _tree_cost(folder, *shape)
        whole_s = time.perf_counter() - start
        print(f"{n_units} units: imported in {cost.wall_s:.1f} s, {whole_s:.1f} s with the tree")
        rows.append(
            Row(
                name="{:,} units ({} x {} x {})".format(n_units, *shape),
                ours=f"{cost.wall_s / n_units * 1e6:.0f} us",
                peer=f"{cost.cpu_s / n_units * 1e6:.0f} us",
                ratio=f"{cost.peak_mb:.0f} MB",
                target=seconds(cost.wall_s),
            )
        )
    return rows


def _tree_cost(folder: Path, n_checkpoints: int, n_layers: int, n_channels: int) -> Cost:
    root, store = folder / "tree", folder / "tree.zarr"
    tree = make_tree(
        root,
        n_checkpoints=n_checkpoints,
        layers=[f"layer{i}" for i in range(n_layers)],
        n_channels=n_channels,
        size=IMAGE_SIZE,
        n_losses=N_LOSSES,
        workers=WORKERS,
    )
    os.sync()
    try:
        return cost_of(import_tree, str(tree), str(store), WORKERS)
    finally:
        shutil.rmtree(root)
        shutil.rmtree(store, ignore_errors=True)


def _large_store(path: Path) -> Path:
    """A store with room for many units and no images."""
    n_checkpoints, n_layers, n_channels = LARGE_STORE
    labels = [checkpoint_label(i) for i in range(n_checkpoints)]
    create_store(path, "resnet50")
    with restructuring(path):
        group = FeatureGroup.create(
            path, "checkpoints", "average-0", height=224, width=224, codec="jpeg"
        )
        group.grow_units(
            [parse_checkpoint(label) for label in labels],
            {f"layer{i}": n_channels for i in range(n_layers)},
        )
    finish_import(path, [])
    return path


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
