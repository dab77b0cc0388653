"""Do probes keep their promises: what is complete has scores, and scores are possible ones.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator

import numpy as np

from dvis.kinds.probes.words import BOUNDS, HELD_OUT, SCORE, SPLITS
from dvis.schema import Status
from dvis.store.faults import Block, Fault, part_faults
from dvis.store.group import Group

_HELD_OUT = SPLITS.index(HELD_OUT)


def probe_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of probes beyond its schema and labels."""
    yield from part_faults(group, place, progress, says=_said_of)


def _said_of(block: Block) -> Iterator[tuple[np.ndarray, str]]:
    is_complete = block.status == Status.COMPLETE
    scores, errors = block.values[SCORE], block.values["score_se"]
    yield is_complete & ~np.isfinite(scores[..., _HELD_OUT]), "is complete, but has no score"
    yield np.any(scores > 1, -1), "has a score above 1"
    yield np.any(errors < 0, -1), "has a standard error below 0"
    lower, upper = np.moveaxis(_by_bound(block.values["null_score"]), -1, 0)
    yield (lower > upper).any(-1), "has a null whose lower end is above its upper"


def _by_bound(band: np.ndarray) -> np.ndarray:
    """Ends of intervals (..., split, bound), of all that a part has in a row."""
    return band.reshape(*band.shape[:-1], len(SPLITS), len(BOUNDS))
