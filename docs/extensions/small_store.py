"""A store with some of everything, made in seconds of a small network that learns drawn shapes.

The gallery draws it, and tests run the code of these pages on it. It bears the names that the pages
use, so it lies where they open it: in `stores/resnet18.zarr` below a folder.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dvis import cli, measure

STORE, RUN = "stores/resnet18.zarr", "models/resnet18_checkpoints/1"
FACTORY = "extensions.small_store:small_net"
LAYERS, SIZE, N_IMAGES = ("layer1", "layer2", "layer3", "layer4"), 32, 100
SAE_LAYER = "layer3"


def small_net(num_classes: int = 10) -> nn.Module:
    """Four convolutions with batch norm and a classifier."""
    net, before = nn.Sequential(), 3
    for i, after in enumerate((8, 12, 16, 16)):
        net.add_module(LAYERS[i], _stage(before, after))
        before = after
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    net.add_module("fc", nn.Linear(before, num_classes))
    return net


def write_store(folder: Path) -> Path:
    """Train the network below a folder, and measure all kinds at its checkpoints."""
    with contextlib.chdir(folder), _one_thread():
        _dvis(
            *("train", "--model", FACTORY, "--dataset", "shapes", "--image-size", str(SIZE)),
            *("--n-train", "640", "--steps", "120", "--batch-size", "32", "--n-checkpoints", "4"),
            *("--no-epoch-ends", "--n-val", "100", "--optimizer", "adamw"),
            *("--learning-rate", "0.01", "--threads", "1", "--out", RUN),
        )
        at = {"store": STORE, "workers": 0, "checkpoints": RUN}
        _measure_units(at)
        _measure_circuits(at)
        _measure_autoencoders(at)
    return folder / STORE


def _measure_units(at: dict[str, Any]) -> None:
    units = {"layers": LAYERS, **at}
    shapes = {"dataset": "shapes", "n_images": N_IMAGES}
    quick = {"max_iterations": 24, "channels": range(4)}
    measure.features(FACTORY, **quick, **{**units, "layers": (*LAYERS, "fc")})
    measure.responses(FACTORY, **shapes, **units)
    measure.responses(FACTORY, feature_images="all", **units)
    measure.probes(FACTORY, name="shapes", targets=("shape", "colour", "size"), **shapes, **units)
    drawn = {"attributes": ("colour", "size"), "n_pairs": 12, "n_images": 32, "n_random": 3}
    measure.attributes(FACTORY, **drawn, **{**units, "layers": ("layer1", "layer4")})
    chains = {"epsilon": (1e-5,), "gamma": (100, 300), "chains": 2, "draws": 40, "burn_in": 10}
    measure.llc(FACTORY, n_images=N_IMAGES, batch_size=32, **chains, **at)


def _measure_circuits(at: dict[str, Any]) -> None:
    shapes = {"dataset": "shapes", "n_images": 40}
    measure.influence(FACTORY, layers=LAYERS, split="train", **shapes, **at)
    measure.edges(FACTORY, layers=("layer2.conv", "layer3.conv"), **shapes, **at)
    measure.chimera(FACTORY, layers=LAYERS[:3], to=("layer4",), **shapes, **at)
    measure.sizes(FACTORY, layers=LAYERS[:3], **{**shapes, "n_images": 8}, **at)


def _measure_autoencoders(at: dict[str, Any]) -> None:
    kept = {"dataset": "shapes", "n_images": N_IMAGES, **at}
    both = (SAE_LAYER, "layer4")
    measure.activations(FACTORY, layers=both, keep=("values", "top:16"), name="shapes-val", **kept)
    measure.activations(FACTORY, layers=both, keep=("top:16",), name="shapes-top", **kept)
    of_layer = {"layer": SAE_LAYER}
    training = {"checkpoints": "all", "activations": "shapes-val", "expansion": (4,)}
    training |= {"tokens": "20k", "batch_size": 512}
    measure.saes(STORE, k=(8,), **training, **of_layer)
    measure.saes(STORE, k=(4,), warm_start=True, name="wide", **training, **of_layer)
    measure.evaluate_saes(STORE, name="batchtopk-k8-x4", **of_layer)
    measure.evaluate_saes(STORE, name="wide", **of_layer)
    measure.track_saes(STORE, name="wide", controls=True, layer=SAE_LAYER)
    depth = {"depth": 2, "seeds": (0, 1), "tokens": "20k", "n_shuffles": 5}
    measure.chain_saes(STORE, name="wide", layer=SAE_LAYER, **depth)
    latents = {"latents": ("wide", list(range(4))), "layers": (SAE_LAYER,), "max_iterations": 24}
    measure.features(FACTORY, **latents, **at)


def _stage(before: int, after: int) -> nn.Module:
    """A convolution that halves the map, with batch norm."""
    stage = nn.Sequential()
    stage.add_module("conv", nn.Conv2d(before, after, 3, stride=2, padding=1))
    stage.add_module("norm", nn.BatchNorm2d(after))
    stage.add_module("relu", nn.ReLU())
    return stage


def _dvis(*words: str) -> None:
    """Run a command and keep what it prints for when it fails."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            cli.main(list(words))
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(f"dvis {' '.join(words)}:\n{printed.getvalue()}") from ended


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(n_threads)
