"""Training runs of a tiny network, which take half a second, and what their checkpoints hold."""

from pathlib import Path
from typing import Any

import torch

from dvis.models.checkpoints import find_checkpoints
from dvis.models.training import TrainingRun, train
from dvis.models.training_settings import TrainingSettings

# 100 images in batches of 16.
BATCHES_PER_EPOCH = 6
TINY = {
    "model": "tiny_models:convolutional",
    "dataset": "shapes",
    "image_size": 16,
    "n_train": 100,
    "n_val": 20,
    "batch_size": 16,
    "steps": 15,
    "n_checkpoints": 5,
    "threads": 1,
}
# What has to be the same in two runs that are to be the same.
STATES = ("model_state_dict", "optimizer_state_dict", "metrics", "val_losses")


def run_tiny(out: Path | None, **changes: Any) -> TrainingRun:
    return train(TrainingSettings(**{**TINY, "out": out, **changes}))


def contents(folder: Path) -> dict[int, dict[str, Any]]:
    """What each checkpoint of a run holds, by step; fails where two have the same step."""
    found = [torch.load(file.path, weights_only=True) for file in find_checkpoints([folder])]
    by_step = {content["step"]: content for content in found}
    assert len(by_step) == len(found)
    return by_step


def same(first: Any, second: Any) -> bool:
    """Equal to the last bit, nests included."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def assert_same_run(folder: Path, other: Path) -> None:
    ours, theirs = contents(folder), contents(other)
    assert ours.keys() == theirs.keys()
    for step, content in ours.items():
        assert all(same(content[key], theirs[step][key]) for key in STATES), step
