"""What a second worker adds to a sweep's rate, and what memory a sweep takes as it grows.

Scaling: one worker and two in turns, beside bare convolutions in the same processes, which tell
what the machine gives. Memory: peaks of fresh processes. Linux only, for its counts of waiting.
"""

import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
import tyro
from distributed import Client, LocalCluster
from features import print_load, print_machine
from results import Row, at_most, print_table
from torch import nn
from torchvision.models import resnet18

from dvis.kinds.features.options import FeatureSettings, VisualizeOptions
from dvis.kinds.features.plan import visualize
from dvis.sweep.executors import in_processes

Kind = Literal["dask", "local processes"]
SCALING_TARGET = 1.7
# Peaks differ by some percent from run to run. Kept weights would exceed this; kept images may not
# beside hundreds of megabytes of libraries, so what a unit adds is held against its own image.
MEMORY_TARGET, IMAGE_TARGET = 1.1, 0.25
KINDS: tuple[Kind, ...] = ("dask", "local processes")
CONTROL, CONTROL_TASKS, CONTROL_CALLS = "bare convolutions", 16, 150


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Units a second of one worker and of two: some channels of layer2 at each checkpoint."""

    checkpoints: int = 2
    channels: int = 32
    size: int = 112  # height and width of the images in pixels
    steps: int = 32
    repeats: int = 3
    quick: bool = False
    """Little work, by dask alone: it shows that the bench runs, and no rate."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak memory with `factor` times as many channels of layer3, and then checkpoints."""

    checkpoints: int = 3
    channels: int = 40
    factor: int = 6
    size: int = 224  # height and width of the images in pixels
    steps: int = 1
    quick: bool = False
    """Little work, by dask alone: it shows that the bench runs."""


def measure_scaling(options: Scaling) -> None:
    """Print rates of one worker and of two, and where the time of the workers goes."""
    kinds = KINDS[:1] if options.quick else KINDS
    if options.quick:
        options = replace(options, channels=8, steps=4, repeats=1)
    n_units = options.checkpoints * options.channels
    print(f"resnet18 layer2, {options.size} px, {n_units} units of {options.steps} steps")
    with _checkpoints(options.checkpoints) as folder, ExitStack() as stack:
        asked = _asked(folder, "layer2", options)
        warming = replace(asked, settings=replace(asked.settings, max_iterations=1))
        sides = {}
        for kind in kinds:
            pair = [stack.enter_context(started(kind, n)) for n in (1, 2)]
            for client, _ in pair:
                run_sweep(client, warming, n_units)
            sides[kind] = [(partial(run_sweep, client, asked, n_units), p) for client, p in pair]
        sides[CONTROL] = [(partial(_convolve_all, client), pids) for client, pids in pair]
        turns = defaultdict(list)
        for i in range(options.repeats):
            for side, both in sides.items():
                # One right after the other, for what else runs on the machine changes.
                order = 1 if i % 2 == 0 else -1
                turns[side].append([_timed(*each) for each in both[::order]][::order])
    n_done = defaultdict(lambda: n_units, {CONTROL: CONTROL_TASKS})
    rows = [row for side, of in turns.items() for row in _rows(side, n_done[side], np.array(of))]
    print_table(rows, ["workers; medians of turns", "one", "two", "ratio", "target"])


def measure_memory(options: Memory) -> None:
    """Print peaks of a sweep, of one with more units and of one with more checkpoints."""
    kinds = KINDS[:1] if options.quick else KINDS
    if options.quick:
        options = replace(options, checkpoints=2, channels=12, factor=4)
    n_checkpoints, n_channels, factor = options.checkpoints, options.channels, options.factor
    n_added, image_kb = n_checkpoints * n_channels * (factor - 1), 3 * options.size**2 / 1e3
    print(f"resnet18 layer3, {options.size} px, {n_checkpoints} checkpoints x {n_channels} units")
    more_units = replace(options, channels=factor * n_channels)
    more_files = replace(options, checkpoints=factor * n_checkpoints)
    rows, fresh = [], ProcessPoolExecutor(1, max_tasks_per_child=1)
    with _checkpoints(factor * n_checkpoints) as folder, fresh:
        for kind in kinds:
            few = fresh.submit(measure_peaks, kind, folder, options).result()
            for grown, case in (("units", more_units), ("checkpoints", more_files)):
                many = fresh.submit(measure_peaks, kind, folder, case).result()
                name = f"{kind}, {factor}x {grown}"
                for process, a, b in zip(("submitting", "a worker"), few, many, strict=True):
                    peaks = [f"{peak:.0f} MB" for peak in (a, b)]
                    rows.append(at_most(f"{name}: {process}", b / a, MEMORY_TARGET, *peaks))
                added_kb = (many[0] - few[0]) * 1e3 / n_added
                sizes = [f"{size:.1f} kB" for size in (added_kb, image_kb)]
                name = f"{name}: added a unit, its image"
                rows.append(at_most(name, added_kb / image_kb, IMAGE_TARGET, *sizes))
    print_table(rows, ["peak memory", "1x", f"{factor}x", "ratio", "target"])


def measure_peaks(kind: Kind, folder: Path, options: Memory) -> tuple[float, float]:
    """Peak memory in megabytes of this process and of the largest of two workers."""
    with started(kind, 2) as (client, pids):
        asked = _asked(folder, "layer3", options)
        run_sweep(client, asked, options.checkpoints * options.channels)
        return _peak_mb(os.getpid()), max(map(_peak_mb, pids))


