"""What a second worker adds to a sweep's rate, and what memory a sweep takes as it grows.

Scaling: one worker and two in turns, beside bare convolutions in the same processes, which tell
what the machine gives. Memory: peaks of fresh processes. Linux only, for its counts of waiting.
"""

import multiprocessing
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
import tyro
from distributed import Client, LocalCluster
from features import print_load, print_machine
from results import Row, at_most, print_table
from torch import nn
from torchvision.models import resnet18

from dvis.executors import in_processes
from dvis.measure.feature_settings import FeatureSettings, VisualizeOptions
from dvis.visualize import visualize

Kind = Literal["dask", "local processes"]
SCALING_TARGET = 1.7
# Peaks differ by some percent from run to run; images or weights that were kept would add more than
# a tenth, as the line above the table shows.
MEMORY_TARGET = 1.1
CONTROL, CONTROL_TASKS, CONTROL_CALLS = "bare convolutions", 16, 75
# Width and size of the 3 x 3 convolutions of a residual network up to layer2 at 112 px.
CONVOLUTIONS = [(64, 28), (128, 14)]


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Units a second of one worker and of two."""

    checkpoints: int = 2
    channels: int = 64
    """Units of each checkpoint, channels of layer2."""
    size: int = 112
    """Height and width of the images in pixels."""
    steps: int = 32
    repeats: int = 5
    kinds: tuple[Kind, ...] = ("dask", "local processes")
    quick: bool = False
    """One turn of few units and steps by dask alone: it shows that the bench runs, and no rate."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak memory of the submitting process and of the largest of two workers."""

    checkpoints: int = 3
    channels: int = 50
    """Units of each checkpoint, channels of layer4."""
    factor: int = 10
    """So many times as many units of a checkpoint, and then checkpoints."""
    size: int = 64
    """Height and width of the images in pixels."""
    steps: int = 2
    kinds: tuple[Kind, ...] = ("local processes", "dask")
    quick: bool = False
    """Few units in local processes alone: it shows that the bench runs."""


class Workers(NamedTuple):
    """Workers that have begun: a dask client or what takes its place, and their processes."""

    client: Any
    pids: tuple[int, ...]


class Turn(NamedTuple):
    """Seconds by the clock, and of the workers' threads: computing, and waiting for a core."""

    wall_s: float
    computed_s: float
    waited_s: float


class _StartedPool(Executor):
    """Processes in the place of a dask client: they outlive a sweep, as a cluster does."""

    def __init__(self, pool: Executor, n_workers: int) -> None:
        self._pool, self._n_workers = pool, n_workers

    def nthreads(self) -> dict[str, int]:
        return {"local": self._n_workers}

    def get_executor(self, *, pure: bool) -> Executor:
        return self

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._pool.submit(fn, *args, **kwargs)


def measure_scaling(options: Scaling) -> None:
    """Print rates of one worker and of two, and where the time of the workers goes."""
    n_calls = CONTROL_CALLS
    if options.quick:
        options = replace(options, channels=8, steps=4, repeats=1, kinds=("dask",))
        n_calls = CONTROL_CALLS // 10
    print_machine()
    n_units = options.checkpoints * options.channels
    print(
        f"resnet18 layer2, {options.size} px, {options.steps} steps, {n_units} units of "
        f"{options.checkpoints} checkpoints; medians of {options.repeats} turns"
    )
    with _checkpoints(options.checkpoints) as folder, ExitStack() as stack:
        asked = _asked(folder, "layer2", options)
        warming = replace(asked, settings=replace(asked.settings, max_iterations=1))
        sides = {}
        for kind in options.kinds:
            pair = [stack.enter_context(started(kind, n)) for n in (1, 2)]
            for workers in pair:
                run_sweep(warming, n_units, workers.client)
            sides[kind] = [(partial(run_sweep, asked, n_units, w.client), w) for w in pair]
        sides[CONTROL] = [(partial(_convolve_all, w.client, n_calls), w) for w in pair]
        turns = defaultdict(list)
        for i in range(options.repeats):
            for side, pair in sides.items():
                # One right after the other, for what else runs on the machine changes.
                both = {n: _timed(*pair[n]) for n in ((0, 1) if i % 2 == 0 else (1, 0))}
                turns[side].append((both[0], both[1]))
    print_table(_scaling_rows(turns, n_units), ["a second", "one", "two", "ratio", "target"])
    print_load()


