"""Do chains keep their promises: status against losses.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator

import numpy as np

from dvis.kinds.llc.words import MEASURED, ChainStatus
from dvis.store.faults import Block, Fault, part_faults
from dvis.store.group import Group


def chain_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of chains beyond its schema and labels."""
    yield from part_faults(group, place, progress, says=_said_of)


def _said_of(block: Block) -> Iterator[tuple[np.ndarray, str]]:
    status = block.status
    n_draws, n_finite = (block.values[name][..., 0] for name in ("n_draws", "n_finite"))
    n_stored = np.isfinite(block.values["loss"]).sum(-1)
    is_measured = np.isin(status, MEASURED)
    yield is_measured & (n_stored != n_finite), "has more or fewer finite losses than it says"
    yield (
        (status == ChainStatus.DONE) & ((n_finite != n_draws) | (n_draws == 0)),
        "is done, but not all of its losses are finite",
    )
