"""What reading, importing and keeping a tree costs as a store, against the tree itself.

A made-up tree in, one table out. Both sides of each row alternate within one run; the tree is read
by Pillow, and by simplejpeg as dvis does.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import simplejpeg
import tyro
import xarray as xr
from fresh import Cost, cost_of
from jobs import import_tree, read_tree
from PIL import Image
from results import Row, at_most, faster, print_machine, print_table
from trees import make_tree

import dvis

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
N_LOSSES = 256
WORKERS = 2
GRID_CHANNELS = 64


@dataclass(frozen=True, kw_only=True)
class Options:
    """How large the tree is, and how often each thing is measured."""

    folder: Path | None = None
    """Where the trees and the store are to be, and to stay for the next run."""
    checkpoints: int = 100
    channels: int = 64
    size: int = 224
    """Height and width of the images in pixels."""
    repetitions: int = 9
    """Of each read; the first does not count."""
    ingest_repetitions: int = 3


class Place(NamedTuple):
    """What one repetition reads: a unit over training, or a layer at a checkpoint."""

    tree: Path
    store: Path
    labels: list[str]
    layer: str
    channel: int
    channels: list[int]
    label: str

    def over_training(self, suffix: str) -> list[Path]:
        """Files of the unit at every checkpoint."""
        return [self._path(label, self.channel, suffix) for label in self.labels]

    def of_layer(self, suffix: str) -> list[Path]:
        """Files of the layer's channels at the checkpoint."""
        return [self._path(self.label, channel, suffix) for channel in self.channels]

    def _path(self, label: str, channel: int, suffix: str) -> Path:
        name = f"layer_{self.layer}_channel_{channel}_average{suffix}"
        return self.tree / "checkpoints" / label / name


Found = Mapping[str, np.ndarray | Sequence[np.ndarray] | Sequence[float]]
Read = Callable[[xr.Dataset, Place], Found]


@dataclass(frozen=True, kw_only=True)
class Race:
    """Two ways to the same arrays, and how many times faster ours is to be."""

    name: str
    ours: Read
    peer: Read
    target: float | None = None


