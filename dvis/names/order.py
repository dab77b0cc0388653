"""The order of training of checkpoints of which different things are known."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dvis.names.name import CheckpointName, SortKey


def training_order(names: Sequence[CheckpointName]) -> list[int]:
    """Places of some checkpoints in training order.

    Those whose step is known go by it. The others go among these by their epoch, else by their
    time, where both have one, else after them. What says nothing of its place comes last.

    Examples
    --------
    >>> from dvis.names import parse_checkpoint
    >>> labels = ["final.pt", "epoch_2.pt", "init.pt", "epoch_10.pt"]
    >>> [labels[place] for place in training_order([parse_checkpoint(each) for each in labels])]
    ['init.pt', 'epoch_2.pt', 'epoch_10.pt', 'final.pt']
    """
    with_step = [name for name in names if name.step >= 0]
    with_step.sort(key=lambda name: name.sort_key)
    before_epoch = _counter([name.epoch_key if name.epoch >= 0 else None for name in with_step])
    before_time = _counter([None if np.isnat(name.time) else name.time for name in with_step])
    ranks = {id(name): n for n, name in enumerate(with_step, 1)}

    def key(place: int) -> tuple[int, int, SortKey]:
        name = names[place]
        if name.step >= 0:
            return ranks[id(name)], 0, name.sort_key
        n_before = None
        if name.epoch >= 0:
            n_before = before_epoch(name.epoch_key)
        elif not np.isnat(name.time):
            n_before = before_time(name.time)
        return len(with_step) if n_before is None else n_before, 1, name.sort_key

    return sorted(range(len(names)), key=key)


def _counter(keys: Sequence[Any]) -> Callable[[Any], int | None]:
    """How many of some ordered things come before one with a key; None where none has a key."""
    known = [(n, key) for n, key in enumerate(keys, 1) if key is not None]
    # From each on, the least key that follows: it rises, whatever the keys themselves do.
    least: list[Any] = []
    for _, key in reversed(known):
        least.append(key if not least else min(key, least[-1]))
    least.reverse()

    def n_before(key: Any) -> int | None:
        if not known:
            return None
        n = bisect_right(least, key)
        return known[n - 1][0] if n else known[0][0] - 1

    return n_before
