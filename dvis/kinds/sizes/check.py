"""Do sizes keep their promises: what is complete has one, what is dead has none.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator

import numpy as np

from dvis.kinds.sizes.words import LOG_AREA
from dvis.schema import Status
from dvis.store.faults import Block, Fault, part_faults
from dvis.store.group import Group


def size_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of sizes beyond its schema and labels."""
    yield from part_faults(group, place, progress, says=_said_of)


def _said_of(block: Block) -> Iterator[tuple[np.ndarray, str]]:
    is_finite = np.isfinite(block.values[LOG_AREA]).any(-1)
    yield (block.status == Status.COMPLETE) & ~is_finite, "is complete, but has no finite size"
    yield (block.status == Status.DEAD) & is_finite, "is dead, but has a size"
