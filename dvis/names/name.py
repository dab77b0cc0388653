"""What a checkpoint's name tells of its place in training, as one record, and keys to sort by."""

import re
from dataclasses import dataclass

import numpy as np

PHASES = ("train", "val", "end")
FIRST = "init"
# What a name without a place says of its checkpoint, in the order in which such names come last.
UNPLACED = ("best", "averaged", "ema", "latest", "last", "final")

_SUFFIX = re.compile(r"(?<=.)\.(?:pth|pt|tar|th|bin|ckpt|safetensors|pkl|index|json)\Z", re.I)
_UNKNOWN_TIME = np.datetime64("NaT", "s")

SortKey = tuple[int, tuple[int, ...], tuple[tuple[int, int, str], ...], str]


@dataclass(frozen=True)
class CheckpointName:
    """What is known of a checkpoint's place in training; -1, "" and NaT where it is not.

    Attributes
    ----------
    label : str
        The name, verbatim.
    time : datetime64
        When it was saved.
    epoch : int
        Epoch, counted as the training counts: from 0 or from 1.
    phase : {"train", "val", "end", ""}
        Part of the epoch.
    batch : int
        Batch in the epoch.
    step : int
        Training step, counted over the whole run.
    role : str
        What a name without a number says: `init`, which is step 0, or one of `UNPLACED`.
    is_counted : bool
        Whether its epoch is a plain number (`model_7`), by which most recipes count epochs.
    """

    label: str
    time: np.datetime64 = _UNKNOWN_TIME
    epoch: int = -1
    phase: str = ""
    batch: int = -1
    step: int = -1
    role: str = ""
    is_counted: bool = False

    @property
    def epoch_key(self) -> tuple[int, int, int]:
        """Order among checkpoints whose epoch is known: batches of it come before it as a whole."""
        if self.phase in PHASES:
            phase = PHASES.index(self.phase)
        else:
            phase = 0 if self.batch >= 0 else len(PHASES)
        return self.epoch, phase, self.batch

    @property
    def sort_key(self) -> SortKey:
        """Training order among names that tell the same: step, else epoch, else time, else numbers.

        What says nothing of its place comes after what does, and words such as `final` at the end.
        """
        seconds = -1 if np.isnat(self.time) else int(self.time.astype("int64"))
        is_word = int(self.role in UNPLACED)  # `last` comes after what it is the last of
        rest = natural_key(stem_of(self.label))
        if self.step >= 0:
            return 0, (self.step, is_word, *self.epoch_key, seconds), rest, self.label
        if self.epoch >= 0:
            return 1, (*self.epoch_key, is_word, seconds), rest, self.label
        if seconds >= 0:
            return 2, (seconds,), rest, self.label
        if self.role in UNPLACED:
            return 4, (UNPLACED.index(self.role),), rest, self.label
        return 3, (), rest, self.label


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key by which `step_2` comes before `step_10`."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d{1,18})", name)
        if part
    )


def stem_of(label: str) -> str:
    """A checkpoint's name without the suffixes of its file.

    Examples
    --------
    >>> stem_of("weights.09.pth.tar"), stem_of("checkpoint-500")
    ('weights.09', 'checkpoint-500')
    """
    while (stem := _SUFFIX.sub("", label)) != label:
        label = stem
    return label
