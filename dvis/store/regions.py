"""An array divided along its files."""

from collections.abc import Iterator, Sequence
from itertools import product


def regions(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Chunks of an array as slices, the last dim fastest."""
    sizes = list(zip(shape, chunks, strict=True))
    for corner in product(*(range(0, n, chunk) for n, chunk in sizes)):
        at = zip(corner, sizes, strict=True)
        yield tuple(slice(first, min(first + chunk, n)) for first, (n, chunk) in at)


def aligned(
    region: Sequence[slice], shape: Sequence[int], chunks: Sequence[int]
) -> tuple[slice, ...]:
    """The smallest region of whole chunks around one, over all of the dims that it leaves out."""
    whole = [slice(0, n) for n in shape[len(region) :]]
    around = []
    for along, n, chunk in zip(region, shape, chunks, strict=False):
        first = along.start // chunk * chunk
        around.append(slice(first, min(-(-along.stop // chunk) * chunk, n)))
    return (*around, *whole)