def main(options: Options) -> None:
    """Measure everything and print the table."""
    print_machine()
    with _workplace(options.folder) as folder:
        tree = _tree(folder, options, options.checkpoints)
        small = _tree(folder, options, max(1, options.checkpoints // 10))
        store = folder / "store.zarr"
        shutil.rmtree(store, ignore_errors=True)
        import_tree(str(tree), str(store), WORKERS)
        rows = time_reads(tree, store, options.repetitions)
        rows += time_imports(tree, store, small, options.ingest_repetitions)
        rows.append(_size_row(tree, store))
    n_units = options.checkpoints * len(LAYERS) * options.channels
    print(f"{n_units} units of {options.size} px and {N_LOSSES} losses, warm medians")
    print_table(rows, ["what", "dvis", "peer", "ratio", "target"])


def time_reads(tree: Path, store: Path, n_repetitions: int) -> list[Row]:
    """Times of reading from the store and from the tree, after a check that both read the same."""
    dataset = dvis.open(store)
    labels = [str(label) for label in dataset["checkpoint"].values]
    channels = list(range(min(GRID_CHANNELS, dataset.sizes["channel"])))
    times: dict[str, list[tuple[float, float]]] = {race.name: [] for race in RACES}
    for i in range(n_repetitions):
        for race in RACES:
            place = Place(
                tree=tree,
                store=store,
                labels=labels,
                layer=LAYERS[i % len(LAYERS)],
                channel=channels[(17 * i + 5) % len(channels)],
                channels=channels,
                label=labels[(37 * i + 11) % len(labels)],
            )
            times[race.name].append(_run_race(race, place, ours_first=i % 2 == 0))
    rows = []
    for race in RACES:
        ours, peer = zip(*(times[race.name][1:] or times[race.name]), strict=True)
        rows.append(faster(race.name, median(ours), median(peer), race.target))
    return rows


def time_imports(tree: Path, store: Path, small: Path, n_repetitions: int) -> list[Row]:
    """Rate, processor time and memory of imports, against reading the files alone."""
    ours: dict[int, list[Cost]] = {1: [], WORKERS: []}
    peer: dict[int, list[Cost]] = {1: [], WORKERS: []}
    of_small = []
    for _ in range(n_repetitions):
        for workers in (WORKERS, 1):
            ours[workers].append(_import_cost(tree, store, workers))
            os.sync()
            peer[workers].append(cost_of(read_tree, str(tree), workers))
        of_small.append(_import_cost(small, store.with_name("small.zarr"), WORKERS))
    n_units = sum(1 for _ in tree.rglob("*.jpg"))
    wall_s, peer_wall_s = (median(cost.wall_s for cost in x[WORKERS]) for x in (ours, peer))
    cpu_s, peer_cpu_s = (median(cost.cpu_s for cost in x[1]) for x in (ours, peer))
    peaks = [median(cost.peak_mb for cost in costs) for costs in (ours[WORKERS], of_small)]
    rates = f"{n_units / wall_s:.0f} against {n_units / peer_wall_s:.0f} units/s"
    return [
        faster(f"import, {WORKERS} workers: {rates}", wall_s, peer_wall_s, 0.7),
        faster("import, 1 worker, CPU", cpu_s, peer_cpu_s, 0.7),
        at_most(
            "import, peak memory, against a tenth of the tree",
            peaks[0] / peaks[1],
            1.3,
            *(f"{peak:.0f} MB" for peak in peaks),
        ),
    ]


def _import_cost(tree: Path, store: Path, workers: int) -> Cost:
    shutil.rmtree(store, ignore_errors=True)
    os.sync()  # or the files of the run before would be written out during this one
    return cost_of(import_tree, str(tree), str(store), workers)


def _run_race(race: Race, place: Place, *, ours_first: bool) -> tuple[float, float]:
    """Seconds of ours and of the peer's read of one place."""
    read: dict[str, Found] = {}
    times: dict[str, float] = {}
    for side in ("ours", "peer") if ours_first else ("peer", "ours"):
        function: Read = getattr(race, side)
        dataset = dvis.open(place.store)  # a fresh one has nothing cached
        start = time.perf_counter()
        read[side] = function(dataset, place)
        times[side] = time.perf_counter() - start
    for name, values in read["ours"].items():
        if not np.array_equal(values, read["peer"][name]):
            raise AssertionError(f"{race.name}: {name} of the store differs from that of the tree")
    return times["ours"], times["peer"]


def _over_training(*names: str) -> Read:
    def read(dataset: xr.Dataset, place: Place) -> Found:
        unit = dataset.sel(layer=place.layer, channel=place.channel)
        return {name: unit[name].values for name in names}

    return read


def _of_layer(*names: str) -> Read:
    def read(dataset: xr.Dataset, place: Place) -> Found:
        layer = dataset.sel(layer=place.layer, checkpoint=place.label)
        layer = layer.isel(channel=slice(len(place.channels)))
        return {name: layer[name].values for name in names}

    return read


def _open_and_read(dataset: xr.Dataset, place: Place) -> Found:
    return _over_training("activation")(dvis.open(place.store), place)


def _from_files(
    files: Callable[[Place, str], list[Path]],
    *names: str,
    decode: Callable[[Path], np.ndarray] | None = None,
) -> Read:
    def read(dataset: xr.Dataset, place: Place) -> Found:
        found: dict[str, Sequence[np.ndarray] | Sequence[float]] = {}
        if "image" in names:
            found["image"] = [(decode or _pixels)(path) for path in files(place, ".jpg")]
        if "activation" in names:
            found["activation"] = [_activation(path) for path in files(place, ".info.json")]
        return found

    return read


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _quick_pixels(path: Path) -> np.ndarray:
    return np.asarray(simplejpeg.decode_jpeg(path.read_bytes(), "RGB"))


def _activation(path: Path) -> float:
    with path.open() as file:
        return float(json.load(file)["Activation"])


_TRAINING, _LAYER = Place.over_training, Place.of_layer
RACES = [
    Race(
        name="trajectory",
        ours=_over_training("activation"),
        peer=_from_files(_TRAINING, "activation"),
        target=10,
    ),
    Race(
        name="trajectory, with open",
        ours=_open_and_read,
        peer=_from_files(_TRAINING, "activation"),
    ),
    *(
        Race(
            name=f"{name}{what}, against {peer}",
            ours=ours(*variables),
            peer=_from_files(files, *variables, decode=decode),
            target=target,
        )
        for name, files, ours, targets in (
            ("timeline", _TRAINING, _over_training, (2, 1.8)),
            ("grid", _LAYER, _of_layer, (1.6, 1.6)),
        )
        for what, variables, of_pillow in (
            ("", ("image", "activation"), targets[0]),
            (", images only", ("image",), targets[1]),
        )
        for peer, decode, target in (
            ("Pillow", _pixels, of_pillow),
            ("simplejpeg", _quick_pixels, 0.9),
        )
    ),
]


def _size_row(tree: Path, store: Path) -> Row:
    ours, peer = (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        for folder in (store, tree)
    )
    return at_most("size", ours / peer, 1.05, f"{ours:.1f} MB", f"{peer:.1f} MB")


def _tree(folder: Path, options: Options, n_checkpoints: int) -> Path:
    """A tree of so many checkpoints, made unless an earlier run left it."""
    root = folder / f"tree-{n_checkpoints}-{options.channels}-{options.size}px"
    unfinished = folder / f"{root.name}.unfinished"
    if not root.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        make_tree(
            unfinished,
            n_checkpoints=n_checkpoints,
            layers=LAYERS,
            n_channels=options.channels,
            size=options.size,
            n_losses=N_LOSSES,
            workers=WORKERS,
        )
        unfinished.rename(root)
    return root / "feature_images" / "resnet18"


@contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="dvis-bench-") as temporary:
        yield Path(temporary)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
