"""Do attributes keep their promises: what is complete has numbers, and they are possible ones.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator

import numpy as np

from dvis.kinds.attributes.words import BOUNDS, QUESTIONS, SCORE, TELLS
from dvis.schema import Status
from dvis.store.faults import Block, Fault, part_faults
from dvis.store.group import Group


def attribute_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of attributes beyond its schema and labels."""
    yield from part_faults(group, place, progress, says=_said_of)


def _said_of(block: Block) -> Iterator[tuple[np.ndarray, str]]:
    is_complete = block.status == Status.COMPLETE
    for name in QUESTIONS:
        values, errors = (block.values[each][..., 0] for each in (name, f"{name}_se"))
        yield is_complete & ~np.isfinite(values), f"is complete, but {name} nothing"
        yield errors < 0, f"has a standard error of {name} below 0"
        band = block.values[f"null_{name}"]
        lower, upper = np.moveaxis(band.reshape(*band.shape[:-1], len(BOUNDS)), -1, 0)
        yield lower > upper, f"has a null of {name} whose lower end is above its upper"
    share = block.values[TELLS][..., 0]
    yield (share < 0) | (share > 1), "tells a share that is not 0 to 1"
    for name in (SCORE, "latent_score"):
        if name in block.values:
            is_beyond = np.any(np.abs(block.values[name]) > 1 + 1e-6, -1)
            yield is_beyond, "has a score beyond -1 to 1"
