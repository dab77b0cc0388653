"""Keeping and reading activations, against what they cannot do without.

    python scripts/bench/activations.py collect    # against a bare forward pass that stops as early
    python scripts/bench/activations.py load       # against a sequential copy of the mapped files
    python scripts/bench/activations.py memory     # peak memory by the number of samples

Times are of the process (CPU), on one thread, and rounds of both sides take turns.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import dvis
from dvis.kinds.activations.loader import ActivationRows
from dvis.kinds.activations.measure import BlockTask
from dvis.kinds.activations.options import ActivationOptions
from dvis.kinds.activations.survey import Survey, surveyed
from dvis.models.hooks import stopping

LAYERS = ("layer2", "layer3", "layer4")


def options_of(
    folder: Path, n_images: int, layers: tuple[str, ...], size: int
) -> ActivationOptions:
    """Activations of ResNet-18 with random weights, of drawn shapes."""
    path = folder / "resnet18.pth"
    if not path.exists():
        from torchvision.models import resnet18

        torch.manual_seed(0)
        torch.save(resnet18().state_dict(), path)
    return ActivationOptions(
        model="resnet18",
        checkpoint_path=(path,),
        layers=layers,
        dataset="shapes",
        n_images=n_images,
        input_size=size,
        store=folder / "resnet18.zarr",
        workers=0,
    )


def bare(survey: Survey) -> Callable[[], None]:
    """A forward pass over a block, which ends after the last layer and keeps nothing."""
    measurement, model = survey.measurement(writes=False), survey.model
    calls = {layer.name: layer.n_calls for layer in survey.layers}
    some = next(model.parameters())

    def nothing(_layer: str, output: torch.Tensor) -> torch.Tensor:
        return output[:1, :1].clone()

    def run() -> None:
        samples = measurement.samples_of(0)
        with torch.no_grad(), stopping(model, calls, nothing) as forward:
            for first in range(samples.start, samples.stop, measurement.batch_size):
                stop = min(first + measurement.batch_size, samples.stop)
                forward(survey.images.batch(first, stop, some))

    return run


def collected(survey: Survey, folder: Path) -> Callable[[], None]:
    """The same, with all layers' values in their files, and their sums."""
    measurement, model = survey.measurement(writes=False), survey.model
    task = BlockTask(0, tuple(range(len(survey.layers))))

    def run() -> None:
        result = measurement.measure(model, task)
        for part, files in enumerate(measurement.files):
            path = folder / f"{part}"
            data = result[f"values_{part}"].values
            path.write_bytes(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
            assert path.stat().st_size <= files.n_bytes

    return run


def take_turns(sides: dict[str, Callable[[], None]], n_rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each side in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    for _ in range(n_rounds):
        for name, run in sides.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    return seconds


def collect(folder: Path, n_rounds: int) -> None:
    """Print how much more a block costs than a bare pass over it."""
    for size, n_images in ((64, 128), (224, 32)):
        survey = surveyed(options_of(folder, n_images, LAYERS, size))
        sides = {"bare": bare(survey), "kept": collected(survey, folder)}
        seconds = take_turns(sides, n_rounds)
        ratios = [k / b for k, b in zip(seconds["kept"], seconds["bare"], strict=True)]
        print(
            f"resnet18, {size} px, {n_images} images, {', '.join(LAYERS)}: "
            f"{statistics.median(seconds['bare']):.2f} s bare, "
            f"{statistics.median(seconds['kept']):.2f} s kept: {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


def load(folder: Path, n_rounds: int, dtype: str) -> None:
    """Print the loader's rate, and that of a copy of the files in their order."""
    rng = np.random.default_rng(0)
    rows = made_up_rows(folder / f"{dtype}.zarr", dtype, rng)
    files = [rows.blocks.rows(block) for block in range(-(-rows.n_samples // rows.blocks.shape[0]))]
    n_steps, epochs = rows.steps_per_epoch, count()

    def shuffled() -> None:
        # Ever new epochs: the pools of one that came before are kept, where there are but two.
        first = next(epochs) * n_steps
        for step in range(first, first + n_steps):
            rows.batch(step)

    def copied(numbers: type | None) -> Callable[[], None]:
        def run() -> None:
            for file in files:
                for first in range(0, len(file), 4096):
                    part: NDArray[np.floating] = file[first : first + 4096]
                    np.array(part, numbers or part.dtype)

        return run

    sides = {"shuffled": shuffled, "copied": copied(None), "as float32": copied(np.float32)}
    seconds = take_turns(sides, n_rounds)
    n_bytes = rows.n_rows * rows.n_channels * np.dtype(dtype).itemsize
    rates = {name: n_bytes / statistics.median(of) / 1e9 for name, of in seconds.items()}
    told = ", ".join(f"{name} {rate:.2f} GB/s" for name, rate in rates.items())
    print(
        f"{dtype}, {rows.n_rows:,} rows of {rows.n_channels}: {told}; "
        f"{rates['shuffled'] / rates['as float32']:.2f} of a copy as float32, "
        f"{rates['shuffled'] / rates['copied']:.2f} of a plain copy"
    )


def made_up_rows(store: Path, dtype: str, rng: np.random.Generator) -> ActivationRows:
    """Rows of a layer whose files are filled with noise."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 512, 1, stride=4))
    to = {"dataset": "shapes", "n_images": 2048, "input_size": 32, "store": store, "workers": 0}
    dvis.measure.activations(net, layers=["0"], dtype=dtype, **to)
    for path in store.rglob("values/c/*/*/0/0"):
        values = rng.standard_normal(path.stat().st_size // np.dtype(dtype).itemsize, np.float32)
        path.write_bytes(values.astype(dtype).tobytes())
    return ActivationRows.open(store, "0", "model", split="all")


def memory() -> None:
    """Print the peak memory of runs over more and more samples, each in a process of its own."""
    for n_images in (256, 1024, 4096):
        done = subprocess.run(
            [sys.executable, __file__, "peak", "--images", str(n_images)],
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"{n_images:,} samples: {done.stdout.strip()} MB at most")


def peak(folder: Path, n_images: int) -> None:
    """Print the peak memory of this process after a run."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 1, stride=2))
    to = {"dataset": "shapes", "n_images": n_images, "input_size": 64, "workers": 0}
    dvis.measure.activations(net, layers=["0"], store=folder / "net.zarr", **to)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


@contextmanager
def one_thread() -> Iterator[Path]:
    """A folder for a while, in a process that computes on one thread."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("collect", "load", "memory", "peak"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=256)
    given = parser.parse_args()
    with one_thread() as place:
        if given.what == "collect":
            collect(place, given.rounds)
        elif given.what == "load":
            for each in ("float16", "float32"):
                load(place, given.rounds, each)
        elif given.what == "memory":
            memory()
        else:
            peak(place, given.images)
