"""What numbers are held against: the words for it, the same in each question, option and picture.

The word that was asked for and those that there are in; the word, or an error, out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from dvis.schema import CHECKPOINT, did_you_mean

Baseline = Literal["shuffled", "first", "untrained", "pixels", "majority"]
SHUFFLED: Final = "shuffled"  # what is exchanged is each number's `exchangeable`
FIRST: Final = "first"  # checkpoint of the number itself
UNTRAINED: Final = "untrained"  # the network before it learns
PIXELS: Final = "pixels"
MAJORITY: Final = "majority"  # the commonest class, or of numbers the mean
IN_WORDS: Mapping[str, str] = {
    SHUFFLED: "its null",
    FIRST: "what it was at the first checkpoint",
    UNTRAINED: "that of the network untrained",
    PIXELS: "what pixels tell",
    MAJORITY: "the commonest class, or the mean",
}


def require_baseline(asked: Any, there: Sequence[str], where: str) -> None:
    """Raise where numbers are to be held against something that they are not beside.

    Raises
    ------
    ValueError
        When it is none of these words.
    """
    if asked not in there:
        raise ValueError(did_you_mean("baseline", str(asked), there, where))


def untrained_label(dataset: xr.Dataset, untrained: str | None = None) -> str:
    """The checkpoint before the network learns: the one asked for, that of step 0, or "".

    Raises
    ------
    KeyError
        When there is no such checkpoint.
    """
    labels = [str(each) for each in dataset[CHECKPOINT].values]
    if untrained is not None:
        if untrained not in labels:
            raise KeyError(did_you_mean(CHECKPOINT, untrained, labels, "this Dataset"))
        return untrained
    steps = dataset["step"].values if "step" in dataset.coords else np.full(len(labels), np.nan)
    return next((each for each, step in zip(labels, steps, strict=True) if step == 0), "")
