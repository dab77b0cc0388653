"""Names of checkpoints, what they tell of training, and the order that follows.

Names in, places in training out.
"""

import re
from dataclasses import dataclass
from datetime import datetime

import numpy as np

PHASES = ("train", "val", "end")
_ROUNDING_MINUTES = 0.3

_CHECKPOINT = re.compile(
    r"checkpoint_(?P<time>\d{4}-\d\d-\d\d-\d\dh\d\d)_epoch_(?P<epoch>\d{1,9})_"
    r"(?:(?P<phase>train|val)_(?P<batch>\d{1,9})|(?P<end>end)(?:_(?P<end_batch>\d{1,9}))?)"
    r"\.pth\.tar"
)
_UNKNOWN_TIME = np.datetime64("NaT", "s")


@dataclass(frozen=True)
class CheckpointName:
    """What a checkpoint's name tells of its place in training; -1, "" and NaT where it does not."""

    label: str
    time: np.datetime64 = _UNKNOWN_TIME
    epoch: int = -1
    phase: str = ""
    batch: int = -1

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Training order: by time, epoch, phase and batch; names without a place come last."""
        if np.isnat(self.time):
            return (1, natural_key(self.label), self.label)
        phase = PHASES.index(self.phase) if self.phase in PHASES else len(PHASES)
        place = (int(self.time.astype("int64")), self.epoch, phase, self.batch)
        return (0, place, self.label)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key by which `step_2` comes before `step_10`."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d{1,18})", name)
        if part
    )


def parse_checkpoint(label: str) -> CheckpointName:
    """Place in training of a checkpoint's name.

    Examples
    --------
    >>> parse_checkpoint("checkpoint_2024-03-25-00h28_epoch_0_train_200.pth.tar").batch
    200
    >>> parse_checkpoint("full").epoch
    -1
    """
    match = _CHECKPOINT.fullmatch(label)
    if match is None:
        return CheckpointName(label)
    try:
        time = datetime.strptime(match["time"], "%Y-%m-%d-%Hh%M")
    except ValueError:  # the 32nd of a month
        return CheckpointName(label)
    batch = match["batch"] or match["end_batch"]
    return CheckpointName(
        label,
        np.datetime64(time, "s"),
        int(match["epoch"]),
        match["phase"] or "end",
        -1 if batch is None else int(batch),
    )


def training_steps(names: list[CheckpointName], batches_per_epoch: int | None) -> list[int]:
    """Training step of each checkpoint, -1 where it is not known.

    A batch of epoch 0 is its own step; later epochs need the number of batches in one.
    """

    def step(name: CheckpointName) -> int:
        if np.isnat(name.time):
            return -1
        if name.phase == "train":
            if name.batch < 0 or (name.epoch > 0 and batches_per_epoch is None):
                return -1
            return name.epoch * (batches_per_epoch or 0) + name.batch
        return -1 if batches_per_epoch is None else (name.epoch + 1) * batches_per_epoch

    return [step(name) for name in names]


def estimate_batches_per_epoch(names: list[CheckpointName]) -> int | None:
    """Batches in an epoch, from the times of the checkpoints, or None where they do not agree.

    Least squares for time = start + epoch * a + batch * b over the checkpoints saved in training;
    the answer is a / b. It is given only when every checkpoint lies within two minutes (names hold
    whole minutes) or 2 % of the whole time of that line, when twice the standard error of a / b is
    below half a per cent of it, and no batch number reaches it: a training that paused or changed
    its pace has no answer.
    """
    train = [name for name in names if name.phase == "train" and not np.isnat(name.time)]
    if len(train) < 5 or len({name.epoch for name in train}) < 2:
        return None
    minutes = np.array([name.time.astype("int64") / 60 for name in train], float)
    minutes -= minutes.min()
    design = np.array([[1.0, name.epoch, name.batch] for name in train])
    solution, _, rank, _ = np.linalg.lstsq(design, minutes, rcond=None)
    if rank < 3 or solution[2] <= 0:
        return None
    residuals = np.abs(design @ solution - minutes)
    estimate = solution[1] / solution[2]
    # Times are cut to whole minutes: an error of 0.3 minutes even where the fit is perfect.
    error = max(_ROUNDING_MINUTES, float(np.sqrt((residuals**2).mean())))
    gradient = np.array([0.0, 1.0, -estimate]) / solution[2]
    variance = gradient @ np.linalg.inv(design.T @ design) @ gradient * error**2
    too_far = residuals.max() > max(2.0, 0.02 * minutes.max())
    if too_far or 2 * variance**0.5 > 0.005 * estimate or estimate < design[:, 2].max():
        return None
    return round(float(estimate))
