"""Small made-up Datasets of the shape that `dvis.open` gives, with planted answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dask
import numpy as np
import xarray as xr

from dvis.kinds.features.words import IMAGE_DIMS
from dvis.schema import CHANNEL, CHECKPOINT, LAYER, UNIT_DIMS, Status

LAYERS = ("layer1", "layer2", "layer3", "layer4")
BIRTHS = np.array([[1, 2, 2, 3], [4, 5, 5, 6]])


def made_up(
    activation: np.ndarray,
    *,
    steps: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    status: np.ndarray | None = None,
    image: np.ndarray | None = None,
    is_lazy: bool = False,
    **metrics: Sequence[float],
) -> xr.Dataset:
    """A Dataset of these activations, (checkpoint, layer, channel), all complete unless told.

    Steps are log-spaced from 0 where none are given; `is_lazy` makes it dask arrays, in chunks that
    cut through every dimension; `metrics` are numbers of checkpoints.
    """
    activation = np.asarray(activation, np.float32)
    n_checkpoints, n_layers, n_channels = activation.shape
    if steps is None:
        steps = log_steps(n_checkpoints)
    complete = np.full(activation.shape, Status.COMPLETE)
    dataset = xr.Dataset(
        {
            "activation": (UNIT_DIMS, activation, {"long_name": "activation", "units": "1"}),
            "status": (UNIT_DIMS, (complete if status is None else status).astype("uint8")),
            **{name: (CHECKPOINT, np.asarray(each, float)) for name, each in metrics.items()},
        },
        {
            CHECKPOINT: list(labels or [f"step_{step:g}" for step in steps]),
            "step": (CHECKPOINT, np.asarray(steps)),
            LAYER: list(layers or LAYERS[:n_layers]),
            "n_channels": (LAYER, np.full(n_layers, n_channels, "int32")),
            CHANNEL: np.arange(n_channels, dtype="int32"),
        },
        {"model": "made_up", "run": "checkpoints", "variant": "average-0"},
    )
    if image is not None:
        dataset["image"] = IMAGE_DIMS, np.asarray(image, np.uint8)
    if not is_lazy:
        return dataset
    return dataset.chunk({CHECKPOINT: 5, LAYER: 1, CHANNEL: 3}).assign_coords(dataset.coords)


@contextmanager
def nothing_computed() -> Iterator[None]:
    """Fail where dask is asked to compute something."""

    def refuse(*graph: object, **options: object) -> None:
        raise AssertionError("something was computed before it was asked for")

    with dask.config.set(scheduler=refuse):
        yield


def log_steps(n_checkpoints: int) -> list[float]:
    """Steps 0, 1, 2, 4, 8, ..."""
    return [0.0, *(2.0**power for power in range(n_checkpoints - 1))]


def rising_at(birth: np.ndarray, n_checkpoints: int, *, noise: float = 0.0, seed: int = 0):
    """Trajectories (checkpoint, layer, channel) that go from 0 to 1 at a position of each unit.

    `birth` is (layer, channel), int; `noise` is the standard deviation of normal noise. A birth at
    `n_checkpoints` or later never comes.
    """
    birth = np.asarray(birth)
    position = np.arange(n_checkpoints)[:, None, None]
    level = (position >= birth).astype(float)
    return level + noise * np.random.default_rng(seed).standard_normal(level.shape)


def rising_units() -> xr.Dataset:
    """Two layers of four units that rise from 0 to 1 at `BIRTHS`, of eight checkpoints."""
    image = np.random.default_rng(0).integers(0, 255, (8, 2, 4, 6, 6, 3))
    return made_up(rising_at(BIRTHS, 8), image=image, val_loss=np.geomspace(4.0, 0.02, 8))


def many_units(n_checkpoints: int, n_layers: int, n_channels: int, *, side: int = 0) -> xr.Dataset:
    """Units that are born at random, at checkpoints with long names, times and epochs."""
    shape = (n_layers, n_channels)
    born_at = np.random.default_rng(1).integers(0, n_checkpoints, shape)
    steps = np.unique(np.geomspace(1, 50_000, n_checkpoints).round())
    steps = np.concatenate([[0], steps, steps[-1] + np.arange(1, n_checkpoints) * 5000])
    steps = steps[:n_checkpoints]
    labels = [
        f"checkpoint_2024-03-25-10h{i % 60:02d}_epoch_{step // 5000:.0f}_train_{batch:.0f}.pth"
        for i, (step, batch) in enumerate(zip(steps, steps % 5000, strict=True))
    ]
    image = np.zeros((n_checkpoints, *shape, side, side, 3)) if side else None
    dataset = made_up(
        rising_at(born_at, n_checkpoints, noise=0.05),
        steps=steps,
        labels=labels,
        layers=[f"features.{i}.block.conv1" for i in range(n_layers)],
        image=image,
    )
    minutes = (steps * 10).astype("timedelta64[s]")
    return dataset.assign_coords(
        epoch=("checkpoint", steps // 5000),
        batch=("checkpoint", steps % 5000),
        time=("checkpoint", np.datetime64("2024-03-25T10:00", "ns") + minutes),
    )
