"""Does influence keep its promises: a strength onto every target that varies, where it is done.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from dvis.schema import Status
from dvis.store.faults import Block, Fault, part_faults, readable
from dvis.store.group import Group


def influence_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of influence beyond its schema and labels."""
    yield from part_faults(group, place, progress, says=partial(_said_of, group))


def _said_of(group: Group, block: Block) -> Iterator[tuple[np.ndarray, str]]:
    checkpoints, _, _, targets = block.region
    deviation = readable(group.array("response_sd"), (checkpoints, targets))
    deviation = deviation[:, np.newaxis, np.newaxis]  # of all sources
    is_complete = block.status == Status.COMPLETE
    lacks_deviation = np.broadcast_to(~np.isfinite(deviation).any(-1), is_complete.shape)
    yield is_complete & lacks_deviation, "is complete, but there is no response_sd of its targets"
    lacks_strength = ((deviation > 0) & ~np.isfinite(block.values["strength"])).any(-1)
    yield is_complete & lacks_strength, "is complete, but has no strength onto targets that vary"
