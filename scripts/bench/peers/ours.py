"""dvis itself, asked for the same as its peers."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dvis.kinds.features.measure import FeatureTask, FeatureVisualisation, feature_settings
from peers.task import Rendered, Task, read_clock


def render_dvis(
    task: Task, *, preset: str, precision: str = "float32", param: str | None = None
) -> Rendered:
    """Images by dvis as it stores them, under one of its presets, but that none stops early.

    Parameters
    ----------
    task : Task
        What to make.
    preset : {"original", "default"}
        The plain loop's semantics, or Fourier coefficients and random transforms.
    precision : {"float32", "bfloat16"}
        Numbers of the forward and backward pass.
    param : str, optional
        What is optimised, in place of the preset's.
    """
    start = read_clock(task.device)
    options = {"max_iterations": task.steps, "stop_rule": "never", "seed": task.seed}
    options |= {} if param is None else {"param": param}
    features = FeatureVisualisation(
        settings=feature_settings(preset, options),
        mean=task.mean,
        std=task.std,
        image_size=task.size,
        batch_size=task.batch_size,
        precision=precision,
    )
    batches = [
        features.measure(task.model, FeatureTask(task.layer, "average", channels))
        for channels in task.batches
    ]
    seconds = read_clock(task.device) - start
    images = [_model_input(batch, features) for batch in batches]
    return Rendered(torch.cat(images).to(task.device), seconds)


def _model_input(batch: xr.Dataset, features: FeatureVisualisation) -> Tensor:
    """What the model takes, (channel, rgb, y, x), of images with the levels 0 to 255."""
    mean, std = (np.float32(features.parameters[f"input_{name}"]) for name in ("mean", "std"))
    low, high = batch["value_min"], batch["value_max"]
    values = (low + batch["image"] / np.float32(255) * (high - low)).isel(image_number=0)
    inputs = (values.transpose("channel", "y", "x", "rgb").values - mean) / std
    return torch.from_numpy(inputs.astype(np.float32)).movedim(-1, 1)
