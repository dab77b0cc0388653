"""What feature images cost and reach in dvis, against a plain loop, other libraries and the floor.

Speed: seconds of one processor a step and image, of random weights. Quality: activations of the
images as they are stored, from a checkpoint. GPU: images a second. All sides take turns.
"""

import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torchvision
import tyro
from peers.floor import floor_seconds, measure_rates
from peers.held_out import compare_held_out
from peers.methods import LOOPS, OURS, Render, load_peers
from peers.ours import render_dvis
from peers.quality import compare_stored
from peers.task import Task
from peers.trained_nets import efficientnet, trained_here
from results import Row, at_most, faster, print_table

SEED = 0
N_PUBLISHED = 4  # units of a layer of a large network, whose steps take a second
# At layer2 against the loop; against lucent; above the floor, with an exception.
LOOP_TARGET, LUCENT_TARGET, FLOOR_TARGET = 3.0, 2.5, 1.3
FLOOR_TARGETS = {("resnet50", "layer1"): 1.5}
# Less cannot be: even a pass that computes one channel of the last convolution takes 0.8.
LEAST_SHARE_OF_FLOOR = 0.75


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Processor time a step and image: the plain loop, libraries and the floor against dvis."""

    models: tuple[str, ...] = ("resnet18", "resnet50")
    """torchvision's names."""
    layers: tuple[str, ...] = ("layer1", "layer2", "layer4")
    """Layers whose channels are visualised."""
    size: int = 224
    """Height and width of the images in pixels."""
    steps: int = 8
    """Steps that are timed, after a first one."""
    batch_size: int = 8
    """Images that dvis optimises at once, and lucent where it says so."""
    repeats: int = 3
    """Turns of each side."""
    quick: bool = False
    """One turn of three steps on the first model at layer2."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Activations of stored images after equal steps, by dvis, the plain loop and lucent.

    Without a checkpoint on networks trained here: as stored, in held-out views, in a second one.
    """

    checkpoint: tyro.conf.Positional[Path | None] = None
    """Weights, as `dvis train` saves them."""
    model: str = "resnet18"
    """Architecture of the weights."""
    layers: tuple[str, ...] = ("layer1", "layer2", "layer4")
    """Layers whose channels are visualised."""
    units: int = 16
    """Channels of each layer, evenly spread."""
    steps: int = 256
    """Steps of each optimisation."""
    size: int | None = None
    """Height and width of the images in pixels; by default those that the model was trained on."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Images a second on a GPU, by batch and precision, against lucent."""

    model: str = "resnet50"
    """torchvision's name."""
    layer: str = "layer2"
    """Layer whose channels are visualised."""
    size: int = 224
    """Height and width of the images in pixels."""
    steps: int = 64
    """Steps of each optimisation."""
    batch_sizes: tuple[int, ...] = (1, 16, 64, 256)
    """Images that are optimised at once."""
    repeats: int = 3
    """Turns of each side."""


class Cost(NamedTuple):
    """Seconds of each step of an image, and of what is done once for it: copies, checks."""

    step_s: float
    once_s: float


def measure_speed(options: Speed) -> None:
    """Print a table for each model and layer."""
    torch.set_num_threads(1)
    if options.quick:
        options = replace(
            options, models=options.models[:1], layers=("layer2",), steps=3, repeats=1
        )
    print_machine()
    peers = load_peers("lucent", "torch-dreams", "Horama")
    print(
        f"{options.size} px, random weights, CPU time a step and image; medians of "
        f"{options.repeats} turns of {options.steps} steps"
    )
    for name in options.models:
        model = random_model(name)
        for layer in options.layers:
            task = Task(
                model=model,
                layer=layer,
                channels=tuple(range(options.batch_size)),
                size=options.size,
                steps=options.steps,
                seed=SEED,
                batch_size=options.batch_size,
            )
            rows = time_steps(name, task, peers, options.repeats)
            print_table(rows, [f"{name} {layer}: against", "dvis", "peer", "ratio", "target"])
    print_load()


