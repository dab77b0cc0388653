"""Responses of a tiny network: its checkpoints and feature images, and what is asked of them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr
from tiny_models import write_checkpoints

from dvis.kinds.features.options import VisualizeOptions, feature_settings
from dvis.kinds.features.plan import visualize
from dvis.kinds.responses.options import RespondOptions
from dvis.kinds.responses.read import responses

MODEL = "tiny_models:net"
LAYERS = ("conv1", "conv2", "fc")


def write_run_of_features(folder: Path) -> None:
    """Three checkpoints in `run`, and a store of feature images of them, `net.zarr`."""
    write_checkpoints(folder / "run", 3)
    settings = feature_settings("default", {"max_iterations": 8, "min_iterations": 4})
    visualize(
        VisualizeOptions(
            model=MODEL,
            checkpoint_path=(folder / "run",),
            layers=("conv1", "conv2"),
            channels=(0, 1, 2, 5),
            store=folder / "net.zarr",
            workers=0,
            settings=settings,
        )
    )


def options_of_shapes(run_of_features: Path, folder: Path) -> RespondOptions:
    """Responses to ten shapes, of a copy of a run; its store has feature images."""
    shutil.copytree(run_of_features, folder)
    return RespondOptions(
        model=MODEL,
        checkpoint_path=(folder / "run",),
        layers=LAYERS,
        dataset="shapes",
        n_images=10,
        store=folder / "net.zarr",
        workers=0,
    )


def of_features(options: RespondOptions, which: str, **changes: Any) -> RespondOptions:
    cleared = {"dataset": None, "n_images": None, "layers": ()}
    return replace(options, **{**cleared, "feature_images": which, **changes})


def store_of(options: RespondOptions) -> Path:
    assert options.store is not None
    return options.store


def loaded(options: RespondOptions, name: str | None = None) -> xr.Dataset:
    return responses(store_of(options), name=name).load()
