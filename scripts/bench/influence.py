"""Edges and influence: what they cost, against passes of the model and against captum.

    python scripts/bench/influence.py edges      # shares of all convolutions, in passes
    python scripts/bench/influence.py passes     # all pairs of resnet18's stages, in passes
    python scripts/bench/influence.py captum     # captum, neuron by neuron, on one pair of stages
    python scripts/bench/influence.py plan       # a pair of resnet50's stages, against its plan
    python scripts/bench/influence.py memory     # peak memory by the number of sources
    python scripts/bench/influence.py            # all of them

Weights are random, times are of the process (CPU), on one thread, and rounds of both sides take
turns. `captum` needs it: pip install captum.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from results import Row, at_most, faster, print_machine, print_table, seconds
from torch import nn

from dvis import measure
from dvis.kinds.edges.measure import EdgeShares
from dvis.kinds.influence.cost import estimate
from dvis.kinds.influence.options import InfluenceOptions
from dvis.kinds.influence.plan import measure_influence
from dvis.kinds.influence.survey import surveyed
from dvis.models.building import build_model
from dvis.models.data import InputTransform
from dvis.models.data.fixed_images import FixedImages, noise_images
from dvis.models.data.folders import IMAGENET_MEAN, IMAGENET_STD
from dvis.models.hooks import as_maps, find_layer
from dvis.models.recalibration import Recalibrated
from dvis.sweep.run_facts import run_of

STAGES = ("layer1", "layer2", "layer3", "layer4")
MOST_OF_EDGES = 1.5  # of a forward and backward pass
MOST_PASSES = {64: 180, 224: 130}  # whole forward passes, all pairs of resnet18's stages
LEAST_OF_CAPTUM = 20
MOST_MEMORY = 1.1  # of 256 sources, over that of 64
MOST_OFF_PLAN = 1.5  # a plan's time, up or down
_BATCH = 16


def random_model(name: str) -> nn.Module:
    """A model with seeded random weights."""
    torch.manual_seed(0)
    return build_model(name).eval()


def noise(n_images: int, size: int) -> FixedImages:
    """Seeded images as the model takes them."""
    transform = InputTransform(size=size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return FixedImages.of(noise_images(n_images, 0, transform), transform)


def batches_of(images: FixedImages, size: int) -> list[torch.Tensor]:
    """The images as batches of model inputs."""
    like = torch.zeros(1)
    return [images.batch(i, i + size, like) for i in range(0, len(images), size)]


def forward(model: nn.Module, batches: list[torch.Tensor]) -> None:
    """Whole forward passes."""
    with torch.no_grad():
        for batch in batches:
            model(batch)


def forward_and_backward(model: nn.Module, batches: list[torch.Tensor]) -> None:
    """Forward passes, and gradients of all parameters."""
    for batch in batches:
        model.zero_grad()
        model(batch).sum().backward()


def take_turns(sides: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each side in each round, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(n_rounds + 1):
        for name, run in sides.items():
            started = time.process_time()
            run()
            if round_:
                times[name].append(time.process_time() - started)
    return times


def ratio(times: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Median over rounds of how much longer one side took than the other."""
    return median(a / b for a, b in zip(times[ours], times[theirs], strict=True))


def edges(n_rounds: int) -> list[Row]:
    """Shares of every convolution and linear layer, against forward and backward passes."""
    rows = []
    for name, size, n_images in (
        ("resnet18", 64, 64),
        ("resnet18", 224, 16),
        ("resnet50", 64, 32),
    ):
        model, images = random_model(name), noise(n_images, size)
        batches = batches_of(images, _BATCH)
        shares = EdgeShares(
            images=images, recalibrated=Recalibrated(images, "running"), batch_size=_BATCH
        )
        sides = {
            "forward": partial(forward, model, batches),
            "both": partial(forward_and_backward, model, batches),
            "shares": partial(shares.shares, model),
        }
        times = take_turns(sides, n_rounds)
        in_passes = ratio(times, "shares", "forward")
        rows.append(
            at_most(
                f"edges of {name}, {size} px: {in_passes:.2f} forward passes",
                ratio(times, "shares", "both"),
                MOST_OF_EDGES,
                seconds(median(times["shares"])),
                seconds(median(times["both"])),
            )
        )
    return rows


def influence_of(
    model: nn.Module, size: int, n_images: int, folder: Path, **options: Any
) -> Callable[[], None]:
    """Measures influence at one checkpoint, into a store that is new each time."""

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            measure.influence(
                model,
                noise=n_images,
                input_size=size,
                batch_norm="running",
                store=Path(place) / "net.zarr",
                workers=0,
                **options,
            )

    return run


