"""What sparse autoencoders find in small trained networks, against their controls.

    python scripts/bench/latents.py --folder FOLDER

A resnet18 on drawn shapes and a small vision transformer on digits are trained, the activations of
one layer of each are kept, and autoencoders of several widths at one number of active latents, each
from two seeds, are trained over one pass and evaluated on samples that were held out. Printed are
explained variance by width, the same of controls, and how far two seeds agree beside directions at
random. All of it lies in FOLDER, and a second run begins where the first one ended.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
import xarray as xr

import dvis
from dvis import measure
from dvis.analysis.control import VALUE
from dvis.kinds.saes.measure.agreement import RANDOM_DIRECTIONS, agreement
from dvis.models.training import TrainingRun, train
from dvis.models.training_settings import TrainingSettings

SEEDS = (0, 1)
NAME = "wider"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where all of it lies, and how long autoencoders are trained."""

    folder: Path = Path("latents")
    tokens: str = "4M"
    """Rows that each autoencoder is trained on."""
    batch_size: int = 1024
    """Rows of a step; wide ones need thousands of steps before they are ahead."""
    k: int = 16
    """Active latents a row."""
    expansion: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Latents for each channel."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, how it is trained, and what is kept of it."""

    name: str
    model: str
    layer: str
    n_images: int
    training: dict[str, Any]


NETWORKS = (
    Network(
        name="resnet18, shapes",
        model="resnet18",
        layer="layer3",
        n_images=4000,
        training={
            **{"dataset": "shapes", "steps": 300, "batch_size": 32, "n_train": 4000},
            **{"optimizer": "adamw", "learning_rate": 0.001, "lr_warmup_steps": 25, "n_val": 500},
        },
    ),
    Network(
        name="small ViT, digits",
        model="scripts.small_vit:small_vit",
        layer="encoder.layers.encoder_layer_2",
        n_images=1600,
        training={
            **{"dataset": "digits", "image_size": 32, "steps": 1000, "batch_size": 64},
            **{"optimizer": "adamw", "learning_rate": 0.002, "lr_warmup_steps": 50, "n_val": 180},
        },
    ),
)


def main(options: Options) -> None:
    """Train, measure and print the tables of all networks."""
    torch.set_num_threads(1)
    for network in NETWORKS:
        folder = options.folder / network.name.partition(",")[0].replace(" ", "_")
        run = trained(network, folder)
        store = kept(network, folder)
        accuracy = run.metrics.val_accuracy.values[-1]
        print(f"\n{network.name}: {network.layer}, accuracy {accuracy:.2f}")
        print_widths(network, store, options)
        print_controls(network, store, options)


def trained(network: Network, folder: Path) -> TrainingRun:
    """The network before and after its training, in `run` of the folder."""
    settings = TrainingSettings(
        model=network.model,
        out=folder / "run",
        resume_from_checkpoint=folder / "run",
        n_checkpoints=2,
        epoch_ends=False,
        **network.training,
    )
    return train(settings, progress=True)


def kept(network: Network, folder: Path) -> Path:
    """A store with activations of both."""
    store = folder / "store.zarr"
    measure.activations(
        network.model,
        folder / "run",
        layers=[network.layer],
        dataset=network.training["dataset"],
        split="train",
        n_images=network.n_images,
        dtype="float32",
        store=store,
        workers=0,
        progress=True,
    )
    return store


def print_widths(network: Network, store: Path, options: Options) -> None:
    """Train autoencoders of all widths from two seeds, and print what they reach."""
    widths = options.expansion
    measure.saes(
        store,
        network.layer,
        kind="topk",  # whose rows have as many active latents at every width
        k=(options.k,),
        expansion=widths,
        seeds=SEEDS,
        tokens=options.tokens,
        batch_size=options.batch_size,
        name=NAME,
        progress=True,
    )
    print("| width | latents | L0 | EV | seeds agree | random agree | dead |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for width in widths:
        print(row_of(network, store, width))


def row_of(network: Network, store: Path, width: float) -> str:
    """A row of the table: means of two seeds, and how far their decoders agree."""
    names = [f"{NAME}-x{width:g}-seed{seed}" for seed in SEEDS]
    found, decoders = [], []
    for name in names:
        measure.evaluate_saes(store, network.layer, name=name)
        last = dvis.latents(store, network.layer, name).isel(checkpoint=-1).load()
        found.append(last)
        decoder = dvis.saes(store, network.layer, name).decoder.isel(checkpoint=-1).values
        decoders.append(decoder * (last.frequency.values > 0)[:, None])
    alike = agreement(*decoders).mean_matched_cosine
    several = xr.concat([each[["ev", "l0", "n_dead"]] for each in found], "seed").mean("seed")
    return (
        f"| {width:g} | {len(decoders[0])} | {several.l0.item():.1f} | {several.ev.item():.3f} | "
        f"{alike.sel(control=VALUE).item():.2f} | "
        f"{alike.sel(control=RANDOM_DIRECTIONS).item():.2f} | {several.n_dead.item():.0f} |"
    )


def print_controls(network: Network, store: Path, options: Options) -> None:
    """Print what controls of one of them reach, the network before its training among them."""
    width = options.expansion[len(options.expansion) // 2]
    name = f"{NAME}-x{width:g}-seed{SEEDS[0]}"
    before = str(dvis.activations(store, network.layer).checkpoint.values[0])
    measure.evaluate_saes(store, network.layer, name=name, controls=True, untrained=before)
    last = dvis.latents(store, network.layer, name).isel(checkpoint=-1).load()
    print(f"\ncontrols at width {width:g}: EV, L0, matched cosine with the autoencoder")
    for control in last.control.values:
        of = last.sel(control=control)
        if np.isfinite(of.control_ev):
            print(
                f"  {control}: {of.control_ev.item():.3f}, {of.control_l0.item():.1f}, "
                f"{of.control_mean_matched_cosine.item():.2f}"
            )


if __name__ == "__main__":
    main(tyro.cli(Options))
