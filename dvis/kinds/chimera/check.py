"""Do chimeras keep their promises: what is complete has correlations.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator

import numpy as np

from dvis.schema import Status
from dvis.store.faults import Block, Fault, part_faults
from dvis.store.group import Group


def chimera_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of chimeras beyond its schema and labels."""
    yield from part_faults(group, place, progress, says=_said_of)


def _said_of(block: Block) -> Iterator[tuple[np.ndarray, str]]:
    values = block.values["correlation"]  # of layers of one channel there is no null
    lacks_all = (block.status == Status.COMPLETE) & ~np.isfinite(values).any(-1)
    yield lacks_all, "is complete, but has no finite correlation"
    is_beyond = (np.abs(values) > 1).any(-1)
    yield is_beyond, "has a correlation beyond -1 to 1"