def passes(n_rounds: int, folder: Path) -> list[Row]:
    """All pairs of resnet18's stages, in whole forward passes over the same images."""
    rows = []
    for size, n_images, n_turns in ((64, 64, n_rounds), (224, 32, min(n_rounds, 2))):
        model = random_model("resnet18")
        batches = batches_of(noise(n_images, size), _BATCH)
        ours = influence_of(model, size, n_images, folder, layers=STAGES)
        times = take_turns({"forward": partial(forward, model, batches), "ours": ours}, n_turns)
        n_passes = ratio(times, "ours", "forward")
        most = MOST_PASSES[size]
        rows.append(
            Row(
                name=f"all pairs of resnet18's stages, {size} px, {n_images} images",
                ours=seconds(median(times["ours"])),
                peer=seconds(median(times["forward"])),
                ratio=f"{n_passes:.0f} passes",
                target=f"<= {most}",
                is_met=n_passes <= most,
            )
        )
    return rows


def captum(n_rounds: int, folder: Path, n_targets: int = 2) -> list[Row]:
    """One pair of stages, against captum's ablation of a layer for a target after the other."""
    from captum.attr import LayerFeatureAblation

    size, n_images, source, target = 64, 8, "layer3", "layer4"
    model = random_model("resnet18")
    (batch,) = batches_of(noise(n_images, size), n_images)
    shapes: dict[str, torch.Size] = {}
    with torch.no_grad():
        hooks = [
            find_layer(model, layer).register_forward_hook(
                lambda _m, _i, output, layer=layer: shapes.update({layer: output.shape})
            )
            for layer in (source, target)
        ]
        model(batch)
    for hook in hooks:
        hook.remove()
    n_sources, n_all = shapes[source][1], shapes[target][1]
    mask = torch.arange(n_sources)[None, :, None, None].expand(1, *shapes[source][1:])

    def response(channel: int, images: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []
        hook = find_layer(model, target).register_forward_hook(
            lambda _m, _i, output: found.append(as_maps(output, 1).mean((2, 3))[:, channel])
        )
        model(images)
        hook.remove()
        return found[0]

    def theirs() -> None:
        with torch.no_grad():
            for channel in range(n_targets):
                ablation = LayerFeatureAblation(
                    partial(response, channel), find_layer(model, source)
                )
                ablation.attribute(batch, layer_mask=mask)

    ours = influence_of(model, size, n_images, folder, layers=(source, target), value="zero")
    times = take_turns({"captum": theirs, "ours": ours}, n_rounds)
    scaled = median(times["captum"]) * n_all / n_targets
    name = f"{source} -> {target} of resnet18, {size} px, captum's {n_targets} of {n_all} scaled"
    return [faster(name, median(times["ours"]), scaled, LEAST_OF_CAPTUM)]


def plan(folder: Path) -> list[Row]:
    """One pair of resnet50's stages, against the time that its plan foretold, as the clock goes."""
    checkpoint = folder / "resnet50" / "resnet50_train_0.0.pth"
    checkpoint.parent.mkdir()
    torch.save(random_model("resnet50").state_dict(), checkpoint)
    options = InfluenceOptions(
        model="resnet50",
        checkpoint_path=(checkpoint.parent,),
        layers=("layer3", "layer4"),
        noise=16,
        image_size=64,
        batch_norm="running",
        store=folder / "resnet50.zarr",
        workers=0,
    )
    foretold = estimate(surveyed(options, run_of(options))).seconds
    started = time.perf_counter()
    measure_influence(options)
    took = time.perf_counter() - started
    off = max(took / foretold, foretold / took)
    name = "layer3 -> layer4 of resnet50, 64 px, 16 images: took, and plan"
    return [at_most(name, off, MOST_OFF_PLAN, seconds(took), seconds(foretold))]


def peak_mb(n_sources: int) -> float:
    """Peak memory of a process that measures this many sources of layer3."""
    asked = [sys.executable, __file__, "--sources", str(n_sources)]
    done = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def print_peak(n_sources: int, folder: Path) -> None:
    """What `peak_mb` starts."""
    model = random_model("resnet18")
    channels = tuple(np.arange(n_sources).tolist())
    influence_of(model, 64, 32, folder, layers=("layer3", "layer4"), channels=channels)()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def memory() -> list[Row]:
    """Peak memory of 256 sources, against that of 64."""
    few, many = peak_mb(64), peak_mb(256)
    name = "peak memory, 256 sources of layer3 against 64"
    return [at_most(name, many / few, MOST_MEMORY, f"{many:.0f} MB", f"{few:.0f} MB")]


def main() -> None:
    """Run what is asked for, and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("edges", "passes", "captum", "plan", "memory")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sources", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.sources is not None:
            print_peak(given.sources, folder)
            return
        runs = {
            "edges": partial(edges, given.rounds),
            "passes": partial(passes, given.rounds, folder),
            "captum": partial(captum, given.rounds, folder),
            "plan": partial(plan, folder),
            "memory": memory,
        }
        rows = [row for part in given.parts or parts for row in runs[part]()]
    print_machine()
    print_table(rows, ("circuits", "dvis", "peer", "ratio", "target"))


if __name__ == "__main__":
    main()
