"""An array divided along its files."""

from collections.abc import Iterator, Sequence
from itertools import product


def regions(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Chunks of an array as slices, the last dim fastest."""
    sizes = list(zip(shape, chunks, strict=True))
    for corner in product(*(range(0, n, chunk) for n, chunk in sizes)):
        at = zip(corner, sizes, strict=True)
        yield tuple(slice(first, min(first + chunk, n)) for first, (n, chunk) in at)
