"""Optimisations of an image from several starts: the best is kept, and what is dead tried again.

What optimises images from one start in, all that was tried of each image out.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from dvis.kinds.features.measure.engine import Optimised
from dvis.kinds.features.measure.parametrisations import Parametrisation
from dvis.kinds.features.measure.stored import StoredImage

# Of what is tried again where no start gave a gradient, how much larger the contrast is: a standard
# deviation of values from 0 to 1, and a factor for those without bounds. None is a start as usual;
# at 4 nearly all values are at an end of the range.
_CONTRASTS: tuple[tuple[float, float] | None, ...] = (None, (0.15, 3.0), (0.3, 9.0), (4.0, 27.0))


@dataclass(frozen=True)
class Tried:
    """One optimisation of an image: how it went, and what is stored of it."""

    optimised: Optimised
    stored: StoredImage
    activation: float
    seed: int

    @property
    def has_failed(self) -> bool:
        """Whether its numbers were not finite."""
        return bool(self.optimised.error) or not np.isfinite(self.activation)

    @property
    def is_dead(self) -> bool:
        """Whether no gradient reached the image, or a rectified unit is silent at it after all."""
        return not self.has_failed and (self.optimised.is_dead or self.activation == 0)

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """What the best is the highest of."""
        return not self.has_failed, not self.is_dead, self.activation


# Of images by their numbers and of an attempt by its own, counted from 0: how each image went.
Attempt: TypeAlias = Callable[[Sequence[int], int], list[Tried]]


def all_tried(attempt: Attempt, units: Sequence[int], n_attempts: int) -> list[list[Tried]]:
    """Optimise images from several starts, and from some more those of units that stay dead.

    Parameters
    ----------
    attempt : callable
        Optimises some images from the start of an attempt's number.
    units : sequence of int, (image,)
        The unit of each image: all of a unit's are optimised together.
    n_attempts : int
        Starts of every image.

    Returns
    -------
    list of list of Tried, (image, attempt)
    """
    everything = list(range(len(units)))
    tried: list[list[Tried]] = [[] for _ in everything]
    for number in range(n_attempts + len(_CONTRASTS)):
        dead = {units[i] for i in everything if all(each.is_dead for each in tried[i])}
        wanted = [i for i in everything if number < n_attempts or units[i] in dead]
        if not wanted:
            break
        for image, found in zip(wanted, attempt(wanted, number), strict=True):
            tried[image].append(found)
    return tried


def best_tried(
    tried: Sequence[Sequence[Tried]], sets: Sequence[int], n_restarts: int
) -> list[Tried]:
    """The best of what was tried of each image; of images that are one set, all of one attempt.

    Parameters
    ----------
    tried : sequence of sequence of Tried, (image, attempt)
        What was tried; that of later attempts than the restarts counts where they are all dead.
    sets : sequence of int, (image,)
        Images of one number are made to differ from each other, and kept together.
    n_restarts : int
        Attempts of which the best is kept.
    """
    chosen: dict[int, Tried] = {}
    for number in dict.fromkeys(sets):
        members = [image for image, of_set in enumerate(sets) if of_set == number]
        attempts = list(zip(*(tried[image] for image in members), strict=True))
        first = attempts[:n_restarts]
        is_alive = any(not each.is_dead for attempt in first for each in attempt)
        best = max(first if is_alive else attempts, key=_rank)
        chosen.update(zip(members, best, strict=True))
    return [chosen[image] for image in range(len(sets))]


def _rank(attempt: Sequence[Tried]) -> tuple[int, int, float]:
    sound, alive, activations = zip(*(each.rank for each in attempt), strict=True)
    return sum(sound), sum(alive), float(sum(activations))


def spread(tried: Sequence[Tried], n_restarts: int) -> float:
    """Standard deviation of the activations of the restarts that moved, NaN of less than two."""
    moved = [each for each in tried[:n_restarts] if not (each.is_dead or each.has_failed)]
    if len(moved) < 2:
        return float("nan")
    return float(np.std([each.activation for each in moved], ddof=1))


def images_of_seeds(tried: Sequence[Tried], n_seeds: int) -> list[StoredImage]:
    """The first images of different seeds that moved; none where fewer did than are asked for."""
    moved = [each.stored for each in tried if not (each.is_dead or each.has_failed)]
    return moved[:n_seeds] if len(moved) >= n_seeds else []


def start_of_attempt(
    param: Parametrisation, seeds: Sequence[int], number: int, n_attempts: int
) -> Tensor | None:
    """Values (image, channel, y, x) from which an attempt begins; None for its own usual start.

    What is tried again beyond the attempts begins at the usual noise, and then at noise of the same
    form with more contrast, which drives units further: behind a rectifier some are silent at all
    that is faint.
    """
    contrast = _CONTRASTS[number - n_attempts] if number >= n_attempts else None
    if contrast is None:
        return None
    with torch.no_grad():
        noise = param.decode(param.start([torch.Generator().manual_seed(seed) for seed in seeds]))
    deviation, factor = contrast
    if not param.is_bounded:
        return noise * factor
    middle = noise.mean((1, 2, 3), keepdim=True)
    spread_of = (noise - middle).flatten(1).std(1)[:, None, None, None].clamp(min=1e-12)
    return (middle + (noise - middle) * deviation / spread_of).clamp(0, 1)


def image_seed(seed: int, layer: str, index: int, number: int, attempt: int = 0) -> int:
    """Seed of one image's attempt, the same at every checkpoint and in every batch, below 2**31."""
    text = f"{seed}/{layer}/{index}/{number}" + (f"/{attempt}" if attempt else "")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1
