"""Linear probes of a training run: what they take on the cores that there are.

A small convolutional network is trained on drawn shapes; layers are probed at every checkpoint for
classes, sizes and places, with shuffled targets, the network untrained and pixels beside them. What
it is held against is a plain loop of scikit-learn in one process, which fits the same probes, with
the same penalties and shuffles, on the same numbers read of the layers: of some checkpoints, and
taken to be as quick at the others. Its forward passes and bootstrap samples are not counted.

    python scripts/bench/probes.py                        # about two minutes
    python scripts/bench/probes.py --n-checkpoints 4      # one
"""

import tempfile
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from results import Row, faster, print_machine, print_table, seconds
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import dvis
from dvis.analysis.linear_probes import STRENGTHS, Splits
from dvis.kinds.probes.options import LinearProbeOptions
from dvis.kinds.probes.plan import train_probes
from dvis.kinds.probes.targets import Target, targets_of
from dvis.models.architectures import load_model
from dvis.models.checkpoints import find_checkpoints, load_checkpoint
from dvis.models.data import ImageSet, InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.models.recalibration import Recalibrated
from dvis.models.training import train
from dvis.models.training_settings import TrainingSettings

TARGET_S = 180.0
MODEL = "probes:network"
WIDTHS = (16, 32, 32, 64, 64, 64, 64)
TARGETS = ("shape", "background", "size", "position_x", "colour")
SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured."""

    n_checkpoints: int = 12
    n_images: int = 2000
    n_shuffles: int = 5
    n_plain: int = 1
    """Checkpoints of the plain loop."""
    workers: int | None = None
    """Dask workers (default: a process for each core)."""


def network(num_classes: int = 10) -> nn.Module:
    """Seven convolutions with batch norm, and a linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    n_before = 3
    for number, width in enumerate(WIDTHS):
        stride = 2 if number in (2, 4) else 1
        layers[f"conv{number}"] = nn.Conv2d(n_before, width, 3, stride, 1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU()
        n_before = width
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flat"] = nn.Flatten()
    layers["fc"] = nn.Linear(n_before, num_classes)
    return nn.Sequential(layers)


def main(settings: Settings) -> None:
    """Run the bench and print its table."""
    torch.set_num_threads(1)
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(
            TrainingSettings(
                model=MODEL,
                dataset="shapes",
                image_size=SIZE,
                n_train=2000,
                n_val=100,
                steps=150,
                n_checkpoints=settings.n_checkpoints,
                threads=1,
                out=run,
            )
        )
        files = [file.path for file in find_checkpoints([run])]
        places = np.linspace(0, len(files) - 1, settings.n_checkpoints).round().astype(int)
        some = tuple(files[place] for place in np.unique(places))
        layers = (*(f"relu{number}" for number in range(len(WIDTHS))), "fc")
        options = LinearProbeOptions(
            model=MODEL,
            checkpoint_path=some,
            layers=layers,
            targets=TARGETS,
            dataset="shapes",
            n_images=settings.n_images,
            n_shuffles=settings.n_shuffles,
            store=Path(folder) / "net.zarr",
            workers=settings.workers,
        )
        begun = time.perf_counter()
        report = train_probes(options)
        ours = time.perf_counter() - begun
        found = dvis.probes(options.store_of("network")).load()
        plain, scores = _plain_loop(settings, options, found.attrs["batch_norm"])
    n_checkpoints = found.sizes["checkpoint"]
    of_plain = found.score.isel(checkpoint=slice(settings.n_plain)).transpose(
        "checkpoint", "layer", "target", "split"
    )
    away = float(np.abs(of_plain.values - scores).max())
    name = f"{report.n_measured} probes: {n_checkpoints} x {len(layers)} x {len(TARGETS)}"
    print_table(
        [
            Row(
                name=name,
                ours=seconds(ours),
                target=f"<= {TARGET_S:g} s",
                is_met=ours <= TARGET_S,
            ),
            faster("the same by a plain loop", ours, plain * n_checkpoints / settings.n_plain),
            Row(
                name="scores differ at most by",
                ours=f"{away:.1e}",
                target="<= 1e-06",
                is_met=away <= 1e-6,
            ),
        ],
        ("quantity", "dvis", "scikit-learn", "ratio", "target"),
    )


def _plain_loop(
    settings: Settings, options: LinearProbeOptions, batch_norm: Any
) -> tuple[float, np.ndarray]:
    """Seconds of the fits of some checkpoints, and their scores."""
    shapes = load_images("shapes", split="val", size=SIZE, n_samples=settings.n_images)
    splits = Splits.drawn(
        len(shapes), validation=options.validation, held_out=options.held_out, seed=options.seed
    )
    targets = targets_of(shapes, TARGETS, {})
    checkpoints = find_checkpoints(options.checkpoint_path)
    recalibrated = Recalibrated(_taken(shapes, checkpoints[0].path), batch_norm)
    spent, scores = 0.0, []
    for checkpoint in checkpoints[: settings.n_plain]:
        model = recalibrated(load_model(MODEL, checkpoint))
        for inputs in _read(model, options.layers, recalibrated.images).values():
            begun = time.perf_counter()
            scores.append([_by_hand(inputs, each, splits, settings.n_shuffles) for each in targets])
            spent += time.perf_counter() - begun
    shape = (settings.n_plain, len(options.layers), len(targets), 3)
    return spent, np.reshape(scores, shape)


def _taken(shapes: ImageSet, checkpoint: Path) -> FixedImages:
    """The images as a checkpoint says that the model takes them."""
    told = load_checkpoint(checkpoint).facts["input"]
    transform = InputTransform(size=told["size"], mean=tuple(told["mean"]), std=tuple(told["std"]))
    return FixedImages.of(shapes, transform)


def _read(model: nn.Module, layers: tuple[str, ...], images: FixedImages) -> dict[str, np.ndarray]:
    """Means over places of layers' outputs, (sample, channel)."""
    kept: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}

    def keep(layer: str, output: torch.Tensor) -> None:
        pooled = output.mean((-2, -1)) if output.ndim == 4 else output
        kept[layer].append(pooled.numpy())

    handles = [
        module.register_forward_hook(lambda _module, _given, out, name=name: keep(name, out))
        for name, module in model.named_modules()
        if name in layers
    ]
    with torch.no_grad():
        for first in range(0, len(images), 32):
            model(images.batch(first, first + 32, torch.zeros(())))
    for handle in handles:
        handle.remove()
    return {layer: np.concatenate(parts) for layer, parts in kept.items()}


def _by_hand(inputs: np.ndarray, target: Target, splits: Splits, n_shuffles: int) -> list[float]:
    """Scores of the three splits, as a user of scikit-learn would get them."""
    inputs = inputs.astype(np.float64)
    found = []
    for values in [target.values, *target.shuffled(n_shuffles, 0)]:
        tried = []
        for strength in STRENGTHS:
            fit = LogisticRegression(C=strength, max_iter=500)
            model = make_pipeline(
                StandardScaler(), fit if target.is_class else Ridge(alpha=1 / strength)
            )
            model.fit(inputs[splits.train], values[splits.train])
            own = inputs[splits.validation], values[splits.validation]
            if target.is_class:
                scores = [model.score(inputs[each], values[each]) for each in splits]
                tried.append((log_loss(own[1], model.predict_proba(own[0])), scores))
            else:
                scores = [
                    r2_score(
                        values[each], model.predict(inputs[each]), multioutput="variance_weighted"
                    )
                    for each in splits
                ]
                tried.append((-scores[1], scores))
        found.append(min(tried, key=lambda each: each[0])[1])
    return found[0]


if __name__ == "__main__":
    main(tyro.cli(Settings))
