"""What the server of a page costs: its memory, and how long documents and pictures take.

A made-up store in, or one that is there; one table out. The server is a `dvis view` of its own, and
what is asked of it is what somebody who browses asks: every checkpoint of every layer, some units.
"""

import http.client
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import tyro
from jobs import import_tree
from results import Row, at_most, print_machine, print_table, seconds
from trees import make_tree

MB = 1e6
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
MEMORY_MB = 150
DOCUMENT_S, SHEET_S = 0.5, 0.06
CONNECTIONS = 6  # as many as a browser opens to one host


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which store is browsed."""

    store: Path | None = None
    """One that is there (default: a made-up one, as large as the options below say)."""
    checkpoints: int = 100
    channels: int = 64
    size: int = 224
    """Height and width of the images in pixels."""
    repetitions: int = 5
    """How often each document is asked for, of another layer or unit each time."""


def main(options: Options) -> None:
    """Browse a store and print the table."""
    print_machine()
    with tempfile.TemporaryDirectory(prefix="dvis-bench-") as folder:
        store = options.store or _made_up(Path(folder), options)
        with _server(store) as (process, port):
            rows = [*_latencies(port, options.repetitions), *_memory(process.pid, port)]
    print_table(rows, ["what", "took", "limit", "ratio", "target"])


def _latencies(port: int, repetitions: int) -> Iterator[Row]:
    """Rows of what somebody waits for, one request at a time."""
    variant = json.loads(_get(port, "api/variant/0"))
    n_layers, n_checkpoints = len(variant["layers"]), len(variant["checkpoints"])
    turns = range(repetitions)
    layers = [turn % n_layers for turn in turns]
    channels = json.loads(_get(port, "api/layer/0/0"))["channels"]
    units = [f"0/{layer}/{channels[turn % len(channels)]}" for turn, layer in enumerate(layers)]
    asked: dict[str, tuple[Sequence[str], float]] = {
        "overview": (["api/overview"], DOCUMENT_S),
        "a variant": (["api/variant/0"], DOCUMENT_S),
        "a layer": ([f"api/layer/0/{layer}" for layer in range(n_layers)], DOCUMENT_S),
        "a unit": ([f"api/unit/{each}" for each in units], DOCUMENT_S),
        "64 thumbnails": (
            [f"pictures/thumbs/0/{i}/{n_checkpoints // 2 + i}/0" for i in layers], SHEET_S
        ),
        "a unit's strip": ([f"pictures/strip/{each}" for each in units], DOCUMENT_S),
    }  # fmt: skip
    for name, (paths, limit_s) in asked.items():
        times = []
        for path in paths:
            start = time.perf_counter()
            _get(port, path)
            times.append(time.perf_counter() - start)
        taken_s = median(times)
        yield at_most(name, taken_s / limit_s, 1, seconds(taken_s), seconds(limit_s))


def _memory(pid: int, port: int) -> Iterator[Row]:
    """Rows of the server's memory after everything has been looked at."""
    variant = json.loads(_get(port, "api/variant/0"))
    paths = []
    for layer in variant["layers"]:
        place = f"0/{layer['index']}"
        document = json.loads(_get(port, f"api/layer/{place}"))
        n_blocks = -(-len(document["channels"]) // document["block"])
        for checkpoint in range(len(variant["checkpoints"])):
            paths += [f"pictures/thumbs/{place}/{checkpoint}/{b}" for b in range(n_blocks)]
        for channel in document["channels"][::8]:
            paths += [f"api/unit/{place}/{channel}", f"pictures/strip/{place}/{channel}"]
    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda path: _get(port, path), paths))
    print(f"{len(paths)} requests in {seconds(time.perf_counter() - start)}")
    for name, field in (("memory after browsing", "VmRSS"), ("its peak", "VmHWM")):
        used_mb = _memory_mb(pid, field)
        yield at_most(name, used_mb / MEMORY_MB, 1, f"{used_mb:.0f} MB", f"{MEMORY_MB} MB")


def _get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}: {content[:200]!r}")
        return content
    finally:
        connection.close()


def _memory_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / MB
    raise OSError(f"/proc/{pid}/status has no {field}")


@contextmanager
def _server(store: Path) -> Iterator[tuple[subprocess.Popen[Any], int]]:
    """`dvis view` of a store, and its port."""
    command = [sys.executable, "-m", "dvis.cli", "view", str(store), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found is None:
            raise RuntimeError(f"the server did not start: {line!r}")
        yield process, int(found[1])
    finally:
        process.terminate()
        process.wait()


def _made_up(folder: Path, options: Options) -> Path:
    tree = make_tree(
        folder,
        n_checkpoints=options.checkpoints,
        layers=LAYERS,
        n_channels=options.channels,
        size=options.size,
        n_losses=16,
        workers=2,
    )
    import_tree(str(tree), str(folder / "store.zarr"), 2)
    shutil.rmtree(tree)
    return folder / "store.zarr"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
