"""What longitudinal analysis of a whole store costs, against a script over the jpg tree.

A made-up tree and its import in, one table out. Both sides of a row alternate within one run, and
their distances are seen to be the same. The script needs scikit-image.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import matplotlib as mpl
import numpy as np
import tyro
from drifts import drift_of_store, drift_of_tree
from fresh import Cost, cost_of
from jobs import import_tree
from results import Row, at_most, faster, print_machine, print_table, seconds
from trees import make_tree

import dvis
from dvis.analysis.births import births
from dvis.kinds.features import pictures as feature_pictures

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
N_LOSSES = 16
WORKERS = 2
MEMORY_MB = 1500
WAIT_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """How large the store is, and how often each thing is measured."""

    folder: Path | None = None
    """Where the tree and the store are to be, and to stay for the next run."""
    checkpoints: int = 100
    channels: int = 64
    size: int = 224
    """Height and width of the images in pixels."""
    repetitions: int = 1
    """Of drift, for which the script takes minutes; three times as often of what is quick."""
    quick: bool = False
    """Once, over 4 channels of each layer."""


def main(options: Options) -> None:
    """Measure everything and print the table."""
    mpl.use("agg")
    print_machine()
    channels = 4 if options.quick else options.channels
    repetitions = 1 if options.quick else options.repetitions
    with _workplace(options.folder) as name:
        folder = Path(name)
        tree, store = _tree_and_store(folder, options, channels)
        rows = [
            row
            for metric in ("ssim", "cosine")
            for row in drift_rows(tree, store, metric, repetitions)
        ]
        rows += interactive_rows(store, 3 * repetitions)
    n_images = options.checkpoints * len(LAYERS) * channels
    print(f"{n_images} images of {options.size} px, {WORKERS} workers, medians of {repetitions}")
    print_table(rows, ["what", "dvis", "script", "ratio", "target"])


def drift_rows(tree: Path, store: Path, metric: str, n_repetitions: int) -> list[Row]:
    """Times and peak memory of drift of all units, after a look that both sides give the same."""
    ours: list[Cost] = []
    peer: list[Cost] = []
    sides = (
        (ours, drift_of_store, store, store.with_name("store.npz")),
        (peer, drift_of_tree, tree, store.with_name("tree.npz")),
    )
    for i in range(n_repetitions):
        for costs, function, source, out in sides if i % 2 == 0 else sides[::-1]:
            costs.append(cost_of(function, str(source), metric, WORKERS, str(out)))
    _compare(*(out for *_, out in sides))
    wall_s, peer_wall_s = (median(cost.wall_s for cost in costs) for costs in (ours, peer))
    cpu_s, peer_cpu_s = (median(cost.cpu_s for cost in costs) for costs in (ours, peer))
    peak_mb = max(cost.peak_mb for cost in ours)
    return [
        faster(f"drift, {metric}", wall_s, peer_wall_s, 2),
        faster(f"drift, {metric}, CPU", cpu_s, peer_cpu_s),
        at_most(
            f"drift, {metric}, peak memory", peak_mb / MEMORY_MB, 1, f"{peak_mb:.0f} MB", "1500 MB"
        ),
    ]


def _compare(one: Path, other: Path) -> None:
    """Raise where two files hold other distances."""
    with np.load(one) as ours, np.load(other) as peers:
        for name in ("to_previous", "to_last"):
            np.testing.assert_allclose(ours[name], peers[name], atol=1e-4, err_msg=name)


def interactive_rows(store: Path, n_repetitions: int) -> list[Row]:
    """Times of what somebody waits for: a unit drawn, and births of all, each of a fresh store."""

    def draw(i: int) -> None:
        dataset = dvis.open(store)
        feature_pictures.development(dataset, LAYERS[i % len(LAYERS)], i % dataset.sizes["channel"])

    def find_births(i: int) -> None:
        births(dvis.open(store)).compute()

    return [
        _row_of("a unit's timeline with its trajectory, drawn", draw, n_repetitions),
        _row_of("births of all units", find_births, n_repetitions),
    ]


def _row_of(name: str, function: Callable[[int], None], n_repetitions: int) -> Row:
    import matplotlib.pyplot as plt

    times = []
    for i in range(n_repetitions + 1):
        start = time.perf_counter()
        function(i)
        times.append(time.perf_counter() - start)
        plt.close("all")
    wall_s = median(times[1:])  # the first imports what the others have
    return at_most(name, wall_s / WAIT_S, 1, seconds(wall_s), seconds(WAIT_S))


def _tree_and_store(folder: Path, options: Options, channels: int) -> tuple[Path, Path]:
    """A tree of that size and its import, made unless an earlier run left them."""
    root = folder / f"analysis-{options.checkpoints}-{channels}-{options.size}px"
    unfinished = folder / f"{root.name}.unfinished"
    if not root.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        tree = make_tree(
            unfinished,
            n_checkpoints=options.checkpoints,
            layers=LAYERS,
            n_channels=channels,
            size=options.size,
            n_losses=N_LOSSES,
            workers=WORKERS,
        )
        import_tree(str(tree), str(unfinished / "store.zarr"), WORKERS)
        unfinished.rename(root)
    return root / "feature_images" / "resnet18", root / "store.zarr"


def _workplace(folder: Path | None) -> AbstractContextManager[Path | str]:
    if folder is None:
        return tempfile.TemporaryDirectory(prefix="dvis-bench-")
    folder.mkdir(parents=True, exist_ok=True)
    return nullcontext(folder)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