def measure_memory(options: Memory) -> None:
    """Print peaks of a sweep, of one with more units and of one with more checkpoints."""
    if options.quick:
        options = replace(options, checkpoints=2, channels=12, factor=4, kinds=options.kinds[:1])
    print_machine()
    n_checkpoints, n_channels, factor = options.checkpoints, options.channels, options.factor
    added_mb = 3 * options.size**2 * n_checkpoints * n_channels * (factor - 1) / 1e6
    print(
        f"resnet18 layer4, {options.size} px, {options.steps} steps, {n_checkpoints} checkpoints x "
        f"{n_channels} units; the images of {factor}x as many are {added_mb:.0f} MB more"
    )
    more_units = replace(options, channels=factor * n_channels)
    more_checkpoints = replace(options, checkpoints=factor * n_checkpoints)
    rows = []
    with _checkpoints(factor * n_checkpoints) as folder:
        for kind in options.kinds:
            peaks = _peaks_in_fresh_process(kind, folder, options)
            for name, case in (("units", more_units), ("checkpoints", more_checkpoints)):
                for process, after in _peaks_in_fresh_process(kind, folder, case).items():
                    before = peaks[process]
                    cells = [f"{peak:.0f} MB" for peak in (before, after)]
                    row_name = f"{kind}, {factor}x {name}: {process}"
                    rows.append(at_most(row_name, after / before, MEMORY_TARGET, *cells))
    print_table(rows, ["peak memory", "1x", f"{factor}x", "ratio", "target"])
    print_load()


def measure_peaks(kind: Kind, asked: VisualizeOptions, n_units: int) -> dict[str, float]:
    """Peak memory in megabytes of this process and of the largest of two workers."""
    with started(kind, 2) as workers:
        run_sweep(asked, n_units, workers.client)
        peaks = [_peak_mb(pid) for pid in (os.getpid(), *workers.pids)]
    return {"submitting process": peaks[0], "largest worker": max(peaks[1:])}


def run_sweep(asked: VisualizeOptions, n_units: int, client: Any) -> None:
    """Visualise into a fresh store."""
    shutil.rmtree(asked.store, ignore_errors=True)
    report = visualize(asked, client=client)
    if (report.n_measured, report.n_failed) != (n_units, 0):
        raise AssertionError(f"{report.n_measured} of {n_units} units made: {report.notes[:3]}")


@contextmanager
def started(kind: Kind, n_workers: int) -> Iterator[Workers]:
    """Workers of one thread each, all of which run."""
    with ExitStack() as stack:
        if kind == "dask":
            cluster = LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=":0"
            )
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        else:
            client = _StartedPool(stack.enter_context(in_processes(n_workers))[0], n_workers)
        executor, pids = client.get_executor(pure=False), set()
        while len(pids) < n_workers:
            pids.update(executor.map(_begin, range(2 * n_workers)))
        yield Workers(client, tuple(pids))


def convolve(n_calls: int) -> None:
    """Convolutions and nothing else."""
    for width, size in CONVOLUTIONS:
        convolution = nn.Conv2d(width, width, 3, padding=1, bias=False).requires_grad_(False)
        convolution = convolution.to(memory_format=torch.channels_last)
        images = torch.zeros(4, width, size, size).to(memory_format=torch.channels_last)
        for _ in range(n_calls):
            convolution(images)


def _convolve_all(client: Any, n_calls: int) -> None:
    list(client.get_executor(pure=False).map(convolve, [n_calls] * CONTROL_TASKS))


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
            state = resnet18(weights=None).state_dict()
            torch.save({"model_state_dict": state}, Path(folder) / name)
        yield Path(folder)


