"""Do activations keep their promises: a file for each complete block, and numbers in each.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator
from itertools import chain

import numpy as np

from dvis.kinds.activations.group import ActivationGroup
from dvis.kinds.activations.words import BLOCK
from dvis.progress import progress_bar
from dvis.schema import CHECKPOINT, Status
from dvis.store.faults import Fault, part_faults, words_of_labels
from dvis.store.group import Group

_ROWS = 4096  # looked at together


def activation_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a layer's group beyond its schema and labels."""
    assert isinstance(group, ActivationGroup)
    return chain(part_faults(group, place, progress), _file_faults(group, place, progress))


def _file_faults(group: ActivationGroup, place: str, progress: bool) -> Iterator[Fault]:
    if not group.keeps_values:
        return
    status = np.asarray(group.array("status")[:])
    blocks = np.argwhere(status == Status.COMPLETE)
    labels = {row: label for label, row in group.rows[CHECKPOINT].items()}
    with progress_bar(len(blocks), "blocks", f"values of {place}", shown=progress) as bar:
        for row, block in blocks.tolist():
            message = _fault_of(group, row, block)
            if message:
                where = words_of_labels({CHECKPOINT: labels.get(row, str(row)), BLOCK: block})
                yield Fault(f"{place}, {where}", message, (row, block))
            bar.update()


def _fault_of(group: ActivationGroup, row: int, block: int) -> str:
    """What is wrong with a complete block's file, or nothing."""
    files = group.files
    path = files.path(row, block)
    if not path.is_file():
        return f"is complete, but {path.relative_to(group.store.absolute())} is not there"
    n_bytes = path.stat().st_size
    if n_bytes != files.n_bytes:
        return f"its file has {n_bytes:,} bytes, and should have {files.n_bytes:,}"
    n_samples = min(files.block[0], group.n_samples - block * files.block[0])
    values = files.mapped(row, block)[:n_samples]
    rows = values.reshape(-1, values.shape[-1])
    for first in range(0, len(rows), _ROWS):
        is_finite = np.isfinite(rows[first : first + _ROWS]).all(1)
        if not is_finite.all():
            sample = (first + int(np.argmin(is_finite))) // files.block[1]
            return (
                f"is complete, but not all of its values are finite: sample {sample} of the block"
            )
    return ""
