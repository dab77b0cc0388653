"""What a store costs as checkpoints, units and groups grow: bytes, files, opening, one trajectory.

Groups of made-up responses (random numbers, which nothing compresses) in, written as measurements
write them; one table out. Opening and reading are each of a fresh process, in its
processor time and memory above imports.
"""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import tyro
import xarray as xr
from fresh import cost_of
from jobs import open_responses, read_trajectory
from results import Row, print_machine, print_table, seconds
from trees import checkpoint_label

from dvis.kinds.responses.words import KIND, ResponseSettings, response_words
from dvis.names import parse_checkpoint
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing

RUN = "checkpoints"
N_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class Size:
    """Checkpoints, layers, channels of a layer, and groups of a store."""

    checkpoints: int = 10
    layers: int = 5
    channels: int = 200
    groups: int = 1

    @property
    def n_parts(self) -> int:
        """Units at checkpoints of all groups."""
        return self.checkpoints * self.layers * self.channels * self.groups


SIZES = (
    Size(),
    Size(channels=2000),
    Size(layers=50, channels=2000),
    Size(groups=10),
    Size(checkpoints=100),
    Size(checkpoints=100, layers=50),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the stores lie while they are measured, and which are left out."""

    folder: Path | None = None
    """Where to make the stores; the system's temporary folder by default."""
    openings: int = 3
    """How often each store is opened and read; medians are printed."""
    max_parts: int = 1_000_000
    """Leave out stores with more units at checkpoints."""


def main(options: Options) -> None:
    """Measure a store of each size and print the table."""
    print_machine()
    columns = ["checkpoints x layers x channels x groups", "files", "bytes a part", "open", "read"]
    rows = []
    for size in SIZES:
        if size.n_parts <= options.max_parts:
            with tempfile.TemporaryDirectory(prefix="dvis-growth-", dir=options.folder) as name:
                rows.append(_row(size, Path(name) / "net.zarr", options.openings))
    print_table(rows, columns)


def _row(size: Size, store: Path, n_openings: int) -> Row:
    start = time.process_time()
    _write(size, store)
    written_s = time.process_time() - start
    files = [path for path in store.rglob("*") if path.is_file()]
    n_bytes = sum(path.stat().st_size for path in files)
    root_bytes = (store / "zarr.json").stat().st_size
    costs = {}
    for job in (open_responses, read_trajectory):
        costs[job] = [cost_of(job, str(store), "images-0") for _ in range(n_openings)]
    said = {
        job: f"{seconds(median(c.cpu_s for c in found))}, "
        f"{median(c.added_mb for c in found):.0f} MB"
        for job, found in costs.items()
    }
    shutil.rmtree(store)
    row = Row(
        name=f"{size.checkpoints} x {size.layers} x {size.channels} x {size.groups}",
        ours=f"{len(files):,}",
        peer=f"{n_bytes / size.n_parts:.0f}",
        ratio=said[open_responses],
        target=said[read_trajectory],
    )
    print(
        f"{row.name}: written in {seconds(written_s)} CPU, {n_bytes / 1e6:.1f} MB, "
        f"zarr.json {root_bytes / 1e3:.0f} kB; {row.ours} files, open {row.ratio}, "
        f"read {row.target}",
        flush=True,
    )
    return row


def _write(size: Size, store: Path) -> None:
    """Write all groups, a checkpoint at a time."""
    rng = np.random.default_rng(0)
    with writing(store, "net", RUN, KIND) as path:
        for number in range(size.groups):
            group = _group(size, path, f"images-{number}")
            for i in range(size.checkpoints):
                group.commit(_result(size, checkpoint_label(i), rng))


def _group(size: Size, path: Path, name: str) -> Group:
    images = tuple(f"{i}.png" for i in range(N_IMAGES))
    settings = ResponseSettings(
        of="image", labels=images, images={"name": "made up"}, aggregation="mean"
    )
    words = response_words("image", n_channels=size.channels, n_images=N_IMAGES)
    layers = [f"layer{i}" for i in range(size.layers)]
    with restructuring(path):
        group = Group.open(path, words, RUN, name, settings.attrs)
        group.grow(
            [parse_checkpoint(checkpoint_label(i)) for i in range(size.checkpoints)],
            {"layer": layers, "channel": range(size.channels), "image": images},
            {"n_channels": dict.fromkeys(layers, size.channels)},
        )
    return group


def _result(size: Size, label: str, rng: np.random.Generator) -> xr.Dataset:
    """Responses of all units at a checkpoint."""
    layers = np.repeat([f"layer{i}" for i in range(size.layers)], size.channels)
    channels = np.tile(np.arange(size.channels), size.layers)
    values = rng.standard_normal((len(channels), N_IMAGES), np.float32)
    return xr.Dataset(
        {"response": (("unit", "image"), values), "error": ("unit", np.full(len(layers), ""))},
        {
            "checkpoint": label,
            "layer": ("unit", layers.astype(object)),
            "channel": ("unit", channels),
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
