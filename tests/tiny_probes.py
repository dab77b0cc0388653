"""Linear probes of a tiny network: what is asked of its checkpoints, and probes made up."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tiny_models import write_checkpoints

from dvis.kinds.probes.options import LinearProbeOptions

MODEL = "tiny_models:net"


def probe_options(folder: Path, **changes: Any) -> LinearProbeOptions:
    """Two layers and two targets of a run of three checkpoints, which is made where it is not."""
    if not (folder / "run").is_dir():
        write_checkpoints(folder / "run", 3)
    given: dict[str, Any] = {
        "model": MODEL,
        "checkpoint_path": (folder / "run",),
        "layers": ("bn1", "conv2"),
        "targets": ("background", "size"),
        "dataset": "shapes",
        "n_images": 60,
        "n_shuffles": 2,
        "store": folder / "net.zarr",
        "workers": 0,
    }
    return LinearProbeOptions(**{**given, **changes})


def made_up_probes(scores: np.ndarray, error: float, upper: float = 0.2) -> xr.Dataset:
    """What `dvis.probes` gives of scores (checkpoint, layer) of one target."""
    n_checkpoints, n_layers = scores.shape
    dims = ("checkpoint", "layer", "target", "split")
    values = scores[:, :, None, None].astype(float)
    band = np.broadcast_to([0.0, upper], (*values.shape, 2))
    return xr.Dataset(
        {
            "score": (dims, values),
            "score_se": (dims, np.full(values.shape, error)),
            "null_score": ((*dims, "bound"), band),
            "untrained_score": (dims[1:], np.full((n_layers, 1, 1), 0.3)),
            "untrained_score_se": (dims[1:], np.full((n_layers, 1, 1), 0.05)),
            "pixel_score": (dims[2:], np.full((1, 1), 0.4)),
            "pixel_score_se": (dims[2:], np.full((1, 1), 0.05)),
            "majority_score": (dims[2:], np.full((1, 1), 0.1)),
        },
        {
            "checkpoint": [f"step_{10 * i}" for i in range(n_checkpoints)],
            "step": ("checkpoint", 10.0 * np.arange(n_checkpoints)),
            "layer": [f"layer{i}" for i in range(n_layers)],
            "depth": ("layer", np.arange(n_layers)),
            "target": ["shape"],
            "metric": ("target", ["accuracy"]),
            "split": ["held-out"],
            "bound": ["lower", "upper"],
        },
        {"usual_variable": "score"},
    )
