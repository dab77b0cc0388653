"""The folder of a training run: whose it is, what is saved in it, and how to go on from there."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from dvis.disk import write_atomically, write_lock
from dvis.models.checkpoints import CheckpointError, find_checkpoints, read_facts
from dvis.models.model_reference import model_name
from dvis.models.schedule import (
    checkpoint_label,
    is_epoch_end,
    labels_by_step,
    place_of,
    time_for_label,
)
from dvis.models.training_settings import FIXED_IN_A_RUN, TrainingSettings
from dvis.names import CheckpointName, parse_checkpoint
from dvis.schema import CHECKPOINT

MODELS_FOLDER = Path("models")

# Name, meaning and unit of what is measured at each checkpoint.
METRICS = {
    "train_loss": ("cross entropy on training images, in eval mode", "nat"),
    "train_accuracy": ("accuracy on training images, in eval mode", "1"),
    "val_loss": ("cross entropy on validation images", "nat"),
    "val_accuracy": ("accuracy on validation images", "1"),
    "learning_rate": ("learning rate of the step that follows", "1"),
}


def find_resumed(settings: TrainingSettings) -> Path | None:
    """The checkpoint to go on from: the file that is given, or the last one of a folder.

    Returns
    -------
    Path or None
        None for a new run: nothing is to be resumed, or `out` is the same folder and empty.

    Raises
    ------
    FileNotFoundError
        When there is no checkpoint.
    """
    if settings.resume_from_checkpoint is None:
        return None
    path = settings.resume_from_checkpoint.expanduser()
    if settings.out is not None and path == settings.out.expanduser() and not _holds_files(path):
        return None
    found = find_checkpoints([path])
    placed = [file for file in found if not np.isnat(file.name.time)]
    return (placed or found)[-1].path


def read_resumed(path: Path) -> dict[str, Any]:
    """Everything in a checkpoint that `dvis train` wrote, tensors on the CPU.

    Raises
    ------
    CheckpointError
        When the file is no checkpoint, or not one of `dvis train`, which others cannot replace:
        they do not tell the order of the images that were left.
    """
    facts = read_facts(path)
    lacking = [key for key in ("step", "settings", "data", "batches_per_epoch") if key not in facts]
    if lacking:
        raise CheckpointError(
            f"{path} does not hold {', '.join(lacking)}: it was not written by dvis train, which "
            "can resume its own checkpoints only"
        )
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def check_same_run(path: Path, resumed: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to go on with what would be another run.

    Parameters
    ----------
    path : Path
        The checkpoint.
    resumed : mapping
        Its content.
    facts : mapping
        What checkpoints of the run that is to go on hold under `settings`, `data`, `input` and
        `total_steps`.

    Raises
    ------
    ValueError
        When they differ in what a run's weights depend on; names each difference.
    """
    places = [("settings", name) for name in FIXED_IN_A_RUN]
    places += [("data", name) for name in ("fingerprint", "n_train", "classes")]
    places += [("input", name) for name in facts["input"]]
    pairs = [
        (f"{group} {name}", resumed.get(group, {}).get(name), facts[group][name])
        for group, name in places
    ]
    if facts["settings"]["lr_schedule"] == "cosine":
        pairs.append(("steps that the cosine spans", resumed["total_steps"], facts["total_steps"]))
    differences = [
        f"{name} was {_short(old)} and is {_short(new)}" for name, old, new in pairs if old != new
    ]
    if differences:
        raise ValueError(
            f"cannot go on from {path}, for it would be another run: {'; '.join(differences)}. "
            "Give the settings that it began with, or begin a new run"
        )