def time_steps(name: str, task: Task, peers: Mapping[str, Render], repeats: int) -> list[Row]:
    """Rows of one model and layer."""
    alone = replace(task, channels=task.channels[:1], batch_size=1)
    sides = {
        **{side: (render, task) for side, render in OURS.items()},
        **{side: (render, alone) for side, render in {**LOOPS, **peers}.items()},
    }
    if "lucent" in peers:
        sides[f"lucent, batch {task.batch_size}"] = (peers["lucent"], task)
    for render, asked in sides.values():
        render(replace(asked, steps=1))  # a first call takes twice as long, of which none counts
    costs: dict[str, list[Cost]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    for i in range(repeats):
        for side in _in_turn(list(sides), i):
            costs[side].append(cost_of_image(*sides[side]))
        for work, rate in measure_rates().items():
            rates[work].append(rate)
    rate = max(median(values) for values in rates.values())
    floor_s = floor_seconds(task.model, task.layer, task.size, rate)
    medians = {
        side: Cost(*(median(column) for column in zip(*values, strict=True)))
        for side, values in costs.items()
    }
    for side, cost in medians.items():
        if cost.step_s < LEAST_SHARE_OF_FLOOR * floor_s:
            raise AssertionError(
                f"{side}: {cost.step_s * 1e3:.1f} ms a step is less than the multiplications of "
                f"{name} up to {task.layer} take ({floor_s * 1e3:.1f} ms): not a measurement"
            )
    return _speed_rows((name, task.layer), medians, floor_s, rate)


def cost_of_image(render: Render, task: Task) -> Cost:
    """What an image costs, from runs of one step and of so many more."""
    first_s, whole_s = (
        render(replace(task, steps=steps)).seconds / len(task.channels)
        for steps in (1, task.steps + 1)
    )
    step_s = (whole_s - first_s) / task.steps
    return Cost(step_s, first_s - step_s)


def _speed_rows(
    place: tuple[str, str], costs: Mapping[str, Cost], floor_s: float, rate: float
) -> list[Row]:
    targets = {
        "original loop": LOOP_TARGET if place[1] == "layer2" else None,
        "lucent": LUCENT_TARGET,
    }
    rows = []
    for side, cost in costs.items():
        if side not in OURS:
            ours = "dvis original" if side in LOOPS else "dvis default"
            name = f"{side} ({ours})"
            rows.append(faster(name, costs[ours].step_s, cost.step_s, targets.get(side)))
    for ours in OURS:
        step_s = costs[ours].step_s
        rows.append(
            at_most(
                f"floor at {rate / 1e9:.0f} GFLOP/s ({ours})",
                step_s / floor_s,
                FLOOR_TARGETS.get(place, FLOOR_TARGET),
                *(f"{seconds * 1e3:.2f} ms" for seconds in (step_s, floor_s)),
            )
        )
        n_steps = f"{costs[ours].once_s / step_s:.1f} steps"
        once = f"{costs[ours].once_s * 1e3:.2f} ms"
        rows.append(Row(name=f"once an image, not in the above ({ours})", ours=once, ratio=n_steps))
    return rows


def measure_quality(options: Quality) -> None:
    """Print, for each layer, how stored images of dvis compare with those of others."""
    torch.set_num_threads(1)
    print_machine()
    if options.checkpoint is None:
        measure_held_out(options)
        return
    sides = {
        "dvis default": OURS["dvis default"],
        "plain loop": LOOPS["plain loop"],
        **load_peers("lucent"),
    }
    rows = compare_stored(
        options.model,
        options.checkpoint,
        sides,
        layers=options.layers,
        n_units=options.units,
        steps=options.steps,
        size=options.size,
    )
    print(f"{options.steps} steps, {options.units} units a layer, median activations")
    print_table(rows, ["against", "dvis", "peer", "units as high", "target"])
    print_load()


def measure_held_out(options: Quality) -> None:
    """Print what images of each depth reach as stored, in held-out views and in a second net."""
    sides = {
        "dvis default": OURS["dvis default"],
        "dvis maco": partial(render_dvis, preset="default", param="maco"),
        **load_peers("lucent"),
    }
    print(
        f"{options.steps} steps, {options.units} units a layer; medians, in standard deviations of "
        "a unit over images of the data"
    )
    columns = ["stored", "held-out views", "second network", ""]
    trained = trained_here(options.units)
    rows = compare_held_out(trained, sides, options.steps)
    print_table(rows, [f"drawn shapes, {trained.size} px", *columns])
    published = efficientnet(min(options.units, N_PUBLISHED))
    if published is not None:
        rows = compare_held_out(published, sides, options.steps)
        print_table(rows, [f"EfficientNet Lite0, {published.size} px", *columns])
    print_load()


def measure_gpu(options: Gpu) -> None:
    """Print images a second by batch, in single and half precision."""
    if not torch.cuda.is_available():
        print("torch finds no GPU here: nothing to measure")
        return
    print_machine()
    print(
        f"{options.model} {options.layer}, {options.size} px, images a second at "
        f"{options.steps} steps"
    )
    model = random_model(options.model).cuda()
    sides = {
        "dvis, float32": OURS["dvis default"],
        "dvis, bf16": partial(render_dvis, preset="default", precision="bfloat16"),
        **load_peers("lucent"),
    }
    rows = []
    for batch_size in options.batch_sizes:
        task = Task(
            model=model,
            layer=options.layer,
            channels=tuple(range(batch_size)),
            size=options.size,
            steps=options.steps,
            seed=SEED,
            batch_size=batch_size,
        )
        rows += time_images(task, sides, options.repeats)
    print_table(rows, ["dvis, against lucent in float32", "dvis", "lucent", "ratio", "target"])


def time_images(task: Task, sides: Mapping[str, Render], repeats: int) -> list[Row]:
    """Rows of one batch: images a second of each of ours, against lucent where it is there."""
    rates: dict[str, list[float]] = defaultdict(list)
    for render in sides.values():
        render(replace(task, steps=2))  # kernels are chosen and compiled when first used
    for i in range(repeats):
        for side in _in_turn(list(sides), i):
            rates[side].append(len(task.channels) / sides[side](task).seconds)
    medians = {side: median(values) for side, values in rates.items()}
    peer = medians.pop("lucent", None)
    return [
        Row(
            name=f"batch {task.batch_size}, {side}",
            ours=f"{rate:.2f}/s",
            peer="" if peer is None else f"{peer:.2f}/s",
            ratio="" if peer is None else f"{rate / peer:.2f}x",
        )
        for side, rate in medians.items()
    ]


def random_model(name: str) -> torch.nn.Module:
    """A torchvision model in eval mode with random weights of a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return torchvision.models.get_model(name, weights=None).eval()


def print_machine() -> None:
    """Print what the numbers depend on."""
    packages = " ".join(f"{name} {version(name)}" for name in ("torch", "torchvision"))
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"python {platform.python_version()} {packages}, {platform.platform()}")
    print(f"{threads} of {cores} cores ({capability})", end="")
    print(f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "")
    print_load()


def print_load() -> None:
    """Print how busy the machine is with everything that runs on it."""
    print("load of the last 1, 5, 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))


def _in_turn(names: list[str], turn: int) -> Iterator[str]:
    """All names, each turn from another one on."""
    for i in range(len(names)):
        yield names[(turn + i) % len(names)]


def main(options: Speed | Quality | Gpu) -> None:
    """Measure what is asked for."""
    if isinstance(options, Speed):
        measure_speed(options)
    elif isinstance(options, Quality):
        measure_quality(options)
    else:
        measure_gpu(options)


if __name__ == "__main__":
    main(tyro.cli(Speed | Quality | Gpu, default=Speed(), description=__doc__))
