"""Programs that the tests of concurrency start, kill and watch, and what their units hold.

Run as a script this is a server: it imports dvis once, then forks a process for each program that
it is told to start, so that a kill costs no two seconds of imports. It has no threads of its own.
"""

import faulthandler
import functools
import io
import json
import logging
import os
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array  # noqa: F401  # xarray would import it in each process, at its first read
import numpy as np
import xarray as xr
from PIL import Image

import dvis
from dvis.disk import write_lock
from dvis.kinds.features.images.compaction import compact_store
from dvis.kinds.features.tree.ingest import ingest_tree
from dvis.kinds.features.words import KIND
from dvis.schema import SchemaError, Status

VERSIONS = (0, 1)
SIDE = 16
_READER_GIVES_UP_S = 120
_SINGLE_READS = 5
_UNIT_RETURNS_WITHIN_S = 20
_HANGS_AFTER_S = 50  # then its log tells where it is


def jpg_of(label: str, layer: str, channel: int, version: int = 0, side: int = SIDE) -> bytes:
    """A unit's picture: noise of its own, but all black for every seventh channel."""
    rng = np.random.default_rng(zlib.crc32(f"{label} {layer} {channel} {version}".encode()))
    pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels * (channel % 7 != 6)).save(buffer, "JPEG")
    return buffer.getvalue()


def info_of(label: str, layer: str, channel: int, version: int = 0) -> dict[str, Any]:
    """A unit's info.json; its loss curve is longer in the later version."""
    n_steps = 300 if version else 5 + channel % 3
    return {
        "Layer": layer,
        "Channel": channel,
        "Neuron": None,
        "Aggregation": "average",
        "Activation": float(np.float32(zlib.crc32(label.encode()) % 1000 + channel + version / 2)),
        "Convergence Iteration": n_steps,
        "Parameters": {"learning_rate": 0.1 + 0.1 * (channel % 2), "seed": version},
        "Loss Values": [float(-channel - version - step) for step in range(n_steps)],
    }


@functools.cache
def _truth(label: str, layer: str, channel: int, version: int, side: int) -> tuple[Any, ...]:
    """Image, activation and loss that a store must show of a complete unit."""
    jpg = jpg_of(label, layer, channel, version, side)
    info = info_of(label, layer, channel, version)
    pixels = np.asarray(Image.open(io.BytesIO(jpg)))
    return pixels, np.float32(info["Activation"]), np.array(info["Loss Values"], np.float32)


def faults_of(dataset: xr.Dataset) -> tuple[int, list[str]]:
    """Complete units of a variant, read anew as a polling reader does, and those that are wrong.

    A unit whose files were replaced may be in either version. One that is being replaced has no
    loss until it is complete again.
    """
    # Every read goes through a new selection, for a Dataset keeps what it has read itself.
    status = dataset["status"].isel(checkpoint=slice(None)).values
    units = np.argwhere(status == Status.COMPLETE)
    activation, loss, image = (
        dataset[name].isel(checkpoint=slice(None)).values
        for name in ("activation", "loss", "image")
    )
    labels, layers, channels = (
        dataset[dim].values.tolist() for dim in ("checkpoint", "layer", "channel")
    )
    faults = []
    for row, layer, channel in units.tolist():
        unit = (labels[row], layers[layer], channels[channel])
        at = (row, layer, channel)
        if not _is_image_right(unit, image[at]):
            faults.append(f"{unit} has a wrong image, black: {not image[at].any()}")
        truths = [_truth(*unit, version, image.shape[3]) for version in VERSIONS]
        if activation[at] not in [truth[1] for truth in truths]:
            faults.append(f"{unit} has activation {activation[at]}")
        is_retracted = loss.shape[-1] > 0 and np.isnan(loss[at]).all()
        curve = _awaited_curve(dataset, at) if is_retracted else loss[at]
        if not any(_is_curve(curve, truth[2]) for truth in truths):
            faults.append(f"{unit} has loss {curve}")
    return len(units), faults


def single_faults(dataset: xr.Dataset, units: np.ndarray) -> tuple[int, list[str]]:
    """Reads of single images of units that were complete: how many failed, and the wrong ones."""
    n_errors, faults = 0, []
    for row, layer, channel in units.tolist():
        one = dataset["image"].isel(checkpoint=row, layer=layer, channel=channel)
        unit = (str(one["checkpoint"].values), str(one["layer"].values), int(one["channel"]))
        try:
            image = one.values
        except Exception:  # whatever Zarr raises for a block that is no longer there
            n_errors += 1
            continue
        if not _is_image_right(unit, image):
            faults.append(f"{unit} alone has a wrong image, black: {not image.any()}")
    return n_errors, faults


