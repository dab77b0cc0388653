"""Training steps of checkpoints whose names tell epochs and batches in them."""

from collections.abc import Iterable, Sequence

import numpy as np

from dvis.names.name import CheckpointName

_ROUNDING_MINUTES = 0.3
_TOLERANCE = 0.005


def training_steps(names: Sequence[CheckpointName], batches_per_epoch: int | None) -> list[int]:
    """Training step of each checkpoint, -1 where it is not known.

    What a name says is the step; a batch of epoch 0 is its own; a batch of a later epoch, and the
    end of an epoch, need the number of batches in one. An epoch alone tells no step: some count
    from 0, some from 1.
    """

    def step(name: CheckpointName) -> int:
        if name.step >= 0:
            return name.step
        if name.phase == "train":
            if name.batch < 0 or (name.epoch > 0 and batches_per_epoch is None):
                return -1
            return name.epoch * (batches_per_epoch or 0) + name.batch
        is_end = name.phase in ("val", "end")
        return -1 if batches_per_epoch is None or not is_end else _end_of(name, batches_per_epoch)

    return [step(name) for name in names]


def _end_of(name: CheckpointName, batches_per_epoch: int) -> int:
    return (name.epoch + 1) * batches_per_epoch


def check_batches(names: Iterable[CheckpointName], batches_per_epoch: int) -> None:
    """Raise where a name has a batch that an epoch of so many batches does not have.

    Raises
    ------
    ValueError
        With the name, and what to give.
    """
    trained = [name for name in names if name.phase == "train"]
    last = max(trained, key=lambda name: name.batch, default=None)
    if last is not None and last.batch > batches_per_epoch:
        raise ValueError(
            f"batches_per_epoch is {batches_per_epoch}, and {last.label} is of batch {last.batch} "
            f"of its epoch; it must be at least {last.batch}"
        )


def estimate_batches_per_epoch(names: Sequence[CheckpointName]) -> int | None:
    """Batches in an epoch, from the times of the checkpoints, or None where they do not tell.

    Least squares for time = start + epoch * a + batch * b over the checkpoints saved in training.
    What passes between epochs, such as validation, is part of a, so that a / b is at least the
    number of batches; the highest batch that was saved is at most that number. The answer is given
    only where the two lie within half a per cent, and so either is right to that. Every checkpoint
    must lie within two minutes (names hold whole minutes) or 2 % of the whole time of the line, and
    twice the standard error of a / b be below half a per cent too: a training that paused or
    changed its pace has no answer.
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
    estimate = float(solution[1] / solution[2])
    # Times are cut to whole minutes: an error of 0.3 minutes even where the fit is perfect.
    error = max(_ROUNDING_MINUTES, float(np.sqrt((residuals**2).mean())))
    gradient = np.array([0.0, 1.0, -estimate]) / solution[2]
    variance = gradient @ np.linalg.inv(design.T @ design) @ gradient * error**2
    too_far = residuals.max() > max(2.0, 0.02 * minutes.max())
    tolerance = _TOLERANCE * estimate
    is_bounded = abs(estimate - design[:, 2].max()) <= tolerance
    if too_far or 2 * variance**0.5 > tolerance or not is_bounded:
        return None
    return max(round(estimate), int(design[:, 2].max()))
