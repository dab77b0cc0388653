"""Small jpg/json trees for tests: real jpgs, info.json files as existing runs wrote them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHECKPOINTS = [
    "checkpoint_2024-03-25-00h28_epoch_0_train_0.pth.tar",
    "checkpoint_2024-03-25-00h35_epoch_0_train_200.pth.tar",
    "checkpoint_2024-03-25-00h35_epoch_0_train_1000.pth.tar",
    "checkpoint_2024-03-25-00h35_epoch_0_val_0.pth.tar",
    "checkpoint_2024-03-25-00h35_epoch_0_end.pth.tar",
    "checkpoint_2024-03-26-00h00_epoch_1_train_200.pth.tar",
]


def pixels_of(*key: int, size: int = 16) -> np.ndarray:
    """A smooth picture that differs with its key, (y, x, rgb) uint8."""
    rng = np.random.default_rng(key)
    corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((size, size), Image.Resampling.BICUBIC))


def jpg_of(*key: int, size: int = 16, mode: str = "RGB", **options: Any) -> bytes:
    """Jpg of `pixels_of` the key."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_of(*key, size=size)).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """Pixels of an encoded picture as Pillow gives them, (y, x, rgb) uint8."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def info_of(layer: str, channel: int, **changes: Any) -> dict[str, Any]:
    """Content of an info.json; a value of `...` among the changes takes its key out."""
    record = {
        "Layer": layer,
        "Channel": channel,
        "Neuron": None,
        "Aggregation": "average",
        "Activation": float(np.float32(channel + 0.1)),
        "Convergence Iteration": 3,
        "Parameters": {"max_iterations": 3, "learning_rate": 0.1, "lr_min": None, "seed": 7},
        "Loss Values": [-0.5, -0.25, -0.125],
    } | changes
    return {key: value for key, value in record.items() if value is not ...}


def write_unit(
    folder: Path,
    layer: str = "layer1",
    channel: int = 0,
    *,
    kind: str = "average",
    jpg: bytes | None = None,
    info: dict[str, Any] | str | None = None,
) -> Path:
    """Write a unit's two files and return their common path, without suffixes."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"layer_{layer}_channel_{channel}_{kind}"
    text = info if isinstance(info, str) else json.dumps(info or info_of(layer, channel), indent=2)
    stem.with_name(stem.name + ".jpg").write_bytes(jpg or jpg_of(channel, 0))
    stem.with_name(stem.name + ".info.json").write_text(text)
    return stem


def write_tree(
    root: Path,
    labels: list[str] = CHECKPOINTS,
    layers: tuple[str, ...] = ("layer1", "layer2.0.conv1"),
    n_channels: int = 3,
    *,
    run: str = "checkpoints",
    size: int = 16,
) -> Path:
    """Write a tree of complete units below root/feature_images/resnet18; return that folder."""
    model = root / "feature_images" / "resnet18"
    for i, label in enumerate(labels):
        for j, layer in enumerate(layers):
            for channel in range(n_channels):
                activation = float(np.float32(i + channel / 10))
                write_unit(
                    model / run / label,
                    layer,
                    channel,
                    jpg=jpg_of(i, j, channel, size=size),
                    info=info_of(layer, channel, Activation=activation),
                )
    return model


def read_tree(root: Path) -> dict[str, Any]:
    """Files below a folder by relative path: pictures as bytes, info.json files as content."""
    files: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        if path.name.endswith(".jpg"):
            files[str(path.relative_to(root))] = path.read_bytes()
        elif path.name.endswith(".info.json"):
            # NaN equals itself in text, not as a number.
            files[str(path.relative_to(root))] = json.dumps(
                json.loads(path.read_text()), sort_keys=True
            )
    return files
