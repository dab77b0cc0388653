"""Attributes of tiny networks: what is asked of checkpoints, and networks wired by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from tiny_models import write_checkpoints
from torch import Tensor, nn

from dvis.kinds.attributes.measure import AttributeMeasurement, AttributeTask
from dvis.kinds.attributes.options import AttributeOptions
from dvis.models.data import InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages
from dvis.models.data.pairs import Contrast, paired_images
from dvis.models.hooks import trace_layers
from dvis.models.recalibration import Recalibrated

MODEL = "tiny_models:net"
PLANTED = ("colour", "orientation")


def attribute_options(folder: Path, **changes: Any) -> AttributeOptions:
    """Two layers and two attributes of a run of three checkpoints, which is made if need be."""
    if not (folder / "run").is_dir():
        write_checkpoints(folder / "run", 3)
    given: dict[str, Any] = {
        "model": MODEL,
        "checkpoint_path": (folder / "run",),
        "layers": ("bn1", "conv2"),
        "attributes": ("colour", "size"),
        "n_pairs": 12,
        "n_images": 16,
        "dataset": "shapes",
        "n_shuffles": 4,
        "n_random": 2,
        "store": folder / "net.zarr",
        "workers": 0,
    }
    return AttributeOptions(**{**given, **changes})


def stimuli_of(*attributes: str, n_pairs: int = 12, size: int = 16) -> FixedImages:
    """Pairs as the tiny networks take them."""
    contrasts = [Contrast.parse(label) for label in attributes]
    transform = InputTransform(size=size, mean=(0.5,) * 3, std=(0.25,) * 3)
    return FixedImages.of(paired_images(contrasts, n_pairs, size=size), transform)


def measurement_of(
    model: nn.Module, layers: tuple[str, ...], stimuli: FixedImages, *names: str, **options: Any
) -> AttributeMeasurement:
    """What measures a model that is at hand."""
    traced = trace_layers(model, stimuli.batch(0, 1, next(model.parameters())))
    shapes = load_images("shapes", split="val", size=stimuli.transform.size, n_samples=4)
    few = FixedImages.of(shapes, stimuli.transform)
    return AttributeMeasurement(
        stimuli=stimuli,
        attributes=names,
        outputs={layer: traced[layer] for layer in layers},
        recalibrated=Recalibrated(few, "running"),
        **options,
    )


def attributes_of(
    model: nn.Module, layer: str, *names: str, n_pairs: int = 40, size: int = 24, **options: Any
) -> xr.Dataset:
    """Attributes at one layer of a model, (attribute, ...)."""
    stimuli = stimuli_of(*names, n_pairs=n_pairs, size=size)
    measurement = measurement_of(model, (layer,), stimuli, *names, **options)
    found = measurement.measure(model, AttributeTask((layer,), names, tuple(range(len(names)))))
    return found.swap_dims(unit="attribute")


class Seen(nn.Module):
    """Three maps: of the hue red, of edges that rise to the right, of the highest colour."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        red = images[:, 0] - images[:, 1:].mean(1)
        grey = images.mean(1)
        across = grey[:, :-1, 1:] - grey[:, :-1, :-1]
        down = grey[:, 1:, :-1] - grey[:, :-1, :-1]
        tilt = nn.functional.pad(across * down, (0, 1, 0, 1))
        return torch.stack([red, tilt, images.amax(1)], 1) * self.gains[:, None, None]


class Wired(nn.Module):
    """Sees hue and orientation as far as its gains let it, and answers to what it is wired to."""

    def __init__(self, gains: tuple[float, ...] = (1, 1, 1), wires: tuple[float, ...] = (1, 1, 1)):
        super().__init__()
        self.seen = Seen()
        self.out = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.seen.gains.copy_(torch.tensor(gains))
            self.out.weight.copy_(torch.tensor([wires, [-wire for wire in wires]]))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.out(self.seen(images).mean((2, 3)))
        return out


def planted_run() -> Mapping[str, nn.Module]:
    """Checkpoints 0 to 5: colour is seen from 1 and used from 2, orientation from 3 and from 5."""
    made = {}
    for step in range(6):
        gains = (float(step >= 1), 30.0 * (step >= 3), 0.0)
        wires = (float(step >= 2), float(step >= 5), 0.0)
        made[f"step_{step}"] = Wired(gains, wires)
    return made


def made_up_attributes(
    tells: np.ndarray, uses: np.ndarray, n_pairs: int = 50, upper: float = 0.6
) -> xr.Dataset:
    """What `dvis.attributes` gives of one layer and attribute, of pairs (checkpoint, pair)."""
    n_checkpoints = len(tells)
    dims = ("checkpoint", "layer", "attribute")

    def of_parts(values: np.ndarray) -> np.ndarray:
        return values.reshape(n_checkpoints, 1, 1, *values.shape[1:])

    pairs = {"told": tells, "lost": uses, "squared": np.ones_like(uses)}
    variables: dict[str, Any] = {
        name: ((*dims, "pair"), of_parts(each)) for name, each in pairs.items()
    }
    for name, each in (("tells", tells), ("uses", uses)):
        variables[name] = (dims, of_parts(each.mean(1)))
        variables[f"{name}_se"] = (dims, of_parts(each.std(1) / np.sqrt(n_pairs)))
        band = np.broadcast_to([0.4, upper], (n_checkpoints, 1, 1, 2))
        variables[f"null_{name}"] = ((*dims, "bound"), band)
    return xr.Dataset(
        variables,
        {
            "checkpoint": [f"step_{10 * i}" for i in range(n_checkpoints)],
            "step": ("checkpoint", 10.0 * np.arange(n_checkpoints)),
            "layer": ["layer1"],
            "attribute": ["colour"],
            "bound": ["lower", "upper"],
        },
    )