def complete_units(dataset: xr.Dataset) -> np.ndarray:
    """Indices of the units that a variant says are complete, (unit, 3) int."""
    return np.argwhere(dataset["status"].isel(checkpoint=slice(None)).values == Status.COMPLETE)


def _is_image_right(unit: tuple[str, str, int], image: np.ndarray) -> bool:
    return any(
        np.array_equal(image, _truth(*unit, version, image.shape[0])[0]) for version in VERSIONS
    )


def _awaited_curve(dataset: xr.Dataset, at: tuple[int, int, int]) -> np.ndarray:
    """The curve of a unit that was retracted after its status was read, once it is there again."""
    row, layer, channel = at
    gives_up = time.monotonic() + _UNIT_RETURNS_WITHIN_S
    while True:
        curve = dataset["loss"].isel(checkpoint=row, layer=layer, channel=channel).values
        if not np.isnan(curve).all() or time.monotonic() > gives_up:
            return np.asarray(curve)
        time.sleep(0.002)


def _is_curve(stored: np.ndarray, whole: np.ndarray) -> bool:
    """Whether a loss is that curve, cut at the length of which the reader has heard."""
    n = min(len(stored), len(whole))
    return np.array_equal(stored[:n], whole[:n]) and bool(np.isnan(stored[n:]).all())


def run_ingest(
    tree: str,
    *,
    store: str,
    read_first: str | None = None,
    parts: list[str] | None = None,
    **how: Any,
) -> None:
    """Import a tree, or parts of it one after the other.

    `read_first` is a store to look into before, which leaves Zarr's thread behind: worker
    processes are then not forked, but started afresh.
    """
    if read_first:
        dvis.runs(read_first)
    for part in parts or [""]:
        ingest_tree(Path(tree) / part, store=store, **how)


def run_compact(store: str) -> None:
    """Compact a store."""
    compact_store(store)


def run_hold(store: str, run: str, ready: str, release: str) -> None:
    """Hold a run's lock until a file is there."""
    with write_lock(Path(store), f"{run}/{KIND}"):
        Path(ready).touch()
        while not Path(release).exists():
            time.sleep(0.01)


def run_read(store: str, stop: str, polled: str, result: str, *, may_fail: bool = False) -> None:
    """Poll a store until a file is there; keep the first Dataset of each size and read it on.

    How often it has polled is in the file `polled`.
    Where reads `may_fail`, an error is as good as a right image.
    """
    rng = np.random.default_rng(3)
    held: dict[tuple[int, ...], xr.Dataset] = {}
    n_polls, n_errors, counts, faults = 0, 0, [], []
    gives_up = time.monotonic() + _READER_GIVES_UP_S
    while not Path(stop).exists() and time.monotonic() < gives_up:
        try:
            opened = dvis.open(store)
        except (FileNotFoundError, SchemaError):  # not made, or nothing in it yet
            continue
        held.setdefault(tuple(opened.sizes.values()), opened)
        for dataset in [*held.values(), opened]:
            try:
                n_complete, wrong = faults_of(dataset)
            except Exception:
                if not may_fail:
                    raise
                n_errors += 1
                continue
            units = complete_units(dataset)
            some = rng.permutation(len(units))[:_SINGLE_READS]
            n_failed, wrong_alone = single_faults(dataset, units[some])
            n_errors += n_failed
            faults += [*wrong, *wrong_alone]
            counts.append(n_complete)
        n_polls += 1
        Path(polled).write_text(str(n_polls))
    report = {"n_polls": n_polls, "n_errors": n_errors, "counts": counts, "faults": faults[:10]}
    Path(result).write_text(json.dumps(report | {"n_held": len(held)}))


PROGRAMS: dict[str, Callable[..., None]] = {
    "ingest": run_ingest,
    "compact": run_compact,
    "hold": run_hold,
    "read": run_read,
}


def _start(program: str, log: str, arguments: dict[str, Any]) -> int:
    """Fork a process, the first of its own group, that runs a program."""
    pid = os.fork()
    if pid:
        os.setpgid(pid, pid)
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(to, 1)
        os.dup2(to, 2)
        logging.basicConfig(stream=sys.stderr)
        faulthandler.dump_traceback_later(_HANGS_AFTER_S)
        PROGRAMS[program](**arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(pid: int, timeout_s: float) -> int | None:
    """Exit status of a process, negative for the signal that ended it; None if it goes on."""
    until = time.monotonic() + timeout_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def serve() -> None:
    """Answer one line of json with another until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        reply = _start(**order) if "program" in order else _wait(**order)
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