def _asked(folder: Path, layer: str, options: Scaling | Memory) -> VisualizeOptions:
    settings = FeatureSettings(
        stop_rule="never", max_iterations=options.steps, feature_image_size=options.size
    )
    return VisualizeOptions(
        model="resnet18",
        checkpoint_path=tuple(sorted(folder.glob("*.pth.tar"))[: options.checkpoints]),
        layers=(layer,),
        channels=tuple(range(options.channels)),
        store=folder / "store.zarr",
        settings=settings,
    )


def _peaks_in_fresh_process(kind: Kind, folder: Path, options: Memory) -> dict[str, float]:
    asked = _asked(folder, "layer4", options)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        n_units = options.checkpoints * options.channels
        return pool.submit(measure_peaks, kind, asked, n_units).result()


def _peak_mb(pid: int) -> float:
    # Of the program that runs there now; ru_maxrss would hold that of its parent before exec.
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def _timed(work: Callable[[], None], workers: Workers) -> Turn:
    before, start = _clocks(workers.pids), time.perf_counter()
    work()
    wall_s = time.perf_counter() - start
    after = _clocks(workers.pids)
    return Turn(wall_s, *(b - a for a, b in zip(before, after, strict=True)))


def _clocks(pids: Sequence[int]) -> tuple[float, float]:
    """Seconds that the threads of processes ran, and that they waited for a core."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    clocks = [[int(text) / 1e9 for text in file.read_text().split()[:2]] for file in files]
    return sum(ran for ran, _ in clocks), sum(waited for _, waited in clocks)


def _scaling_rows(turns: dict[str, list[tuple[Turn, Turn]]], n_units: int) -> list[Row]:
    """Two rows a side: its rate, and what its workers did all the time; then what was lost."""
    gains = {kind: [one.wall_s / two.wall_s for one, two in of] for kind, of in turns.items()}
    rows = []
    for kind, pairs in turns.items():
        n_done, noun = (CONTROL_TASKS, "tasks") if kind == CONTROL else (n_units, "units")
        sides = list(zip(*pairs, strict=True))
        rates = [f"{median(n_done / turn.wall_s for turn in side):.2f}" for side in sides]
        gain, goal = median(gains[kind]), SCALING_TARGET if kind == "dask" else 0
        rows.append(
            Row(
                name=f"{noun}, {kind}",
                ours=rates[0],
                peer=rates[1],
                ratio=f"{gain:.2f}x",
                target=f">= {goal:g}x" if goal else "",
                is_met=gain >= goal if goal else None,
            )
        )
        cpu = [median(turn.computed_s / n_done for turn in side) * 1e3 for side in sides]
        cells = [f"{each:.1f} ms" for each in cpu]
        rows.append(
            Row(name="  CPU each", ours=cells[0], peer=cells[1], ratio=f"{cpu[1] / cpu[0]:.2f}x")
        )
        shares = [_shares(side, n) for n, side in enumerate(sides, start=1)]
        rows.append(Row(name="  computing, waiting, idle", ours=shares[0], peer=shares[1]))
    for kind in turns:
        if kind != CONTROL:
            pairs = zip(gains[kind], gains[CONTROL], strict=True)
            share = median(ours / bare for ours, bare in pairs)
            name = f"gain of {kind} over that of {CONTROL}"
            rows.append(Row(name=name, ours="", ratio=f"{share:.2f}x"))
    return rows


def _shares(turns: Sequence[Turn], n_workers: int) -> str:
    """Shares of the workers' time: computing, waiting for a core, and without a task."""
    computed = median(turn.computed_s / turn.wall_s / n_workers for turn in turns)
    waited = median(turn.waited_s / turn.wall_s / n_workers for turn in turns)
    return " + ".join(f"{100 * share:.0f}" for share in (computed, waited, 1 - computed - waited))


def main(options: Scaling | Memory) -> None:
    """Measure what is asked for."""
    torch.set_num_threads(1)
    if isinstance(options, Scaling):
        measure_scaling(options)
    else:
        measure_memory(options)


if __name__ == "__main__":
    main(tyro.cli(Scaling | Memory, description=__doc__))