def run_sweep(client: Any, asked: VisualizeOptions, n_units: int) -> None:
    """Visualise into a fresh store."""
    shutil.rmtree(asked.store, ignore_errors=True)
    report = visualize(asked, client=client)
    if (report.n_measured, report.n_failed) != (n_units, 0):
        raise AssertionError(f"{report.n_measured} of {n_units} units made: {report.notes[:3]}")


@contextmanager
def started(kind: Kind, n_workers: int) -> Iterator[tuple[Any, list[int]]]:
    """A client, or what takes its place, and the processes of workers of one thread each."""
    with ExitStack() as stack:
        if kind == "dask":
            local = LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")
            client = stack.enter_context(Client(stack.enter_context(local)))
        else:
            pool, _ = stack.enter_context(in_processes(n_workers))
            lasting = Executor()  # its shutdown, with which a sweep ends, does nothing
            lasting.submit = pool.submit
            client = SimpleNamespace(nthreads=lambda: {"local": n_workers})
            client.get_executor = lambda pure: lasting
        executor, pids = client.get_executor(pure=False), set()
        while len(pids) < n_workers:
            pids.update(executor.map(_begin, range(2 * n_workers)))
        yield client, sorted(pids)


def convolve(n_calls: int) -> None:
    """One of layer2's convolutions at 112 px, again and again."""
    convolution = nn.Conv2d(128, 128, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.zeros(4, 128, 14, 14).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(n_calls):
            convolution(images)


def _convolve_all(client: Any) -> None:
    list(client.get_executor(pure=False).map(convolve, [CONTROL_CALLS] * CONTROL_TASKS))


def _begin(_: int) -> int:
    time.sleep(0.1)  # so that the next task goes to another worker
    return os.getpid()


@contextmanager
def _checkpoints(n_checkpoints: int) -> Iterator[Path]:
    """A folder of checkpoints of random weights, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="dvis-sweep-") as folder, torch.random.fork_rng():
        for i in range(n_checkpoints):
            torch.manual_seed(i)
            name = f"checkpoint_2024-03-25-00h{10 + i:02d}_epoch_0_train_{10 * (i + 1)}.pth.tar"
            torch.save({"model_state_dict": resnet18().state_dict()}, Path(folder) / name)
        yield Path(folder)


def _asked(folder: Path, layer: str, options: Scaling | Memory) -> VisualizeOptions:
    return VisualizeOptions(
        model="resnet18",
        checkpoint_path=tuple(sorted(folder.glob("*.pth.tar"))[: options.checkpoints]),
        layers=(layer,),
        channels=tuple(range(options.channels)),
        store=folder / "store.zarr",
        settings=FeatureSettings(
            stop_rule="never", max_iterations=options.steps, feature_image_size=options.size
        ),
    )


def _peak_mb(pid: int) -> float:
    # Of the program that runs there now; ru_maxrss would hold that of its parent before exec.
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def _timed(work: Callable[[], None], pids: list[int]) -> list[float]:
    """Seconds by the clock, and those that workers computed and that they waited for a core."""
    before, start = [_clocks(pid) for pid in pids], time.perf_counter()
    work()
    wall_s = time.perf_counter() - start
    pairs = zip(before, map(_clocks, pids), strict=True)
    # Of each worker's thread that computes: others wait at the same time.
    spent = [max(tuple(b[file] - a[file]) for file in a.keys() & b.keys()) for a, b in pairs]
    return [wall_s, *np.sum(spent, axis=0)]


def _clocks(pid: int) -> dict[Path, np.ndarray]:
    """Seconds that each thread of a process ran, and that it waited for a core."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return {file: np.loadtxt(file)[:2] / 1e9 for file in files}


def _rows(side: str, n_done: int, turns: np.ndarray) -> list[Row]:
    """Rows of times with the dims (turn, one or two workers, what `_timed` gives)."""
    wall_s, computed_s, waited_s = np.moveaxis(turns, -1, 0)
    gain = float(np.median(wall_s[:, 0] / wall_s[:, 1]))
    one, two = (f"{rate:.2f}/s" for rate in np.median(n_done / wall_s, axis=0))
    name = f"{side}, {'tasks' if side == CONTROL else 'units'}"
    rate = Row(name=name, ours=one, peer=two, ratio=f"{gain:.2f}x")
    if side == "dask":
        rate = replace(rate, target=f">= {SCALING_TARGET:g}x", is_met=gain >= SCALING_TARGET)
    cpu_ms = np.median(computed_s, axis=0) / n_done * 1e3
    one, two = (f"{each:.1f} ms" for each in cpu_ms)
    growth, name = f"{cpu_ms[1] / cpu_ms[0]:.2f}x", f"{side}: workers' CPU each"
    cpu = Row(name=name, ours=one, peer=two, ratio=growth)
    all_s = wall_s * [1, 2]
    shares = 100 * np.median([computed_s, waited_s, all_s - computed_s - waited_s] / all_s, axis=1)
    one, two = ("/".join(f"{share:.0f}" for share in of) for of in shares.T)
    gain = np.median(2 * (all_s - waited_s)[:, 0] / (all_s - waited_s)[:, 1])
    name = f"{side}: % computing/waiting for a core/idle; gain without waits"
    return [rate, cpu, Row(name=name, ours=one, peer=two, ratio=f"{gain:.2f}x")]


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = tyro.cli(Scaling | Memory, description=__doc__)
    print_machine()
    measure_scaling(given) if isinstance(given, Scaling) else measure_memory(given)
    print_load()
