"""What responses of all channels of four layers cost, against a bare forward pass over the images.

Processor time of this process; the two sides take turns, a part of the images each time.
"""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import tyro
from results import Row, at_most, print_table, seconds

from dvis.kinds.responses.measure import ImageResponses
from dvis.models.building import build_model
from dvis.models.data import InputTransform
from dvis.models.data.fixed_images import FixedImages, noise_images
from dvis.models.data.folders import IMAGENET_MEAN, IMAGENET_STD

TARGET = 1.2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured."""

    model: str = "resnet18"
    """torchvision's name; its weights are random."""
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    n_images: int = 1000
    n_turns: int = 10
    batch_size: int = 25
    image_size: int = 224
    threads: int = 1
    aggregation: str = "mean"


def main(settings: Settings) -> None:
    """Run the bench and print its table."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    model = build_model(settings.model)
    transform = InputTransform(size=settings.image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    n_images = settings.n_images // settings.n_turns
    images = FixedImages.of(noise_images(n_images, 0, transform), transform)
    measurement = ImageResponses(
        images=images, aggregation=settings.aggregation, batch_size=settings.batch_size
    )
    task = measurement.task(measurement.outputs(model, settings.layers))
    batches = [
        images.batch(first, min(first + settings.batch_size, n_images), torch.zeros(1))
        for first in range(0, n_images, settings.batch_size)
    ]

    def bare() -> None:
        with torch.no_grad():
            for batch in batches:
                model(batch)

    def ours() -> None:
        measurement.measure(model, task)

    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(settings.n_turns):
        times["bare"].append(_cpu_seconds(bare))
        times["ours"].append(_cpu_seconds(ours))
    ratio = median(o / b for o, b in zip(times["ours"], times["bare"], strict=True))
    n_units = len(task.channels)
    rows: list[Row] = [
        at_most(
            f"{settings.model}, {n_units} channels of {len(settings.layers)} layers",
            ratio,
            TARGET,
            seconds(sum(times["ours"])),
            seconds(sum(times["bare"])),
        )
    ]
    print(
        f"python {platform.python_version()} torch {torch.__version__}, "
        f"{len(os.sched_getaffinity(0))} cores, {settings.threads} threads, "
        f"{n_images * settings.n_turns} images of {settings.image_size} px"
    )
    print_table(rows, ("responses", "dvis", "bare pass", "ratio", "target"))


def _cpu_seconds(function: Callable[[], None]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


if __name__ == "__main__":
    main(tyro.cli(Settings))
