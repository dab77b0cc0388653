"""When a training run does what: its checkpoints' steps and names, learning rates and chance.

A step is an optimizer step, counted over the whole run. Everything here is a function of the step
and of the settings, so that a resumed run has nothing to remember.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum

import numpy as np

from dvis.models.training_settings import TrainingSettings
from dvis.names import CheckpointName, training_steps


class Draw(IntEnum):
    """What is left to chance; each use of the seed draws other numbers."""

    WEIGHTS = 0
    ORDER = 1
    VALIDATION = 2
    MEASURED = 3
    STEP = 4


def seed_for(seed: int, use: Draw, position: int = 0) -> int:
    """Seed of one draw, such as the order of the images in the epoch `position`."""
    sequence = np.random.SeedSequence([seed, use, position])
    return int(sequence.generate_state(1, np.uint64)[0])


def checkpoint_steps(
    settings: TrainingSettings, *, total_steps: int, batches_per_epoch: int
) -> list[int]:
    """Steps after which a checkpoint is saved, in order; the last step is always one of them.

    Early stopping looks at the validation loss at each epoch's end, so that there is one there.
    """
    steps = {*log_spaced_steps(total_steps, settings.n_checkpoints), total_steps}
    if settings.every is not None:
        steps.update(range(settings.every, total_steps + 1, settings.every))
    if settings.epoch_ends or settings.patience is not None:
        steps.update(range(batches_per_epoch, total_steps + 1, batches_per_epoch))
    return sorted(steps)


def log_spaced_steps(total_steps: int, n_steps: int) -> list[int]:
    """Step 0, and whole steps up to the last that grow by an even factor: never one twice.

    Early on, where the factor would be less than one step, they go one by one, and the factor
    is that which spreads the others evenly over what is left.

    Examples
    --------
    >>> log_spaced_steps(1000, 8)
    [0, 1, 3, 10, 32, 101, 318, 1000]
    >>> log_spaced_steps(3, 100)
    [0, 1, 2, 3]
    """
    if n_steps < 3:
        return [0, total_steps][2 - n_steps :]
    steps = [0, 1]
    for n_left in range(min(n_steps - 2, total_steps - 1), 0, -1):
        factor = (total_steps / steps[-1]) ** (1 / n_left)
        steps.append(max(steps[-1] + 1, round(steps[-1] * factor)))
    return steps


def place_of(step: int, batches_per_epoch: int) -> tuple[int, int]:
    """Epoch, from 0, and batches done in it; an epoch's last step belongs to that epoch."""
    epoch = max(0, step - 1) // batches_per_epoch
    return epoch, step - epoch * batches_per_epoch


def is_epoch_end(step: int, batches_per_epoch: int) -> bool:
    """Whether a step is the last one of an epoch."""
    return step > 0 and step % batches_per_epoch == 0


def checkpoint_label(step: int, batches_per_epoch: int, time: datetime) -> str:
    """Name of the checkpoint after a step, which `dvis.names.parse_checkpoint` reads.

    Examples
    --------
    >>> checkpoint_label(700, 500, datetime(2024, 3, 25, 0, 28))
    'checkpoint_2024-03-25-00h28_epoch_1_train_200.pth.tar'
    >>> checkpoint_label(1000, 500, datetime(2024, 3, 25, 0, 28))
    'checkpoint_2024-03-25-00h28_epoch_1_end.pth.tar'
    """
    epoch, batch = place_of(step, batches_per_epoch)
    phase = "end" if is_epoch_end(step, batches_per_epoch) else f"train_{batch}"
    return f"checkpoint_{time:%Y-%m-%d-%Hh%M}_epoch_{epoch}_{phase}.pth.tar"


def labels_by_step(names: Iterable[CheckpointName], batches_per_epoch: int) -> dict[int, str]:
    """Labels of the checkpoints whose names tell their step, as `checkpoint_label` makes them."""
    known = [name for name in names if not np.isnat(name.time)]
    steps = training_steps(known, batches_per_epoch)
    return {step: name.label for step, name in zip(steps, known, strict=True) if step >= 0}


def time_for_label(
    step: int, now: datetime, saved: Iterable[tuple[int, CheckpointName]]
) -> datetime:
    """The present minute, or the nearest one that keeps the names in training order.

    Clocks are set back, and a run that is resumed from the middle saves between what it has.
    """
    neighbours = list(saved)
    before = [name.time for other, name in neighbours if other < step]
    after = [name.time for other, name in neighbours if other > step]
    present = np.datetime64(now, "s")
    latest = np.min([present, *after])
    time: datetime = np.max([latest, *before]).item()
    return time


def learning_rate(
    settings: TrainingSettings, step: int, *, total_steps: int, batches_per_epoch: int
) -> float:
    """Learning rate of the step that follows `step` others."""
    peak, warmup = settings.peak_lr, settings.lr_warmup_steps
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if settings.lr_schedule == "constant":
        return peak
    if settings.lr_schedule == "cosine":
        done = (step - warmup) / max(1, total_steps - warmup)
        return settings.lr_min + (peak - settings.lr_min) * (1 + math.cos(math.pi * done)) / 2
    periods = (step - warmup) / (batches_per_epoch * settings.lr_decay_epochs)
    if settings.lr_schedule == "step":
        periods = math.floor(periods)
    rate: float = peak * settings.lr_decay_rate**periods
    return max(settings.lr_min, rate)