@contextmanager
def hold_folder(settings: TrainingSettings, resumed: Path | None) -> Iterator[Path]:
    """The run's folder, in which nobody else writes meanwhile.

    Raises
    ------
    FileExistsError
        When a run is to begin in a folder that is not empty.
    StoreLockedError
        When another process trains there.
    """
    folder = settings.out and settings.out.expanduser()
    if folder is None:
        folder = _claim_next(settings.model) if resumed is None else resumed.parent
    folder.mkdir(parents=True, exist_ok=True)
    with write_lock(folder.absolute(), "training", wait=False):
        for left in folder.glob("checkpoint_*.partial"):  # by a process that was killed
            left.unlink()
        is_continued = resumed is not None and resumed.parent.resolve() == folder.resolve()
        if not is_continued and _holds_files(folder):
            raise FileExistsError(
                f"{folder} is not empty. To go on with the run in it: --resume-from-checkpoint "
                f"{folder}. To begin one, give another --out"
            )
        yield folder


def saved_checkpoint(folder: Path, step: int, batches_per_epoch: int) -> Path | None:
    """File of the checkpoint after a step, if it has been saved, at whatever time."""
    label = labels_by_step(_names(folder), batches_per_epoch).get(step)
    return None if label is None else folder / label


def save_checkpoint(
    folder: Path, step: int, batches_per_epoch: int, content: Mapping[str, Any]
) -> Path:
    """Write the checkpoint after a step, whole or not at all, under a name that sorts by step.

    Its place in training (epoch, phase, batch, time) is added to the content.

    Raises
    ------
    DiskFullError
        When there is no space for it.
    """
    now = datetime.now()
    names = {name.label: name for name in _names(folder)}
    labels = labels_by_step(names.values(), batches_per_epoch)
    time = time_for_label(step, now, ((other, names[label]) for other, label in labels.items()))
    epoch, batch = place_of(step, batches_per_epoch)
    place = {
        "epoch": epoch + 1,
        "phase_type": "end_epoch" if is_epoch_end(step, batches_per_epoch) else "train",
        "batch_iteration": batch,
        "timestamp": now.isoformat(timespec="seconds"),
        "step": step,
        "batches_per_epoch": batches_per_epoch,
    }
    # By way of memory: torch's own writer turns a full disk into an error that does not say so.
    buffer = io.BytesIO()
    torch.save({**content, **place}, buffer)
    path = folder / checkpoint_label(step, batches_per_epoch, time)
    write_atomically(path, buffer.getvalue())
    return path


def metrics_table(folder: Path) -> xr.Dataset:
    """What was measured at each checkpoint of a run, in training order.

    Returns
    -------
    Dataset
        `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy` and `learning_rate`
        (checkpoint), float64, NaN where not known; coordinates `step` and `epoch` (checkpoint).
    """
    names = sorted(_names(folder), key=lambda name: name.sort_key)
    facts = [read_facts(folder / name.label) for name in names]
    variables = {
        metric: (
            CHECKPOINT,
            np.array([each.get("metrics", {}).get(metric, np.nan) for each in facts], float),
            {"long_name": long_name, "units": units},
        )
        for metric, (long_name, units) in METRICS.items()
    }
    coordinates = {
        CHECKPOINT: np.array([name.label for name in names], object),
        "step": (CHECKPOINT, [each.get("step", -1) for each in facts]),
        "epoch": (CHECKPOINT, [name.epoch for name in names]),
    }
    return xr.Dataset(variables, coordinates, {"folder": str(folder)})


def _names(folder: Path) -> list[CheckpointName]:
    """Names of the checkpoints in a folder that are called as `checkpoint_label` calls them."""
    names = [parse_checkpoint(name) for name in os.listdir(folder) if name.endswith(".pth.tar")]
    return [name for name in names if name.phase and not np.isnat(name.time)]


def _holds_files(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _claim_next(model: str) -> Path:
    """A new folder under the next number that no run of the model has."""
    parent = MODELS_FOLDER / f"{model_name(model)}_checkpoints"
    parent.mkdir(parents=True, exist_ok=True)
    numbers = [int(child.name) for child in parent.iterdir() if child.name.isdecimal()]
    number = max(numbers, default=0)
    while True:
        number += 1
        try:
            (parent / str(number)).mkdir()
        except FileExistsError:  # a run that began at the same moment
            continue
        return parent / str(number)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
