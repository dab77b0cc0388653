"""Do responses keep their promises: status against responses, and the images that they are to.

Parts of a group as they lie on disk in, what is wrong with them out.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from math import prod

import numpy as np

from dvis.kinds.responses.words import CLASS, IMAGES
from dvis.schema import Status
from dvis.store.faults import Block, Fault, part_faults
from dvis.store.group import Group
from dvis.store.growth import UNREADABLE
from dvis.store.regions import regions


def response_faults(group: Group, place: str, progress: bool) -> Iterator[Fault]:
    """Faults of a group of responses beyond its schema and labels."""
    says = partial(_said_of, group, _answered_images(group))
    yield from part_faults(group, place, progress, says=says)


def _said_of(
    group: Group, is_answered: np.ndarray, block: Block
) -> Iterator[tuple[np.ndarray, str]]:
    is_complete = block.status == Status.COMPLETE
    is_finite = np.isfinite(block.values["response"])
    lacks_some = ~(is_finite[..., is_answered].all(-1) & is_finite.any(-1))
    yield is_complete & lacks_some, "is complete, but not all of its responses are finite"
    if IMAGES in group.words.arrays:
        made_of = np.asarray(group.array(IMAGES)[block.region[1:]])[None]
        yield is_complete & (made_of == 0), "does not say to which image it is"


def _answered_images(group: Group) -> np.ndarray:
    """Whether there is a response to an image, (image,) bool: to a class without images is none."""
    response, status = group.array("response"), group.array("status")
    n_images = prod(response.shape[len(status.shape) :])
    is_answered = np.full(n_images, CLASS not in group.words.arrays)
    for region in (
        () if is_answered.all() else regions(status.shape, response.chunks[: len(status.shape)])
    ):
        is_complete = np.asarray(status[region]) == Status.COMPLETE
        if is_complete.any():
            with suppress(*UNREADABLE):  # of damage it is said where it lies
                values = np.asarray(response[region]).reshape(*is_complete.shape, -1)
                is_answered |= np.isfinite(values[is_complete]).any(0)
        if is_answered.all():
            break
    return is_answered
