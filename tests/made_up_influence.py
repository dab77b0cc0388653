"""Influence that is made up: as its reader gives it, and in a store, without a model."""

from pathlib import Path

import numpy as np
import xarray as xr

from dvis.kinds.influence.words import (
    CHANNEL_FROM,
    CHANNEL_TO,
    KIND,
    LAYER_FROM,
    LAYER_TO,
    PAIR_DIMS,
    PART_DIMS,
    TARGET_DIMS,
    WORDS,
)
from dvis.names import parse_checkpoint
from dvis.schema import CHECKPOINT
from dvis.store.group import Group
from dvis.store.writer import restructuring, writing

RUN, NAME = "checkpoints", "shapes"
LABELS = tuple(f"checkpoint_2024-03-25-{i:02d}h00_epoch_{i}_end.pth.tar" for i in range(5))
WIDTHS = {"layer1": 4, "layer2": 6, "layer3": 8}
SETTINGS = {
    "method": "ablation",
    "value": "mean",
    "batch_norm": "recalibrate",
    "images": {"name": "made up", "fingerprint": "0", "n_images": 128},
}


def made_up_influence(
    widths: dict[str, int] = WIDTHS, labels: tuple[str, ...] = LABELS, seed: int = 0
) -> xr.Dataset:
    """Log-normal strengths that grow; NaN where the target's layer is not later, or too narrow."""
    rng = np.random.default_rng(seed)
    layers, n_max, n = list(widths), max(widths.values()), len(labels)
    shape = (n, len(layers), n_max, len(layers), n_max)
    growth = np.linspace(0.2, 1, n).reshape(-1, 1, 1, 1, 1)
    strength = growth * np.exp(rng.normal(size=shape[1:]) - 1.5 + 0.1 * rng.normal(size=shape))
    is_there = np.zeros(shape[1:], bool)
    for i, source in enumerate(layers):
        for j, target in enumerate(layers[i + 1 :], i + 1):
            is_there[i, : widths[source], j, : widths[target]] = True
    direction = np.clip(rng.normal(size=shape[1:]), -1, 1) * np.ones((n, 1, 1, 1, 1))
    pairs = {
        "strength": strength,
        "share": strength * direction / 2,
        "direction": direction,
        "half_difference": 0.1 * rng.normal(size=shape),
    }
    places = np.arange(len(layers), dtype=np.int32)
    result = xr.Dataset(
        {
            name: (PAIR_DIMS, np.where(is_there, values, np.nan).astype(np.float16))
            for name, values in pairs.items()
        },
        {
            CHECKPOINT: np.array(labels, object),
            LAYER_FROM: np.array(layers, object),
            CHANNEL_FROM: np.arange(n_max, dtype=np.int32),
            LAYER_TO: np.array(layers, object),
            CHANNEL_TO: np.arange(n_max, dtype=np.int32),
            "epoch": (CHECKPOINT, np.arange(n)),
            "step": (CHECKPOINT, 10 * np.arange(n)),
            "n_channels_from": (LAYER_FROM, np.array(list(widths.values()), np.int32)),
            "n_channels_to": (LAYER_TO, np.array(list(widths.values()), np.int32)),
            "depth_from": (LAYER_FROM, places),
            "depth_to": (LAYER_TO, places),
            "is_cut": (LAYER_FROM, np.ones(len(layers), np.int8)),
        },
        {"run": RUN, "name": NAME, **SETTINGS},
    )
    result["response_sd"] = TARGET_DIMS, np.exp(rng.normal(size=(n, len(layers), n_max)))
    is_measured = np.broadcast_to(is_there.any(-1), (n, *is_there.shape[:-1]))
    result["status"] = PART_DIMS, is_measured.astype(np.uint8)
    return result


def write_influence(store: Path, influence: xr.Dataset | None = None, run: str = RUN) -> None:
    """Keep made-up influence in a store, made where there is none."""
    made = made_up_influence() if influence is None else influence
    labels = {dim: made[dim].values.tolist() for dim in PAIR_DIMS[1:]}
    names = [parse_checkpoint(label) for label in made[CHECKPOINT].values.tolist()]
    columns = {
        column: dict(zip(made[dim].values.tolist(), made[column].values.tolist(), strict=True))
        for column, dim in {
            "step": CHECKPOINT,
            **dict.fromkeys(("n_channels_from", "depth_from", "is_cut"), LAYER_FROM),
            **dict.fromkeys(("n_channels_to", "depth_to"), LAYER_TO),
        }.items()
    }
    with writing(store, "resnet18", run, KIND) as path:
        with restructuring(path):
            group = Group.open(path, WORDS, run, str(made.attrs["name"]), SETTINGS)
            group.grow(names, labels, columns)
        for label in made[CHECKPOINT].values.tolist():
            for source in made[LAYER_FROM].values.tolist():
                for target in made[LAYER_TO].values.tolist():
                    places = {CHECKPOINT: label, LAYER_FROM: source, LAYER_TO: target}
                    _commit(group, made.sel(places))


def _commit(group: Group, layers: xr.Dataset) -> None:
    """Keep what there is of a pair of layers at a checkpoint."""
    part = layers.isel({CHANNEL_FROM: np.flatnonzero(layers["status"] == 1)})
    if not part.sizes[CHANNEL_FROM]:
        return
    names = ("strength", "share", "direction", "half_difference")
    group.commit(
        xr.Dataset(
            {name: (("part", CHANNEL_TO), part[name].values) for name in names},
            {
                **{dim: str(part[dim].item()) for dim in (CHECKPOINT, LAYER_FROM, LAYER_TO)},
                CHANNEL_FROM: ("part", part[CHANNEL_FROM].values),
            },
        )
    )
