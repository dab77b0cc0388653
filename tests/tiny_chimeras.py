"""Chimeras and sizes of a tiny network: what is asked of its checkpoints."""

from pathlib import Path
from typing import Any

import torch
import xarray as xr
from tiny_models import seeded_net, write_checkpoints
from torch import Tensor, nn

import dvis
from dvis import measure
from dvis.kinds.chimera.options import ChimeraOptions
from dvis.kinds.sizes.options import SizeOptions

MODEL = "tiny_models:net"
INPUT = {"input_size": 16, "input_mean": (0.5,) * 3, "input_std": (0.25,) * 3}


def chimera_options(folder: Path, **changes: Any) -> ChimeraOptions:
    """Two cuts of a run of three checkpoints, which is made where there is none."""
    if not (folder / "run").is_dir():
        write_checkpoints(folder / "run", 3)
    given: dict[str, Any] = {
        "model": MODEL,
        "checkpoint_path": (folder / "run",),
        "layers": ("bn1", "conv2"),
        "dataset": "shapes",
        "n_images": 24,
        "store": folder / "net.zarr",
        "workers": 0,
    }
    return ChimeraOptions(**{**given, **changes})


def size_options(folder: Path, **changes: Any) -> SizeOptions:
    """Three layers of the same run, on four images."""
    if not (folder / "run").is_dir():
        write_checkpoints(folder / "run", 3)
    given: dict[str, Any] = {
        "model": MODEL,
        "checkpoint_path": (folder / "run",),
        "layers": ("conv1", "conv2", "fc"),
        "dataset": "shapes",
        "n_images": 4,
        "store": folder / "net.zarr",
        "workers": 0,
    }
    return SizeOptions(**{**given, **changes})


def chimeras_of(
    store: Path, checkpoints: dict[str, Any], model: nn.Module | None = None, **options: Any
) -> xr.Dataset:
    """Chimeras of checkpoints in memory."""
    given: dict[str, Any] = {"noise": 24, "workers": 0, **INPUT, **options}
    measure.chimera(model or seeded_net(), checkpoints, store=store, **given)
    return dvis.chimera(store).load()


class Stacked(nn.Module):
    """Convolutions without padding, each of one channel and a kernel of ones, and no bias."""

    def __init__(self, *sides: int) -> None:
        super().__init__()
        n_colours = (3, *[1] * len(sides))
        self.boxes = nn.Sequential(
            *(nn.Conv2d(n, 1, side, bias=False) for n, side in zip(n_colours, sides, strict=False))
        )
        for box in self.boxes:
            nn.init.ones_(box.weight)

    def forward(self, images: Tensor) -> Tensor:
        return self.boxes(images)


class Skipping(nn.Module):
    """A skip connection around its middle, and a last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = (nn.Conv2d(n, 4, 3, padding=1) for n in (3, 4, 4))

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.first(images))
        return self.last(hidden + torch.relu(self.middle(hidden)))


class Sharing(nn.Module):
    """One convolution that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.pool(self.again(self.first(images)))
        return self.relu(self.again(hidden))
